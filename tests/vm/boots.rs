//! Boots that succeed.

use sealboot::vm::StageLine;

use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Every stage said `ok`, in order, and none said anything else.
fn assert_every_stage_passed(console: &str) {
    let stages: Vec<StageLine> = console.lines().filter_map(StageLine::find).collect();
    let said: Vec<(&str, &str)> = stages
        .iter()
        .map(|line| (line.stage(), line.status()))
        .collect();
    let expected = [
        ("prepare", "ok"),
        ("configure", "ok"),
        ("connect", "ok"),
        ("manifest", "ok"),
        ("image", "ok"),
        ("measure", "ok"),
        ("load", "ok"),
        ("handover", "ok"),
    ];
    assert_eq!(said, expected, "{console}");
}

#[tokio::test]
async fn an_image_that_meets_the_threshold_boots_by_dhcp() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let console = Machine::boot(server.port).await.runs_the_os().await;
    assert_every_stage_passed(&console);
    let connect = connect_line(&console);
    assert!(connect.contains("10.0.2.15"), "{connect}");
    assert!(console.contains("small OS of the lab"), "{console}");
    assert!(
        console.contains("command line  console=ttyS0 panic=-1"),
        "{console}"
    );
}

#[tokio::test]
async fn a_machine_with_a_static_address_boots() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        append: "ip=10.0.2.77::10.0.2.2:255.255.255.0:::none".to_owned(),
        ..Options::default()
    };
    let console = Machine::boot_with(server.port, options)
        .await
        .runs_the_os()
        .await;
    assert_every_stage_passed(&console);
    let connect = connect_line(&console);
    assert!(connect.contains("10.0.2.77"), "{connect}");
}

fn connect_line(console: &str) -> &str {
    console
        .lines()
        .find(|line| StageLine::find(line).is_some_and(|line| line.stage() == "connect"))
        .unwrap()
}
