//! `image pack`.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::frame;
use sealboot_core::format::manifest::Encoding;

use crate::bench::{Bench, assert_done, assert_failed, bzimage, cpio, mode};

#[test]
fn packing_says_what_was_made_of_what() {
    let bench = Bench::new();
    let (stdout, stderr) = assert_done(&bench.pack(&[("--expires", Some("30d"))]));
    assert_eq!(stdout, "store/images/relay/42/x86_64.json\n");
    let manifest = bench.manifest("store");
    assert_eq!(
        stderr,
        format!(
            "boot/vmlinuz: 600000 bytes, from vmlinuz; left as it is (its own compression)\n\
             boot/initrd: {} bytes, from initrd.zst; left as it is (zstd compression)\n\
             {}: {} bytes in 1 chunk, encoding none (kernel and initrd are compressed already)\n",
            manifest.files[1].size,
            manifest.archive.blob_path(),
            manifest.archive.size
        )
    );
    assert_eq!(manifest.label.as_str(), "relay 42");
    assert_eq!(manifest.arch.to_string(), "x86_64");
    assert_eq!(manifest.created.to_string(), "2023-11-14T22:13:20Z");
    assert_eq!(
        manifest.expires.unwrap().to_string(),
        "2023-12-14T22:13:20Z"
    );
    assert_eq!(manifest.cmdline.as_str(), "console=ttyS0 quiet");
    assert_eq!(
        mode(&bench.path("store/images/relay/42/x86_64.json")),
        0o644
    );
    assert_eq!(
        mode(&bench.path("store").join(manifest.archive.blob_path())),
        0o644
    );
    let members = bench.checked_members("store");
    assert_eq!(members[0].1, bzimage());
    assert_eq!(members[1].1, fs::read(bench.path("initrd.zst")).unwrap());
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let bench = Bench::new();
    fs::copy(bench.path("initrd.cpio"), bench.path("second.cpio")).unwrap();
    for compress in ["none", "gzip", "zstd"] {
        for store in ["one", "two"] {
            let store = format!("{store}-{compress}");
            let mut command = bench.command();
            command.args(["image", "pack", "--name", "relay", "--version", "42"]);
            command.args([
                "--kernel",
                "vmlinuz",
                "--cmdline",
                "quiet",
                "--chunk-size",
                "64KiB",
            ]);
            command.args([
                "--initrd",
                "initrd.cpio",
                "--initrd",
                "initrd.zst",
                "--initrd",
                "second.cpio",
            ]);
            let mut attached = ["os-release=os-release", "a.json=policy.json"];
            if store.starts_with("two") {
                // The order in which things that have no order are given does not show, nor does when.
                attached.reverse();
                bench.put("os-release", b"ID=test\n");
            }
            command.args(["--attach", attached[0], "--attach", attached[1]]);
            command.args(["--max-uptime", "24h"]);
            command.args(["--compress", compress, "--store", &store]);
            assert_done(&command.output().unwrap());
        }
        let one = bench.tree(&format!("one-{compress}"));
        assert_eq!(one, bench.tree(&format!("two-{compress}")));
        let members = bench.checked_members(&format!("one-{compress}"));
        let paths: Vec<&str> = members.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "boot/vmlinuz",
                "boot/initrd.0",
                "boot/initrd.1",
                "boot/initrd.2",
            ]
        );
        let manifest = bench.manifest(&format!("one-{compress}"));
        assert_eq!(manifest.max_uptime_hours.unwrap().get(), 24);
        // A plain initrd is compressed here, and of those alone is it known what they unpack to.
        let raw = fs::metadata(bench.path("initrd.cpio")).unwrap().len();
        assert_eq!(manifest.files[1].unpacked_size, Some(raw));
        assert_eq!(manifest.files[2].unpacked_size, None);
        let attached: Vec<_> = (manifest.attachments.iter())
            .map(|one| (one.name.as_str(), one.media_type.as_str()))
            .collect();
        assert_eq!(
            attached,
            [
                ("a.json", "application/json"),
                ("os-release", "application/octet-stream")
            ]
        );
        for attachment in &manifest.attachments {
            let path = bench
                .path(&format!("one-{compress}"))
                .join(attachment.blob_path());
            assert_eq!(
                Sha256Digest::of(&fs::read(path).unwrap()),
                attachment.sha256
            );
        }
    }
}

