//! The manifest stage against real servers: what a machine believes of mirrors that are stale, hold
//! something back, or lie.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod asking;
mod clock;
mod machine;
mod policy_fields;
mod universe;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sealboot::keys::pem::PrivateKey;
use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::host_config::{HostConfig, MirrorUrl};
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::policy::Disks;
use sealboot_core::trust::{ClockState, JudgingTime, Presented, TrustPolicy};
use sealboot_init::boot::stages::manifest::{Accepted, ManifestStageError, run as manifest_stage};
use sealboot_init::boot::{InForce, LOADER};
use sealboot_init::fetch::Reputation;
use support::world::archives::noon;
use support::world::mirror::Loopback;
use support::world::trust::{
    configured_by, freshness, freshness_of, renewed_by, seal_freshness, seal_host_config,
    seal_policy, two_of, versioned,
};
use support::world::{
    alice, bob, carol, channel, clockwork, mallory, manifest, put, seal_manifest,
};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// A mirror: a store, and the server that serves it.
struct Mirror {
    directory: TempDir,
    url: MirrorUrl,
}

/// Several mirrors, and a machine that trusts their certificates.
struct World {
    loopback: Loopback,
    mirrors: Vec<Mirror>,
}

impl World {
    fn new() -> Self {
        Self {
            loopback: Loopback::new(),
            mirrors: Vec::new(),
        }
    }

    /// Serves one more store. Must be called within a runtime, which ends it.
    fn mirror(&mut self) -> &Mirror {
        let directory = tempfile::tempdir().unwrap();
        let url = self.loopback.serve(directory.path());
        self.mirrors.push(Mirror { directory, url });
        self.mirrors.last().unwrap()
    }

    /// One mirror with this image, signed by these, and these policies from version 2 on.
    fn with(&mut self, image: &Manifest, keys: &[PrivateKey], policies: &[Vec<u8>]) -> &mut Self {
        let mirror = self.mirror();
        mirror.shows(&channel(&seal_manifest(image, keys), None));
        for (version, policy) in (2..).zip(policies) {
            mirror.put(&format!("trust/{version}.json"), policy);
        }
        self
    }

    /// What a machine with this chain of policies accepts of them.
    async fn accepted(&self, chain: &mut InForce, now: Timestamp) -> Result<Accepted, FailureCode> {
        self.accepted_by(chain, HostConfig::encode, &mut now.into())
            .await
    }

    /// The same, where the machine's host config stands as `stored` makes it.
    async fn accepted_by(
        &self,
        chain: &mut InForce,
        stored: impl Fn(&HostConfig) -> Vec<u8>,
        now: &mut JudgingTime,
    ) -> Result<Accepted, FailureCode> {
        let mirrors: Vec<MirrorUrl> = self
            .mirrors
            .iter()
            .map(|mirror| mirror.url.clone())
            .collect();
        let host = machine::host(&mirrors);
        let presented = Presented {
            stored: Some(stored(&host)),
            ..Presented::default()
        };
        let mut reputation = Reputation::default();
        manifest_stage(
            &host.image,
            &mirrors,
            &presented,
            chain,
            &self.loopback.client,
            &mut reputation,
            now,
        )
        .await
        .map(sealboot_init::boot::console::Done::into_value)
        .map_err(|error: ManifestStageError| error.code())
    }

    async fn version(&self, baked_in: &TrustPolicy, now: Timestamp) -> Result<u64, FailureCode> {
        let mut chain = InForce::new(baked_in.clone(), &LOADER);
        let accepted = self.accepted(&mut chain, now).await?;
        Ok(accepted.current.manifest().as_ref().version.as_u64())
    }
}

