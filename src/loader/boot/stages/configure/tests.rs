use std::fs;

use ed25519_dalek::{Signer as _, SigningKey};

use super::*;
use crate::boot::LOADER;
use sealboot_core::failure::Report;
use sealboot_core::trust::policy::{Group, Signer};
use sealboot_core::trust::{Envelope, PublicKey};

const POLICY: &str = r#"{
    "version": 1,
    "created": "2026-11-21T12:00:00Z",
    "keys": [{"name": "alice", "key": "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}],
    "roles": {"root": [{"keys": ["alice"], "threshold": 1}], "release": [{"keys": ["alice"], "threshold": 1}]},
    "images": [{"name": "relay"}]
}"#;
const HOST: &str = r#"{"created": "2026-11-20T12:00:00Z", "image": "relay", "mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"}}"#;

fn noon() -> JudgingTime {
    let noon: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    noon.into()
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap()
        .pem()
}

/// Configures from files that `change` has had its way with.
fn configured(
    cmdline: &str,
    change: impl FnOnce(&Path),
) -> Result<Configured<'static>, FailureCode> {
    let done = done(cmdline, None, change).map_err(|error| error.code())?;
    Ok(done.into_value())
}

/// The same, with all that is said of it, in an attempt that may know of a newer policy.
fn done(
    cmdline: &str,
    trusted: Option<&TrustPolicy>,
    change: impl FnOnce(&Path),
) -> Result<Done<Configured<'static>>, ConfigureError> {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc/sealboot");
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("trust.json"), POLICY).unwrap();
    fs::write(etc.join("host.json"), HOST).unwrap();
    fs::write(etc.join("tls-roots.pem"), certificate()).unwrap();
    change(&etc);
    // A loader has one chain, for as long as it runs.
    let chain = trusted.map(|newest| InForce::new(newest.clone(), &LOADER));
    let chain = Box::leak(Box::new(chain));
    run(
        root.path(),
        &Parameters::parse(cmdline),
        chain,
        &LOADER,
        &noon(),
    )
}

/// The policy with a role for host configs, which this key alone has.
fn with_role(key: &SigningKey, required: bool) -> TrustPolicy {
    let key = PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
    let name = "carol".parse().unwrap();
    let policy = TrustPolicy::parse(POLICY.as_bytes()).unwrap();
    let changed = policy.with(|fields| {
        fields.keys.push(Signer::new(name, key));
        fields.roles.host_config = Some(vec![Group {
            keys: vec!["carol".parse().unwrap()],
            threshold: 1,
        }]);
        fields.host_config.required = required;
    });
    changed.unwrap()
}

fn signed(by: &SigningKey) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(HostConfig::PAYLOAD_TYPE, HOST.into());
    let key = PublicKey::from_bytes(by.verifying_key().as_bytes()).unwrap();
    let signature = by.sign(&envelope.signed_bytes());
    envelope.add_signature(key.id(), signature.to_bytes());
    envelope.encode()
}

#[test]
fn who_signed_the_host_config_is_said_and_whether_all_of_it_is_theirs() {
    let carol = SigningKey::from_bytes(&[3; 32]);
    let bake = |required: bool, host: Vec<u8>| {
        let policy = with_role(&carol, required).encode();
        move |etc: &Path| {
            fs::write(etc.join("trust.json"), policy).unwrap();
            fs::write(etc.join("host.json"), host).unwrap();
        }
    };
    for (line, required, host, word, people) in [
        (
            "",
            true,
            signed(&carol),
            "signed",
            " (host config signed by carol), ",
        ),
        (
            "",
            false,
            signed(&carol),
            "signed",
            " (host config signed by carol), ",
        ),
        (
            "sealboot.mirror=https://other.example/",
            false,
            signed(&carol),
            "overridden",
            " (host config signed by carol, but overridden by sealboot.mirror= of the kernel command line), ",
        ),
        (
            "",
            false,
            HOST.into(),
            "plain",
            "image \\\"relay\\\", mirrors",
        ),
    ] {
        let done = done(line, None, bake(required, host)).unwrap();
        let said = format!("{done:?}");
        assert!(said.contains(&format!("(\"host\", \"{word}\")")), "{said}");
        assert!(said.contains(people), "{said}");
        let names_signers = said.contains("(\"signers\", \"carol\")");
        assert_eq!(names_signers, word != "plain", "{said}");
    }
}