#[test]
fn a_raw_initrd_is_compressed_and_one_with_microcode_is_not() {
    let bench = Bench::new();
    let raw = fs::read(bench.path("initrd.cpio")).unwrap();
    bench.put(
        "early.cpio",
        &cpio(&["kernel/x86/microcode/AuthenticAMD.bin"]),
    );
    let mut mixed = raw.clone();
    mixed.extend_from_slice(&fs::read(bench.path("initrd.zst")).unwrap());
    bench.put("mixed.img", &mixed);

    assert_done(&bench.pack(&[("--initrd", Some("initrd.cpio")), ("--store", Some("raw"))]));
    let packed = &bench.checked_members("raw")[1].1;
    assert!(packed.len() < raw.len() / 4);
    assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), raw);

    for (initrd, store, why) in [
        (
            "early.cpio",
            "store-early",
            "the kernel looks for microcode or tables in it before it can decompress",
        ),
        (
            "mixed.img",
            "store-mixed",
            "it ends in an archive that is compressed already",
        ),
    ] {
        let changes = [("--initrd", Some(initrd)), ("--store", Some(store))];
        let (_, stderr) = assert_done(&bench.pack(&changes));
        let expected = format!("{initrd}; left as it is: {why}\n");
        assert!(stderr.contains(&expected), "{stderr}");
    }
    assert_eq!(bench.checked_members("store-mixed")[1].1, mixed);
}

#[test]
fn a_kept_initrd_is_packed_byte_for_byte_whatever_it_is() {
    let bench = Bench::new();
    bench.put("odd.img", b"no initrd at all");
    for (initrd, store) in [("odd.img", "odd"), ("initrd.cpio", "raw")] {
        let changes = [
            ("--initrd", Some(initrd)),
            ("--store", Some(store)),
            ("--keep-initrd", Some("")),
            ("--compress", Some("none")),
        ];
        assert_done(&bench.pack(&changes));
        let expected = fs::read(bench.path(initrd)).unwrap();
        assert_eq!(bench.checked_members(store)[1].1, expected);
    }
}

#[test]
fn zstd_is_chosen_where_it_saves_much_and_not_where_it_saves_little() {
    let bench = Bench::new();
    bench.put(
        "large.cpio",
        &cpio(&["a-name-that-repeats-itself"]).repeat(100),
    );
    for (initrd, store, encoding, reason) in [
        (
            "large.cpio",
            "much",
            Encoding::Zstd,
            "zstd saves 68 % of 1928704 bytes; unpacking takes up to 4 MiB of memory",
        ),
        (
            "initrd.cpio",
            "little",
            Encoding::None,
            "kernel and initrd are compressed already",
        ),
    ] {
        let changes = [
            ("--initrd", Some(initrd)),
            ("--store", Some(store)),
            ("--keep-initrd", Some("")),
        ];
        let (_, stderr) = assert_done(&bench.pack(&changes));
        assert!(
            stderr.ends_with(&format!("encoding {encoding} ({reason})\n")),
            "{stderr}"
        );
        assert_eq!(bench.manifest(store).archive.encoding, encoding);
        bench.checked_members(store);
    }
}

#[test]
fn what_might_be_compressed_is_tried_and_left_as_it_is_where_little_is_saved() {
    let bench = Bench::new();
    // What stands behind the microcode is not looked at, and here nothing makes it smaller.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    });
    let mut initrd = cpio(&["kernel/x86/microcode"]);
    initrd.extend(noise.take(300_000));
    bench.put("early.cpio", &initrd);
    let (_, stderr) = assert_done(&bench.pack(&[("--initrd", Some("early.cpio"))]));
    assert!(
        stderr.ends_with("encoding none (zstd would save only 1 %, less than the time and memory to unpack it are worth)\n"),
        "{stderr}"
    );
    assert_eq!(bench.manifest("store").archive.encoding, Encoding::None);
    bench.checked_members("store");
}

#[test]
fn an_archive_is_encoded_as_asked() {
    let bench = Bench::new();
    for &encoding in Encoding::ALL {
        let name = encoding.to_string();
        let changes = [
            ("--compress", Some(name.as_str())),
            ("--store", Some(name.as_str())),
        ];
        let (_, stderr) = assert_done(&bench.pack(&changes));
        assert!(
            stderr.ends_with(&format!("encoding {encoding} (as asked)\n")),
            "{stderr}"
        );
        assert_eq!(bench.manifest(&name).archive.encoding, encoding);
        bench.checked_members(&name);
    }
}