impl Mirror {
    fn put(&self, path: &str, bytes: &[u8]) {
        put(&self.path(path), bytes);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn shows(&self, channel: &[u8]) {
        self.put("images/relay.json", channel);
    }
}

fn first() -> TrustPolicy {
    two_of(1, [("alice", &alice()), ("bob", &bob())])
}

/// Alice has lost her key, and carol joins.
fn second() -> TrustPolicy {
    two_of(2, [("bob", &bob()), ("carol", &carol())])
}

/// The second as it is published: by both of the first, and by both of its own.
fn handed_on() -> Vec<u8> {
    seal_policy(&second(), &[&alice(), &bob(), &carol()])
}

#[tokio::test]
async fn a_machine_that_only_ever_saw_the_first_policy_boots_by_the_second() {
    let mut world = World::new();
    world.with(&manifest(42), &[bob(), carol()], &[handed_on()]);
    assert_eq!(world.version(&first(), noon()).await, Ok(42));
}

#[tokio::test]
async fn a_removed_key_counts_for_nothing_from_then_on() {
    let mut world = World::new();
    world.with(&manifest(42), &[alice(), bob()], &[handed_on()]);
    let version = world.version(&first(), noon()).await;
    assert_eq!(version, Err(FailureCode::ManifestThreshold));
}

#[tokio::test]
async fn what_one_mirror_proved_of_the_policy_holds_for_the_others_and_for_later_attempts() {
    let mut world = World::new();
    // The first mirror knows of the rotation, but its image is too old; the second hides the rotation.
    world.with(&manifest(40), &[bob(), carol()], &[handed_on()]);
    world.with(&manifest(42), &[alice(), bob()], &[]);
    let mut chain = InForce::new(first(), &LOADER);
    let refused = world.accepted(&mut chain, noon()).await.map(drop);
    assert_eq!(refused, Err(FailureCode::ManifestThreshold));
    assert_eq!(chain.newest().version().as_u64(), 2);

    // In the next attempt, only the mirror that hides it is there.
    world.mirrors.remove(0);
    let refused = world.accepted(&mut chain, noon()).await.map(drop);
    assert_eq!(refused, Err(FailureCode::ManifestThreshold));
}

/// Policies 2 to 1 + `steps`, each of alice and bob.
fn long_chain(steps: u64) -> Vec<Vec<u8>> {
    let policy = |number| seal_policy(&versioned(&first(), number), &[&alice(), &bob()]);
    (2..2 + steps).map(policy).collect()
}

#[tokio::test]
async fn a_chain_that_ends_soon_is_warned_of() {
    for (steps, warns) in [(47, false), (48, true)] {
        let mut world = World::new();
        world.with(&manifest(42), &[alice(), bob()], &long_chain(steps));
        let printed = tempfile::NamedTempFile::new().unwrap();
        let console = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(Arc::new(printed.reopen().unwrap()))
            .finish();
        let guard = tracing::subscriber::set_default(console);
        assert_eq!(world.version(&first(), noon()).await, Ok(42));
        drop(guard);
        let printed = std::fs::read_to_string(printed.path()).unwrap();
        let sentence = "only 16 more versions of the trust policy can follow";
        assert_eq!(printed.contains(sentence), warns, "{steps}: {printed}");
    }
}

#[tokio::test]
async fn a_missing_policy_ends_the_walk() {
    let mut world = World::new();
    let mirror = world.with(&manifest(42), &[alice(), bob()], &long_chain(20));
    let mirror = mirror.mirrors.last().unwrap();
    std::fs::remove_file(mirror.path("trust/12.json")).unwrap();
    let mut chain = InForce::new(first(), &LOADER);
    world.accepted(&mut chain, noon()).await.map(drop).unwrap();
    assert_eq!(chain.newest().version().as_u64(), 11);
}

#[tokio::test]
async fn a_mirror_whose_chain_is_forged_is_passed_over() {
    for forged in [
        b"<html>It works!</html>".to_vec(),
        seal_policy(&second(), &[&alice(), &bob()]),
        seal_policy(&second(), &[&bob(), &carol()]),
        seal_policy(&second(), &[&mallory(), &carol()]),
        seal_policy(&versioned(&second(), 3), &[&alice(), &bob(), &carol()]),
    ] {
        let mut world = World::new();
        world.with(&manifest(43), &[bob(), carol()], &[forged]);
        world.with(&manifest(42), &[alice(), bob()], &[]);
        assert_eq!(world.version(&first(), noon()).await, Ok(42));
    }
}

#[tokio::test]
async fn a_refusal_says_more_than_a_mirror_that_is_not_there() {
    let mut world = World::new();
    world.with(&manifest(40), &[alice(), bob()], &[]);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    world.mirrors.push(Mirror {
        directory: tempfile::tempdir().unwrap(),
        url: format!("https://{address}/").parse().unwrap(),
    });
    let refused = world.version(&first(), noon()).await;
    assert_eq!(refused, Err(FailureCode::ManifestRollback));
    world.mirrors.remove(0);
    let refused = world.version(&first(), noon()).await;
    assert_eq!(refused, Err(FailureCode::FetchConnect));
}

/// Returns `true` until the other side has closed the connection.
fn is_open(connection: &TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match connection.try_read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test]
async fn the_second_mirror_is_asked_while_the_first_is_silent() {
    let mut world = World::new();
    world.with(&manifest(42), &[alice(), bob()], &[]);
    let behind: SocketAddr = world.mirrors[0].url.url().authority().parse().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mirror = |at: &TcpListener| Mirror {
        directory: tempfile::tempdir().unwrap(),
        url: format!("https://{}/", at.local_addr().unwrap())
            .parse()
            .unwrap(),
    };
    let _store = std::mem::replace(&mut world.mirrors, vec![mirror(&silent), mirror(&front)]);
    let first_was_open = tokio::spawn(async move {
        // The first one accepts the connection, and answers nothing.
        let (first, _) = silent.accept().await.unwrap();
        let (mut second, _) = front.accept().await.unwrap();
        let first_was_open = is_open(&first);
        let mut server = TcpStream::connect(behind).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut second, &mut server).await;
        first_was_open
    });
    assert_eq!(world.version(&first(), noon()).await, Ok(42));
    drop(world);
    assert!(first_was_open.await.unwrap());
}

