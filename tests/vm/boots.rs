//! Boots that succeed.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use sealboot::vm::{Process, StageLine};
use tokio::time::{Instant, sleep};

use crate::lab::{IMAGE, Lab, VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Checks that every stage reported success, in order, and `measure` that it measured nothing.
pub(crate) fn assert_every_stage_passed(console: &str) {
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
        ("load", "ok"),
        ("measure", "skipped"),
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
    assert!(console.contains(" source=initramfs "), "{console}");
    assert!(console.contains("small OS of the lab"), "{console}");
    assert!(
        console.contains("command line  console=ttyS0 panic=-1"),
        "{console}"
    );
}

#[tokio::test]
async fn an_image_boots_from_an_archive_of_each_encoding() {
    // The one that the packer chooses by itself is in all the other tests.
    for encoding in ["gzip", "zstd"] {
        let store = Store::packed(&["--compress", encoding]);
        let server = Server::start(&store).await;
        let console = Machine::boot(server.port).await.runs_the_os().await;
        assert_every_stage_passed(&console);
        let suffix = if encoding == "zstd" {
            ".tar.zst"
        } else {
            ".tar.gz"
        };
        assert!(store.archive().to_str().unwrap().ends_with(suffix));
    }
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

#[tokio::test]
async fn an_image_that_a_real_ssh_agent_signed_boots() {
    let lab = Lab::get();
    let store = Store::empty();
    let path = lab.pack(lab.directory(), store.desk(), IMAGE, VERSION);
    lab.sign(lab.directory(), &path, "alice", store.desk());

    // Carol's private key is in the agent alone; the tool has the public one.
    let socket = store.desk().join("agent.sock");
    let mut agent = Command::new("ssh-agent");
    agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
    let _agent = Process::start(agent).unwrap();
    let socket = socket.to_str().unwrap();
    wait_for("the agent listens", || UnixStream::connect(socket).is_ok()).await;
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(lab.path("keys/carol.key"))
        .env("SSH_AUTH_SOCK", socket)
        .status();
    assert!(added.unwrap().success());
    let public = lab.path("keys/carol.pub");
    let (public, envelope) = (public.to_str().unwrap(), path.to_str().unwrap());
    #[rustfmt::skip]
    lab.run_with(store.desk(), &[("SSH_AUTH_SOCK", socket)],
        ["image", "sign", "--key", public, envelope]);

    publish_freshly(&store, envelope);
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(lab.fresh_initramfs()),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(console.contains("signed by alice and carol"), "{console}");
}

/// Publishes for machines that want freshness, with clockwork's word.
pub(crate) fn publish_freshly(store: &Store, envelope: &str) {
    let lab = Lab::get();
    let (policy, clockwork) = (lab.path("fresh.json"), lab.path("keys/clockwork.key"));
    #[rustfmt::skip]
    let mut words = vec![
        "image", "publish", "--policy", policy.to_str().unwrap(), "--store", "store",
        "--freshness-key", clockwork.to_str().unwrap(), "--state", "renewer.json", envelope,
    ];
    if !store.desk().join("renewer.json").exists() {
        words.push("--init");
    }
    lab.run_all(store.desk(), &[], &words);
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn connect_line(console: &str) -> &str {
    console
        .lines()
        .find(|line| StageLine::find(line).is_some_and(|line| line.stage() == "connect"))
        .unwrap()
}
