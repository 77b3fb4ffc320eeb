//! `initramfs build`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;

use sealboot::cpio::Reader;
use sealboot_core::format::digest::Sha256Digest;

use crate::bench::{
    Bench, HOST, MODULES, POLICY, assert_done, assert_failed, elf, elf_with_modinfo, mode,
};

#[test]
fn an_initramfs_holds_what_the_loader_expects_and_nothing_else() {
    let bench = Bench::new();
    let (stdout, stderr) = assert_done(&bench.build(&[]));
    assert_eq!(stdout, "loader.img\n");
    let image = fs::read(bench.path("loader.img")).unwrap();
    assert_eq!(
        stderr,
        format!(
            "not in this kernel: virtio_mmio virtio-rng bonding 8021q efivarfs qemu_fw_cfg iTCO_wdt lpc_ich i2c_i801 sp5100_tco hpwdt wdat_wdt i6300esb softdog\n\
             built into this kernel: af_packet\n\
             3 modules of kernel 6.1.0-test: virtio virtio_pci virtio_net\n\
             {} bytes, sha256 {}\n",
            image.len(),
            Sha256Digest::of(&image)
        )
    );
    assert_eq!(mode(&bench.path("loader.img")), 0o644);

    let inspected = bench
        .command()
        .args(["initramfs", "inspect", "loader.img"])
        .output()
        .unwrap();
    let (list, _) = assert_done(&inspected);
    let ca = fs::read(bench.path("ca.pem")).unwrap();
    let dep = "\
        kernel/drivers/net/virtio_net.ko: kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko\n";
    let alias = "\
        alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n\
        alias virtio:d00000001v* virtio_net\n";
    assert_eq!(
        list,
        format!(
            "\
drwxr-xr-x          0 dev
crw-------       5, 1 dev/console
crw-rw-rw-       1, 3 dev/null
drwxr-xr-x          0 etc
drwxr-xr-x          0 etc/sealboot
-rw-r--r--         11 etc/sealboot/build-time
-rw-r--r-- {:>10} etc/sealboot/host.json
-rw-r--r-- {:>10} etc/sealboot/modules
-rw-r--r-- {:>10} etc/sealboot/tls-roots.pem
-rw-r--r-- {:>10} etc/sealboot/trust.json
-rwxr-xr-x        174 init
drwxr-xr-x          0 lib
drwxr-xr-x          0 lib/modules
drwxr-xr-x          0 lib/modules/6.1.0-test
drwxr-xr-x          0 lib/modules/6.1.0-test/kernel
drwxr-xr-x          0 lib/modules/6.1.0-test/kernel/drivers
drwxr-xr-x          0 lib/modules/6.1.0-test/kernel/drivers/net
-rw-r--r--        120 lib/modules/6.1.0-test/kernel/drivers/net/virtio_net.ko
drwxr-xr-x          0 lib/modules/6.1.0-test/kernel/drivers/virtio
-rw-r--r--        120 lib/modules/6.1.0-test/kernel/drivers/virtio/virtio.ko
-rw-r--r--        120 lib/modules/6.1.0-test/kernel/drivers/virtio/virtio_pci.ko
-rw-r--r-- {:>10} lib/modules/6.1.0-test/modules.alias
-rw-r--r-- {:>10} lib/modules/6.1.0-test/modules.dep
-rw-r--r--          0 lib/modules/6.1.0-test/modules.firmware
-rw-r--r--          0 lib/modules/6.1.0-test/modules.softdep
dr-xr-xr-x          0 proc
drwxr-xr-x          0 run
dr-xr-xr-x          0 sys
drwxrwxrwt          0 tmp
# trust policy version 1, sha256 {}
# can extend the chain of policies from it: 1 of alice
",
            HOST.len(),
            0,
            ca.len(),
            POLICY.len(),
            alias.len(),
            dep.len(),
            Sha256Digest::of(POLICY.as_bytes()),
        )
    );

    let files = files(&bench.path("loader.img"));
    assert_eq!(files["init"], fs::read(bench.path("loader")).unwrap());
    assert_eq!(files["etc/sealboot/trust.json"], POLICY.as_bytes());
    assert_eq!(files["etc/sealboot/host.json"], HOST.as_bytes());
    assert_eq!(files["etc/sealboot/tls-roots.pem"], ca);
    assert_eq!(files["etc/sealboot/build-time"], b"1700000000\n");
    assert_eq!(files["etc/sealboot/modules"], b"");
    assert_eq!(files["lib/modules/6.1.0-test/modules.dep"], dep.as_bytes());
    assert_eq!(
        files["lib/modules/6.1.0-test/modules.alias"],
        alias.as_bytes()
    );
}

