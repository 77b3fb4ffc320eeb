//! A machine that was saved goes on where it was, as often as it is restored.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use sealboot::cpio::Tree;
use sealboot::vm::{self, Ending, Error, Running};
use tokio::time::timeout;

use crate::lab::Lab;
use crate::machine::take_slot;

/// Counts its boots in memory alone, and answers with what it has read.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
echo a boot
read -r line
echo \"answer: $line\"
/bin/busybox poweroff -f
";

const LIMIT: Duration = Duration::from_secs(120);

/// Follows the console until it says this, and gives all of it.
async fn until(running: &mut Running, words: &str) -> String {
    let mut console = String::new();
    let mut buffer = vec![0; 4 << 10];
    while !console.contains(words) {
        let read = timeout(LIMIT, running.read(&mut buffer)).await;
        match read {
            Ok(Ok(read @ 1..)) => console.push_str(&String::from_utf8_lossy(&buffer[..read])),
            other => panic!("{other:?} before {words:?}:\n{console}"),
        }
    }
    console
}

#[tokio::test]
async fn saved_machine_goes_on_as_often_as_it_is_restored() {
    let lab = Lab::get();
    let _slot = take_slot();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let busybox = fs::read(&lab.busybox).unwrap();
    let mut tree = Tree::new();
    for empty in ["dev", "proc"] {
        tree.directory(empty, 0o755).unwrap();
    }
    tree.file("bin/busybox", 0o755, busybox.len() as u64, &busybox[..])
        .unwrap();
    tree.file("init", 0o755, INIT.len() as u64, INIT.as_bytes())
        .unwrap();
    fs::write(at("initrd"), tree.write(Vec::new(), 0).unwrap()).unwrap();
    let mut machine = vm::Machine::new(&lab.kernel, at("initrd"));
    machine.append = format!("{} quiet {}", vm::DEFAULT_APPEND, vm::EMULATED);
    // Of a name that a shell would read otherwise.
    let state = at("it's; a state");

    let mut running = machine.start(Stdio::piped()).await.unwrap();
    until(&mut running, "a boot").await;
    running.save(&state).await.unwrap();
    for word in ["one", "two"] {
        let mut running = machine.restore(&state, Stdio::piped()).await.unwrap();
        running.type_in(&format!("{word}\n")).await.unwrap();
        let console = until(&mut running, &format!("answer: {word}")).await;
        assert!(!console.contains("a boot"), "{console}");
        until_end(&mut running).await;
        assert_eq!(running.ending().await.unwrap(), Ending::PoweredOff);
    }

    let other = vm::Machine {
        memory_mib: 512,
        ..machine.clone()
    };
    let refused = other.restore(&state, Stdio::null()).await;
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    fs::write(&state, "no state").unwrap();
    let refused = machine.restore(&state, Stdio::null()).await;
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
}

async fn until_end(running: &mut Running) {
    let mut buffer = vec![0; 4 << 10];
    while timeout(LIMIT, running.read(&mut buffer))
        .await
        .unwrap()
        .unwrap()
        > 0
    {}
}
