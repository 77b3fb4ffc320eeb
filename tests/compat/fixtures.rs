//! The files of `tests/fixtures/v1`.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use sealboot::keys::pem::{PrivateKey, public_key_to_pem};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness, ReleaseType};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Attachment, Encoding, Manifest};
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::AcceptedImage;
use serde_json::Value;
use support::world::archives::noon;
use support::world::extended::{self, NEWER_FRESHNESS, NEWER_MANIFEST};
use support::world::trust::{configured_by, freshness_of, group, policy_of, renewed_by, versioned};
use support::world::{self, alice, bob, carol, chunk_list, clockwork, mallory};

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The time after noon of the world at which everything in the fixtures is valid.
pub(crate) const NOON_PLUS: SignedDuration = SignedDuration::from_hours(1);

const SBOM: &[u8] = b"{\"spdxVersion\": \"SPDX-2.3\"}\n";

const HOST: &str = r#"{"created": "2026-11-21T12:00:00Z", "expires": "2120-01-01T00:00:00Z",
 "for": ["serial:CZ1234", "mac:52:54:00:12:34:56"], "image": "relay",
 "mirrors": ["https://boot.example/", "https://boot2.example/$serial/"],
 "mirror_keys": ["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
 "network": {
  "interfaces": [{"mode": "static", "interface": "v5", "addresses": ["192.0.2.7/24"], "gateways": ["192.0.2.1"]},
   {"mode": "dhcp", "interface": "eth2"}],
  "bonds": [{"name": "bond0", "ports": ["eth0", "eth1"], "mode": "active-backup", "miimon": 100}],
  "vlans": [{"name": "v5", "link": "bond0", "id": 5}],
  "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.3"}], "nameservers": ["192.0.2.53"], "search": ["example"]},
 "ntp": ["ntp.example"]}"#;

const README: &str = "\
Frozen: a store, a baked-in trust policy and host configs of v1 that use every extension point of the format at once.
Every later version of the loader has to accept them, and every later version of the tool has to keep what it does not
know in them. See tests/compat. The keys are public test keys.
";

/// Returns the bytes of the archive of all releases.
fn archive() -> Vec<u8> {
    world::tar(&world::files())
}

fn manifest(version: u64, arch: Arch) -> Manifest {
    Manifest {
        created: noon(),
        arch,
        archive: world::stored(&archive(), Encoding::None),
        max_uptime_hours: Some(720.try_into().unwrap()),
        attachments: vec![Attachment {
            name: "sbom.spdx.json".parse().unwrap(),
            media_type: "application/spdx+json".parse().unwrap(),
            size: SBOM.len() as u64,
            sha256: Sha256Digest::of(SBOM),
        }],
        ..world::manifest(version)
    }
}

/// Returns the baked-in policy, without what [`extended`] adds.
pub(crate) fn policy() -> TrustPolicy {
    let keys = [("alice", &alice()), ("bob", &bob()), ("carol", &carol())];
    let image = |name: &str, min_version: u64| {
        AcceptedImage::new(name.parse().unwrap(), min_version.try_into().unwrap())
    };
    let policy = policy_of(2, &keys, vec![image("relay", 41), image("exit", 1)]);
    let policy = configured_by(renewed_by(policy, &clockwork(), true), &mallory(), true);
    let changed = policy.with(|fields| {
        fields.freshness.max_releases = 2;
        fields.freshness.max_hours = 720;
        let mut groups = group(1, &["alice"]);
        groups.extend(group(1, &["bob", "carol"]));
        fields.images[1].release = Some(groups);
        fields.images[0]
            .denied_versions
            .push(40.try_into().unwrap());
        fields.denied_digests.push(Sha256Digest::of(b"denied"));
    });
    changed.unwrap()
}

/// Returns the statement that lists these releases, and what a later version would list beside them.
fn freshness(manifests: &[&Manifest], payloads: &[Vec<u8>]) -> Vec<u8> {
    let of = |manifest: &&Manifest| CurrentRelease {
        version: manifest.version,
        arch: manifest.arch.clone(),
        payload_type: ReleaseType::known(),
        sha256: Sha256Digest::of(b""),
        until: Some("2120-01-01T00:00:00Z".parse().unwrap()),
    };
    let freshness = Freshness {
        expires: noon() + SignedDuration::from_hours(720),
        releases: manifests.iter().map(of).collect(),
        withdrawn: vec![41.try_into().unwrap()],
        ..freshness_of(manifests, 2, noon())
    };
    extended::freshness(&freshness, payloads)
}

/// Returns every file.
pub(crate) fn build() -> Files {
    let mut files = Files::new();
    let mut put = |path: &str, bytes: Vec<u8>| {
        files.insert(path.to_owned(), bytes);
    };
    put("README", README.into());
    let keys: [(&str, PrivateKey); 5] = [
        ("alice", alice()),
        ("bob", bob()),
        ("carol", carol()),
        ("clockwork", clockwork()),
        ("installer", mallory()),
    ];
    for (name, key) in &keys {
        put(
            &format!("keys/{name}.key"),
            key.to_pem().as_bytes().to_vec(),
        );
        let public = public_key_to_pem(&key.public());
        put(&format!("keys/{name}.pub"), public.as_bytes().to_vec());
    }

    let first = policy();
    put("policy.json", extended::policy(&first));
    let second = extended::policy(&versioned(&first, 2));
    let signers = [alice(), bob()];
    let second = extended::envelope(TrustPolicy::PAYLOAD_TYPE, second, &signers);
    put("store/trust/2.json", extended::encode(&second));

    let host = extended::host_config(HOST.as_bytes());
    let signed = extended::envelope(HostConfig::PAYLOAD_TYPE, host.clone(), &[mallory()]);
    put("host.json", host);
    put("host.signed.json", extended::encode(&signed));

    // An architecture that this version does not know, too.
    let manifests = [
        manifest(43, "riscv64".parse().unwrap()),
        manifest(43, Arch::X86_64),
        manifest(42, Arch::X86_64),
        manifest(42, Arch::Aarch64),
    ];
    let payloads: Vec<Vec<u8>> = manifests.iter().map(extended::manifest).collect();
    let mut releases: Vec<Value> = Vec::new();
    for (manifest, payload) in manifests.iter().zip(&payloads) {
        let newer = extended::newer_manifest(manifest);
        releases.push(extended::envelope(NEWER_MANIFEST, newer, &signers));
        let envelope = extended::envelope(Manifest::PAYLOAD_TYPE, payload.clone(), &signers);
        let path = format!(
            "store/images/relay/{}/{}.json",
            manifest.version, manifest.arch
        );
        put(&path, extended::encode(&envelope));
        releases.push(envelope);
    }
    let archive = archive();
    let stored = &manifests[0].archive;
    put(
        &format!("store/{}", stored.chunk_list_path()),
        chunk_list(&archive),
    );
    put(&format!("store/{}", stored.blob_path()), archive);
    let attached = &manifests[0].attachments[0];
    put(&format!("store/{}", attached.blob_path()), SBOM.to_vec());

    let listed: Vec<&Manifest> = manifests.iter().collect();
    let current = freshness(&listed, &payloads);
    let statements = [
        extended::envelope(NEWER_FRESHNESS, current.clone(), &[clockwork()]),
        extended::envelope(Freshness::PAYLOAD_TYPE, current, &[clockwork()]),
    ];
    put(
        "store/images/relay.json",
        extended::channel(&releases, &statements),
    );
    files
}
