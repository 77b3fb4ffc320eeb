//! Several mirrors, each with something wrong, and a machine that comes up anyway.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use sealboot::vm::{HOST_ADDRESS, StageLine};
use tokio::time::sleep;

use crate::gate::{Gate, Trickle};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// More mirrors for the kernel command line.
fn and_mirrors(ports: &[u16]) -> Options {
    let mirrors = ports
        .iter()
        .map(|port| format!("sealboot.mirror={} ", url(*port)));
    Options {
        append: mirrors.collect(),
        ..Options::default()
    }
}

fn url(port: u16) -> String {
    format!("https://{HOST_ADDRESS}:{port}/")
}

/// The faults that the console names, and how often each: a code, and the port of the mirror that it is about.
fn faults(console: &str, ports: &[u16]) -> BTreeMap<(String, u16), usize> {
    let mut faults = BTreeMap::new();
    for line in console.lines() {
        let Some((_, warning)) = line.split_once("sealboot: warning: ") else {
            continue;
        };
        let (code, _) = warning.split_once(": ").unwrap_or_default();
        let about = |port: &&u16| warning.contains(&url(**port));
        let port = ports.iter().find(about).unwrap_or_else(|| panic!("{line}"));
        *faults.entry((code.to_owned(), *port)).or_default() += 1;
    }
    faults
}

/// A field of the line of the stage `image`, which must have passed at once.
fn image_field(console: &str, name: &str) -> u64 {
    let lines = console.lines().filter_map(StageLine::find);
    let image: Vec<StageLine> = lines.filter(|line| line.stage() == "image").collect();
    let [line] = &image[..] else {
        panic!("one line of the stage image: {console}")
    };
    assert_eq!(line.status(), "ok", "{console}");
    let mut details = line.details();
    let (_, value) = details.find(|(found, _)| *found == name).expect(name);
    value.parse().unwrap()
}

#[tokio::test]
async fn the_first_mirror_dies_the_second_lies_and_the_third_is_slow() {
    let good = Store::packed(&["--chunk-size", "256KiB"]);
    let size = usize::try_from(fs::metadata(good.archive()).unwrap().len()).unwrap();
    // The second has one bit wrong, behind what the first one sends before it dies.
    let lying = Store::copy_of(&good);
    lying.flip(|len| len * 6 / 10);
    let (first, second) = (Server::start(&good).await, Server::start(&lying).await);
    let third = Server::start(&good).await;
    let dies = Gate::open(first.port, size * 3 / 10).await;
    // Ten kilobytes a second for half a minute and a bit, which is too slow where there are others; then,
    // when it is all that is left, as fast as it can.
    let slow = Trickle::open(third.port, 10_000, Duration::from_secs(45)).await;
    let ports = [dies.port, second.port, slow.port];
    let machine = Machine::boot_with(ports[0], and_mirrors(&ports[1..])).await;
    dies.shut().await;
    first.kill().await;
    dies.reopen(0);

    let console = machine.runs_the_os().await;
    let faults = faults(&console, &ports);
    // Whether it dies within an answer or before the next one depends on how fast it was.
    let cut = faults.contains_key(&("FETCH-TRUNCATED".to_owned(), ports[0]));
    for (code, port) in [
        (
            if cut {
                "FETCH-TRUNCATED"
            } else {
                "FETCH-CONNECT"
            },
            ports[0],
        ),
        ("IMAGE-CHUNK", ports[1]),
        ("FETCH-SLOW", ports[2]),
    ] {
        let named = faults.get(&(code.to_owned(), port));
        assert_eq!(named, Some(&1), "{code} of {port}: {faults:?}\n{console}");
    }
    assert!(
        faults.values().all(|times| *times == 1),
        "{faults:?}\n{console}"
    );
    let received = image_field(&console, "received");
    assert!(
        received <= size as u64 * 12 / 10,
        "received {received} of {size}\n{console}"
    );
    assert_eq!(
        image_field(&console, "faults"),
        faults.len() as u64,
        "{console}"
    );
}

#[tokio::test]
async fn all_mirrors_are_away_for_a_minute_in_the_middle_and_one_comes_back() {
    let store = Store::packed(&["--chunk-size", "256KiB"]);
    let size = usize::try_from(fs::metadata(store.archive()).unwrap().len()).unwrap();
    let (first, second) = (Server::start(&store).await, Server::start(&store).await);
    let gate = Gate::open(first.port, size / 2).await;
    let other = Gate::open(second.port, size / 10).await;
    let ports = [gate.port, other.port];
    let machine = Machine::boot_with(ports[0], and_mirrors(&ports[1..])).await;
    gate.shut().await;
    first.kill().await;
    second.kill().await;
    gate.reopen(0);
    other.reopen(0);
    sleep(Duration::from_secs(60)).await;
    let before = gate.passed();
    let server = Server::start(&store).await;
    gate.reopen(server.port);

    let console = machine.runs_the_os().await;
    assert!(
        console.contains("sealboot: asking the mirrors again in "),
        "{console}"
    );
    // One attempt, one image stage: what had come before the minute was not fetched again.
    let received = image_field(&console, "received");
    assert!(
        received <= size as u64 * 12 / 10,
        "received {received} of {size}\n{console}"
    );
    assert!(gate.passed() - before < size * 7 / 10, "{console}");
    let repeated = faults(&console, &ports)
        .into_iter()
        .find(|(_, times)| *times > 1);
    assert_eq!(repeated, None, "{console}");
}
