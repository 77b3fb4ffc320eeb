//! Machines before a mirror that holds them back: last month's image, signed as well as ever.

use jiff::{SignedDuration, Timestamp};

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
    let freshness = store.freshness(VERSION - 1, last_month());
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
    store.show(&manifest, Some(store.freshness(VERSION, Timestamp::now())));
    let (_server, machine) = boot(&store, None).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(console.contains("the newest until "), "{console}");
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
    store.show(&manifest, Some(store.freshness(VERSION, Timestamp::now())));
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
