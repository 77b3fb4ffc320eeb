//! Fetching over real TLS sockets, from servers that misbehave in one way each.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod certificates;
mod one_mirror;
mod server;
mod several_mirrors;
mod small_files;

use std::time::Duration;

use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::{Encoding, Manifest};
use sealboot_init::boot::LOADER;
use sealboot_init::boot::stages::image::{ImageError, fetch_and_unpack};
use sealboot_init::boot::stages::manifest::Accepted;
use sealboot_init::fetch::{Client, Fetched, Patience, Reputation};
use server::{Authority, Certificate, Fault, Server};
use support::world::archives::{Files, current, image};
use support::world::mirror::NoNames;

/// Long enough to see a retry, short enough for a test.
const PATIENCE: Patience = Patience {
    give_up: Duration::from_secs(2),
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(100),
    longest_retry_after: Duration::from_secs(5),
    stall: Duration::from_millis(1_000),
    lively: Duration::from_millis(400),
    slow_after: Duration::from_millis(500),
    slow_bytes: 200_000,
    measure: Duration::from_millis(300),
};

struct Boot {
    result: Result<Fetched, ImageError>,
    reputation: Reputation,
    directory: tempfile::TempDir,
}

impl Boot {
    async fn from(authority: &Authority, mirrors: &[MirrorUrl], manifest: &Manifest) -> Self {
        let client = Client::new(authority.roots.clone(), NoNames, &LOADER.heartbeat).unwrap();
        let accepted = Accepted {
            current: current(manifest),
            mirror: mirrors[0].clone(),
        };
        let directory = tempfile::tempdir().unwrap();
        let mut reputation = Reputation::default();
        let result = fetch_and_unpack(
            &accepted,
            &client,
            mirrors,
            &mut reputation,
            PATIENCE,
            directory.path(),
        )
        .await;
        Self {
            result,
            reputation,
            directory,
        }
    }

    fn code(&self) -> FailureCode {
        self.result
            .as_ref()
            .expect_err("the boot should have failed")
            .code()
    }

    fn assert_whole(&self, files: &[(&str, Vec<u8>)]) -> &Fetched {
        let fetched = self
            .result
            .as_ref()
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(
            std::fs::read(self.directory.path().join("vmlinuz")).unwrap(),
            files[0].1
        );
        // The second initrd starts at a multiple of four.
        let mut initrd = files[1].1.clone();
        initrd.resize(initrd.len().next_multiple_of(4), 0);
        initrd.extend_from_slice(&files[2].1);
        assert_eq!(
            std::fs::read(self.directory.path().join("initrd")).unwrap(),
            initrd
        );
        fetched
    }

    /// It is whole, and this is what went wrong at which server.
    fn assert_whole_with(
        &self,
        files: &Files,
        servers: &[Server],
        faults: &[(usize, FailureCode)],
    ) -> &Fetched {
        let fetched = self.assert_whole(files);
        let named = |(at, code): &(usize, FailureCode)| (servers[*at].url().to_string(), *code);
        let expected: Vec<_> = faults.iter().map(named).collect();
        let found = fetched
            .faults
            .iter()
            .map(|(url, code)| (url.to_string(), *code));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        fetched
    }
}

/// Boots from one server per fault, in this order; gives the servers too.
async fn boot_from(faults: &[Fault]) -> (Files, Boot, Vec<Server>) {
    let (files, stored, manifest) = image(Encoding::None);
    let authority = Authority::new();
    let mut servers = Vec::new();
    for fault in faults {
        let body = stored.clone();
        servers.push(Server::start(&authority, Certificate::Good, fault.clone(), body).await);
    }
    let mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
    let boot = Boot::from(&authority, &mirrors, &manifest).await;
    (files, boot, servers)
}
