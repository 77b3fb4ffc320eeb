//! The initrds of guests that stand at the far end of a network: BusyBox, dnsmasq and iproute2 of this host,
//! `sealboot serve`, a store, and the words of scenarios.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealboot::assemble::modules::{ModulesDir, Selection};
use sealboot::cpio::Tree;

use crate::lab::Lab;
use crate::store::Store;

/// Returns what such a guest has in common with every other: `init` is its program, and `modules` are what it loads.
pub(crate) fn far_side(store: &Store, init: &str, modules: &[&str]) -> Files {
    let lab = Lab::get();
    let mut files = Files::default();
    for empty in ["dev", "proc", "sys"] {
        files.tree.directory(empty, 0o755).unwrap();
    }
    files.text("init", init);
    files.text("start", include_str!("network/start"));
    files.text("functions", include_str!("network/functions"));
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
    files.modules(modules);
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

/// The files of an initrd, each of which may be asked for more than once.
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

    pub(crate) fn into_initrd(self) -> Vec<u8> {
        self.tree.write(Vec::new(), 0).unwrap()
    }
}
