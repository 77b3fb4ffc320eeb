//! The loader's way from a mirror into memory, as a process of its own: stages `manifest` and `image` as
//! a boot runs them, for `make bench` to hold against other programs.
//!
//! `fetch-path TRUST.json CA.pem IMAGE DIRECTORY MIRROR…`; DIRECTORY is empty, in a tmpfs, and then holds the files.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark whose set-up fails measures nothing, and its result goes to stdout"
)]

use std::path::Path;
use std::{env, fs};

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::trust::{Presented, TrustPolicy};
use sealboot_init::boot::stages::image::fetch_and_unpack;
use sealboot_init::boot::stages::manifest;
use sealboot_init::boot::{InForce, LOADER};
use sealboot_init::fetch::{Client, Patience, Reputation};
use sealboot_init::net::Resolver;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [policy, roots, image, directory, mirrors @ ..] = &words[..] else {
        panic!("fetch-path TRUST.json CA.pem IMAGE DIRECTORY MIRROR…");
    };
    let policy = TrustPolicy::parse(&fs::read(policy).unwrap()).unwrap();
    let mut chain = InForce::new(policy, &LOADER);
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(roots).unwrap() {
        store.add(certificate.unwrap()).unwrap();
    }
    let line = format!(
        "sealboot.image={image} sealboot.mirror={} ip=dhcp",
        mirrors[0]
    );
    let presented = Presented {
        stored: None,
        cmdline: Parameters::parse(&line),
        machine: None,
    };
    let image = image.parse().unwrap();
    let mirrors: Vec<MirrorUrl> = mirrors.iter().map(|url| url.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = Client::new(store, Resolver::new(&[], &[]), &LOADER.heartbeat).unwrap();
    let received = runtime.block_on(async {
        let mut reputation = Reputation::default();
        let accepted = manifest::run(
            &image,
            &mirrors,
            &presented,
            &mut chain,
            &client,
            &mut reputation,
            &mut Timestamp::now().into(),
        )
        .await
        .unwrap()
        .into_value();
        let directory = Path::new(directory);
        fetch_and_unpack(
            &accepted,
            &client,
            &mirrors,
            &mut reputation,
            Patience::DEFAULT,
            directory,
        )
        .await
        .unwrap()
        .received
    });
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    println!("received {received} {peak}");
}
