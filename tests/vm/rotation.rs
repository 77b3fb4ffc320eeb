//! Keys that change under machines whose initramfs never does.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::boots::{assert_every_stage_passed, publish_freshly};
use crate::lab::{IMAGE, Lab, VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// Makes the policy that follows `old`, with these keys, has these sign it, and gives its envelope.
fn next_policy(store: &Store, old: &str, keys: &[&str], signers: &[&str]) -> String {
    let lab = Lab::get();
    let path = |name: String| lab.path(&name).to_str().unwrap().to_owned();
    let old = path(old.to_owned());
    let keys: Vec<String> = keys
        .iter()
        .map(|name| path(format!("keys/{name}.pub")))
        .collect();
    let mut words = vec!["policy", "create", "--from", &old, "--out", "next.json"];
    for key in &keys {
        words.extend(["--key", key]);
    }
    lab.run_all(store.desk(), &[], &words);
    let mut envelope = String::new();
    for signer in signers {
        let key: PathBuf = lab.path(&format!("keys/{signer}.key"));
        let key = key.to_str().unwrap();
        envelope = lab.run(store.desk(), ["policy", "sign", "--key", key, "next.json"]);
    }
    envelope.trim_end().to_owned()
}

fn publish_policy(store: &Store, baked_in: &str, envelope: &str) {
    let lab = Lab::get();
    let baked_in = lab.path(baked_in);
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "policy", "publish", "--policy", baked_in.to_str().unwrap(), "--store", "store", envelope,
    ]);
}

/// A store whose policy went from alice and bob to bob and carol.
fn rotated() -> Store {
    let store = Store::empty();
    let next = next_policy(
        &store,
        "trust.json",
        &["bob", "carol"],
        &["alice", "bob", "carol"],
    );
    publish_policy(&store, "trust.json", &next);
    store
}

#[tokio::test]
async fn an_initramfs_that_only_ever_saw_alice_and_bob_boots_what_bob_and_carol_signed() {
    let lab = Lab::get();
    let store = rotated();
    let envelope = lab.pack(lab.directory(), store.desk(), IMAGE, VERSION);
    for signer in ["bob", "carol"] {
        lab.sign(lab.directory(), &envelope, signer, store.desk());
    }
    let baked_in = lab.path("trust.json");
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "image", "publish", "--policy", baked_in.to_str().unwrap(), "--store", "store",
        envelope.to_str().unwrap(),
    ]);
    let server = Server::start(&store).await;
    let console = Machine::boot(server.port).await.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(
        console.contains("shows version 2 of the trust policy"),
        "{console}"
    );
    assert!(console.contains("signed by bob and carol"), "{console}");
    assert!(
        console.contains("by version 2 of the trust policy"),
        "{console}"
    );
}

#[tokio::test]
async fn after_the_rotation_what_alice_and_bob_signed_is_refused() {
    let store = rotated();
    let manifest = store.sign(IMAGE, VERSION, Timestamp::now(), &["alice", "bob"]);
    store.show(&manifest, None);
    let server = Server::start(&store).await;
    let machine = Machine::boot(server.port).await;
    let console = machine.refuses("manifest", "MANIFEST-THRESHOLD").await;
    assert!(console.contains("1 of 2 required signatures"), "{console}");
}

#[tokio::test]
async fn a_lost_key_of_a_threshold_of_two_is_replaced_without_touching_an_initramfs() {
    // Of alice, bob and carol, two must sign. Alice's key is lost; dora joins.
    let lab = Lab::get();
    let store = Store::empty();
    let next = next_policy(
        &store,
        "fresh.json",
        &["bob", "carol", "dora"],
        &["bob", "carol"],
    );
    publish_policy(&store, "fresh.json", &next);
    let envelope = lab.pack(lab.directory(), store.desk(), IMAGE, VERSION);
    for signer in ["carol", "dora"] {
        lab.sign(lab.directory(), &envelope, signer, store.desk());
    }
    publish_freshly(&store, envelope.to_str().unwrap());
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(lab.fresh_initramfs()),
        ..Options::default()
    };
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(console.contains("signed by carol and dora"), "{console}");
}

#[tokio::test]
async fn a_policy_that_the_new_keys_alone_have_signed() {
    // Whoever holds the store, and two keys of his own, hands himself the fleet: so he would like.
    let store = Store::empty();
    let next = next_policy(
        &store,
        "trust.json",
        &["mallory", "dora"],
        &["mallory", "dora"],
    );
    let trust = store.path().join("trust");
    std::fs::create_dir_all(&trust).unwrap();
    std::fs::copy(store.desk().join(next), trust.join("2.json")).unwrap();
    let manifest = store.sign(IMAGE, VERSION, Timestamp::now(), &["mallory", "dora"]);
    store.show(&manifest, None);
    let server = Server::start(&store).await;
    let machine = Machine::boot(server.port).await;
    machine.refuses("manifest", "TRUST-THRESHOLD").await;
}
