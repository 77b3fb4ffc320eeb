//! Images and machines that must not boot: each test is an attack or a mistake, and names the code.

use std::fs;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sealboot::cpio::Tree;
use sealboot_core::format::digest::Sha256Digest;
use serde_json::{Value, json};

use crate::lab::{IMAGE, Lab, MIN_VERSION, VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Serves the store to a machine and expects a refusal.
async fn refuses(store: &Store, stage: &str, code: &str) -> String {
    let server = Server::start(store).await;
    Machine::boot(server.port).await.refuses(stage, code).await
}

#[tokio::test]
async fn one_signature_short() {
    let store = Store::serving(IMAGE, VERSION, &["alice"]);
    refuses(&store, "manifest", "MANIFEST-THRESHOLD").await;
}

#[tokio::test]
async fn a_second_signature_by_nobody_that_is_trusted() {
    let store = Store::serving(IMAGE, VERSION, &["alice", "mallory"]);
    refuses(&store, "manifest", "MANIFEST-THRESHOLD").await;
}

#[tokio::test]
async fn the_same_key_twice_under_two_names() {
    let store = Store::serving(IMAGE, VERSION, &["alice"]);
    let mut envelope: Value = serde_json::from_slice(&fs::read(store.newest()).unwrap()).unwrap();
    let signatures = envelope["releases"][0]["manifest"]["signatures"]
        .as_array_mut()
        .unwrap();
    let mut again = signatures[0].clone();
    again["keyid"] = json!("0123456789abcdef");
    signatures.push(again);
    fs::write(store.newest(), envelope.to_string()).unwrap();
    refuses(&store, "manifest", "MANIFEST-THRESHOLD").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_first_chunk() {
    let store = Store::published();
    store.flip(|_| 0);
    refuses(&store, "image", "IMAGE-CHUNK").await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_middle_chunk() {
    let store = Store::published();
    store.flip(|size| size / 2);
    refuses(&store, "image", "IMAGE-CHUNK").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_chunk() {
    let store = Store::published();
    store.flip(|size| size - 1);
    refuses(&store, "image", "IMAGE-CHUNK").await;
}

#[tokio::test]
async fn a_truncated_archive() {
    let store = Store::published();
    let archive = store.archive();
    let size = fs::metadata(&archive).unwrap().len();
    fs::File::options()
        .write(true)
        .open(archive)
        .unwrap()
        .set_len(size - 1000)
        .unwrap();
    refuses(&store, "image", "FETCH-TRUNCATED").await;
}

#[tokio::test]
async fn an_expired_manifest() {
    let store = Store::published();
    let server = Server::start(&store).await;
    // The lab's images live for 60 days.
    let later = SystemTime::now() + Duration::from_hours(61 * 24);
    let options = Options {
        clock: Some(Timestamp::try_from(later).unwrap()),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    machine.refuses("manifest", "MANIFEST-EXPIRED").await;
}

#[tokio::test]
async fn a_version_below_the_policys_floor() {
    let store = Store::serving(IMAGE, MIN_VERSION - 1, &["alice", "bob"]);
    refuses(&store, "manifest", "MANIFEST-ROLLBACK").await;
}

#[tokio::test]
async fn another_image_under_this_ones_name() {
    let store = Store::serving("other", VERSION, &["alice", "bob"]);
    refuses(&store, "manifest", "MANIFEST-NAME").await;
}

#[tokio::test]
async fn a_mirror_whose_certificate_comes_from_an_unknown_authority() {
    let store = Store::published();
    let server = Server::start_at(&store, 0, "other-tls").await;
    let machine = Machine::boot(server.port).await;
    machine.refuses("manifest", "FETCH-TLS-ROOTS").await;
}

#[tokio::test]
async fn a_policy_that_does_not_parse() {
    let lab = Lab::get();
    let directory = tempfile::tempdir().unwrap();
    let initramfs = directory.path().join("initramfs");
    // The kernel unpacks one archive after the other, and a later file replaces an earlier one.
    let mut bytes = fs::read(lab.initramfs()).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let policy = fs::read(lab.path("trust.json")).unwrap();
    bytes.extend(overlay(
        "etc/sealboot/trust.json",
        &policy[..policy.len() / 2],
    ));
    fs::write(&initramfs, bytes).unwrap();

    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(initramfs),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    machine.refuses("configure", "CONFIGURE-POLICY").await;
}

/// An archive of one file.
fn overlay(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.file(path, 0o644, bytes.len() as u64, bytes).unwrap();
    tree.write(Vec::new(), 0).unwrap()
}

#[tokio::test]
async fn a_mirror_that_lacks_the_image() {
    let store = Store::empty();
    refuses(&store, "manifest", "FETCH-STATUS").await;
}

#[tokio::test]
async fn a_signed_manifest_whose_archive_belongs_to_another() {
    // The names fit and the bytes do not: a mirror that swaps blobs.
    let store = Store::published();
    let archive = store.archive();
    let other = Sha256Digest::of(b"other").as_bytes().repeat(1 << 16);
    let size = usize::try_from(fs::metadata(&archive).unwrap().len()).unwrap();
    let bytes: Vec<u8> = other.iter().copied().cycle().take(size).collect();
    fs::write(&archive, bytes).unwrap();
    refuses(&store, "image", "IMAGE-CHUNK").await;
}

#[tokio::test]
async fn a_machine_with_too_little_memory_is_told_before_it_downloads() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        memory: Some(128),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.refuses("image", "IMAGE-MEMORY").await;
    assert!(
        console.contains("of free memory, this machine has"),
        "{console}"
    );
    assert!(!console.contains(" MB from "), "{console}");
}