#[test]
fn a_policy_that_requires_it_takes_nothing_that_its_role_has_not_signed() {
    let carol = SigningKey::from_bytes(&[3; 32]);
    let policy = with_role(&carol, true).encode();
    let bake = |host: &[u8]| {
        let (policy, host) = (policy.clone(), host.to_vec());
        move |etc: &Path| {
            fs::write(etc.join("trust.json"), policy).unwrap();
            fs::write(etc.join("host.json"), host).unwrap();
        }
    };
    let by_carol = signed(&carol);
    let by_mallory = signed(&SigningKey::from_bytes(&[4; 32]));
    for (line, host, code) in [
        ("", HOST.as_bytes(), FailureCode::ConfigureHostUnsigned),
        (
            "sealboot.mirror=https://evil.example/",
            &by_carol,
            FailureCode::ConfigureHostUnsigned,
        ),
        ("", &by_mallory, FailureCode::ConfigureHostThreshold),
    ] {
        assert_eq!(configured(line, bake(host)).unwrap_err(), code, "{line}");
    }
    configured("sealboot.log=debug console=ttyS0", bake(&by_carol)).unwrap();
    let remove = |etc: &Path| {
        bake(b"")(etc);
        fs::remove_file(etc.join("host.json")).unwrap();
    };
    for line in [
        "",
        "sealboot.image=relay sealboot.mirror=https://m.example/ ip=dhcp",
    ] {
        let code = configured(line, remove).unwrap_err();
        assert_eq!(code, FailureCode::ConfigureHostUnsigned, "{line}");
    }
    // Nor from another place.
    let beside = |etc: &Path| {
        bake(&by_carol)(etc);
        fs::write(etc.join("other.json"), HOST).unwrap();
    };
    let error = done("sealboot.config=/etc/sealboot/other.json", None, beside).unwrap_err();
    assert_eq!(error.code(), FailureCode::ConfigureHostUnsigned);
    assert_eq!(
        Report(&error).to_string(),
        "version 1 of the trust policy does not take the host config in sealboot.config=/etc/sealboot/other.json\n  \
         caused by: the host config is not signed, but the trust policy requires it\n  \
         hint: sign it with `sealboot host-config sign`, and put the envelope in its place"
    );
}

#[test]
fn the_newest_policy_that_was_proved_judges_the_host_config() {
    let [carol, dave] = [3, 5].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let bake = |etc: &Path| {
        fs::write(etc.join("trust.json"), with_role(&carol, false).encode()).unwrap();
        fs::write(etc.join("host.json"), signed(&carol)).unwrap();
    };
    let code = |trusted: Option<&TrustPolicy>| {
        let done = done("", trusted, bake).map_err(|error| error.code());
        done.map(Done::into_value)
            .map(|configured| configured.chain.newest().clone())
    };
    assert_eq!(code(None).unwrap(), with_role(&carol, false));
    let newer = with_role(&carol, true);
    assert_eq!(code(Some(&newer)).unwrap(), newer);
    let without_carol = with_role(&dave, false);
    assert_eq!(
        code(Some(&without_carol)).unwrap_err(),
        FailureCode::ConfigureHostThreshold
    );
}

/// Why nothing comes of the files under a root that `change` has had its way with.
fn error(cmdline: &str, change: impl FnOnce(&Path)) -> ConfigureError {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc/sealboot");
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("trust.json"), POLICY).unwrap();
    fs::write(etc.join("host.json"), HOST).unwrap();
    change(root.path());
    run(
        root.path(),
        &Parameters::parse(cmdline),
        &mut None,
        &LOADER,
        &noon(),
    )
    .unwrap_err()
}

#[test]
fn good_files_make_a_configuration() {
    let configured = configured("console=ttyS0", |_| {}).unwrap();
    assert_eq!(configured.host.image.as_str(), "relay");
    assert_eq!(configured.tls_roots.len(), 1);
}

#[test]
fn the_command_line_makes_up_for_an_absent_host_config() {
    let line = "sealboot.image=relay sealboot.mirror=https://m.example/ ip=dhcp";
    let remove = |etc: &Path| fs::remove_file(etc.join("host.json")).unwrap();
    assert_eq!(
        configured(line, remove).unwrap().host.mirrors[0].to_string(),
        "https://m.example/"
    );
    assert_eq!(
        configured("", remove).unwrap_err(),
        FailureCode::ConfigureHost
    );
}

