//! `sealboot serve --renew`: a server that keeps its images fresh.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use sealboot::keys::pem::PrivateKey;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Current, Refusal, TrustPolicy};

use support::patience::eventually;
use support::server::{Lab, Running, output, sealboot};
use support::world::archives::noon;
use support::world::trust::{freshness, renewed_by, seal_freshness, seal_policy, versioned};
use support::world::{
    alice, bob, channel, clockwork, files, manifest, policy, put_archive, seal_manifest, tar,
};

/// A store with version 42 of `relay`, and a policy that requires freshness.
struct Fresh {
    lab: Lab,
    policy: TrustPolicy,
}

impl Fresh {
    fn new() -> Self {
        let fresh = Self {
            lab: Lab::new(),
            policy: renewed_by(policy(), &clockwork(), true),
        };
        fresh.write("fresh.json", &fresh.policy.encode(), 0o644);
        fresh.write("clockwork.key", clockwork().to_pem().as_bytes(), 0o600);
        put_archive(&fresh.lab.store(), &manifest(42).archive, &tar(&files()));
        fresh.publish(42, None);
        fresh
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.lab.path(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn publish(&self, version: u64, freshness: Option<&[u8]>) {
        let envelope = seal_manifest(&manifest(version), &[alice(), bob()]);
        self.lab
            .put(&format!("images/relay/{version}/x86_64.json"), &envelope);
        // In one step, as `sealboot image publish` does it.
        self.lab
            .put("images/relay.new", &channel(&envelope, freshness));
        let images = self.lab.store().join("images");
        std::fs::rename(images.join("relay.new"), images.join("relay.json")).unwrap();
    }

    /// Starts a server that renews, by the state of the one before.
    fn serve(&self) -> Running {
        let paths = ["fresh.json", "clockwork.key", "renewer.json"].map(|name| self.lab.path(name));
        let begun = paths[2].exists();
        let [policy, key, state] = paths.each_ref().map(|path| path.to_str().unwrap());
        let mut words = vec!["--renew", key, "--policy", policy, "--state", state];
        words.extend((!begun).then_some("--init"));
        self.lab.serve(&words)
    }

    /// What a machine makes of what the server shows now.
    fn judged(&self, server: &Running) -> Result<Current, Refusal> {
        let shown = self.lab.fetch(server, "images/relay.json", &[]);
        assert_eq!(shown.status, 200);
        let expected = Expected {
            name: &"relay".parse().unwrap(),
            arch: None,
            now: Timestamp::now().into(),
        };
        self.policy.verify_channel(&shown.body, &expected)
    }
}

#[test]
fn what_no_machine_would_take_any_more_is_renewed_before_the_first_machine_asks() {
    let fresh = Fresh::new();
    let ended = freshness(42, 1, noon() - SignedDuration::from_hours(24 * 365));
    for stated in [None, Some(seal_freshness(&ended, &clockwork()))] {
        fresh.publish(42, stated.as_deref());
        let server = fresh.serve();
        let current = fresh.judged(&server).unwrap();
        assert_eq!(current.manifest().as_ref().version.as_u64(), 42);
        assert!(
            server
                .stderr()
                .contains("image relay: version 42 (x86_64) is current until "),
            "{}",
            server.stderr()
        );
    }
}

#[test]
fn a_statement_that_has_most_of_its_life_before_it_is_left_alone() {
    let fresh = Fresh::new();
    drop(fresh.serve());
    let before = std::fs::read(fresh.lab.store().join("images/relay.json")).unwrap();
    let server = fresh.serve();
    assert_eq!(
        fresh.lab.fetch(&server, "images/relay.json", &[]).body,
        before
    );
}

#[test]
fn what_is_published_while_it_runs_is_renewed_too() {
    let fresh = Fresh::new();
    let server = fresh.serve();
    fresh.publish(43, None);
    assert!(matches!(fresh.judged(&server), Err(Refusal::NotFresh)));
    server.signal(Signal::SIGHUP);
    eventually("version 43 is renewed", || {
        fresh
            .judged(&server)
            .is_ok_and(|current| current.manifest().as_ref().version.as_u64() == 43)
    });
}

#[test]
fn what_cannot_be_renewed_is_said_once_and_served_as_it_is() {
    let fresh = Fresh::new();
    // Signed by one of two.
    let envelope = seal_manifest(&manifest(44), &[alice()]);
    fresh.lab.put("images/relay/44/x86_64.json", &envelope);
    fresh
        .lab
        .put("images/relay.json", &channel(&envelope, None));
    let server = fresh.serve();
    let said = || {
        server
            .stderr()
            .matches("image relay is not renewed")
            .count()
    };
    assert_eq!(said(), 1, "{}", server.stderr());
    assert!(server.stderr().contains("MANIFEST-THRESHOLD"));
    // Renewed again, by the sign that the next one gives: a good version.
    server.signal(Signal::SIGHUP);
    eventually("the certificate is read again", || {
        server.stderr().contains("is in use from now on")
    });
    fresh.publish(45, None);
    server.signal(Signal::SIGHUP);
    eventually("version 45 is renewed", || fresh.judged(&server).is_ok());
    assert_eq!(said(), 1, "{}", server.stderr());
}

#[test]
fn restored_channel_is_renewed_forward_while_it_runs() {
    // By an attacker who writes to the store and has no key: without a statement, and with one of a year ago.
    let envelope = seal_manifest(&manifest(42), &[alice(), bob()]);
    let word = freshness(42, 1, noon() - SignedDuration::from_hours(24 * 365));
    let word = seal_freshness(&word, &clockwork());
    for put_back in [channel(&envelope, None), channel(&envelope, Some(&word))] {
        let fresh = Fresh::new();
        fresh.publish(43, None);
        let server = fresh.serve();
        let current = || {
            let current = fresh.judged(&server).ok()?;
            Some(current.manifest().as_ref().version.as_u64())
        };
        assert_eq!(current(), Some(43));
        fresh.lab.put("images/relay.json", &put_back);
        assert_ne!(current(), Some(43));
        server.signal(Signal::SIGHUP);
        eventually("version 43 is back", || current() == Some(43));
    }
}

#[test]
fn restarted_server_does_not_renew_a_restored_channel() {
    let fresh = Fresh::new();
    let old = std::fs::read(fresh.lab.store().join("images/relay.json")).unwrap();
    fresh.publish(43, None);
    drop(fresh.serve());
    fresh.lab.put("images/relay.json", &old);
    let server = fresh.serve();
    let current = fresh.judged(&server).unwrap();
    assert_eq!(current.manifest().as_ref().version.as_u64(), 43);
}

#[test]
fn server_signs_nothing_while_a_policy_is_missing() {
    let fresh = Fresh::new();
    let second = seal_policy(&versioned(&fresh.policy, 2), &[&alice(), &bob()]);
    std::fs::create_dir(fresh.lab.store().join("trust")).unwrap();
    fresh.lab.put("trust/2.json", &second);
    let server = fresh.serve();
    // The first policy refuses a statement that names a newer one: that is what it is for.
    assert!(matches!(
        fresh.judged(&server),
        Err(Refusal::StalePolicy { .. })
    ));
    std::fs::remove_file(fresh.lab.store().join("trust/2.json")).unwrap();
    fresh.publish(43, None);
    let before = std::fs::read(fresh.lab.store().join("images/relay.json")).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("it is reported", || server.stderr().contains("TRUST-STALE"));
    let shown = fresh.lab.fetch(&server, "images/relay.json", &[]).body;
    assert_eq!(shown, before, "nothing was signed");
    fresh.lab.put("trust/2.json", &second);
    server.signal(Signal::SIGHUP);
    eventually("version 43 is renewed", || {
        server.stderr().contains("version 43 (x86_64) is current")
    });
}

#[test]
fn server_does_not_start_with_a_wrong_state() {
    let fresh = Fresh::new();
    let paths = ["fresh.json", "clockwork.key", "renewer.json"].map(|name| fresh.lab.path(name));
    let [policy, key, state] = paths.each_ref().map(|path| path.to_str().unwrap());
    let in_store = fresh.lab.store().join("renewer.json");
    let in_store = in_store.to_str().unwrap();
    let start = |words: &[&str]| {
        let mut command = fresh.lab.command();
        command.args(["--renew", key, "--policy", policy]);
        output(command.args(words))
    };
    let missing = start(&["--state", state]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("--init` once"), "{missing:?}");
    let served = start(&["--init", "--state", in_store]);
    assert_eq!(served.status.code(), Some(3), "{served:?}");
    drop(fresh.serve());
    let again = start(&["--init", "--state", state]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");
}

#[test]
fn a_fifo_in_the_store_holds_up_nobody() {
    let fresh = Fresh::new();
    let server = fresh.serve();
    let newest = fresh.lab.store().join("images/relay.json");
    std::fs::remove_file(&newest).unwrap();
    nix::unistd::mkfifo(&newest, nix::sys::stat::Mode::S_IRWXU).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("it is said", || {
        server
            .stderr()
            .contains("images/relay.json is no regular file")
    });
    fresh.publish(44, None);
    server.signal(Signal::SIGHUP);
    eventually("version 44 is renewed", || fresh.judged(&server).is_ok());
}

#[test]
fn a_key_that_would_count_for_nothing_does_not_start_a_server() {
    let fresh = Fresh::new();
    let other = PrivateKey::generate().unwrap();
    fresh.write("other.key", other.to_pem().as_bytes(), 0o600);
    let start = |arguments: &[&str]| {
        let mut command: Command = sealboot();
        command
            .current_dir(fresh.lab.path(""))
            .args(["serve", "--store", "store", "--listen", "127.0.0.1:0"])
            .args([
                "--tls-cert",
                "tls/server.pem",
                "--tls-key",
                "tls/server.key",
            ])
            .args(arguments);
        output(&mut command)
    };
    #[rustfmt::skip]
    let refused = start(&[
        "--renew", "other.key", "--policy", "fresh.json", "--state", "renewer.json", "--init",
    ]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(refused.stderr.contains("is not of the freshness role"));
    assert_eq!(refused.stdout, "");
    let alone = start(&["--renew", "clockwork.key"]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    assert!(alone.stderr.contains("--policy"));
    let forgetful = start(&["--renew", "clockwork.key", "--policy", "fresh.json"]);
    assert_eq!(forgetful.status.code(), Some(2), "{forgetful:?}");
    assert!(forgetful.stderr.contains("--state renewer.json --init`"));
}