#[tokio::test]
async fn a_later_policy_can_forbid_plain_http() {
    // The baked-in policy allows it; what follows, as one mirror proves, does not.
    let mut world = World::new();
    world.with(&manifest(40), &[bob(), carol()], &[handed_on()]);
    world.mirrors.push(Mirror {
        directory: tempfile::tempdir().unwrap(),
        url: "http://127.0.0.1:1/".parse().unwrap(),
    });
    let baked_in = first().with(|fields| fields.allow_http = true).unwrap();
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::FetchPlainHttp));
}

/// A mirror that shows this version, and a statement made at `stated` that `newest` is the newest.
fn frozen(
    world: &mut World,
    version: u64,
    newest: u64,
    trust: u64,
    stated: Timestamp,
    by: &PrivateKey,
) {
    let envelope = seal_manifest(&manifest(version), &[alice(), bob()]);
    let statement = seal_freshness(&freshness(newest, trust, stated), by);
    world.mirror().shows(&channel(&envelope, Some(&statement)));
}

#[tokio::test]
async fn a_frozen_mirror_is_passed_over_for_one_that_is_fresh() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, true);
    let last_month = noon() - SignedDuration::from_hours(30 * 24);
    let mut world = World::new();
    frozen(&mut world, 42, 42, 1, last_month, &clockwork);
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::FreshnessExpired));

    frozen(&mut world, 43, 43, 1, noon(), &clockwork);
    assert_eq!(world.version(&baked_in, noon()).await, Ok(43));
}

#[tokio::test]
async fn an_image_that_is_not_the_newest_is_stale_however_it_is_signed() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, false);
    let mut world = World::new();
    frozen(&mut world, 42, 43, 1, noon(), &clockwork);
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::ManifestStale));
}

#[tokio::test]
async fn a_mirror_that_hides_a_rotation_is_found_out_by_freshness() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, false);
    let mut world = World::new();
    // Signed by the two who may by the first policy; one of them has been removed since.
    frozen(&mut world, 42, 42, 2, noon(), &clockwork);
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::TrustStale));
}

#[tokio::test]
async fn a_statement_by_a_key_that_signs_images_is_none() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, true);
    let mut world = World::new();
    frozen(&mut world, 42, 42, 1, noon(), &alice());
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::FreshnessThreshold));
}

