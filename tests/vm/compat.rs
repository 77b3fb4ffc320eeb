//! A machine boots from what a later version wrote, with every extension point of v1 in use.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use sealboot::vm::HOST_ADDRESS;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};
use support::world::extended::{self, NEWER_FRESHNESS, NEWER_MANIFEST};
use support::world::put;
use support::world::trust::{configured_by, freshness_of, versioned};

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

#[tokio::test]
async fn store_that_uses_every_extension_point_boots() {
    let lab = Lab::get();
    let store = Store::published();
    let server = Server::start(&store).await;
    let people = [lab.key("alice"), lab.key("bob")];

    // The baked-in policy and its successor, whose roles name keys of an unknown type.
    let fresh = TrustPolicy::parse(&fs::read(lab.path("fresh.json")).unwrap()).unwrap();
    let first = configured_by(fresh, &lab.key("dora"), true);
    let policy = store.desk().join("extended.json");
    put(&policy, &extended::policy(&first));
    let second = extended::policy(&versioned(&first, 2));
    let second = extended::envelope(TrustPolicy::PAYLOAD_TYPE, second, &people);
    put(
        &store.path().join("trust/2.json"),
        &extended::encode(&second),
    );

    // A release and its statement, each after one of an unknown payload type.
    let published = fs::read(store.path().join(format!("images/{IMAGE}/10/x86_64.json"))).unwrap();
    let published = Envelope::parse(&published).unwrap();
    let manifest = Manifest::parse(published.unverified_payload()).unwrap();
    let payload = extended::manifest(&manifest);
    let newer = extended::newer_manifest(&manifest);
    let releases = [
        extended::envelope(NEWER_MANIFEST, newer, &people),
        extended::envelope(Manifest::PAYLOAD_TYPE, payload.clone(), &people),
    ];
    let created = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let statement = Freshness {
        expires: created + SignedDuration::from_hours(24),
        ..freshness_of(&[&manifest], 2, created)
    };
    let statement = extended::freshness(&statement, &[payload]);
    let renewer = [lab.key("clockwork")];
    let statements = [
        extended::envelope(NEWER_FRESHNESS, statement.clone(), &renewer),
        extended::envelope(Freshness::PAYLOAD_TYPE, statement, &renewer),
    ];
    put(&store.newest(), &extended::channel(&releases, &statements));

    let host = format!(
        r#"{{"created": "{created}", "for": ["serial:CZ1234"], "image": "{IMAGE}",
        "mirrors": ["https://{HOST_ADDRESS}:{}/"], "network": {{"mode": "dhcp"}}}}"#,
        server.port
    );
    let host = extended::host_config(host.as_bytes());
    let host = extended::envelope(HostConfig::PAYLOAD_TYPE, host, &[lab.key("dora")]);
    let host_config = store.desk().join("host.signed.json");
    put(&host_config, &extended::encode(&host));

    let out = store.desk().join("extended.initramfs");
    let roots = lab.path("tls/ca.pem");
    let [policy, host_config, out_path, loader, modules, roots] = [
        &policy,
        &host_config,
        &out,
        &lab.loader,
        &lab.modules,
        &roots,
    ]
    .map(|path| path.to_str().unwrap());
    #[rustfmt::skip]
    lab.run(store.desk(), [
        "initramfs", "build", "--loader", loader, "--policy", policy, "--host-config", host_config,
        "--tls-roots", roots, "--modules-dir", modules, "--out", out_path, "--unknown-fields",
    ]);
    let options = Options {
        initramfs: Some(out),
        smbios: vec!["type=1,serial=CZ1234".to_owned()],
        ..Options::default()
    };
    let console = Machine::boot_by_itself(options).await.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(
        console.contains(" host=signed signers=installer "),
        "{console}"
    );
    assert!(console.contains(" trust=2 "), "{console}");
    assert!(console.contains(", current until "), "{console}");
}