#[test]
fn a_driver_of_disks_is_baked_in_by_its_own_name_with_a_warning() {
    let bench = Bench::new();
    let output = bench.build(&[("--allow-disk-module", Some("virtio-blk"))]);
    let (_, stderr) = assert_done(&output);
    let warning = "warning: module virtio_blk makes the disks of a machine reachable, or readable, for the loader\n";
    assert!(stderr.contains(warning), "{stderr}");
    assert!(
        stderr
            .contains("4 modules of kernel 6.1.0-test: virtio virtio_pci virtio_net virtio_blk\n"),
        "{stderr}"
    );
}

#[test]
fn a_compressed_module_is_baked_in_plain() {
    let bench = Bench::new();
    let module = elf(1, 0);
    let options = lzma_rust2::XzOptions::with_preset(6);
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    xz.write_all(&module).unwrap();
    bench.put(&format!("{MODULES}/kernel/x.ko.xz"), &xz.finish().unwrap());
    bench.put(&format!("{MODULES}/modules.dep"), b"kernel/x.ko.xz:\n");
    assert_done(&bench.build(&[("--module", Some("x"))]));
    let files = files(&bench.path("loader.img"));
    assert_eq!(files["lib/modules/6.1.0-test/kernel/x.ko"], module);
    assert_eq!(
        files["lib/modules/6.1.0-test/modules.dep"],
        b"kernel/x.ko:\n"
    );
    // It has no alias, so nothing would ever ask for it.
    assert_eq!(files["etc/sealboot/modules"], b"x\n");
}

/// The files of an initramfs.
fn files(initramfs: &Path) -> BTreeMap<String, Vec<u8>> {
    let archive = zstd::decode_all(fs::File::open(initramfs).unwrap()).unwrap();
    let mut reader = Reader::new(archive.as_slice());
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        assert_eq!((entry.uid, entry.gid, entry.mtime), (0, 0, 1_700_000_000));
        files.insert(
            String::from_utf8(entry.name).unwrap(),
            reader.content(1 << 20).unwrap().unwrap(),
        );
    }
    files
}

#[test]
fn firmware_is_baked_in_where_it_is_found_and_named_where_it_is_not() {
    let bench = Bench::new();
    let module = format!("{MODULES}/kernel/drivers/net/virtio_net.ko");
    let modinfo = b"firmware=nic/a.bin\0firmware=nic/b.bin\0firmware=nic/c.bin\0";
    bench.put(&module, &elf_with_modinfo(modinfo));
    bench.put("modules/lib/firmware/nic/a.bin", b"from beside the modules");
    bench.put("given/nic/b.bin", b"from elsewhere");
    let base = bench.temporary.path().canonicalize().unwrap();
    let hint = "hint: Debian has firmware in firmware-misc-nonfree, firmware-realtek, firmware-bnx2, firmware-bnx2x and the like (`apt-file search NAME`); elsewhere it is linux-firmware\n";
    for (given, found, directory, missing) in [
        (
            None,
            "nic/a.bin",
            base.join("modules/lib/firmware").display().to_string(),
            "virtio_net (nic/b.bin and 1 more)",
        ),
        (
            Some("given"),
            "nic/b.bin",
            "given".to_owned(),
            "virtio_net (nic/a.bin and 1 more)",
        ),
    ] {
        let (_, stderr) = assert_done(&bench.build(&[("--firmware", given)]));
        let said = format!(
            "not in {directory}, so some cards of these modules may not work: {missing}\n{hint}"
        );
        assert!(stderr.contains(&said), "{stderr}");
        assert!(stderr.contains("1 file of firmware, "), "{stderr}");
        let files = files(&bench.path("loader.img"));
        let index = &files["lib/modules/6.1.0-test/modules.firmware"];
        assert_eq!(*index, format!("virtio_net: {found}\n").as_bytes());
        let firmware: Vec<&str> = files
            .keys()
            .filter_map(|name| name.strip_prefix("lib/firmware/"))
            .filter(|name| name.contains('.'))
            .collect();
        assert_eq!(firmware, [found]);
    }
}