#[test]
fn where_there_is_none_every_place_that_was_looked_at_is_named() {
    let error = error("ip=dhcp", |root| {
        fs::remove_file(root.join("etc/sealboot/host.json")).unwrap();
    });
    assert_eq!(
        error.to_string(),
        "there is no host config, and the kernel command line has no sealboot.mirror=
  none in /etc/sealboot/host.json
  none in the EFI variable SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8
  none in the SMBIOS OEM string sealboot.host-config
  none in fw_cfg opt/sealboot/host-config"
    );
}

#[test]
fn an_invalid_source_is_named_with_field_line_and_column_and_nothing_falls_through() {
    let error = error("", |root| {
        fs::remove_file(root.join("etc/sealboot/host.json")).unwrap();
        let efi = root.join("sys/firmware/efi/efivars");
        fs::create_dir_all(&efi).unwrap();
        let name = "SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8";
        let json = HOST.replace("https://", "");
        fs::write(efi.join(name), format!("\x07\0\0\0{json}")).unwrap();
        let fw_cfg = root.join("sys/firmware/qemu_fw_cfg/by_name/opt/sealboot/host-config");
        fs::create_dir_all(&fw_cfg).unwrap();
        fs::write(fw_cfg.join("raw"), HOST).unwrap();
    });
    assert_eq!(
        Report(&error).to_string(),
        r#"the host config in the EFI variable SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8 does not load
  caused by: field mirrors[0] is not what it should be
  caused by: mirror: "boot.example/" is not an https://HOST/ or http://HOST/ URL without user, query or fragment at line 1 column 82
  hint: write a good one on the machine (sealboot host-config write-efi FILE), or remove it (sealboot host-config remove-efi)"#
    );
}

#[test]
fn a_mirror_that_asks_for_what_the_firmware_does_not_say_is_found_out_before_there_is_a_network() {
    let asks = |path: &str, serial: &str| {
        let mirror = format!("sealboot.mirror=https://boot.example/{path}");
        configured(&mirror, |etc| {
            let dmi = etc
                .parent()
                .unwrap()
                .parent()
                .unwrap()
                .join("sys/class/dmi/id");
            fs::create_dir_all(&dmi).unwrap();
            fs::write(dmi.join("product_serial"), serial).unwrap();
        })
    };
    assert!(asks("$serial/$mac", "CZ1234").is_ok());
    for (path, serial) in [("$serial", "None"), ("$serial", ""), ("$uuid", "CZ1234")] {
        let code = asks(path, serial).unwrap_err();
        assert_eq!(code, FailureCode::ConfigureIdentity, "{path} {serial}");
    }
}

#[test]
fn what_the_firmware_says_reaches_another_mirror_and_changes_no_trust() {
    let said = |json: String| {
        configured("", move |etc| {
            fs::remove_file(etc.join("host.json")).unwrap();
            let fw_cfg = "sys/firmware/qemu_fw_cfg/by_name/opt/sealboot/host-config";
            let fw_cfg = etc.parent().unwrap().parent().unwrap().join(fw_cfg);
            fs::create_dir_all(&fw_cfg).unwrap();
            fs::write(fw_cfg.join("raw"), json).unwrap();
        })
    };
    let other = said(HOST.replace("boot.", "other.")).unwrap();
    assert_eq!(other.host.mirrors[0].to_string(), "https://other.example/");
    assert_eq!(other.policy_sha256, Sha256Digest::of(POLICY.as_bytes()));
    for (json, code) in [
        (HOST.replace("https", "http"), FailureCode::FetchPlainHttp),
        (
            HOST.replace("https", "http")
                .replacen('{', "{\"allow_http\": true, ", 1),
            FailureCode::FetchPlainHttp,
        ),
    ] {
        assert_eq!(said(json.clone()).unwrap_err(), code, "{json}");
    }
}

#[test]
fn another_host_config_can_be_named_and_must_then_be_there() {
    let other =
        |etc: &Path| fs::write(etc.join("other.json"), HOST.replace("boot.", "other.")).unwrap();
    let config = configured("sealboot.config=/etc/sealboot/other.json", other).unwrap();
    assert_eq!(config.host.mirrors[0].to_string(), "https://other.example/");
    for (line, code) in [
        (
            "sealboot.config=/etc/sealboot/missing.json",
            FailureCode::ConfigureHost,
        ),
        ("sealboot.config=other.json", FailureCode::ConfigureCmdline),
        ("sealboot.config=", FailureCode::ConfigureCmdline),
    ] {
        assert_eq!(configured(line, other).unwrap_err(), code, "{line}");
    }
}

