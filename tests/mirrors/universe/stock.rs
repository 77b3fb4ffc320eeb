//! The signed bytes of facts. Each is signed once for all universes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::LazyLock;

use sealboot::keys::pem::PrivateKey;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{AcceptedImage, Fields, OnExpiry, Roles, Signer};
use support::world::trust::{freshness_of, group, seal_freshness, seal_policy, signer};
use support::world::{alice, bob, carol, clockwork, mallory, manifest, seal};

use super::{MirrorFacts, PolicyFacts, ReleaseFacts, StatementFacts, after_build};
use crate::machine::Shelf;

/// What has been signed so far.
#[derive(Default)]
pub(super) struct Stock {
    policies: HashMap<(usize, PolicyFacts, bool), Vec<u8>>,
    releases: HashMap<ReleaseFacts, Vec<u8>>,
    statements: HashMap<StatementFacts, Vec<u8>>,
}

fn once<K: Clone + Eq + Hash>(
    signed: &mut HashMap<K, Vec<u8>>,
    facts: &K,
    sign: impl FnOnce() -> Vec<u8>,
) -> Vec<u8> {
    if let Some(bytes) = signed.get(facts) {
        return bytes.clone();
    }
    let bytes = sign();
    signed.insert(facts.clone(), bytes.clone());
    bytes
}

impl Stock {
    pub(super) fn baked_in(&self, facts: &PolicyFacts) -> TrustPolicy {
        policy(0, facts)
    }

    pub(super) fn url(&self, number: usize, is_http: bool) -> MirrorUrl {
        let scheme = if is_http { "http" } else { "https" };
        format!("{scheme}://mirror-{number}.example/")
            .parse()
            .unwrap()
    }

    /// What a mirror has.
    pub(super) fn shelf(&mut self, history: &[PolicyFacts], mirror: &MirrorFacts) -> Shelf {
        let last = mirror.policies + usize::from(mirror.has_forged);
        let mut policies = BTreeMap::new();
        for (index, facts) in history.iter().enumerate().take(last).skip(1) {
            let is_forged = mirror.is_forged(index);
            let key = (index, facts.clone(), is_forged);
            let envelope = once(&mut self.policies, &key, || {
                let by = if is_forged { RELEASE[0] } else { ROOT };
                seal_policy(&policy(index, facts), &[&KEYS[by]])
            });
            policies.insert(index as u64 + 1, envelope);
        }
        let mut channel = b"{\"releases\": [".to_vec();
        for (place, facts) in mirror.releases.iter().enumerate() {
            let envelope = once(&mut self.releases, facts, || {
                let keys = RELEASE.iter().zip(facts.keys);
                let keys = keys.filter(|(_, signs)| *signs).map(|(key, _)| &KEYS[*key]);
                seal(Manifest::PAYLOAD_TYPE, image(facts).encode(), keys)
            });
            channel.extend_from_slice(if place == 0 { b"" } else { b"," });
            channel.extend_from_slice(b"{\"manifest\":");
            channel.extend_from_slice(&envelope);
            channel.extend_from_slice(b"}");
        }
        channel.extend_from_slice(b"], \"freshness\": [");
        for (place, facts) in mirror.statements.iter().enumerate() {
            let envelope = once(&mut self.statements, facts, || {
                let images: Vec<Manifest> = facts.lists.iter().map(image).collect();
                let images: Vec<&Manifest> = images.iter().collect();
                let mut statement =
                    freshness_of(&images, facts.trust as u64, after_build(facts.created));
                statement.expires = after_build(facts.expires);
                seal_freshness(&statement, &KEYS[FRESHNESS[facts.key]])
            });
            channel.extend_from_slice(if place == 0 { b"" } else { b"," });
            channel.extend_from_slice(&envelope);
        }
        channel.extend_from_slice(b"]}");
        Shelf {
            policies,
            channel: Some(channel),
            pace: mirror.pace,
        }
    }
}

/// The root, two keys of the role `release` and two of the role `freshness`.
static KEYS: LazyLock<[PrivateKey; 5]> =
    LazyLock::new(|| [alice(), bob(), carol(), clockwork(), mallory()]);
const ROOT: usize = 0;
const RELEASE: [usize; 2] = [1, 2];
const FRESHNESS: [usize; 2] = [3, 4];

fn policy(index: usize, facts: &PolicyFacts) -> TrustPolicy {
    static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
        let names = [
            "root",
            "release-0",
            "release-1",
            "freshness-0",
            "freshness-1",
        ];
        (names.iter().zip(&*KEYS))
            .map(|(name, key)| signer(name, key))
            .collect()
    });
    let release = format!("release-{}", facts.release);
    let freshness = format!("freshness-{}", facts.freshness);
    let roles = Roles {
        root: group(1, &["root"]),
        release: group(1, &[&release]),
        freshness: Some(group(1, &[&freshness])),
        host_config: None,
    };
    let mut relay = AcceptedImage::new(
        "relay".parse().unwrap(),
        facts.min_version.try_into().unwrap(),
    );
    relay.denied_versions = facts
        .denied
        .iter()
        .map(|version| (*version).try_into().unwrap())
        .collect();
    let mut fields = Fields::new(
        after_build(facts.created),
        SIGNERS.clone(),
        roles,
        vec![relay],
    );
    fields.version = (index as u64 + 1).try_into().unwrap();
    fields.expires = facts.expires.map(after_build);
    fields.on_expiry = OnExpiry::Refuse;
    fields.freshness.required = facts.requires_freshness;
    fields.freshness.max_releases = 8;
    fields.allow_http = facts.allows_http;
    fields.on_failure.retry_initial_seconds = facts.retry_seconds;
    fields.try_into().unwrap()
}

fn image(facts: &ReleaseFacts) -> Manifest {
    // Its digests are of an archive, which takes longer than a universe.
    static IMAGE: LazyLock<Manifest> = LazyLock::new(|| manifest(42));
    let mut image = IMAGE.clone();
    image.version = facts.version.try_into().unwrap();
    image.created = after_build(facts.created);
    image.expires = facts.expires.map(after_build);
    image
}