#[test]
fn the_same_inputs_give_the_same_initramfs() {
    let bench = Bench::new();
    for compress in ["zstd", "none"] {
        let [one, two] = ["one", "two"].map(|out| {
            assert_done(&bench.build(&[("--out", Some(out)), ("--compress", Some(compress))]));
            fs::read(bench.path(out)).unwrap()
        });
        assert_eq!(one, two);
    }
    // Without SOURCE_DATE_EPOCH nothing of the clock is baked in, and still the bytes are the same.
    let [one, two] = ["one", "two"].map(|out| {
        let mut command = bench.command();
        command
            .env_remove("SOURCE_DATE_EPOCH")
            .args(["initramfs", "build"]);
        command.args([
            "--loader",
            "loader",
            "--policy",
            "policy.json",
            "--tls-roots",
            "ca.pem",
        ]);
        command.args(["--modules-dir", MODULES, "--compress", "none", "--out", out]);
        assert_done(&command.output().unwrap());
        fs::read(bench.path(out)).unwrap()
    });
    assert_eq!(one, two);
    let text = String::from_utf8_lossy(&one);
    assert!(!text.contains("build-time") && !text.contains("host.json"));
}

#[test]
fn the_kernels_own_window_holds_what_is_compressed() {
    let bench = Bench::new();
    // More than the window, so that the frame has to state one.
    let noise: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    let mut loader = fs::read(bench.path("loader")).unwrap();
    loader.extend_from_slice(&noise);
    bench.put("loader", &loader);
    assert_done(&bench.build(&[]));
    let image = fs::read(bench.path("loader.img")).unwrap();
    let mut decoder = zstd::Decoder::new(image.as_slice()).unwrap();
    decoder.window_log_max(23).unwrap();
    let mut archive = Vec::new();
    decoder.read_to_end(&mut archive).unwrap();
    assert!(archive.len() > noise.len());
}

