//! Those who come to a verdict on a folder: the library, the loader's stages, and the tool.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use sealboot_core::archive::verify_archive;
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::host_config::KnownAs;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Chain, Channel, Presented, TrustPolicy};
use sealboot_init::boot::stages::image::fetch_and_unpack;
use sealboot_init::boot::stages::{configure, manifest};
use sealboot_init::boot::{InForce, LOADER};
use sealboot_init::fetch::{Patience, Reputation};

use super::Expectation;
use super::families::HOST_CONFIG;
use support::world::mirror::Loopback;

type Verdict = Result<(), FailureCode>;

/// The code of an error that can be shown: on a console, a serial one of 9,600 baud among them, whose
/// reader must not be deceived nor kept waiting.
fn code(error: impl Diagnose) -> FailureCode {
    assert_can_be_shown(&Report(&error).to_string());
    error.code()
}

fn assert_can_be_shown(text: &str) {
    let turns = |char: char| matches!(char, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let draws = |char: char| char != '\n' && (char.is_control() || turns(char));
    assert!(!text.contains(draws), "{text:?}");
    assert!(text.len() < 4096, "{} bytes: {text}", text.len());
}

/// The library, called in the order of a boot.
pub(crate) fn assert_library(folder: &Path, expectation: &Expectation, expected: Verdict) {
    let found = by_library(folder, expectation);
    assert_eq!(found, expected, "the library, on: {}", expectation.about);
}

/// What the loader does, in its order and with its bounds: the chain of policies, the channel, the archive.
fn by_library(folder: &Path, expectation: &Expectation) -> Verdict {
    let store = folder.join("store");
    let mut chain = Chain::from(baked_in(folder)?);
    let presented = presented(folder, expectation);
    judge_host_config(chain.newest(), presented.as_ref(), expectation.now)?;
    while let Some(version) = chain.next() {
        let path = store.join(format!("trust/{version}.json"));
        if !path.exists() {
            break;
        }
        let envelope = fetched(&path, LIMITS.policy_envelope_bytes)?;
        chain.step(&envelope).map_err(code)?;
    }
    chain.newest().check_expiry(expectation.now).map_err(code)?;
    judge_host_config(chain.newest(), presented.as_ref(), expectation.now)?;
    let channel = store.join(format!("images/{}.json", expectation.image));
    let channel = fetched(&channel, LIMITS.channel_bytes)?;
    let expected = Expected {
        name: &expectation.image,
        arch: Some(expectation.arch.clone()),
        now: expectation.now.into(),
    };
    let current = chain
        .newest()
        .verify_channel(&channel, &expected)
        .map_err(code)?;
    let archive = &current.manifest().as_ref().archive;
    let open = |path: String| {
        fs::File::open(store.join(path))
            .unwrap_or_else(|_| panic!("nothing was refused before the archive was asked for"))
    };
    let mut list = Vec::new();
    (open(archive.chunk_list_path()).read_to_end(&mut list)).unwrap();
    let stored = open(archive.blob_path());
    verify_archive(current.manifest(), list, stored, &mut |_| {}).map_err(code)
}

fn baked_in(folder: &Path) -> Result<TrustPolicy, FailureCode> {
    let path = folder.join("trust.json");
    let policy = match TrustPolicy::parse(&fs::read(&path).unwrap()) {
        Ok(policy) => policy,
        Err(source) => return Err(code(configure::ConfigureError::Policy { path, source })),
    };
    // The loader refuses it where it reads the policy, for no later one could be followed.
    match policy.root_role().is_reachable() {
        true => Ok(policy),
        false => Err(code(configure::ConfigureError::UnknownKeyTypes { path })),
    }
}

/// What the machine's host config is made of, in a folder that says something of it.
fn presented(folder: &Path, expectation: &Expectation) -> Option<Presented> {
    let stored = fs::read(folder.join(HOST_CONFIG)).ok();
    let of_interest = stored.is_some() || !expectation.cmdline.is_empty();
    of_interest.then(|| Presented {
        stored,
        cmdline: Parameters::parse(&expectation.cmdline),
        machine: Some(KnownAs {
            serial: Some(expectation.serial.clone()).filter(|serial| !serial.is_empty()),
            ..KnownAs::default()
        }),
    })
}

fn judge_host_config(
    policy: &TrustPolicy,
    presented: Option<&Presented>,
    now: Timestamp,
) -> Result<(), FailureCode> {
    let judged = presented.map(|presented| policy.judge_host_config(presented, &now.into()));
    judged.transpose().map(drop).map_err(code)
}

/// The stage `configure`, where the folder says something of a host config.
fn configured(folder: &Path, expectation: &Expectation) -> Result<Option<Presented>, FailureCode> {
    if presented(folder, expectation).is_none() {
        return Ok(None);
    }
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc/sealboot");
    fs::create_dir_all(&etc).unwrap();
    for file in ["trust.json", HOST_CONFIG] {
        if folder.join(file).exists() {
            fs::copy(folder.join(file), etc.join(file)).unwrap();
        }
    }
    let dmi = root.path().join("sys/class/dmi/id");
    fs::create_dir_all(&dmi).unwrap();
    fs::write(dmi.join("product_serial"), &expectation.serial).unwrap();
    let cmdline = Parameters::parse(&expectation.cmdline);
    configure(root.path(), &cmdline, expectation.now).map(Some)
}

/// The stage `configure` of a machine whose files are under `root`, with an authority for mirrors of its own.
pub(crate) fn configure(
    root: &Path,
    cmdline: &Parameters,
    now: Timestamp,
) -> Result<Presented, FailureCode> {
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertificateParams::default().self_signed(&key);
    let roots = root.join("etc/sealboot/tls-roots.pem");
    fs::write(roots, authority.unwrap().pem()).unwrap();
    let mut chain = None;
    let done = configure::run(root, cmdline, &mut chain, &LOADER, &now.into()).map_err(code)?;
    Ok(done.into_value().presented)
}

/// A file of the store, read as far as the loader reads it.
fn fetched(path: &Path, limit: u64) -> Result<Vec<u8>, FailureCode> {
    let bytes = fs::read(path).unwrap();
    if bytes.len() as u64 > limit {
        return Err(FailureCode::FetchTooLarge);
    }
    Ok(bytes)
}

/// The loader's stages, as they are in a boot, with a mirror that has nothing but the folder's store.
pub(crate) fn assert_loader(folder: &Path, expectation: &Expectation, expected: Verdict) {
    // A loader boots images for the machine that it was built for; all folders are of one kind.
    if expectation.arch != Arch::NATIVE {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let found = runtime.block_on(by_loader(folder, expectation));
    // Our own server does not even send what no loader reads; how far one reads, tests/fetch shows.
    let channel = format!("store/images/{}.json", expectation.image);
    let unsent =
        expected == Err(FailureCode::FetchTooLarge) && expectation.padded.contains_key(&channel);
    let expected = if unsent {
        Err(FailureCode::FetchStatus)
    } else {
        expected
    };
    assert_eq!(found, expected, "the loader, on: {}", expectation.about);
}

async fn by_loader(folder: &Path, expectation: &Expectation) -> Verdict {
    let mut chain = InForce::new(baked_in(folder)?, &LOADER);
    let presented = configured(folder, expectation)?;
    let loopback = Loopback::new();
    let mirror = loopback.serve(&folder.join("store"));
    let url = &mirror;
    // Which mirror a folder's host config names is of no interest: it is this one.
    let line = format!(
        "sealboot.image={} sealboot.mirror={url} ip=dhcp",
        expectation.image
    );
    let presented = presented.unwrap_or_else(|| Presented {
        stored: None,
        cmdline: Parameters::parse(&line),
        machine: None,
    });
    let (image, mirrors) = (&expectation.image, [mirror]);
    let client = &loopback.client;
    let mut reputation = Reputation::default();
    let accepted = manifest::run(
        image,
        &mirrors,
        &presented,
        &mut chain,
        client,
        &mut reputation,
        &mut expectation.now.into(),
    )
    .await
    .map_err(code)?
    .into_value();
    // What fails here fails again: there is one mirror, and it does not change.
    let patience = Patience {
        give_up: Duration::from_secs(1),
        ..Patience::DEFAULT
    };
    let memory = tempfile::tempdir().unwrap();
    fetch_and_unpack(
        &accepted,
        client,
        &mirrors,
        &mut reputation,
        patience,
        memory.path(),
    )
    .await
    .map(|_| ())
    .map_err(code)
}

/// Whether this is said of a host config, or no refusal at all.
fn is_of_host_configs(verdict: Verdict) -> bool {
    verdict.map_or_else(
        |code| code.as_str().starts_with("CONFIGURE-HOST"),
        |()| true,
    )
}

/// Returns `true` if a release of the channel has attachments.
fn names_attachments(folder: &Path, expectation: &Expectation) -> bool {
    let channel = folder.join(format!("store/images/{}.json", expectation.image));
    let channel = fs::read(channel).ok();
    let channel = channel.and_then(|bytes| Channel::parse(&bytes).ok());
    let releases = channel.into_iter().flat_map(|channel| channel.releases);
    releases
        .filter_map(|release| Manifest::parse(release.manifest.unverified_payload()).ok())
        .any(|manifest| !manifest.attachments.is_empty())
}

/// `sealboot` comes to the same verdict, and exits with 3 where it is a refusal.
pub(crate) fn assert_tool(folder: &Path, expectation: &Expectation, expected: Verdict) {
    let host = folder.join(HOST_CONFIG).exists();
    if !expectation.cmdline.is_empty() && expected.is_err() {
        // It knows of no machine's command line.
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealboot"));
    command.current_dir(folder).env("NO_COLOR", "1");
    if host && is_of_host_configs(expected) {
        command.args([
            "host-config",
            "check",
            "--policy",
            "trust.json",
            HOST_CONFIG,
        ]);
    } else if expected.is_err() && baked_in(folder).is_err() {
        // To verify by a policy that does not load is a mistake of the caller; this judges the policy.
        command.args(["policy", "check", "trust.json"]);
    } else {
        command
            .args(["image", "verify", "--policy", "trust.json", "--at"])
            .arg(expectation.now.to_string())
            .arg(format!("store/images/{}.json", expectation.image));
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_can_be_shown(&said);
    let code = said.lines().find_map(|line| line.strip_prefix("  code: "));
    let (status, expected_code) = match expected {
        Ok(()) if expectation.refused_by_the_tool => {
            assert!(said.contains(" does not have the field "), "{said}");
            (1, None)
        }
        // Machines fetch no attachment, so the folders have none; the tool checks them.
        Ok(()) if names_attachments(folder, expectation) => {
            assert!(said.contains("there is no attachment "), "{said}");
            (1, None)
        }
        // It looks at images, and at host configs, for machines of every kind.
        Ok(()) | Err(FailureCode::ManifestArch | FailureCode::ConfigureHostMachine) => (0, None),
        // A file that is too large is none that it can read: no verdict, but no success either.
        Err(FailureCode::FetchTooLarge | FailureCode::ConfigureHost)
            if !expectation.padded.is_empty() =>
        {
            assert!(said.contains(" is larger than "), "{said}");
            (1, None)
        }
        Err(code) => (3, Some(code.as_str())),
    };
    assert_eq!(
        (output.status.code(), code),
        (Some(status), expected_code),
        "the tool, on: {}\n{said}",
        expectation.about
    );
}
