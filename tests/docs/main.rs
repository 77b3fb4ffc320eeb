//! The documents say what the code does: tables and worked examples in `docs/` are compared with it.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew; read the difference before you commit it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use sealboot::keys::pem::PrivateKey;
use sealboot_core::failure::FailureCode;
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Encoding, Manifest};
use sealboot_core::format::network::Network;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};
use serde_json::Value;
use support::world;

fn doc(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("docs")
        .join(name)
}

/// Compares the text between `<!-- begin NAME -->` and `<!-- end NAME -->` with `expected`.
fn compare(file: &str, name: &str, expected: &str) {
    let path = doc(file);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let from = text
        .find(&begin)
        .unwrap_or_else(|| panic!("docs/{file} has no \"{begin}\""))
        + begin.len();
    let to = from
        + text[from..]
            .find(&end)
            .unwrap_or_else(|| panic!("docs/{file} has no \"{end}\""));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [&text[..from], expected, &text[to..]].concat()).unwrap();
    } else {
        assert_eq!(
            &text[from..to],
            expected,
            "docs/{file}: run `UPDATE_DOCS=1 cargo test --test docs`"
        );
    }
}

#[test]
fn failure_codes_are_documented_all_and_exactly() {
    let mut table = String::new();
    let mut group = "";
    for code in FailureCode::ALL {
        let prefix = code.as_str().split('-').next().unwrap();
        if prefix != group {
            group = prefix;
            write!(
                table,
                "\n## {prefix}\n\n| code | cause | remedy |\n|---|---|---|\n"
            )
            .unwrap();
        }
        let cell = |text: &str| text.replace('|', "\\|");
        writeln!(
            table,
            "| `{code}` | {} | {} |",
            cell(code.cause()),
            cell(code.remedy())
        )
        .unwrap();
    }
    table.push('\n');
    compare("failure-codes.md", "codes", &table);
}

#[test]
fn failure_codes_are_distinct_and_made_of_capitals() {
    for (at, code) in FailureCode::ALL.iter().enumerate() {
        let text = code.as_str();
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-'),
            "{text}"
        );
        assert!(
            FailureCode::ALL[..at]
                .iter()
                .all(|other| other.as_str() != text),
            "{text} twice"
        );
        assert!(
            !code.remedy().ends_with('.') && code.cause().ends_with('.'),
            "{text}"
        );
    }
}

/// The secret keys of RFC 8032, section 7.1, tests 1 to 3: public for ever, so good for examples only.
const ALICE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const BOB: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
const CLOCKWORK: &str = "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7";

fn key(seed: &str) -> PrivateKey {
    let byte = |at: usize| u8::from_str_radix(&seed[at..at + 2], 16).unwrap();
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend((0..64).step_by(2).map(byte));
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    );
    PrivateKey::from_pem(&pem).unwrap()
}

/// The image of the worked example: a "kernel" and an "initrd" of a few bytes.
fn example_manifest() -> Manifest {
    let files = [
        ("boot/vmlinuz", b"kernel".to_vec()),
        ("boot/initrd", b"initrd".to_vec()),
    ];
    let entries = files
        .iter()
        .map(|(path, bytes)| world::archives::entry(path, bytes))
        .collect();
    world::archives::claim(&world::tar(&files), Encoding::None, entries)
}

fn fenced(kind: &str, text: &str) -> String {
    format!("```{kind}\n{}\n```\n", text.trim_end())
}

