//! A second machine, which is the network of the first: a switch, DHCP server, IPv6 router, name server and mirror
//! at the other ends of its cables.
//!
//! It boots the lab's kernel with an initrd that holds BusyBox, dnsmasq and iproute2 of this host, `sealboot serve`, the
//! store, and a scenario: a shell script that lays out the network, with the functions of `router/init`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use sealboot::assemble::modules::{ModulesDir, Selection};
use sealboot::cpio::Tree;
use sealboot::vm::{self, Cable, Model, Nic, Running, Wire};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::lab::Lab;
use crate::machine::take_slot;
use crate::store::Store;

/// What the mirror is called, for its certificate.
pub(crate) const HOSTS: [&str; 3] = ["10.77.0.1", "fd00:77::1", "mirror.lab.example"];

const INIT: &str = include_str!("router/init");

/// The last line of `router/init`.
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
        fs::write(&initrd, userland(store, scenario)).unwrap();
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

/// The initrd.
fn userland(store: &Store, scenario: &str) -> Vec<u8> {
    let lab = Lab::get();
    let mut files = Files::default();
    for empty in ["dev", "proc", "sys"] {
        files.tree.directory(empty, 0o755).unwrap();
    }
    files.text("init", INIT);
    files.text("scenario", scenario);
    files.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    files.text("etc/group", "root:x:0:\ndip:x:30:\n");
    files.copy("bin/busybox", &lab.busybox);
    for (name, package) in [
        ("ip", "iproute2"),
        ("tc", "iproute2"),
        ("dnsmasq", "dnsmasq-base"),
    ] {
        let program = installed(name)
            .unwrap_or_else(|| panic!("no {name}: install it with `apt-get install {package}`"));
        files.program(name, &program);
    }
    files.program("sealboot", &lab.sealboot);
    files.modules(&MODULES);
    for name in ["server.pem", "server.key"] {
        files.copy(&format!("tls/{name}"), &lab.path(&format!("tls/{name}")));
    }
    files.copy_all("store", &store.path());
    files.tree.write(Vec::new(), 0).unwrap()
}

/// A program of this host.
fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Debian keeps them out of the PATH of those who are not root.
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// The files of an initrd, each of which may be asked for more than once.
#[derive(Default)]
struct Files {
    tree: Tree<'static>,
    there: BTreeSet<String>,
}

impl Files {
    fn text(&mut self, path: &str, text: &str) {
        self.bytes(path, text.as_bytes().to_vec());
    }

    fn bytes(&mut self, path: &str, bytes: Vec<u8>) {
        let size = bytes.len() as u64;
        let tree = &mut self.tree;
        tree.file(path, 0o755, size, Cursor::new(bytes)).unwrap();
    }

    /// Unpacks these modules and what they need, in the order in which they are loaded.
    fn modules(&mut self, names: &[&str]) {
        let mut selection = Selection::default();
        names.iter().for_each(|name| selection.add(name));
        let available = ModulesDir::open(&Lab::get().modules).unwrap();
        let order = available.resolve(&selection).unwrap();
        for (number, module) in order.modules.iter().enumerate() {
            let path = format!("modules/{number:02}-{}.ko", module.name());
            self.bytes(&path, module.read().unwrap().bytes);
        }
    }

    fn copy(&mut self, path: &str, from: &Path) {
        if self.there.insert(path.to_owned()) {
            let file =
                File::open(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
            let size = file.metadata().unwrap().len();
            self.tree.file(path, 0o755, size, file).unwrap();
        }
    }

    fn copy_all(&mut self, path: &str, from: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.copy_all(&path, &entry.path());
            } else {
                self.copy(&path, &entry.path());
            }
        }
    }

    /// Copies a program with the libraries that it is linked to.
    fn program(&mut self, name: &str, from: &Path) {
        self.copy(&format!("usr/bin/{name}"), from);
        let output = Command::new("ldd").arg(from).output().unwrap();
        let libraries = String::from_utf8(output.stdout).unwrap();
        let words = libraries.split_whitespace();
        for library in words.filter(|word| word.starts_with('/')) {
            self.copy(&library[1..], Path::new(library));
        }
    }
}
