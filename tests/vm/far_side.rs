//! Guests that stand at the far end of a network. They have BusyBox, dnsmasq and iproute2 of this host, `sealboot serve`,
//! a store, and the words of scenarios.
//!
//! What all of them have in common boots once, with `network/init`, and is saved in the target directory. Each guest is
//! restored from that, is given the time, and runs what it finds on its disk. What is restored was not built from
//! anything of this project but the script, so a saved state outlives builds.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use sealboot::assemble::modules::{ModulesDir, Selection};
use sealboot::cpio::Tree;
use sealboot::vm::{self, Disk, Model, Nic, Running, Wire};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::lab::{Lab, TARGET_TMP};
use crate::store::Store;

/// How many cables each guest has the ends of.
pub(crate) const CABLES: usize = 2;

/// The last line of `network/init` before it waits.
const READY: &str = "the far side is ready";

/// How long it may take until then.
const START: Duration = Duration::from_secs(120);

/// What the kernel has not built in, and scenarios are made of.
const MODULES: [&str; 8] = [
    "virtio_pci",
    "virtio_net",
    "veth",
    "bridge",
    "8021q",
    "bonding",
    "sch_netem",
    "sch_tbf",
];

/// The driver of the disk that a guest gets its work by, loaded when it has that.
const DISK_DRIVER: &str = "virtio_blk";

/// Starts a guest that runs what [`work`] has put together. Its cables end in `directory`.
pub(crate) async fn start(work: Files, directory: &TempDir) -> Running {
    let path = |name: &str| directory.path().join(name);
    fs::write(path("initrd"), common().into_archive()).unwrap();
    let mut archive = work.into_archive();
    // Disks have whole sectors.
    archive.resize(archive.len().next_multiple_of(512), 0);
    fs::write(path("work"), archive).unwrap();
    let mut machine = vm::Machine::new(&Lab::get().kernel, path("initrd"));
    machine.append = format!("{} quiet {}", vm::DEFAULT_APPEND, vm::EMULATED);
    machine.nics = ends(directory, CABLES, Wire::First);
    machine.disks = vec![Disk::Virtio(path("work"))];
    let state = state_of(&machine).await;
    let mut guest = machine.restore(&state, Stdio::piped()).await.unwrap();
    let now = Timestamp::now().as_second();
    guest.type_in(&format!("{now}\n")).await.unwrap();
    guest
}

/// Returns cards at one kind of end of so many cables.
pub(crate) fn ends(directory: &TempDir, cables: usize, wire: impl Fn(PathBuf) -> Wire) -> Vec<Nic> {
    let cable = |number| Nic {
        model: Model::Virtio,
        wire: wire(directory.path().join(format!("cable{number}"))),
    };
    (0..cables).map(cable).collect()
}

/// Returns the state of such a machine when it is ready, which is saved where it was not yet.
async fn state_of(machine: &vm::Machine) -> PathBuf {
    let directory = Path::new(TARGET_TMP).join("vm-states");
    fs::create_dir_all(&directory).unwrap();
    let state = directory.join(machine.make().unwrap().to_string());
    let lock = File::create(Path::new(TARGET_TMP).join("vm-states.lock")).unwrap();
    lock.lock().unwrap();
    if !state.exists() {
        for old in fs::read_dir(&directory).unwrap() {
            fs::remove_file(old.unwrap().path()).unwrap();
        }
        let mut running = machine.start(Stdio::null()).await.unwrap();
        let said = timeout(START, until_ready(&mut running)).await;
        assert_eq!(said, Ok(Ok(())), "the guest to be saved is not ready");
        let unfinished = directory.join("unfinished");
        running.save(&unfinished).await.unwrap();
        fs::rename(unfinished, &state).unwrap();
    }
    state
}

/// Follows the console to the line that tells of it; gives all of the console where there is none.
async fn until_ready(running: &mut Running) -> Result<(), String> {
    let mut console = String::new();
    let mut buffer = vec![0; 4 << 10];
    while !console.contains(READY) {
        match running.read(&mut buffer).await {
            Ok(read @ 1..) => console.push_str(&String::from_utf8_lossy(&buffer[..read])),
            _ => return Err(console),
        }
    }
    Ok(())
}

/// Returns what every guest boots with.
fn common() -> Files {
    let mut files = Files::default();
    for empty in ["dev", "proc", "sys"] {
        files.tree.directory(empty, 0o755).unwrap();
    }
    files.text("init", include_str!("network/init"));
    files.text("etc/passwd", "root:x:0:0:root:/:/bin/sh\n");
    files.text("etc/group", "root:x:0:\ndip:x:30:\n");
    files.copy("bin/busybox", &Lab::get().busybox);
    for (name, package) in [
        ("ip", "iproute2"),
        ("tc", "iproute2"),
        ("dnsmasq", "dnsmasq-base"),
    ] {
        let program = installed(name)
            .unwrap_or_else(|| panic!("no {name}: install it with `apt-get install {package}`"));
        files.program(name, &program);
    }
    files.modules();
    files
}

/// Returns what a guest gets by its disk, with `main` as its program.
pub(crate) fn work(store: &Store, main: &str) -> Files {
    let lab = Lab::get();
    let mut files = Files {
        there: common().there,
        ..Files::default()
    };
    files.text("main", main);
    files.text("functions", include_str!("network/functions"));
    files.program("sealboot", &lab.sealboot);
    for name in ["server.pem", "server.key"] {
        files.copy(&format!("tls/{name}"), &lab.path(&format!("tls/{name}")));
    }
    files.copy_all("store", &store.path());
    files
}

/// Finds a program of this host.
fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        // Debian keeps them out of the PATH of those who are not root.
        .chain(["/usr/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// The files of an archive, each of which may be asked for more than once.
#[derive(Default)]
pub(crate) struct Files {
    tree: Tree<'static>,
    there: BTreeSet<String>,
}

impl Files {
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.bytes(path, text.as_bytes().to_vec());
    }

    pub(crate) fn bytes(&mut self, path: &str, bytes: Vec<u8>) {
        let size = bytes.len() as u64;
        let tree = &mut self.tree;
        tree.file(path, 0o755, size, Cursor::new(bytes)).unwrap();
    }

    pub(crate) fn copy(&mut self, path: &str, from: &Path) {
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

    /// Unpacks the modules and what they need, in the order in which they are loaded.
    fn modules(&mut self) {
        let mut selection = Selection::default();
        MODULES.iter().for_each(|name| selection.add(name));
        selection.add_disk(DISK_DRIVER);
        let available = ModulesDir::open(&Lab::get().modules).unwrap();
        let order = available.resolve(&selection).unwrap();
        for (number, module) in order.modules.iter().enumerate() {
            let path = match module.name() {
                DISK_DRIVER => "disk.ko".to_owned(),
                name => format!("modules/{number:02}-{name}.ko"),
            };
            self.bytes(&path, module.read().unwrap().bytes);
        }
    }

    pub(crate) fn into_archive(self) -> Vec<u8> {
        self.tree.write(Vec::new(), 0).unwrap()
    }
}