#[test]
fn the_worked_example_is_what_the_code_makes() {
    let (alice, bob, clockwork) = (key(ALICE), key(BOB), key(CLOCKWORK));
    let policy = format!(
        r#"{{
  "version": 1,
  "created": "2026-11-21T12:00:00Z",
  "keys": [
    {{"name": "alice", "key": "{}"}},
    {{"name": "bob", "key": "{}"}},
    {{"name": "clockwork", "key": "{}"}}
  ],
  "roles": {{
    "root": [{{"keys": ["alice", "bob"], "threshold": 2}}],
    "release": [{{"keys": ["alice", "bob"], "threshold": 2}}],
    "freshness": [{{"keys": ["clockwork"], "threshold": 1}}]
  }},
  "images": [{{"name": "relay", "min_version": 41}}],
  "expiry": {{"required": true, "max_days": 90}},
  "freshness": {{"required": true, "max_hours": 72, "max_releases": 1}},
  "on_failure": {{"retry_initial_seconds": 2, "retry_max_seconds": 60, "max_attempts": 20}}
}}"#,
        alice.public(),
        bob.public(),
        clockwork.public()
    );
    let manifest = example_manifest();
    let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest.encode());
    for key in [&alice, &bob] {
        let signature = key.sign(&envelope.signed_bytes());
        envelope.add_signature(key.public().id(), signature);
    }
    let freshness = world::trust::freshness_of(&[&manifest], 1, world::archives::noon());
    let mut stated = Envelope::unsigned(Freshness::PAYLOAD_TYPE, freshness.encode());
    let signature = clockwork.sign(&stated.signed_bytes());
    stated.add_signature(clockwork.public().id(), signature);
    let channel = Channel::new([envelope.clone()], [stated]).encode();
    let freshness = String::from_utf8(freshness.encode()).unwrap();
    let signed_bytes = String::from_utf8(envelope.signed_bytes()).unwrap();
    let envelope = String::from_utf8(envelope.encode()).unwrap();
    let readable = serde_json::to_string_pretty(&manifest).unwrap();

    let loaded = TrustPolicy::parse(policy.as_bytes()).unwrap();
    let expected = Expected {
        name: &manifest.name,
        arch: Some(manifest.arch.clone()),
        now: world::archives::noon().into(),
    };
    let verified = loaded
        .verify_manifest(envelope.as_bytes(), &expected)
        .unwrap();
    assert_eq!(*verified.as_ref(), manifest);
    let current = loaded.verify_channel(&channel, &expected).unwrap();
    assert_eq!(*current.manifest().as_ref(), manifest);
    assert!(current.freshness().is_some());
    // The manifest's envelope stands above already.
    let channel = serde_json::json!({
        "releases": [{"manifest": "…"}],
        "freshness": serde_json::from_slice::<Value>(&channel).unwrap()["freshness"],
    });
    let channel = serde_json::to_string_pretty(&channel).unwrap();

    let (next, signed) = next_policy(&loaded, &alice, &bob);

    compare("formats.md", "policy", &fenced("json", &policy));
    compare("formats.md", "next-policy", &fenced("json", &next));
    compare("formats.md", "signed-policy", &fenced("json", &signed));
    compare("formats.md", "manifest", &fenced("json", &readable));
    compare("formats.md", "signed-bytes", &fenced("text", &signed_bytes));
    compare("formats.md", "envelope", &fenced("json", &envelope));
    compare("formats.md", "freshness", &fenced("json", &freshness));
    compare("formats.md", "channel", &fenced("json", &channel));
    compare(
        "formats.md",
        "key-ids",
        &fenced(
            "text",
            &format!(
                "alice      {}\nbob        {}\nclockwork  {}",
                alice.public().id(),
                bob.public().id(),
                clockwork.public().id()
            ),
        ),
    );
    compare(
        "formats.md",
        "blob",
        &fenced(
            "text",
            &format!(
                "STORE/{}\nSTORE/{}",
                manifest.archive.blob_path(),
                manifest.archive.chunk_list_path()
            ),
        ),
    );
}

/// What follows the example's policy, and its envelope.
fn next_policy(policy: &TrustPolicy, alice: &PrivateKey, bob: &PrivateKey) -> (String, String) {
    let next = world::trust::handed_to(policy, 2, 1, &[("alice", alice)]).with(|fields| {
        fields.images[0]
            .denied_versions
            .push(43.try_into().unwrap());
    });
    let next = next.unwrap();
    let mut signed = Envelope::unsigned(TrustPolicy::PAYLOAD_TYPE, next.encode());
    for key in [alice, bob] {
        let signature = key.sign(&signed.signed_bytes());
        signed.add_signature(key.public().id(), signature);
    }
    let verified = policy.verify_successor(&signed.encode()).unwrap();
    assert_eq!(*verified.as_ref(), next);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(next.encode()), text(signed.encode()))
}

