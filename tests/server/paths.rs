//! No path leads out of the store, and none to what is no file of a store.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use support::server::{BLOB, Lab};

const SECRET: &str = "what is outside the store";

#[test]
fn spelling_the_way_out_leads_nowhere() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    fs::write(lab.path("secret.json"), SECRET).unwrap();
    fs::write(lab.path("store/secret.json"), SECRET).unwrap();
    let server = lab.serve(&[]);
    for path in [
        "",
        "/",
        ".",
        "..",
        "../secret.json",
        "images/../../secret.json",
        "images/relay/../../../secret.json",
        "../store/images/relay.json",
        "./images/relay.json",
        "/images/relay.json",
        "images//relay.json",
        "images/./relay.json",
        "images/x/../relay.json",
        "%2e%2e/secret.json",
        "..%2fsecret.json",
        "images/..%2f..%2fsecret.json",
        "images%2frelay.json",
        "images/%2e%2e/%2e%2e/secret.json",
        "images/%252e%252e/secret.json",
        "images/..%c0%afsecret.json",
        "images/..%5c..%5csecret.json",
        "images\\relay.json",
        "images/..\\..\\secret.json",
        "images/relay.json%00",
        "images/relay%00.json",
        "images/relay.json/",
        "images/relay.json%20",
        "images/relay.json;x",
        "images/Relay.json",
        "secret.json",
        "etc/passwd",
        "images",
        "images/",
        "images/relay",
        "images/relay/",
        "blobs/",
        "file:///etc/passwd",
    ] {
        let got = lab.fetch(&server, path, &[]);
        assert_eq!(got.status, 404, "{path:?}");
        assert_eq!(got.body, b"404 Not Found\n", "{path:?}");
        assert_eq!(got.header("cache-control"), "no-store");
        assert_eq!(got.header("etag"), "");
    }
    assert_eq!(lab.fetch(&server, "images/relay.json", &[]).status, 200);
}

#[test]
fn a_request_target_that_is_no_path_leads_nowhere() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    for (target, status) in [
        ("*", 404),
        ("https://elsewhere.example/etc/passwd", 404),
        ("https://elsewhere.example/images/relay.json", 200),
        ("/images/relay.json#x", 200),
        ("images/relay.json", 400),
        ("/images/relay .json", 400),
        ("../images/relay.json", 400),
    ] {
        let got = lab.fetch(&server, "", &["--request-target", target]);
        assert_eq!(got.status, status, "{target}");
    }
}

#[test]
fn what_is_no_regular_file_in_the_store_does_not_exist() {
    let lab = Lab::new();
    fs::write(lab.path("secret.json"), SECRET).unwrap();
    lab.put("images/real.json", b"{}");
    let images = lab.store().join("images");
    symlink(lab.path("secret.json"), images.join("absolute.json")).unwrap();
    symlink("../../secret.json", images.join("relative.json")).unwrap();
    symlink("/proc/self/environ", images.join("magic.json")).unwrap();
    symlink("loop.json", images.join("loop.json")).unwrap();
    symlink("circle-b.json", images.join("circle-a.json")).unwrap();
    symlink("circle-a.json", images.join("circle-b.json")).unwrap();
    symlink("absent.json", images.join("dangling.json")).unwrap();
    symlink("/dev/zero", images.join("device.json")).unwrap();
    symlink(lab.path(""), images.join("tree")).unwrap();
    symlink("real.json", images.join("inside.json")).unwrap();
    fs::create_dir(lab.path("1")).unwrap();
    fs::write(lab.path("1/x86_64.json"), SECRET).unwrap();
    fs::create_dir(images.join("directory.json")).unwrap();
    mkfifo(&images.join("fifo.json"), Mode::S_IRWXU).unwrap();
    mkfifo(&lab.store().join(BLOB), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(images.join("socket.json")).unwrap();
    lab.put("images/.hidden.json", SECRET.as_bytes());
    lab.put("images/.sealboot-Ab3dE6", SECRET.as_bytes());
    lab.put("images/real.json.tmp", SECRET.as_bytes());
    lab.put("images/real.json~", SECRET.as_bytes());
    lab.put("blobs/other.tar", SECRET.as_bytes());

    let server = lab.serve(&[]);
    for path in [
        "images/absolute.json",
        "images/relative.json",
        "images/magic.json",
        "images/loop.json",
        "images/circle-a.json",
        "images/dangling.json",
        "images/device.json",
        "images/tree/1/x86_64.json",
        "images/directory.json",
        "images/fifo.json",
        BLOB,
        "images/socket.json",
        "images/.hidden.json",
        "images/.sealboot-Ab3dE6",
        "images/real.json.tmp",
        "images/real.json~",
        "blobs/other.tar",
        "images/real.json/1/x86_64.json",
    ] {
        let got = lab.fetch(&server, path, &[]);
        assert_eq!(got.status, 404, "{path}");
        assert_eq!(got.body, b"404 Not Found\n", "{path}");
    }
    // A link that stays inside is as good as the file.
    for path in ["images/real.json", "images/inside.json"] {
        assert_eq!(lab.fetch(&server, path, &[]).body, b"{}", "{path}");
    }
}

#[test]
fn what_cannot_be_sent_is_told_to_the_operator_and_not_to_the_client() {
    let lab = Lab::new();
    lab.put("images/huge.json", &vec![b' '; (1 << 20) + 1]);
    lab.put("images/large.json", &vec![b' '; 1 << 20]);
    let server = lab.serve(&[]);
    assert_eq!(lab.fetch(&server, "images/large.json", &[]).status, 200);
    let got = lab.fetch(&server, "images/huge.json", &[]);
    assert_eq!(got.status, 500);
    assert_eq!(got.body, b"500 Internal Server Error\n");
    let said = server.stderr();
    assert!(
        said.ends_with(
            "WARN cannot send images/huge.json: it has 1048577 bytes, \
             and no loader reads a channel of more than 1048576\n"
        ),
        "{said}"
    );
}
