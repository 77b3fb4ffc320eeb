//! Publishes an image, renews its freshness statement and hands on the trust, without a terminal.
//!
//! `cargo run -p sealboot-store --example publish`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use sealboot_store::{Notice, Older, Published, Release, Renewal, Renewer, Start, Step, Store};
use support::world::trust::{seal_policy, versioned};
use support::world::{self, alice, bob, clockwork};

fn main() -> Result<(), Box<dyn Error>> {
    // Keys, the policy that machines have, and two stores: one that they fetch from, one with a release to publish.
    let desk = tempfile::tempdir()?;
    world::build_world(desk.path());
    let (baked_in, second) = (desk.path().join("fresh.json"), desk.path().join("2.json"));
    let store = Store::open(&desk.path().join("store"))?;
    let now = "2026-01-02T12:00:00Z".parse()?;
    let mut say = |notice: Notice| println!("{notice}");

    let renewal = Renewal::new(vec![Box::new(clockwork())], None);
    let state = desk.path().join("renewer.json");
    let mut renewer = Renewer::new(renewal, &baked_in, store.clone(), &state, Start::Init)?;
    let mut turn = renewer.turn(now, &mut say)?;
    let policy = turn.policy().clone();
    let envelope = desk.path().join("staging/images/relay/43/x86_64.json");
    let release = Release::read(&envelope, &policy, now)?;
    store.publish(&release, Older::Refuse, None, &mut say, &mut |_| {})?;
    let image = &release.manifest().as_ref().name;
    let (channel, freshness) = turn.renew(image, &mut say)?;
    println!("{}: {freshness:?}", channel.display());
    drop(turn);

    let next = versioned(&policy, 2);
    std::fs::write(&second, seal_policy(&next, &[&alice(), &bob()]))?;
    if let Step::Next(next) = store.prepare_policy(&baked_in, &second, now)? {
        next.stops().iter().for_each(|stop| println!("{stop}"));
        let (Published::Now(path) | Published::Before(path)) = next.publish(&[])?;
        println!("{}", path.display());
    }
    Ok(())
}

#[test]
fn the_example_runs() {
    main().unwrap_or_else(|error| panic!("{error}"));
}