/// The loader's own bounds, at the least that is larger than a window.
#[test]
fn an_archive_that_is_larger_than_the_window_is_one_that_the_loader_takes() {
    let bench = Bench::new();
    let initrd = cpio(&["init"]).repeat(30_000);
    assert!(initrd.len() > 9 << 20, "{}", initrd.len());
    bench.put("large.cpio", &initrd);
    let changes = [
        ("--initrd", Some("large.cpio")),
        ("--keep-initrd", Some("")),
        ("--compress", Some("zstd")),
    ];
    assert_done(&bench.pack(&changes));
    bench.checked_members("store");
    let path = bench.manifest("store").archive.blob_path();
    let stored = fs::read(bench.path("store").join(path)).unwrap();
    let content = bench.manifest("store").unpacked_size();
    assert_eq!(frame::check(&stored, content), Ok(()));
}

#[test]
fn an_uncompressed_kernel_is_worth_zstd() {
    let bench = Bench::new();
    let mut kernel = vec![0x1f; 300_000];
    kernel[24] = 0;
    kernel[56..60].copy_from_slice(b"ARM\x64");
    bench.put("Image", &kernel);
    let (_, stderr) = assert_done(&bench.pack(&[("--kernel", Some("Image"))]));
    assert!(
        stderr.contains("encoding zstd (zstd saves 99 % of "),
        "{stderr}"
    );
    let manifest = bench.manifest("store");
    assert_eq!(manifest.arch.to_string(), "aarch64");
    assert_eq!(bench.checked_members("store")[0].1, kernel);
}