/// The second policy with a role for host configs, as it is published.
fn second_with_role(key: &PrivateKey, required: bool) -> Vec<u8> {
    let second = configured_by(second(), key, required);
    seal_policy(&second, &[&alice(), &bob(), &carol()])
}

fn by_installer(host: &HostConfig) -> Vec<u8> {
    seal_host_config(host.encode(), &clockwork())
}

#[tokio::test]
async fn the_newest_policy_judges_the_host_config_that_led_to_its_mirror() {
    let plain = HostConfig::encode as fn(&HostConfig) -> Vec<u8>;
    for (role, stored, expected) in [
        (
            second_with_role(&clockwork(), true),
            by_installer as _,
            Ok(()),
        ),
        (
            second_with_role(&clockwork(), false),
            by_installer as _,
            Ok(()),
        ),
        (second_with_role(&clockwork(), false), plain, Ok(())),
        (
            second_with_role(&clockwork(), true),
            plain,
            Err(FailureCode::ConfigureHostUnsigned),
        ),
        (
            second_with_role(&mallory(), false),
            by_installer as _,
            Err(FailureCode::ConfigureHostThreshold),
        ),
        (
            handed_on(),
            by_installer as _,
            Err(FailureCode::ConfigureHostRole),
        ),
    ] {
        let mut world = World::new();
        world.with(&manifest(42), &[bob(), carol()], &[role]);
        let baked_in = configured_by(first(), &clockwork(), false);
        let mut chain = InForce::new(baked_in, &LOADER);
        let found = world
            .accepted_by(&mut chain, stored, &mut noon().into())
            .await;
        assert_eq!(found.map(drop), expected);
        assert_eq!(chain.newest().version().as_u64(), 2);
    }
}

#[tokio::test]
async fn a_mirror_without_the_policy_that_refuses_the_host_config_does_not_help() {
    let mut world = World::new();
    let role = second_with_role(&clockwork(), true);
    world.with(&manifest(42), &[bob(), carol()], &[role]);
    world.with(&manifest(42), &[bob(), carol()], &[]);
    let mut chain = InForce::new(first(), &LOADER);
    let found = world.accepted(&mut chain, noon()).await;
    assert_eq!(found.unwrap_err(), FailureCode::ConfigureHostUnsigned);
}

#[tokio::test]
async fn a_policy_that_is_newer_still_may_take_the_host_config_again() {
    let mut world = World::new();
    let strict = configured_by(second(), &clockwork(), true);
    let lenient = versioned(&second(), 3);
    let chain_of_two = [
        seal_policy(&strict, &[&alice(), &bob(), &carol()]),
        seal_policy(&lenient, &[&bob(), &carol()]),
    ];
    world.with(&manifest(42), &[bob(), carol()], &chain_of_two[..1]);
    world.with(&manifest(42), &[bob(), carol()], &chain_of_two);
    assert_eq!(world.version(&first(), noon()).await, Ok(42));
}

/// The /sys of a machine with one block device of this place and name.
fn machine_with(device: &str) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("sys/devices").join(device);
    let class = root.path().join("sys/class/block");
    for directory in [&place, &class] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let name = place.file_name().unwrap();
    std::os::unix::fs::symlink(&place, class.join(name)).unwrap();
    root
}

