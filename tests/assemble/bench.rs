//! Inputs for both commands, and the commands on them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealboot::cpio;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Encoding, Manifest};
use sealboot_core::trust::Envelope;

/// A directory with inputs for both commands.
pub(crate) struct Bench {
    pub(crate) temporary: tempfile::TempDir,
}

pub(crate) const POLICY: &str = r#"{
    "version": 1,
    "created": "2026-11-21T12:00:00Z",
    "keys": [{"name": "alice", "key": "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}],
    "roles": {
        "root": [{"keys": ["alice"], "threshold": 1}],
        "release": [{"keys": ["alice"], "threshold": 1}]
    },
    "images": [{"name": "relay"}, {"name": "exit"}]
}"#;
pub(crate) const HOST: &str =
    r#"{"image": "relay", "mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"}}"#;
pub(crate) const MODULES: &str = "modules/lib/modules/6.1.0-test";

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self {
            temporary: tempfile::tempdir().unwrap(),
        };
        bench.put("vmlinuz", &bzimage());
        bench.put(
            "initrd.zst",
            &zstd::encode_all(&cpio(&["init"])[..], 3).unwrap(),
        );
        bench.put("initrd.cpio", &cpio(&["bin/sh", "init"]));
        bench.put("os-release", b"ID=test\n");
        bench.put(
            "loader",
            &[
                &elf(3, 1)[..],
                sealboot_core::format::layout::LOADER_MARKER.as_bytes(),
            ]
            .concat(),
        );
        bench.put("policy.json", POLICY.as_bytes());
        bench.put("host.json", HOST.as_bytes());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let ca = params.self_signed(&key).unwrap().pem();
        bench.put("ca.pem", ca.as_bytes());
        bench.put(
            "ca-and-key.pem",
            format!("{ca}{}", key.serialize_pem()).as_bytes(),
        );
        for (path, content) in [
            ("modules.dep", &b"kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio.ko:\nkernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko\nkernel/drivers/net/arm.ko:\n"[..]),
            ("modules.builtin", b"kernel/net/packet/af_packet.ko\n"),
            ("modules.alias", b"alias virtio:d00000001v* virtio_net\nalias virtio:d00000002v* virtio_blk\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"),
            ("kernel/drivers/virtio/virtio.ko", &elf(1, 0)),
            ("kernel/drivers/virtio/virtio_pci.ko", &elf(1, 0)),
            ("kernel/drivers/net/virtio_net.ko", &elf(1, 0)),
            ("kernel/drivers/block/virtio_blk.ko", &elf(1, 0)),
        ] {
            bench.put(&format!("{MODULES}/{path}"), content);
        }
        let mut arm = elf(1, 0);
        arm[18] = 183;
        bench.put(&format!("{MODULES}/kernel/drivers/net/arm.ko"), &arm);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealboot"));
        command
            .current_dir(self.temporary.path())
            .env("NO_COLOR", "1")
            .env("SOURCE_DATE_EPOCH", "1700000000");
        command
    }

    /// Packs version 42 of `relay`; `changes` replaces or adds options by name, `None` removes one.
    pub(crate) fn pack(&self, changes: &[(&str, Option<&str>)]) -> Output {
        let options = [
            ("--name", "relay"),
            ("--version", "42"),
            ("--kernel", "vmlinuz"),
            ("--initrd", "initrd.zst"),
            ("--cmdline", "console=ttyS0 quiet"),
            ("--store", "store"),
        ];
        let mut command = self.command();
        command.args(["image", "pack"]);
        add_options(&mut command, &options, changes);
        command.output().unwrap()
    }

    pub(crate) fn build(&self, changes: &[(&str, Option<&str>)]) -> Output {
        let options = [
            ("--loader", "loader"),
            ("--policy", "policy.json"),
            ("--host-config", "host.json"),
            ("--tls-roots", "ca.pem"),
            ("--modules-dir", MODULES),
            ("--out", "loader.img"),
        ];
        let mut command = self.command();
        command.args(["initramfs", "build"]);
        add_options(&mut command, &options, changes);
        command.output().unwrap()
    }

    /// Every file and directory below `name`, with its bytes.
    pub(crate) fn tree(&self, name: &str) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut tree = BTreeMap::new();
        let root = self.path(name);
        let mut todo = vec![root.clone()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let relative = path.strip_prefix(&root).unwrap().to_owned();
                if path.is_dir() {
                    tree.insert(relative, None);
                    todo.push(path);
                } else {
                    tree.insert(relative, Some(fs::read(path).unwrap()));
                }
            }
        }
        tree
    }

    pub(crate) fn manifest(&self, store: &str) -> Manifest {
        let versions = fs::read_dir(self.path(store).join("images/relay/42")).unwrap();
        let [path] = &versions
            .map(|file| file.unwrap().path())
            .collect::<Vec<_>>()[..]
        else {
            panic!("one architecture");
        };
        let envelope = Envelope::parse(&fs::read(path).unwrap()).unwrap();
        assert_eq!(envelope.payload_type(), Manifest::PAYLOAD_TYPE);
        assert_eq!(envelope.signatures(), []);
        Manifest::parse(envelope.unverified_payload()).unwrap()
    }

    /// The members of the packed archive, after every hash of the manifest was compared with the bytes.
    pub(crate) fn checked_members(&self, store: &str) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest(store);
        let stored = fs::read(self.path(store).join(manifest.archive.blob_path())).unwrap();
        assert_eq!(stored.len() as u64, manifest.archive.size);
        let chunk_size = usize::try_from(manifest.archive.chunk_size).unwrap();
        let list: Vec<u8> = (stored.chunks(chunk_size))
            .flat_map(|chunk| *Sha256Digest::of(chunk).as_bytes())
            .collect();
        assert_eq!(Sha256Digest::of(&list), manifest.archive.chunks_sha256);
        let path = self.path(store).join(manifest.archive.chunk_list_path());
        assert_eq!(fs::read(path).unwrap(), list);
        let tar = match manifest.archive.encoding {
            Encoding::None => stored,
            Encoding::Gzip => {
                let mut tar = Vec::new();
                flate2::bufread::GzDecoder::new(stored.as_slice())
                    .read_to_end(&mut tar)
                    .unwrap();
                tar
            }
            Encoding::Zstd => zstd::decode_all(stored.as_slice()).unwrap(),
        };
        assert_eq!(tar.len() as u64, manifest.unpacked_size());
        assert!(tar.ends_with(&[0; 1024]));
        let mut members = Vec::new();
        for entry in tar::Archive::new(tar.as_slice())
            .entries()
            .unwrap()
            .raw(true)
        {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            let header = header.as_ustar().expect("a plain ustar header");
            assert_eq!(&header.mode, b"0000644\0");
            assert_eq!(&header.uid, b"0000000\0");
            assert_eq!(&header.gid, b"0000000\0");
            assert_eq!(&header.mtime, b"00000000000\0");
            assert_eq!(&header.typeflag, b"0");
            assert_eq!(header.uname, [0; 32]);
            assert_eq!(header.gname, [0; 32]);
            assert_eq!(header.prefix, [0; 155]);
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            members.push((path, content));
        }
        let described: Vec<_> = manifest
            .files
            .iter()
            .map(|file| (file.path.to_string(), file.size, file.sha256))
            .collect();
        let found: Vec<_> = members
            .iter()
            .map(|(path, content)| {
                (
                    path.clone(),
                    content.len() as u64,
                    Sha256Digest::of(content),
                )
            })
            .collect();
        assert_eq!(described, found);
        members
    }
}