#[test]
fn a_file_that_is_missing_or_invalid_has_its_code() {
    let write = |name: &'static str, text: String| {
        move |etc: &Path| fs::write(etc.join(name), text).unwrap()
    };
    type Change = Box<dyn Fn(&Path)>;
    let cases: Vec<(FailureCode, Change)> = vec![
        (
            FailureCode::ConfigurePolicy,
            Box::new(|etc| fs::remove_file(etc.join("trust.json")).unwrap()),
        ),
        (
            FailureCode::ConfigurePolicy,
            Box::new(move |etc| write("trust.json", "{".into())(etc)),
        ),
        (
            FailureCode::ConfigurePolicy,
            Box::new(move |etc| write("trust.json", " ".repeat(70_000))(etc)),
        ),
        (
            FailureCode::ConfigureHost,
            Box::new(move |etc| write("host.json", "{}".into())(etc)),
        ),
        (
            FailureCode::FetchPlainHttp,
            Box::new(move |etc| write("host.json", HOST.replace("https", "http"))(etc)),
        ),
        (
            FailureCode::ConfigureTlsRoots,
            Box::new(|etc| fs::remove_file(etc.join("tls-roots.pem")).unwrap()),
        ),
        (
            FailureCode::ConfigureTlsRoots,
            Box::new(move |etc| write("tls-roots.pem", String::new())(etc)),
        ),
        (
            FailureCode::ConfigureTlsRoots,
            Box::new(move |etc| {
                write(
                    "tls-roots.pem",
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
                )(etc);
            }),
        ),
        (
            FailureCode::ConfigureTlsRoots,
            Box::new(move |etc| {
                write("tls-roots.pem", certificate().replace("END", "ENT"))(etc);
            }),
        ),
    ];
    for (at, (code, change)) in cases.into_iter().enumerate() {
        assert_eq!(configured("", change).unwrap_err(), code, "case {at}");
    }
}

#[test]
fn plain_http_is_used_where_the_policy_allows_it() {
    let allow = |etc: &Path| {
        fs::write(
            etc.join("trust.json"),
            POLICY.replace("\"images\"", "\"allow_http\": true, \"images\""),
        )
        .unwrap();
        fs::write(etc.join("host.json"), HOST.replace("https", "http")).unwrap();
    };
    assert!(!configured("", allow).unwrap().host.mirrors[0].is_https());
}

/// Puts the device `place` below /sys/devices and links the block device of its last part to it.
fn put_block_device(root: &Path, place: &str, files: &[(&str, &str)]) {
    let device = root.join("sys/devices").join(place);
    fs::create_dir_all(&device).unwrap();
    for (name, text) in files {
        fs::write(device.join(name), text).unwrap();
    }
    let class = root.join("sys/class/block");
    fs::create_dir_all(&class).unwrap();
    let name = device.file_name().unwrap();
    std::os::unix::fs::symlink(&device, class.join(name)).unwrap();
}

#[test]
fn a_disk_ends_the_boot_where_the_policy_refuses_disks() {
    let refusing = POLICY.replace("\"version\": 1,", "\"version\": 1, \"disks\": \"refuse\",");
    let allowing = refusing.replace("refuse", "allow");
    let code = |policy: &str, place: Option<&str>| {
        let result = configured("", |etc| {
            fs::write(etc.join("trust.json"), policy).unwrap();
            let root = etc.parent().unwrap().parent().unwrap();
            if let Some(place) = place {
                put_block_device(root, place, &[("size", "32768\n")]);
            }
        });
        result.map(drop).map_err(FailureCode::as_str)
    };
    let refused = Err("CONFIGURE-DISKS");
    for (place, expected) in [
        ("pci0000:00/0000:00:03.0/nvme/nvme0/nvme0n1", refused),
        // NVMe with several paths.
        ("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", refused),
        ("pci0000:00/0000:00:03.0/virtio1/block/vda", refused),
        ("virtual/block/dm-0", refused),
        // No disk is named like this, but a name is no proof.
        ("platform/odd/block/loop0", refused),
        ("virtual/block/loop0", Ok(())),
        ("virtual/block/ram15", Ok(())),
        ("virtual/block/zram0", Ok(())),
    ] {
        assert_eq!(code(&refusing, Some(place)), expected, "{place}");
        assert_eq!(code(&allowing, Some(place)), Ok(()), "{place}");
    }
    assert_eq!(code(&refusing, None), Ok(()));
}