#[tokio::test]
async fn a_newer_policy_that_refuses_disks_is_obeyed_at_once() {
    let refusing = second()
        .with(|fields| fields.disks = Disks::Refuse)
        .unwrap();
    let allowing = versioned(&second(), 3);
    let policies = [
        seal_policy(&refusing, &[&alice(), &bob(), &carol()]),
        seal_policy(&allowing, &[&bob(), &carol()]),
    ];
    let refused = Err(FailureCode::ConfigureDisks);
    for (device, policies, expected) in [
        ("pci0000:00/nvme/nvme0/nvme0n1", &policies[..1], refused),
        ("virtual/block/loop0", &policies[..1], Ok(())),
        // The walk ends at the newest one, which alone judges.
        ("pci0000:00/nvme/nvme0/nvme0n1", &policies[..], Ok(())),
    ] {
        let machine = machine_with(device);
        let mut world = World::new();
        world.with(&manifest(42), &[bob(), carol()], policies);
        let mut chain = InForce::new(first(), &LOADER).at(machine.path());
        let found = world.accepted(&mut chain, noon()).await;
        assert_eq!(found.map(drop), expected, "{device}");
        assert_eq!(chain.judge_disks().is_err(), expected.is_err(), "{device}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_refused_leaves_the_time_that_it_proved() {
    let signers = [alice(), bob()];
    let mut ended = manifest(42);
    ended.expires = Some(ended.created + SignedDuration::from_hours(24));
    let year_before = ended.created - SignedDuration::from_hours(365 * 24);
    let policy = renewed_by(first(), &clockwork(), true);
    let policy = policy.with(|fields| fields.created = year_before).unwrap();
    let mut newer = manifest(43);
    newer.created = noon();
    let fresh = seal_freshness(&freshness_of(&[&ended], 1, ended.created), &clockwork());
    for (first_mirror, expected) in [
        // The newer image comes without its statement; the older one has ended by then.
        (Some(&newer), Err(FailureCode::ManifestExpired)),
        (None, Ok(42)),
    ] {
        let mut world = World::new();
        if let Some(image) = first_mirror {
            world.with(image, &signers, &[]);
        }
        let shown = channel(&seal_manifest(&ended, &signers), Some(&fresh));
        world.mirror().shows(&shown);
        let mut chain = InForce::new(policy.clone(), &LOADER);
        let mut now = JudgingTime::new(year_before, ClockState::Unset);
        let found = world.accepted_by(&mut chain, HostConfig::encode, &mut now);
        let found = found.await;
        let version = found.map(|found| found.current.manifest().as_ref().version.as_u64());
        assert_eq!(version, expected);
        assert_eq!(now.at(), first_mirror.unwrap_or(&ended).created);
    }
}

#[tokio::test]
async fn a_policy_proves_the_time_at_which_it_was_created() {
    let signers = [alice(), bob()];
    let mut ended = manifest(42);
    ended.expires = Some(ended.created + SignedDuration::from_hours(24));
    let year_before = ended.created - SignedDuration::from_hours(365 * 24);
    let baked_in = first().with(|fields| fields.created = year_before).unwrap();
    // The image had ended when its signers created the next policy.
    let next = versioned(&baked_in, 2)
        .with(|fields| fields.created = noon())
        .unwrap();
    for (policies, state, expected, at) in [
        (&[][..], ClockState::Unset, Ok(()), ended.created),
        (
            &[seal_policy(&next, &[&alice(), &bob()])],
            ClockState::Unset,
            Err(FailureCode::ManifestExpired),
            noon(),
        ),
    ] {
        let mut world = World::new();
        world.with(&ended, &signers, policies);
        let mut chain = InForce::new(baked_in.clone(), &LOADER);
        let mut now = JudgingTime::new(year_before, state);
        let found = world.accepted_by(&mut chain, HostConfig::encode, &mut now);
        assert_eq!(found.await.map(drop), expected);
        assert_eq!(now.at(), at);
    }
}

#[tokio::test]
async fn a_proved_newer_release_is_not_forgotten_at_the_next_mirror() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, true);
    let mut world = World::new();
    // The first mirror proves that 43 is current, and has only 42. The second one is an hour behind.
    frozen(&mut world, 42, 43, 1, noon(), &clockwork);
    let earlier = noon() - SignedDuration::from_hours(1);
    frozen(&mut world, 42, 42, 1, earlier, &clockwork);
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::ManifestStale));
}

#[tokio::test]
async fn a_proved_newer_policy_is_not_forgotten_at_the_next_mirror() {
    let clockwork = PrivateKey::generate().unwrap();
    let baked_in = renewed_by(first(), &clockwork, true);
    let mut world = World::new();
    // The first mirror proves that policy 2 exists, and lacks its file. The second one shows an earlier statement.
    frozen(&mut world, 42, 42, 2, noon(), &clockwork);
    let earlier = noon() - SignedDuration::from_hours(1);
    frozen(&mut world, 42, 42, 1, earlier, &clockwork);
    let refused = world.version(&baked_in, noon()).await;
    assert_eq!(refused, Err(FailureCode::TrustStale));
}
