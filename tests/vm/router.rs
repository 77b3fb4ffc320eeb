//! A second machine, which is the network of the first: a switch, DHCP server, IPv6 router, name server and mirror
//! at the other ends of its cables.
//!
//! It boots the lab's kernel with a [userland] and a scenario: a shell script that lays out the network, with the words
//! of `network/functions`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use sealboot::vm::{self, Cable, Model, Nic, Running, Wire};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::lab::Lab;
use crate::machine::take_slot;
use crate::store::Store;
use crate::userland;

/// What the mirror is called, for its certificate.
pub(crate) const HOSTS: [&str; 3] = ["10.77.0.1", "fd00:77::1", "mirror.lab.example"];

/// The last line of `network/router`.
const READY: &str = "the router is ready";

/// How long it may take until then.
const START: Duration = Duration::from_secs(120);

/// What the kernel has not built in, and a scenario may ask for.
const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_net",
    "bridge",
    "8021q",
    "bonding",
    "sch_tbf",
];

/// A router until it is dropped. It has one of the host's slots together with the machine behind it, which it has
/// little to do beside: it waits for packets.
#[derive(Debug)]
pub(crate) struct Router {
    directory: TempDir,
    cables: usize,
    console: watch::Receiver<String>,
    /// Ends the machine when it is dropped.
    orders: mpsc::Sender<(usize, Cable)>,
    _slot: File,
}

impl Router {
    /// Starts a router with so many cables, `eth0` and so on, and waits until it serves the store.
    pub(crate) async fn start(cables: usize, store: &Store, scenario: &str) -> Self {
        let slot = take_slot();
        let directory = tempfile::tempdir().unwrap();
        let initrd = directory.path().join("initrd");
        let mut files = userland::far_side(store, include_str!("network/router"), &MODULES);
        files.text("scenario", scenario);
        fs::write(&initrd, files.into_initrd()).unwrap();
        let mut machine = vm::Machine::new(&Lab::get().kernel, initrd);
        machine.append = format!("{} quiet no_timer_check", vm::DEFAULT_APPEND);
        machine.memory_mib = 384;
        machine.cpus = 1;
        machine.nics = ends(&directory, cables, Wire::First);
        let running = machine.start(Stdio::null()).await.unwrap();
        let (said, console) = watch::channel(String::new());
        let (orders, ordered) = mpsc::channel(1);
        tokio::spawn(tend(running, ordered, said));
        let router = Self {
            directory,
            cables,
            console,
            orders,
            _slot: slot,
        };
        router.says(READY, START).await;
        router
    }

    /// The cards of the machine behind it.
    pub(crate) fn far_ends(&self) -> Vec<Nic> {
        ends(&self.directory, self.cables, Wire::Second)
    }

    /// Cuts or mends a cable, at this end.
    pub(crate) async fn set_cable(&self, nic: usize, cable: Cable) {
        self.orders.send((nic, cable)).await.unwrap();
    }

    /// Waits until its console says this.
    pub(crate) async fn says(&self, words: &str, within: Duration) {
        let mut console = self.console.clone();
        let said = console.wait_for(|console| console.contains(words));
        let said = timeout(within, said).await;
        assert!(matches!(said, Ok(Ok(_))), "the router never says: {words}");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the router's console:\n{}", *self.console.borrow());
        }
    }
}

/// Keeps the console and carries out orders, until nobody can give any.
async fn tend(
    mut running: Running,
    mut orders: mpsc::Receiver<(usize, Cable)>,
    console: watch::Sender<String>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some((nic, cable)) => running.set_cable(nic, cable).await.unwrap(),
                None => return,
            },
            read = running.read(&mut buffer) => match read {
                Ok(read @ 1..) => {
                    let text = String::from_utf8_lossy(&buffer[..read]);
                    console.send_modify(|console| console.push_str(&text));
                }
                _ => return,
            },
        }
    }
}

fn ends(directory: &TempDir, cables: usize, wire: impl Fn(PathBuf) -> Wire) -> Vec<Nic> {
    let cable = |number| Nic {
        model: Model::Virtio,
        wire: wire(directory.path().join(format!("cable{number}"))),
    };
    (0..cables).map(cable).collect()
}
