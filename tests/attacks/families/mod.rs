//! The attacks of `tests/vectors`, by family, and the world in which they are tried.
//!
//! What is made is a function of nothing but this code: keys are fixed, ed25519 is deterministic, and
//! nothing is compressed by a library whose output may change.

use std::collections::{BTreeMap, BTreeSet};

use sealboot::keys::pem::PrivateKey;
use sealboot_core::failure::FailureCode;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::{Arch, Encoding, Manifest};
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Signer};

use support::world::trust::group;
use support::world::{self, alice, bob, carol};

/// Defines the vectors of a family: each is a test, and an item of the family's `ALL`.
macro_rules! vectors {
    ($($(#[doc = $about:literal])+ $name:ident => $verdict:expr, $make:expr;)+) => {
        pub(crate) const ALL: &[$crate::families::Vector] = &[$(
            $crate::families::Vector {
                module: module_path!(),
                test: stringify!($name),
                doc: concat!($($about),+),
                verdict: $verdict,
                make: || $make,
            },
        )+];

        $(
            #[test]
            fn $name() {
                let vector = ALL.iter().find(|vector| vector.test == stringify!($name));
                $crate::assert_holds(vector.unwrap());
            }
        )+
    };
}

mod archives;
mod bounds;
mod bytes;
mod confusion;
mod curve;
mod extensions;
mod freshness;
mod host_configs;
mod images;
mod numbers;
mod profile;
mod rotation;
mod signers;
mod zstd;

/// Every vector, by family: its title in the README, and what is in its folder.
pub(crate) fn families() -> [(&'static str, &'static [Vector]); 14] {
    [
        ("Who signed", signers::ALL),
        ("Keys and signatures that only a cheat makes", curve::ALL),
        (
            "One kind of statement where another is expected",
            confusion::ALL,
        ),
        ("Rotation", rotation::ALL),
        ("Freshness", freshness::ALL),
        ("Host configs", host_configs::ALL),
        ("Which image, of which age", images::ALL),
        ("Numbers", numbers::ALL),
        ("Bounds", bounds::ALL),
        ("Bytes and spellings", bytes::ALL),
        ("The lexical profile", profile::ALL),
        ("What later versions may add", extensions::ALL),
        ("Archives", archives::ALL),
        ("Archives in zstd", zstd::ALL),
    ]
}

/// Every vector.
pub(crate) fn all() -> impl Iterator<Item = &'static Vector> {
    families().into_iter().flat_map(|(_, vectors)| vectors)
}

/// One attack, or one proof that nothing was wrong.
pub(crate) struct Vector {
    /// The path of its family's module.
    pub(crate) module: &'static str,
    pub(crate) test: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) verdict: Result<(), FailureCode>,
    pub(crate) make: fn() -> Case,
}

impl Vector {
    /// Its name: no other vector has it, of whichever family.
    pub(crate) fn name(&self) -> String {
        self.test.replace('_', "-")
    }

    /// The name of its family's folder.
    pub(crate) fn family(&self) -> String {
        let (_, family) = self.module.rsplit_once("::").unwrap();
        family.replace('_', "-")
    }

    /// The path of its folder in `tests/vectors`.
    pub(crate) fn folder(&self) -> String {
        format!("{}/{}", self.family(), self.name())
    }

    /// What it is about, in a sentence or two.
    pub(crate) fn about(&self) -> String {
        self.doc.trim().to_owned()
    }
}

/// What a machine has, and what a mirror shows it.
pub(crate) struct Case {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) padded: BTreeMap<String, usize>,
    /// Directories that the folder holds as one tar each.
    pub(crate) tarred: Vec<&'static str>,
    /// Files that are too large for the folder, which holds their SHA-256.
    pub(crate) is_generated: BTreeSet<String>,
    /// The loader's verdict, where it is not everybody's.
    pub(crate) loader: Option<Result<(), FailureCode>>,
    pub(crate) image: &'static str,
    pub(crate) arch: Arch,
    pub(crate) now: &'static str,
    pub(crate) cmdline: &'static str,
    pub(crate) serial: &'static str,
    pub(crate) is_refused_by_the_tool: bool,
}

impl Case {
    /// A machine that boots `relay` and has this policy baked in.
    pub(crate) fn of(baked_in: &TrustPolicy) -> Self {
        Self::of_bytes(baked_in.encode())
    }

