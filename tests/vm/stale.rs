//! Machines before a mirror that holds them back: last month's image, signed as well as ever.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use sealboot::vm::{HOST_ADDRESS, StageLine};
use sealboot_core::format::manifest::Arch;
use sealboot_core::trust::Envelope;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, MIN_VERSION, VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

const SIGNERS: [&str; 2] = ["alice", "bob"];

fn last_month() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(30 * 24)
}

/// What the newest version was a month ago, with the word that was fresh then.
fn frozen() -> Store {
    let store = Store::empty();
    let manifest = store.sign(IMAGE, VERSION - 1, last_month(), &SIGNERS);
    let freshness = store.freshness(&manifest, last_month());
    store.show(&manifest, Some(freshness));
    store
}

/// Boots a machine that asks for freshness, with this in its real-time clock.
async fn boot(store: &Store, clock: Option<Timestamp>) -> (Server, Machine) {
    let server = Server::start(store).await;
    let options = Options {
        initramfs: Some(Lab::get().fresh_initramfs()),
        clock,
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    (server, machine)
}

fn dead_battery() -> Option<Timestamp> {
    Some(Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn a_fresh_mirror_boots_its_machines() {
    let store = Store::empty();
    let manifest = store.sign(IMAGE, VERSION, last_month(), &SIGNERS);
    store.show(
        &manifest,
        Some(store.freshness(&manifest, Timestamp::now())),
    );
    let (_server, machine) = boot(&store, None).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(console.contains(", current until "), "{console}");
}

#[tokio::test]
async fn a_mirror_that_froze_a_month_ago() {
    let store = frozen();
    let (_server, machine) = boot(&store, None).await;
    let console = machine.refuses("manifest", "FRESHNESS-EXPIRED").await;
    assert!(console.contains(", now is "), "{console}");
}

#[tokio::test]
async fn a_mirror_that_froze_a_month_ago_before_a_clock_of_1970() {
    let store = frozen();
    let (_server, machine) = boot(&store, dead_battery()).await;
    let console = machine.refuses("manifest", "FRESHNESS-EXPIRED").await;
    assert!(
        console.contains("the clock said 1970-01-01T00:00:"),
        "{console}"
    );
}

#[tokio::test]
async fn a_mirror_that_pairs_the_old_image_with_todays_word() {
    let store = Store::empty();
    let manifest = store.sign(IMAGE, VERSION - 1, last_month(), &SIGNERS);
    let newer = store.sign(IMAGE, VERSION, last_month(), &SIGNERS);
    store.show(&manifest, Some(store.freshness(&newer, Timestamp::now())));
    let (_server, machine) = boot(&store, None).await;
    machine.refuses("manifest", "MANIFEST-STALE").await;
}

#[tokio::test]
async fn a_mirror_that_leaves_the_word_out() {
    let store = Store::empty();
    let manifest = store.sign(IMAGE, VERSION, last_month(), &SIGNERS);
    store.show(&manifest, None);
    let (_server, machine) = boot(&store, None).await;
    machine.refuses("manifest", "FRESHNESS-MISSING").await;
}

/// A machine that asks for no freshness, but for a version of at least [`MIN_VERSION`].
async fn refuses_by_version(clock: Option<Timestamp>) -> String {
    let store = Store::empty();
    let manifest = store.sign(IMAGE, MIN_VERSION - 1, last_month(), &SIGNERS);
    store.show(&manifest, None);
    let server = Server::start(&store).await;
    let options = Options {
        clock,
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    machine.refuses("manifest", "MANIFEST-ROLLBACK").await
}

#[tokio::test]
async fn last_months_image_is_below_the_policys_min_version() {
    refuses_by_version(None).await;
}

#[tokio::test]
async fn last_months_image_is_below_the_policys_min_version_whatever_the_clock_says() {
    let console = refuses_by_version(dead_battery()).await;
    assert!(
        console.contains("the clock said 1970-01-01T00:00:"),
        "{console}"
    );
}

/// Two releases that are current, and a newer one that is not yet.
struct Releases {
    store: Store,
    old: Envelope,
    new: Envelope,
    next: Envelope,
}

impl Releases {
    fn new() -> Self {
        let store = Store::empty();
        let release = |version| store.sign(IMAGE, version, last_month(), &SIGNERS);
        let (old, new) = (release(VERSION), release(VERSION + 1));
        let next = release(VERSION + 2);
        Self {
            store,
            old,
            new,
            next,
        }
    }

    fn both_are_current(&self) -> Envelope {
        (self.store).statement(&[&self.new, &self.old], &[], Timestamp::now())
    }
}

/// The version that the stage `manifest` took last.
fn version(console: &str) -> u32 {
    let lines = console.lines().filter_map(StageLine::find);
    let mut taken = lines.filter(|line| (line.stage(), line.status()) == ("manifest", "ok"));
    let line = taken.next_back().expect(console);
    let mut details = line.details();
    let (_, version) = details.find(|(name, _)| *name == "version").unwrap();
    version.parse().unwrap()
}

#[tokio::test]
async fn a_release_that_is_not_current_yet_is_passed_over() {
    let releases = Releases::new();
    let (store, both) = (&releases.store, releases.both_are_current());
    store.offer(&[&releases.next, &releases.new, &releases.old], Some(both));
    let (_server, machine) = boot(store, None).await;
    assert_eq!(version(&machine.runs_the_os().await), VERSION + 1);
}

#[tokio::test]
async fn a_held_channel_before_a_plain_mirror_holds_the_machine() {
    let releases = Releases::new();
    let plain = Store::copy_of(&releases.store);
    let both = releases.both_are_current();
    (releases.store).offer(&[&releases.old, &releases.new], Some(both.clone()));
    plain.offer(&[&releases.new], Some(both));
    let server = Server::start(&plain).await;
    let first = Server::start(&releases.store).await;
    let options = Options {
        initramfs: Some(Lab::get().fresh_initramfs()),
        append: format!("sealboot.mirror=https://{HOST_ADDRESS}:{}/ ", server.port),
        ..Options::default()
    };
    let machine = Machine::boot_with(first.port, options).await;
    assert_eq!(version(&machine.runs_the_os().await), VERSION);
}

/// The same name, the same statement: the order of a channel is all that its server decides.
#[tokio::test]
async fn order_of_their_channels_holds_machines_at_two_releases() {
    let releases = Releases::new();
    let (store, both) = (&releases.store, releases.both_are_current());
    let (old, new) = (&releases.old, &releases.new);
    let other = Store::copy_of(store);
    store.offer(&[old, new], Some(both.clone()));
    other.offer(&[new, old], Some(both));
    for (store, expected) in [(store, VERSION), (&other, VERSION + 1)] {
        let (_server, machine) = boot(store, None).await;
        assert_eq!(version(&machine.runs_the_os().await), expected);
    }
}

#[tokio::test]
async fn older_statement_of_the_next_mirror_is_not_used() {
    let releases = Releases::new();
    let store = &releases.store;
    let replayed = Store::copy_of(store);
    let before = Timestamp::now() - SignedDuration::from_hours(1);
    let old = store.statement(&[&releases.old], &[], before);
    replayed.offer(&[&releases.old], Some(old));
    // The first mirror has the newer statement, and not the release.
    store.offer(&[], Some(store.freshness(&releases.new, Timestamp::now())));
    let first = Server::start(store).await;
    let second = Server::start(&replayed).await;
    let options = Options {
        initramfs: Some(Lab::get().fresh_initramfs()),
        append: format!("sealboot.mirror=https://{HOST_ADDRESS}:{}/ ", second.port),
        ..Options::default()
    };
    let machine = Machine::boot_with(first.port, options).await;
    machine.refuses("manifest", "MANIFEST-STALE").await;
}

#[tokio::test]
async fn architecture_that_is_one_version_behind_boots() {
    let releases = Releases::new();
    let (store, old) = (&releases.store, &releases.old);
    let ahead = store.for_arch(&releases.new, Arch::Aarch64);
    let statement = store.statement(&[&ahead, old], &[], Timestamp::now());
    store.offer(&[&ahead, old], Some(statement));
    let (_server, machine) = boot(store, None).await;
    assert_eq!(version(&machine.runs_the_os().await), VERSION);
}

#[tokio::test]
async fn a_release_that_is_withdrawn_meanwhile_is_not_booted() {
    let releases = Releases::new();
    let store = &releases.store;
    let before = Timestamp::now() - SignedDuration::from_hours(1);
    let both = store.statement(&[&releases.new, &releases.old], &[], before);
    store.offer(&[&releases.new, &releases.old], Some(both));
    // The first attempt verifies the new release, and gets no archive.
    let archive = store.archive();
    let away = archive.with_extension("away");
    fs::rename(&archive, &away).unwrap();
    let (_server, mut machine) = boot(store, None).await;
    machine.until_said("code=FETCH-STATUS", 0).await;
    assert_eq!(version(&machine.console()), VERSION + 1);
    let withdrawn = store.statement(&[&releases.old], &[VERSION + 1], Timestamp::now());
    store.offer(&[&releases.new, &releases.old], Some(withdrawn));
    fs::rename(&away, &archive).unwrap();
    assert_eq!(version(&machine.runs_the_os().await), VERSION);
}