/// The `sh` blocks of a part of the guide.
fn shell_of(part: &str) -> Vec<String> {
    let text = fs::read_to_string(doc("guide.md")).unwrap();
    let from = text.find(&format!("<!-- begin {part} -->")).unwrap();
    let to = text.find(&format!("<!-- end {part} -->")).unwrap();
    text[from..to]
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Runs a script in `directory` with the real program; returns its exit status and stderr.
fn bash(directory: &Path, script: &str) -> (Option<i32>, String) {
    let sealboot = Path::new(env!("CARGO_BIN_EXE_sealboot"));
    let output = std::process::Command::new("bash")
        .args(["-eu", "-c", script])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", sealboot.parent().unwrap().display()),
        )
        .env_remove("SSH_AUTH_SOCK")
        .current_dir(directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Puts an unsigned envelope of version 1 of `relay`, and its archive, into the store.
fn put_image(directory: &Path) {
    let mut manifest = world::manifest(1);
    manifest.created = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
    manifest.expires = Some(manifest.created + SignedDuration::from_hours(24 * 30));
    let store = directory.join("store");
    world::put_archive(&store, &manifest.archive, &world::tar(&world::files()));
    world::put(
        &directory.join("store/images/relay/1/x86_64.json"),
        &world::seal_manifest(&manifest, &[]),
    );
}

/// Every command of the guide's chapter, in its order, by the real program. Only what stands before the
/// chapter is made here: the fleet of the chapters before, whose newest image Alice and Carol signed.
#[test]
fn the_chapter_on_losing_a_key_works_as_it_stands() {
    let blocks = shell_of("losing-a-key");
    assert!(blocks.len() >= 5, "{blocks:?}");

    let world = tempfile::TempDir::new().unwrap();
    let path = |name: &str| world.path().join(name);
    let bash = |script: &str| bash(world.path(), script);
    let before = "for name in alice bob carol clockwork; do sealboot key generate --out $name; done
        sealboot policy create --threshold 2 --key alice.pub --key bob.pub --key carol.pub --image relay \\
            --require-expiry --max-validity 90d --freshness-key clockwork.pub --require-freshness --out trust.json";
    let (status, said) = bash(before);
    assert_eq!(status, Some(0), "{said}");
    put_image(world.path());
    let image = "store/images/relay/1/x86_64.json";
    let (status, said) = bash(&format!(
        "sealboot image sign --key alice.key {image}; sealboot image sign --key carol.key {image}
         sealboot image publish --policy trust.json --store store --freshness-key clockwork.key --state renewer.json --init {image}"
    ));
    assert_eq!(status, Some(0), "{said}");

    let (status, said) = bash(&blocks.concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(path("store/trust/2.json").is_file());
    // Carol's key counts for nothing from then on, and a mirror that hides that is found out.
    let judge = "sealboot image verify --policy trust.json store/images/relay.json";
    let (status, said) = bash(judge);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("judged by version 2"), "{said}");
    fs::remove_file(path("store/trust/2.json")).unwrap();
    let (status, said) = bash(judge);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("TRUST-STALE"), "{said}");
}

/// Every command of the guide's section on a KMS, with OpenSSL in its place; then what was signed is published.
#[test]
fn the_section_on_a_kms_works_as_it_stands() {
    let blocks = shell_of("attaching");
    assert_eq!(blocks.len(), 2);
    let world = tempfile::TempDir::new().unwrap();
    put_image(world.path());
    let before = "openssl genpkey -algorithm ed25519 -out kms.key
        openssl pkey -in kms.key -pubout -out kms.pub
        sealboot policy create --threshold 1 --key kms.pub --image relay --out trust.json
        sealboot policy create --from trust.json --deny-version relay=9 --out trust-2.json
        ";
    let after =
        "sealboot image publish --policy trust.json --store store store/images/relay/1/x86_64.json
        sealboot policy publish --policy trust.json --store store trust-2.signed.json
        ";
    let (status, said) = bash(world.path(), &[before, &blocks.concat(), after].concat());
    assert_eq!(status, Some(0), "{said}");
    assert!(world.path().join("store/images/relay.json").is_file());
    assert!(world.path().join("store/trust/2.json").is_file());
}

#[test]
fn the_example_host_configs_load() {
    let text = fs::read_to_string(doc("formats.md")).unwrap();
    let from = text.find("<!-- begin host-configs -->").unwrap();
    let to = text.find("<!-- end host-configs -->").unwrap();
    let examples: Vec<&str> = text[from..to]
        .split("```json\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 2);
    for example in examples {
        HostConfig::parse(example.as_bytes())
            .unwrap_or_else(|error| panic!("{example}: {error:?}"));
    }
}

#[test]
fn both_notations_of_every_example_are_one_network() {
    let text = fs::read_to_string(doc("host-config.md")).unwrap();
    let from = text.find("<!-- begin networks -->").unwrap();
    let to = text.find("<!-- end networks -->").unwrap();
    let blocks: Vec<(&str, &str)> = text[from..to]
        .split("\n```")
        .filter_map(|block| block.split_once('\n'))
        .filter(|(kind, _)| matches!(*kind, "json" | "text"))
        .collect();
    let (pairs, []) = blocks.as_chunks::<2>() else {
        panic!("each example stands in both notations");
    };
    assert!(pairs.len() >= 10, "{}", pairs.len());
    for [(json_kind, json), (text_kind, line)] in pairs {
        assert_eq!((*json_kind, *text_kind), ("json", "text"), "{json}");
        let by_json: Network = serde_json::from_str(json).expect(json);
        let line = format!("sealboot.image=relay sealboot.mirror=https://m.example/ {line}");
        let by_line = HostConfig::with_cmdline(None, &Parameters::parse(&line)).expect(&line);
        assert_eq!(by_line.network, by_json, "{json}\n{line}");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut documents = vec![root.join("README.md")];
    documents.extend(
        fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                let path = document.parent().unwrap().join(file);
                assert!(
                    path.exists(),
                    "{} links to {file}, which is not there",
                    document.display()
                );
            }
        }
    }
}

/// The tests that the threat model names, in the last column of its tables.
fn tests_of_the_threat_model() -> Vec<String> {
    let text = fs::read_to_string(doc("threat-model.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let shown = rows.filter_map(|row| row.rsplit('|').nth(1));
    shown
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_tests_that_the_threat_model_names_are_there() {
    fn read_all(directory: &Path, all: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_all(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut code = String::new();
    read_all(&root.join("src"), &mut code);
    read_all(&root.join("tests"), &mut code);
    let families = fs::read_dir(root.join("tests/vectors")).unwrap();
    let families: Vec<PathBuf> = families.map(|entry| entry.unwrap().path()).collect();
    let named = tests_of_the_threat_model();
    assert!(named.len() > 20, "{named:?}");
    let absent: Vec<&String> = named
        .iter()
        .filter(|name| {
            !code.contains(&format!("fn {name}("))
                && !families.iter().any(|family| family.join(name).is_dir())
        })
        .collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn every_benchmark_is_run_and_has_a_place_for_what_it_found() {
    let manifest = include_str!("../../src/tool/Cargo.toml");
    let benchmarks: Vec<&str> = manifest
        .split("[[bench]]\nname = \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(benchmarks.contains(&"path"), "{benchmarks:?}");
    let makefile = include_str!("../../Makefile");
    let (_, run) = makefile.split_once("BENCH ?= ").unwrap();
    let mut run: Vec<&str> = run.lines().next().unwrap().split(' ').collect();
    run.sort_unstable();
    let mut expected = benchmarks.clone();
    expected.sort_unstable();
    assert_eq!(run, expected);
    let text = fs::read_to_string(doc("performance.md")).unwrap();
    for name in benchmarks {
        let marker = |word: &str| text.matches(&format!("<!-- {word} {name} -->\n")).count();
        assert_eq!((marker("begin"), marker("end")), (1, 1), "{name}");
    }
    assert!(include_str!("../../README.md").contains("(docs/performance.md)"));
}