    /// The same, for a policy that nobody would write.
    pub(crate) fn of_bytes(baked_in: Vec<u8>) -> Self {
        Self {
            files: [("trust.json".to_owned(), baked_in)].into(),
            padded: BTreeMap::new(),
            tarred: Vec::new(),
            is_generated: BTreeSet::new(),
            loader: None,
            image: "relay",
            arch: Arch::X86_64,
            now: NOW,
            cmdline: "",
            serial: "",
            is_refused_by_the_tool: false,
        }
    }

    /// The mirror shows these bytes at this path of its store.
    pub(crate) fn shows(mut self, path: impl AsRef<str>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files
            .insert(format!("store/{}", path.as_ref()), bytes.into());
        self
    }

    /// The mirror shows this envelope as the newest of `relay`.
    pub(crate) fn manifest(self, envelope: &[u8]) -> Self {
        self.shows(CHANNEL, world::channel(envelope, None))
    }

    /// The mirror shows this envelope as the newest of `relay`, and says so in another.
    pub(crate) fn fresh(self, envelope: &[u8], freshness: &[u8]) -> Self {
        self.shows(CHANNEL, world::channel(envelope, Some(freshness)))
    }

    /// The mirror shows this as this version of the trust policy.
    pub(crate) fn policy(self, version: u64, envelope: impl Into<Vec<u8>>) -> Self {
        self.shows(format!("trust/{version}.json"), envelope)
    }

    /// The machine's clock says this.
    pub(crate) fn at(self, now: &'static str) -> Self {
        Self { now, ..self }
    }

    /// The machine finds this host config.
    pub(crate) fn host(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(HOST_CONFIG.to_owned(), bytes.into());
        self
    }

    /// The machine's kernel command line.
    pub(crate) fn with_cmdline(self, cmdline: &'static str) -> Self {
        Self { cmdline, ..self }
    }

    /// What the machine's firmware says of itself.
    pub(crate) fn on_machine(self, serial: &'static str) -> Self {
        Self { serial, ..self }
    }

    /// The tool refuses a field of a plain host config that it does not know: a person wrote it.
    pub(crate) fn refused_by_the_tool(self) -> Self {
        Self {
            is_refused_by_the_tool: true,
            ..self
        }
    }

    /// Spaces follow this file of the folder, up to so many bytes.
    pub(crate) fn padded(mut self, path: &str, bytes: usize) -> Self {
        self.padded.insert(path.to_owned(), bytes);
        self
    }

    /// The folder holds what is in this directory as one tar: it is many small files.
    pub(crate) fn tarred(mut self, directory: &'static str) -> Self {
        self.tarred.push(directory);
        self
    }

    /// The folder holds only the SHA-256 of this file.
    pub(crate) fn generated(mut self, path: &str) -> Self {
        self.is_generated.insert(path.to_owned());
        self
    }

    /// The mirror has the archive of [`manifest`] too.
    pub(crate) fn archive(self) -> Self {
        let archive = manifest(1).archive;
        let tar = world::tar(&files());
        self.shows(archive.chunk_list_path(), world::chunk_list(&tar))
            .shows(archive.blob_path(), tar)
    }
}

/// The same, where the loader's stages leave a check to the tool.
pub(crate) fn accepted_by_the_loader(case: Case) -> Case {
    Case {
        loader: Some(Ok(())),
        ..case
    }
}

/// Where the mirror shows what is newest.
pub(crate) const CHANNEL: &str = "images/relay.json";

/// The host config that a machine finds, where it is of interest.
pub(crate) const HOST_CONFIG: &str = "host.json";

/// The time on the machines.
pub(crate) const NOW: &str = "2026-01-15T00:00:00Z";

/// A machine with [`policy`], and a mirror that shows this as the newest manifest of `relay`.
pub(crate) fn shown(envelope: &[u8]) -> Case {
    Case::of(&policy()).manifest(envelope)
}

/// Two of alice, bob and carol; image `relay` from version 41.
pub(crate) fn policy() -> TrustPolicy {
    policy_of(&["alice", "bob", "carol"], 2)
}

/// So many of these signers; image `relay` from version 41.
pub(crate) fn policy_of(names: &[&str], threshold: usize) -> TrustPolicy {
    let keys: Vec<PrivateKey> = names.iter().map(|name| key(name)).collect();
    let keys: Vec<(&str, &PrivateKey)> = names.iter().copied().zip(&keys).collect();
    let relay = AcceptedImage::new("relay".parse().unwrap(), 41.try_into().unwrap());
    world::trust::policy_of(threshold, &keys, vec![relay])
}