#[test]
fn a_narrow_umask_hides_nothing_of_what_is_to_be_published() {
    let bench = Bench::new();
    let sealboot = env!("CARGO_BIN_EXE_sealboot");
    let script = format!(
        "umask 077; '{sealboot}' image pack --name relay --version 42 --kernel vmlinuz \
         --initrd initrd.zst --cmdline '' --store store"
    );
    let mut shell = Command::new("sh");
    shell
        .current_dir(bench.temporary.path())
        .args(["-c", &script]);
    assert_done(&shell.output().unwrap());
    assert_eq!(mode(&bench.path("store")), 0o755);
    for (path, content) in bench.tree("store") {
        let expected = if content.is_some() { 0o644 } else { 0o755 };
        let path = bench.path("store").join(path);
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn packers_at_the_same_time_lose_nothing_to_each_other() {
    let bench = Bench::new();
    // The same archive under four versions, each asked for twice: one of the two must fail.
    let children: Vec<_> = (0..8)
        .map(|index| {
            let version = (42 + index % 4).to_string();
            let mut command = bench.command();
            command.args(["image", "pack", "--name", "relay", "--version", &version]);
            command.args(["--kernel", "vmlinuz", "--initrd", "initrd.zst"]);
            command.args(["--cmdline", "", "--store", "store"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let done = outputs.iter().filter(|output| output.status.success());
    assert_eq!(done.count(), 4, "{outputs:#?}");
    bench.checked_members("store");
    let tree = bench.tree("store");
    let files = tree.values().filter(|content| content.is_some());
    assert_eq!(files.count(), 6, "{:?}", tree.keys());
}

#[test]
fn a_version_is_packed_once() {
    let bench = Bench::new();
    assert_done(&bench.pack(&[]));
    let before = bench.tree("store");
    let again = bench.pack(&[("--cmdline", Some("other"))]);
    assert_failed(
        &again,
        "error: store/images/relay/42/x86_64.json exists already\n\
         hint: a version is packed once; use --version 43, or remove the file if it was never published\n",
    );
    assert_eq!(bench.tree("store"), before);
}

#[test]
fn an_archive_that_the_store_holds_is_kept_and_a_damaged_one_replaced() {
    let bench = Bench::new();
    assert_done(&bench.pack(&[]));
    let blob = bench
        .path("store")
        .join(bench.manifest("store").archive.blob_path());
    let inode = fs::metadata(&blob).unwrap().ino();
    let (_, stderr) = assert_done(&bench.pack(&[("--version", Some("43"))]));
    assert!(
        stderr.ends_with("; the store held it already\n"),
        "{stderr}"
    );
    assert_eq!(fs::metadata(&blob).unwrap().ino(), inode);

    let whole = fs::read(&blob).unwrap();
    File::options()
        .write(true)
        .open(&blob)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let (_, stderr) = assert_done(&bench.pack(&[("--version", Some("44"))]));
    assert!(
        stderr.ends_with("; the store held a damaged file under its name, which was replaced\n"),
        "{stderr}"
    );
    assert_eq!(fs::read(&blob).unwrap(), whole);
    assert_eq!(mode(&blob), 0o644);
}

#[test]
fn what_cannot_be_packed_is_refused_in_full_and_leaves_no_store() {
    let bench = Bench::new();
    let mut cut = bzimage();
    cut.truncate(480_000);
    bench.put("cut", &cut);
    let mut old = bzimage();
    old[0x206] = 0x0b;
    bench.put("old", &old);
    bench.put("short-cmdline", &{
        let mut kernel = bzimage();
        kernel[0x238..0x23c].copy_from_slice(&10_u32.to_le_bytes());
        kernel
    });
    bench.put("image.gz", b"\x1f\x8b\x08\0");
    bench.put("empty", b"");
    let raw = cpio(&["init"]);
    bench.put("cut.cpio", &raw[..raw.len() - 100]);
    fs::create_dir(bench.path("directory")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(bench.path("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let huge = File::create(bench.path("huge")).unwrap();
    huge.set_len(9 << 30).unwrap();
    (&huge).write_all(b"\x28\xb5\x2f\xfd").unwrap();

    let vmlinuz_hint = "hint: give the kernel's vmlinuz (x86: a bzImage; arm64: an uncompressed Image), not a UKI, a vmlinux or an initrd\n";
    let initrd_hint = "hint: give a cpio archive (newc), plain or compressed; --keep-initrd packs any file unexamined\n";
    let empty_hint = "hint: an empty file is usually a failed build; look at what made it\n";
    for (changes, expected) in [
        (
            &[("--kernel", Some("absent"))][..],
            "error: cannot read absent\n  caused by: No such file or directory (os error 2)\n".to_owned(),
        ),
        (
            &[("--kernel", Some("directory"))],
            "error: cannot read directory\n  caused by: it is no regular file\n".to_owned(),
        ),
        (
            &[("--initrd", Some("fifo"))],
            "error: cannot read fifo\n  caused by: it is no regular file\n".to_owned(),
        ),
        (&[("--kernel", Some("empty"))], format!("error: empty is empty\n{empty_hint}")),
        (&[("--initrd", Some("empty"))], format!("error: empty is empty\n{empty_hint}")),
        (
            &[("--attach", Some("sbom=fifo"))],
            "error: cannot read fifo\n  caused by: it is no regular file\n".to_owned(),
        ),
        (
            &[("--kernel", Some("initrd.zst"))],
            format!("error: initrd.zst cannot be the kernel of an image\n  caused by: it is neither an x86 bzImage nor an arm64 Image\n{vmlinuz_hint}"),
        ),
        (
            &[("--kernel", Some("cut"))],
            "error: cut cannot be the kernel of an image\n  caused by: it is cut off: its header announces 481024 bytes, and 480000 are there\nhint: copy the kernel again, whole\n".to_owned(),
        ),
        (
            &[("--kernel", Some("old"))],
            format!("error: old cannot be the kernel of an image\n  caused by: it is an x86 kernel that kexec_file_load does not take: its boot protocol is older than 2.12 (Linux 3.8)\n{vmlinuz_hint}"),
        ),
        (
            &[("--kernel", Some("image.gz"))],
            "error: image.gz cannot be the kernel of an image\n  caused by: it is a compressed arm64 kernel (gzip), which kexec_file_load does not take\nhint: decompress it first: zcat image.gz > Image\n".to_owned(),
        ),
        (
            &[("--arch", Some("aarch64"))],
            "error: vmlinuz is a kernel for x86_64, not for aarch64\nhint: leave out --arch, or give --arch x86_64\n".to_owned(),
        ),
        (
            &[("--kernel", Some("short-cmdline"))],
            "error: the command line has 19 bytes; this kernel takes at most 10\nhint: shorten it, or move settings into the image's initrd\n".to_owned(),
        ),
        (
            &[("--initrd", Some("vmlinuz"))],
            format!("error: vmlinuz cannot be an initrd of an image\n  caused by: what starts at byte 4 is nothing that the kernel unpacks\n{initrd_hint}"),
        ),
        (
            &[("--initrd", Some("cut.cpio"))],
            format!("error: cut.cpio cannot be an initrd of an image\n  caused by: the cpio archive at byte 0 is damaged\n  caused by: the cpio archive is cut off at byte {}\n{initrd_hint}", raw.len() - 100),
        ),
        (
            &[("--initrd", Some("huge"))],
            "error: huge has 9663676416 bytes; a member of an archive has at most 8589934591\nhint: give the initrd in several files (--initrd A --initrd B): the kernel unpacks them one after the other\n".to_owned(),
        ),
        (
            &[("--attach", Some("a=os-release")), ("--attach", Some("a=policy.json"))],
            "error: attachments.name: \"a\" is not no name twice\n".to_owned(),
        ),
        (
            &[("--expires", Some("2023-11-14T22:13:20Z"))],
            "error: --expires cannot be used\n  caused by: expires: \"2023-11-14T22:13:20Z\" is not after the moment at which the image is created\nhint: give a later time, or a span from the image's creation such as 30d\n".to_owned(),
        ),
    ] {
        assert_failed(&bench.pack(changes), &expected);
        assert!(!bench.path("store").exists(), "{changes:?}");
    }
}

#[test]
fn a_store_that_cannot_be_written_to_is_left_as_it_was() {
    let bench = Bench::new();
    bench.put("store/images", b"a file in the way");
    let before = bench.tree("store");
    assert_failed(
        &bench.pack(&[]),
        "error: cannot create directory store/images/relay\n  caused by: Not a directory (os error 20)\n",
    );
    assert_eq!(bench.tree("store"), before);
}

#[test]
fn a_wrong_source_date_epoch_is_refused() {
    let bench = Bench::new();
    for wrong in ["", "yesterday", "-1", "1e9", "99999999999999999999"] {
        let mut command = bench.command();
        command.args(["image", "pack", "--name", "relay", "--version", "42"]);
        command.args([
            "--kernel",
            "vmlinuz",
            "--initrd",
            "initrd.zst",
            "--cmdline",
            "",
        ]);
        command
            .args(["--store", "store"])
            .env("SOURCE_DATE_EPOCH", wrong);
        assert_failed(
            &command.output().unwrap(),
            &format!(
                "error: SOURCE_DATE_EPOCH is \"{wrong}\", which is no number of seconds since 1970\n\
                 hint: unset it, or set it to what `date +%s` prints\n"
            ),
        );
        assert!(!bench.path("store").exists());
    }
}

#[test]
fn wrong_usage_of_pack_is_exit_status_2() {
    let bench = Bench::new();
    for (name, wrong) in [
        ("--name", "Relay"),
        ("--name", "../relay"),
        ("--version", "0"),
        ("--version", "-1"),
        ("--cmdline", "two\nlines"),
        ("--label", ""),
        ("--arch", "X86"),
        ("--chunk-size", "1MB"),
        ("--compress", "xz"),
        ("--expires", "soon"),
        ("--created", "now"),
        ("--attach", "../x=os-release"),
        ("--attach", "x"),
        ("--max-uptime", "0"),
        ("--max-uptime", "721"),
    ] {
        let output = bench.pack(&[(name, Some(wrong))]);
        assert_eq!(output.status.code(), Some(2), "{name} {wrong:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(name), "{stderr}");
    }
    for missing in [
        "--name",
        "--version",
        "--kernel",
        "--initrd",
        "--cmdline",
        "--store",
    ] {
        assert_eq!(
            bench.pack(&[(missing, None)]).status.code(),
            Some(2),
            "{missing}"
        );
    }
}

#[test]
fn half_a_gibibyte_is_packed_in_a_window() {
    let bench = Bench::new();
    let initrd = File::create(bench.path("large")).unwrap();
    initrd.set_len(512 << 20).unwrap();
    (&initrd).write_all(b"\x28\xb5\x2f\xfd").unwrap();

    let child = bench
        .command()
        .args(["image", "pack", "--name", "relay", "--version", "42"])
        .args(["--kernel", "vmlinuz", "--initrd", "large", "--cmdline", ""])
        .args(["--store", "store"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peak = peak_kib(child);
    assert!(peak < 64 << 10, "the peak was {peak} KiB");
    let manifest = bench.manifest("store");
    assert_eq!(manifest.files[1].size, 512 << 20);
    assert_eq!(manifest.archive.chunk_count(), 513);
}

/// Waits for a child and tells the largest VmHWM that it was seen with, in KiB. The kernel only ever
/// raises the value, so that the last look is the peak but for the last few milliseconds.
fn peak_kib(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(line) = line {
            peak = line.trim().trim_end_matches(" kB").parse().unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            assert!(peak > 0);
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
