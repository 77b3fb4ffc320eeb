//! A second machine, which is the network of the first: a switch, DHCP server, IPv6 router, name server and mirror
//! at the other ends of its cables.
//!
//! It is a guest of the [far side](far_side) with a scenario: a shell script that lays out the network, with the words of
//! `network/functions`.

use std::fs::File;
use std::thread;
use std::time::Duration;

use sealboot::vm::{Cable, Nic, Running, Wire};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::far_side::{self, CABLES, ends};
use crate::machine::take_slot;
use crate::store::Store;

/// What the mirror is called, for its certificate.
pub(crate) const HOSTS: [&str; 3] = ["10.77.0.1", "fd00:77::1", "mirror.lab.example"];

/// The last line of `network/router`.
const READY: &str = "the router is ready";

/// How long it may take until then.
const START: Duration = Duration::from_secs(120);

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
        let mut work = far_side::work(store, include_str!("network/router"));
        work.text("scenario", scenario);
        assert!(cables <= CABLES);
        let running = far_side::start(work, &directory).await;
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