/// `policy`, with a freshness statement required of clockwork, for at most 72 hours.
pub(crate) fn fresh(policy: TrustPolicy) -> TrustPolicy {
    fresh_by(policy, 1, &["clockwork"])
}

/// `policy`, with a freshness statement required of so many of these.
pub(crate) fn fresh_by(policy: TrustPolicy, threshold: usize, names: &[&str]) -> TrustPolicy {
    let changed = policy.with(|fields| {
        put_keys(fields, names);
        fields.roles.freshness = Some(group(threshold, names));
        fields.freshness.required = true;
    });
    changed.unwrap()
}

/// Adds the keys of these to the table, where they are not in it.
pub(crate) fn put_keys(fields: &mut Fields, names: &[&str]) {
    for name in names {
        let added = signer(name);
        if !fields.keys.contains(&added) {
            fields.keys.push(added);
        }
    }
}

/// A signer, by the name of its key.
pub(crate) fn signer(name: &str) -> Signer {
    world::trust::signer(name, &key(name))
}

/// A private key of this world.
pub(crate) fn key(name: &str) -> PrivateKey {
    match name {
        "alice" => alice(),
        "bob" => bob(),
        "carol" => carol(),
        "mallory" => world::mallory(),
        "dora" => from_seed(b"test-only secret key of dora ..."),
        "clockwork" => from_seed(b"test-only secret key: clockwork "),
        "clockwork2" => from_seed(b"test-only secret key: clockwork2"),
        _ => panic!("nobody is called {name}"),
    }
}

/// The key of these 32 bytes, by way of the PKCS#8 that RFC 8410 makes of them.
fn from_seed(seed: &[u8; 32]) -> PrivateKey {
    use base64::Engine as _;
    const PREFIX: [u8; 16] = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let der = [PREFIX.as_slice(), seed].concat();
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    let label = "PRIVATE KEY";
    PrivateKey::from_pem(&format!(
        "-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n"
    ))
    .unwrap()
}

/// The private keys of these signers.
pub(crate) fn keys(names: &[&str]) -> Vec<PrivateKey> {
    names.iter().map(|name| key(name)).collect()
}

/// The smallest image: what an attack is about is seldom in it.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("boot/vmlinuz", b"a kernel\n".to_vec()),
        ("boot/initrd", b"an initrd\n".to_vec()),
    ]
}

/// A manifest of `relay` in this version with [`files`].
pub(crate) fn manifest(version: u64) -> Manifest {
    describing(version, &files())
}

/// A manifest of `relay` in this version with these files, in a plain tar.
pub(crate) fn describing(version: u64, files: &[(&'static str, Vec<u8>)]) -> Manifest {
    Manifest {
        archive: world::stored(&world::tar(files), Encoding::None),
        files: files
            .iter()
            .map(|(path, bytes)| world::archives::entry(path, bytes))
            .collect(),
        ..world::manifest(version)
    }
}

/// An envelope over a manifest, signed by these.
pub(crate) fn sealed(manifest: &Manifest, signers: &[&str]) -> Vec<u8> {
    world::seal_manifest(manifest, &keys(signers))
}

/// A validly signed envelope over version 42.
pub(crate) fn good() -> Vec<u8> {
    sealed(&manifest(42), &["alice", "bob"])
}

/// A statement of the day that this version of `relay` and the first trust policy are the newest.
pub(crate) fn freshness(version: u64) -> Freshness {
    Freshness {
        expires: "2026-01-16T12:00:00Z".parse().unwrap(),
        ..freshness_of(&[&manifest(version)])
    }
}

/// A statement that these releases are current.
pub(crate) fn freshness_of(manifests: &[&Manifest]) -> Freshness {
    let created = "2026-01-14T12:00:00Z".parse().unwrap();
    world::trust::freshness_of(manifests, 1, created)
}

/// An envelope over a freshness statement, signed by these.
pub(crate) fn sealed_freshness(freshness: &Freshness, signers: &[&str]) -> Vec<u8> {
    world::seal(Freshness::PAYLOAD_TYPE, freshness.encode(), &keys(signers))
}

/// An envelope over a trust policy, signed by these.
pub(crate) fn sealed_policy(policy: &TrustPolicy, signers: &[&str]) -> Vec<u8> {
    world::seal(TrustPolicy::PAYLOAD_TYPE, policy.encode(), &keys(signers))
}

/// `text` with the first `from`, which must be in it, replaced.
pub(crate) fn edited(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains(from), "there is no {from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}