pub(crate) fn add_options(
    command: &mut Command,
    options: &[(&str, &str)],
    changes: &[(&str, Option<&str>)],
) {
    for (name, value) in options {
        if !changes.iter().any(|(changed, _)| changed == name) {
            command.args([name, value]);
        }
    }
    for (name, value) in changes {
        match value {
            Some("") if *name == "--keep-initrd" => {
                command.arg(name);
            }
            Some(value) => {
                command.args([name, value]);
            }
            None => {}
        }
    }
}

/// An x86 kernel by its header (`Documentation/arch/x86/boot.rst`), with noise for code.
pub(crate) fn bzimage() -> Vec<u8> {
    let mut kernel: Vec<u8> = (0..150_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    kernel[0x1f1] = 1;
    kernel[0x1f4..0x1f8].copy_from_slice(&30_000_u32.to_le_bytes());
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    kernel[0x211] = 1;
    kernel[0x236..0x238].copy_from_slice(&0x7f_u16.to_le_bytes());
    kernel[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    kernel
}

pub(crate) fn cpio(paths: &[&str]) -> Vec<u8> {
    let mut tree = cpio::Tree::new();
    for path in paths {
        let content = path.repeat(500);
        let size = content.len() as u64;
        tree.file(path, 0o755, size, std::io::Cursor::new(content))
            .unwrap();
    }
    tree.write(Vec::new(), 0).unwrap()
}

/// An x86_64 ELF file of this kind (1: object, 3: program), with one segment where its type is not 0.
pub(crate) fn elf(kind: u8, segment: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64 + 56, 0);
    bytes[16] = kind;
    bytes[18] = 62;
    if segment > 0 {
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = segment;
    }
    bytes
}

/// A module with this section `.modinfo`, and two more: the first, which is always empty, and their names.
pub(crate) fn elf_with_modinfo(modinfo: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.modinfo\0";
    let mut bytes = elf(1, 0);
    let modinfo_at = bytes.len();
    bytes.extend_from_slice(modinfo);
    let names_at = bytes.len();
    bytes.extend_from_slice(NAMES);
    let sections_at = bytes.len() as u64;
    for (name, kind, at, length) in [
        (0_u8, 0_u8, 0, 0),
        (1, 1, modinfo_at, modinfo.len()),
        (0, 3, names_at, NAMES.len()),
    ] {
        let mut section = [0; 64];
        section[0] = name;
        section[4] = kind;
        section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(&section);
    }
    bytes[40..48].copy_from_slice(&sections_at.to_le_bytes());
    bytes[58] = 64;
    bytes[60] = 3;
    bytes[62] = 2;
    bytes
}

#[track_caller]
pub(crate) fn assert_done(output: &Output) -> (String, String) {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    (stdout, stderr)
}

#[track_caller]
pub(crate) fn assert_failed(output: &Output, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let status = if expected.starts_with("refused: ") {
        3
    } else {
        1
    };
    assert_eq!(output.status.code(), Some(status));
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