#[test]
fn what_the_loader_would_refuse_is_not_baked_in() {
    let bench = Bench::new();
    bench.put("script", b"#!/bin/sh\n");
    bench.put("dynamic", &elf(3, 3));
    bench.put("object", &elf(1, 0));
    bench.put("other-program", &elf(3, 0));
    let server = rcgen::generate_simple_self_signed(["boot.example".to_owned()]).unwrap();
    bench.put("server.pem", server.cert.pem().as_bytes());
    bench.put(
        "bad-policy.json",
        POLICY
            .replace("\"threshold\": 1", "\"threshold\": 2")
            .as_bytes(),
    );
    bench.put("http.json", HOST.replace("https", "http").as_bytes());
    bench.put("other.json", HOST.replace("relay", "other").as_bytes());
    bench.put("bad-host.json", HOST.replace("dhcp", "magic").as_bytes());
    bench.put(
        "misspelt-policy.json",
        POLICY
            .replacen('{', "{\"dissk\": \"refuse\", ", 1)
            .as_bytes(),
    );
    bench.put(
        "misspelt-host.json",
        HOST.replacen('{', "{\"mirror_key\": [], ", 1).as_bytes(),
    );
    bench.put("no-roots.pem", b"nothing\n");
    bench.put(
        "bad-root.pem",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    bench.put(
        "encrypted.pem",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n",
    );
    bench.put("no-index/lib/modules/6.1.0-test/modules.builtin", b"");
    bench.put("loader.img", b"the one before");

    let loader_hint = "hint: give the sealboot-init that was built for the machines\n";
    let key_hint = "hint: everybody can read an initramfs: give a PEM file of certificates alone, and replace the key if the file has been anywhere public\n";
    let disk_hint = "hint: the loader runs from memory and touches no disk; an image that needs disks loads their drivers itself. Where the loader must have it all the same: --allow-disk-module virtio_blk\n";
    let base = bench.temporary.path().canonicalize().unwrap();
    let base = base.display();
    for (changes, expected) in [
        (
            ("--loader", "script"),
            format!("error: script cannot be the loader\n  caused by: it is no ELF file\n{loader_hint}"),
        ),
        (("--loader", "other-program"), format!("error: other-program is not the loader of Sealboot\n{loader_hint}")),
        (
            ("--tls-roots", "server.pem"),
            "error: certificate 1 in server.pem is not an authority's\nhint: give the certificate of the authority that issued the mirrors' certificates (ca.pem, where `sealboot tls generate` made them)\n".to_owned(),
        ),
        (("--loader", "object"), format!("error: object cannot be the loader: it is no program\n{loader_hint}")),
        (
            ("--loader", "dynamic"),
            "error: dynamic cannot be the loader: it is dynamically linked\nhint: an initramfs has no dynamic linker: build the loader with -C target-feature=+crt-static (`make build` does)\n".to_owned(),
        ),
        (
            ("--policy", "bad-policy.json"),
            "refused: bad-policy.json cannot be baked in\n  caused by: it contradicts itself: roles.root: \"2\" is not a threshold between 1 and the number of keys in its group\n  code: CONFIGURE-POLICY\nhint: check it with `sealboot policy check bad-policy.json`\n".to_owned(),
        ),
        (
            ("--policy", "misspelt-policy.json"),
            "error: misspelt-policy.json has dissk, which loaders of this version ignore\nhint: check it with `sealboot policy check misspelt-policy.json`; if a newer version wrote it, --unknown-fields bakes it in as it is\n".to_owned(),
        ),
        (
            ("--host-config", "misspelt-host.json"),
            "error: misspelt-host.json has mirror_key, which loaders of this version ignore\nhint: check it with `sealboot host-config check misspelt-host.json`; if a newer version wrote it, --unknown-fields bakes it in as it is\n".to_owned(),
        ),
        (
            ("--host-config", "bad-host.json"),
            "refused: bad-host.json cannot be baked in\n  caused by: field network.mode has a word that this version of sealboot does not know\n  caused by: unknown word: network.mode: \"magic\" is not one of static dhcp auto6 dhcp6 auto dhcp+dhcp6 at line 1 column 85\n  code: CONFIGURE-HOST-UPGRADE\nhint: build the initramfs again with a newer version of sealboot, or write the host config without the feature\n".to_owned(),
        ),
        (
            ("--host-config", "http.json"),
            "refused: mirror http://boot.example/ is plain http, which the trust policy does not allow\n  code: FETCH-PLAIN-HTTP\nhint: use an https mirror, or create the policy with --allow-http\n".to_owned(),
        ),
        (
            ("--host-config", "other.json"),
            "refused: the host config asks for image \"other\", which the trust policy does not accept\n  code: MANIFEST-NAME\nhint: the policy accepts relay, exit; correct `image` in the host config or `images` in the policy\n".to_owned(),
        ),
        (("--tls-roots", "ca-and-key.pem"), format!("error: ca-and-key.pem holds a private key\n{key_hint}")),
        (("--tls-roots", "encrypted.pem"), format!("error: encrypted.pem holds a private key\n{key_hint}")),
        (
            ("--tls-roots", "no-roots.pem"),
            "error: no-roots.pem holds no certificate\nhint: give the PEM file of the certificate authority that issued the mirrors' certificates\n".to_owned(),
        ),
        (
            ("--tls-roots", "bad-root.pem"),
            "error: certificate 1 in bad-root.pem cannot be used\n  caused by: invalid peer certificate: BadEncoding\nhint: export the certificate again, as PEM\n".to_owned(),
        ),
        (
            ("--modules-dir", "no-index/lib/modules/6.1.0-test"),
            format!("error: {base}/no-index/lib/modules/6.1.0-test has no modules.dep\nhint: run `depmod -b {base}/no-index 6.1.0-test` (Debian package kmod)\n"),
        ),
        (
            ("--module", "virtio_nte"),
            "error: kernel 6.1.0-test has no module \"virtio_nte\"\nhint: did you mean virtio_net?\n".to_owned(),
        ),
        (
            ("--module", "virtio_blk"),
            format!("error: module \"virtio_blk\" is refused: it is a driver of disks\n{disk_hint}"),
        ),
        (
            ("--firmware", "absent"),
            "error: cannot read absent\n  caused by: No such file or directory (os error 2)\nhint: give a directory such as /lib/firmware, or no --firmware where no card needs any\n".to_owned(),
        ),
        (
            ("--module", "arm"),
            "error: the loader is for x86_64, module \"arm\" is for aarch64\nhint: give a --modules-dir directory of a kernel for x86_64, or the loader for the kernel's architecture\n".to_owned(),
        ),
        (
            ("--out", "absent/loader.img"),
            "error: cannot write absent/loader.img\n  caused by: No such file or directory (os error 2)\n".to_owned(),
        ),
    ] {
        let (name, value) = changes;
        assert_failed(&bench.build(&[(name, Some(value))]), &expected);
        assert_eq!(fs::read(bench.path("loader.img")).unwrap(), b"the one before");
        let leftovers: Vec<_> = fs::read_dir(bench.temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert_eq!(leftovers, [""; 0]);
    }
}

#[test]
fn a_policy_that_stops_machines_is_not_baked_in() {
    let bench = Bench::new();
    let expired = POLICY.replace(
        r#""created": "2026-11-21T12:00:00Z","#,
        r#""created": "2020-01-01T12:00:00Z", "expires": "2020-02-01T12:00:00Z", "on_expiry": "refuse","#,
    );
    bench.put("expired.json", expired.as_bytes());
    let warns = expired.replace("refuse", "warn");
    bench.put("warns.json", warns.as_bytes());
    let unreachable = POLICY.replace(
        r#""ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a""#,
        r#""ml-dsa-65:AAAA""#,
    );
    bench.put("unreachable.json", unreachable.as_bytes());
    for (policy, expected) in [
        (
            "expired.json",
            "refused: expired.json cannot be baked in\n  caused by: version 1 of the trust policy expired at 2020-02-01T12:00:00Z, now is 2023-11-14T22:13:20Z\n  code: TRUST-EXPIRED\nhint: machines refuse every image under it: sign a next policy with a later date, which `sealboot policy create --from FILE --expires 365d` creates, and bake that one in\n",
        ),
        (
            "unreachable.json",
            "refused: unreachable.json cannot be baked in\n  caused by: the role that signs the trust policy needs keys of types that this version of sealboot does not know\n  code: TRUST-UPGRADE\nhint: give root as many ed25519 keys as its threshold, or use a newer version of sealboot, in the loaders too\n",
        ),
    ] {
        let output = bench.build(&[("--policy", Some(policy))]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
        assert_eq!(output.status.code(), Some(3));
        assert!(!bench.path("loader.img").exists());
    }
    assert_done(&bench.build(&[("--policy", Some("warns.json"))]));
}

#[test]
fn a_signed_policy_is_refused_with_the_plain_one_in_the_hint() {
    let bench = Bench::new();
    let envelope = r#"{"payload": "e30=", "payloadType": "application/vnd.sealboot.trust.v1+json", "signatures": []}"#;
    for (signed, plain, hint) in [
        (
            "my trust.signed.json",
            Some("my trust.json"),
            "--policy 'my trust.json'",
        ),
        (
            "other.signed.json",
            None,
            "the file that `sealboot policy create --out` wrote",
        ),
    ] {
        bench.put(signed, envelope.as_bytes());
        if let Some(plain) = plain {
            bench.put(plain, POLICY.as_bytes());
        }
        let output = bench.build(&[("--policy", Some(signed))]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let fact = format!(
            "error: {signed} is a signed trust policy, and a plain one is baked in\nhint: give the policy that was signed"
        );
        assert!(said.starts_with(&fact), "{said}");
        assert!(said.trim_end().ends_with(hint), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn a_host_config_is_baked_in_as_the_policy_takes_it() {
    let bench = Bench::new();
    let sealboot = |line: &str| {
        let output = bench.command().args(line.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    };
    for name in ["alice", "installer", "stranger"] {
        sealboot(&format!("key generate --out {name}"));
    }
    sealboot(
        "policy create --threshold 1 --key alice.pub --image relay --host-config-key installer.pub --require-signed-host-config --out signed-only.json",
    );
    bench.put("strange.json", HOST.as_bytes());
    sealboot("host-config sign --key installer.key host.json");
    sealboot("host-config sign --key stranger.key strange.json");
    bench.put("loader.img", b"the one before");
    for (policy, host, code) in [
        ("signed-only.json", "host.json", "CONFIGURE-HOST-UNSIGNED"),
        (
            "signed-only.json",
            "strange.signed.json",
            "CONFIGURE-HOST-THRESHOLD",
        ),
        ("policy.json", "host.signed.json", "CONFIGURE-HOST-ROLE"),
        ("signed-only.json", "store.json", "CONFIGURE-HOST-ENVELOPE"),
    ] {
        bench.put("store.json", br#"{"payloadType": "x"}"#);
        let output = bench.build(&[("--policy", Some(policy)), ("--host-config", Some(host))]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        let first = format!("refused: {host} cannot be baked in with this trust policy: ");
        assert!(said.starts_with(&first), "{said}");
        assert!(
            said.contains(&format!("\n  code: {code}\nhint: ")),
            "{said}"
        );
        assert_eq!(
            fs::read(bench.path("loader.img")).unwrap(),
            b"the one before"
        );
    }
    let build = [
        ("--policy", Some("signed-only.json")),
        ("--host-config", Some("host.signed.json")),
    ];
    assert_done(&bench.build(&build));
    let files = files(&bench.path("loader.img"));
    let signed = fs::read(bench.path("host.signed.json")).unwrap();
    assert_eq!(files["etc/sealboot/host.json"], signed);
}

/// The trust policy of the bench, with these rules after a failure.
fn policy_with(rules: &str) -> String {
    let end = POLICY.rfind('}').unwrap();
    format!("{}, \"on_failure\": {{{rules}}}}}", &POLICY[..end])
}

#[test]
fn a_fallback_and_a_shell_are_baked_in_where_the_policy_and_the_builder_agree() {
    let bench = Bench::new();
    bench.put("shell", &elf(3, 0));
    let rules = r#""final_action": "fallback", "shell": true"#;
    bench.put("both.json", policy_with(rules).as_bytes());
    let given = [
        ("--fallback-kernel", Some("vmlinuz")),
        ("--fallback-initrd", Some("initrd.zst")),
        ("--fallback-cmdline", Some("console=ttyS0 quiet")),
        ("--shell", Some("shell")),
    ];
    let with_policy = [&given[..], &[("--policy", Some("both.json"))]].concat();
    let (_, stderr) = assert_done(&bench.build(&with_policy));
    assert!(!stderr.contains("warning"), "{stderr}");
    let sizes = ["vmlinuz", "initrd.zst"].map(|name| fs::read(bench.path(name)).unwrap().len());
    let told = format!("a fallback of {} bytes\n", sizes[0] + sizes[1]);
    assert!(stderr.contains(&told), "{stderr}");
    let files = files(&bench.path("loader.img"));
    for (path, source) in [
        ("etc/sealboot/fallback/vmlinuz", "vmlinuz"),
        ("etc/sealboot/fallback/initrd", "initrd.zst"),
        ("bin/sh", "shell"),
    ] {
        assert_eq!(files[path], fs::read(bench.path(source)).unwrap(), "{path}");
    }
    assert_eq!(
        files["etc/sealboot/fallback/cmdline"],
        b"console=ttyS0 quiet\n"
    );
    let sums: String = ["vmlinuz", "initrd", "cmdline"]
        .map(|name| {
            let bytes = &files[format!("etc/sealboot/fallback/{name}").as_str()];
            format!("{}  {name}\n", Sha256Digest::of(bytes))
        })
        .concat();
    assert_eq!(files["etc/sealboot/fallback/SHA256SUMS"], sums.into_bytes());

    // A policy that does not enter a fallback is no mistake that stops anything, but somebody made it.
    let (_, stderr) = assert_done(&bench.build(&given[..3]));
    let warning = "warning: the trust policy never enters the fallback: create it with --final-action fallback\n";
    assert!(stderr.contains(warning), "{stderr}");
}

#[test]
fn a_shell_that_the_policy_forbids_is_not_baked_in() {
    let bench = Bench::new();
    bench.put("shell", &elf(3, 0));
    bench.put("loader.img", b"the one before");
    let expected = "refused: the trust policy allows no shell\nhint: leave --shell out, or create the policy with --allow-shell: a kernel command line with rdinit=/bin/sh starts a shell that is baked in, whatever the policy says\n";
    assert_failed(&bench.build(&[("--shell", Some("shell"))]), expected);
    assert_eq!(
        fs::read(bench.path("loader.img")).unwrap(),
        b"the one before"
    );
}

/// The built-in modules of a kernel, and what `initramfs build` says of them.
fn said_of_builtin(builtin: &str) -> String {
    let bench = Bench::new();
    bench.put(&format!("{MODULES}/modules.builtin"), builtin.as_bytes());
    assert_done(&bench.build(&[])).1
}

#[test]
fn built_in_drivers_of_disks_are_named_with_their_line() {
    let stderr = said_of_builtin(
        "kernel/drivers/nvme/host/nvme-core.ko\nkernel/drivers/nvme/host/nvme.ko\n\
         kernel/drivers/ata/libata.ko\nkernel/drivers/ata/ahci.ko\n\
         kernel/drivers/scsi/sd_mod.ko\nkernel/drivers/usb/storage/usb-storage.ko\n\
         kernel/drivers/block/virtio_blk.ko\nkernel/drivers/mmc/core/mmc_block.ko\n\
         kernel/drivers/block/loop.ko\nkernel/block/bsg.ko\n\
         kernel/fs/ext4/ext4.ko\nkernel/fs/fat/vfat.ko\nkernel/fs/nls/nls_base.ko\n",
    );
    let warning = "\
warning: kernel 6.1.0-test has drivers of disks built in: ahci, mmc_block, nvme, sd_mod, usb_storage, virtio_blk; it reads the disks of a machine before the loader runs
hint: add this to the kernel command line of the machines, and of images with this kernel; or take a kernel that has these drivers as modules
  initcall_blacklist=ahci_pci_driver_init,mmc_blk_init,nvme_init,init_sd,usb_storage_driver_init,virtio_blk_init
warning: an attacker who controls the kernel command line can leave that out and start another OS from a disk (root=, built-in file systems: ext4, vfat); no initramfs can stop that
";
    assert!(stderr.contains(warning), "{stderr}");
}

#[test]
fn a_built_in_driver_of_disks_that_is_not_known_is_named_too() {
    let stderr =
        said_of_builtin("kernel/drivers/ata/ahci_new.ko\nkernel/drivers/nvme/host/nvme.ko\n");
    for said in [
        "has drivers of disks built in: ahci_new, nvme; it reads",
        "\n  initcall_blacklist=nvme_init\n",
        "\nwarning: no init function is known of ahci_new: the line above does not disable it\n",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
}

#[test]
fn a_kernel_with_its_drivers_of_disks_as_modules_needs_no_line() {
    let stderr =
        said_of_builtin("kernel/block/bsg.ko\nkernel/drivers/dax/dax.ko\nkernel/fs/fuse/fuse.ko\n");
    assert!(!stderr.contains("disks"), "{stderr}");
    assert!(!stderr.contains("initcall_blacklist"), "{stderr}");
}

#[test]
fn a_fallback_or_a_shell_that_could_not_run_is_not_baked_in() {
    let bench = Bench::new();
    bench.put("dynamic", &elf(3, 3));
    bench.put("object", &elf(1, 0));
    let mut arm = elf(3, 0);
    arm[18] = 183;
    bench.put("arm", &arm);
    bench.put("empty", b"");
    bench.put("noise", &[0x5a; 4096]);
    let full_line = "x".repeat(2047);
    bench.put(
        "fallback.json",
        policy_with(r#""final_action": "fallback""#).as_bytes(),
    );
    bench.put("loader.img", b"the one before");
    let kernel_hint = "hint: give a kernel that kexec can enter on these machines\n";
    let rules = r#""shell": true"#;
    bench.put("shell.json", policy_with(rules).as_bytes());
    let shell_hint = "hint: give a static program that is a shell when it is called sh: Debian's package busybox-static has one, /bin/busybox\n";
    let fallback = |kernel| {
        vec![
            ("--fallback-kernel", Some(kernel)),
            ("--fallback-initrd", Some("initrd.zst")),
        ]
    };
    for (changes, expected) in [
        (
            vec![("--policy", Some("fallback.json"))],
            "error: the trust policy has the fallback as its final action, and none is given\nhint: give --fallback-kernel and --fallback-initrd, or create the policy with --final-action reboot\n".to_owned(),
        ),
        (
            fallback("os-release"),
            format!("error: os-release cannot be the fallback's kernel\n  caused by: it is neither an x86 bzImage nor an arm64 Image\n{kernel_hint}"),
        ),
        (
            fallback("absent"),
            "error: cannot read absent\n  caused by: No such file or directory (os error 2)\n".to_owned(),
        ),
        (
            vec![("--fallback-kernel", Some("vmlinuz")), ("--fallback-initrd", Some("empty"))],
            "error: empty cannot be the fallback's initrd\n  caused by: it holds no archive\nhint: give a cpio archive, plain or compressed\n".to_owned(),
        ),
        (
            vec![("--fallback-kernel", Some("vmlinuz")), ("--fallback-initrd", Some("noise"))],
            "error: noise cannot be the fallback's initrd\n  caused by: what starts at byte 0 is nothing that the kernel unpacks\nhint: give a cpio archive, plain or compressed\n".to_owned(),
        ),
        (
            [fallback("vmlinuz"), vec![("--fallback-cmdline", Some(full_line.as_str()))]].concat(),
            "error: the fallback's command line has 2047 characters, the loader adds up to 41, and a kernel takes 2047\nhint: make it shorter, so that the fallback learns why it runs\n".to_owned(),
        ),
        (
            vec![("--policy", Some("shell.json")), ("--shell", Some("os-release"))],
            format!("error: os-release cannot be the shell\n  caused by: it is no ELF file\n{shell_hint}"),
        ),
        (
            vec![("--policy", Some("shell.json")), ("--shell", Some("dynamic"))],
            format!("error: dynamic cannot be the shell: it is dynamically linked\n{shell_hint}"),
        ),
        (
            vec![("--policy", Some("shell.json")), ("--shell", Some("object"))],
            format!("error: object cannot be the shell: it is no program\n{shell_hint}"),
        ),
        (
            vec![("--policy", Some("shell.json")), ("--shell", Some("arm"))],
            format!("error: arm cannot be the shell: it is for another architecture than the loader\n{shell_hint}"),
        ),
    ] {
        assert_failed(&bench.build(&changes), &expected);
        assert_eq!(fs::read(bench.path("loader.img")).unwrap(), b"the one before");
    }
}
