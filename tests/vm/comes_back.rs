//! Boots that meet trouble and succeed by themselves.

use std::fs;
use std::time::Duration;

use sealboot::vm::StageLine;
use tokio::net::TcpSocket;
use tokio::time::sleep_until;

use crate::gate::Gate;
use crate::machine::Machine;
use crate::server::Server;
use crate::store::Store;

#[tokio::test]
async fn the_server_is_absent_for_the_first_twenty_seconds() {
    let store = Store::published();
    // A bound socket that does not listen: connections are refused, and nobody else gets the port.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = reserved.local_addr().unwrap().port();

    let mut machine = Machine::boot(port).await;
    machine
        .until("failure to connect", |machine| {
            machine
                .failures()
                .iter()
                .any(|failure| failure.code() == Some("FETCH-CONNECT"))
        })
        .await;
    sleep_until(machine.started() + Duration::from_secs(20)).await;
    drop(reserved);
    let _server = Server::start_at(&store, port, "tls").await;
    machine.runs_the_os().await;
}

#[tokio::test]
async fn the_server_is_killed_in_the_middle_of_the_archive_and_started_again() {
    let store = Store::published();
    let size = usize::try_from(fs::metadata(store.archive()).unwrap().len()).unwrap();
    let server = Server::start(&store).await;
    let gate = Gate::open(server.port, size / 2).await;
    let machine = Machine::boot(gate.port).await;
    gate.shut().await;
    let before = gate.passed();
    assert!((size / 2..size).contains(&before), "{before} of {size}");
    server.kill().await;
    let server = Server::start(&store).await;
    gate.reopen(server.port);

    let console = machine.runs_the_os().await;
    assert!(
        console
            .lines()
            .filter_map(StageLine::find)
            .any(|line| (line.stage(), line.status()) == ("image", "ok")),
        "{console}"
    );
    // What came after the restart cannot have been less than what was missing.
    assert!(gate.passed() - before >= size - before, "{console}");
}
