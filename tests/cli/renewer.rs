//! A renewer against an attacker who writes to its store: no release comes back, and no renewal stops.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::ImageVersion;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};
use support::world::trust::{renewed_by, seal_policy, versioned};
use support::world::{self, alice, bob, carol, clockwork, mallory};
use tempfile::TempDir;

use super::{SEALBOOT, sealboot, text};

/// The renewer that signs the store's image.
const RIGHT: &str = "renewer.json";

/// The store of `world`, with version 41 of `relay` listed by its renewer.
struct Lab {
    world: TempDir,
}

/// Returns the words by which a renewer finds its state.
fn state_of(renewer: &str) -> [&str; 2] {
    ["--state", renewer]
}

impl Lab {
    fn new() -> Self {
        Self::of(1)
    }

    /// By a policy that lets statements list so many versions.
    fn of(max_releases: u32) -> Self {
        let lab = Self {
            world: super::world(),
        };
        let policy = renewed_by(world::policy(), &clockwork(), true);
        let policy = policy.with(|fields| fields.freshness.max_releases = max_releases);
        fs::write(lab.path("fresh.json"), policy.expect("a policy").encode()).expect("ours");
        lab.starts(RIGHT);
        lab
    }

    /// Renews for the first time.
    fn starts(&self, renewer: &str) -> Vec<u64> {
        let words = [
            "freshness",
            "renew",
            "--init",
            "--key",
            "test-only-keys/clockwork.key",
        ];
        done(&run(&mut self.command(&words, renewer)));
        self.listed()
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.world.path().join(relative)
    }

    fn channel(&self) -> PathBuf {
        self.path("store/images/relay.json")
    }

    fn command(&self, words: &[&str], renewer: &str) -> Command {
        let mut command = sealboot(&self.world);
        command.args(words).args(state_of(renewer));
        command.args(["--policy", "fresh.json", "--store", "store"]);
        command
    }

    fn renew(&self) -> Output {
        self.renew_by("clockwork", RIGHT)
    }

    fn renew_by(&self, key: &str, renewer: &str) -> Output {
        let key = format!("test-only-keys/{key}.key");
        let words = ["freshness", "renew", "--key", &key];
        run(&mut self.command(&words, renewer))
    }

    fn withdraw(&self, version: &str) -> Output {
        let key = "test-only-keys/clockwork.key";
        #[rustfmt::skip]
        let words = ["freshness", "withdraw", "--key", key, "--version", version];
        run(self.command(&words, RIGHT).arg("relay"))
    }

    fn publish(&self, envelope: &str) -> Output {
        let key = "test-only-keys/clockwork.key";
        let words = ["image", "publish", "--freshness-key", key];
        run(self.command(&words, RIGHT).arg(envelope))
    }

    /// Puts a signed release into the store, as packing and signing it there does.
    fn pack(&self, version: u64) -> String {
        let envelope = format!("store/images/relay/{version}/x86_64.json");
        let sealed = world::seal_manifest(&world::manifest(version), &[alice(), bob()]);
        world::put(&self.path(&envelope), &sealed);
        envelope
    }

    /// Returns the statement in the channel.
    fn stated(&self) -> Freshness {
        let channel = Channel::parse(&fs::read(self.channel()).expect("there")).expect("one");
        let statement = channel.freshness.first().expect("a statement");
        Freshness::parse(statement.unverified_payload()).expect("a statement")
    }

    fn listed(&self) -> Vec<u64> {
        let releases = self.stated().releases;
        let versions = releases.iter().map(|release| release.version.as_u64());
        versions.collect()
    }

    fn withdrawn(&self) -> Vec<u64> {
        let withdrawn = self.stated().withdrawn;
        withdrawn.into_iter().map(ImageVersion::as_u64).collect()
    }
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program can be run")
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[track_caller]
fn refused(output: &Output) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    said
}

#[test]
fn restored_channel_is_renewed_forward() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    let before = fs::read(lab.channel()).expect("there");
    done(&lab.withdraw("43"));
    let withdrawal = lab.stated().created;
    fs::write(lab.channel(), before).expect("ours");
    done(&lab.renew());
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
    assert!(lab.stated().created > withdrawal);
}

#[test]
fn restored_older_channel_does_not_roll_back() {
    let lab = Lab::new();
    let before = fs::read(lab.channel()).expect("there");
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    fs::write(lab.channel(), before).expect("ours");
    done(&lab.renew());
    assert_eq!(lab.listed(), [43]);
    fs::remove_file(lab.channel()).expect("ours");
    done(&lab.renew());
    assert_eq!(lab.listed(), [43]);
}

#[test]
fn channel_without_statement_keeps_withdrawals() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    done(&lab.withdraw("43"));
    let newer = fs::read(lab.path("staging/images/relay/43/x86_64.json")).expect("there");
    fs::write(lab.channel(), world::channel(&newer, None)).expect("ours");
    done(&lab.renew());
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
}

#[test]
fn second_renewer_without_state_signs_nothing() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    done(&lab.withdraw("43"));
    let before = fs::read(lab.channel()).expect("there");
    let output = lab.renew_by("clockwork", "second.json");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(fs::read(lab.channel()).expect("there"), before);
}

#[test]
fn second_renewer_with_init_keeps_withdrawals() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    done(&lab.withdraw("43"));
    assert_eq!(lab.starts("second.json"), [41]);
    assert_eq!(lab.withdrawn(), [43]);
    done(&lab.renew());
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
}

#[test]
fn restored_older_state_keeps_newer_withdrawals() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    let before = fs::read(lab.path(RIGHT)).expect("there");
    done(&lab.withdraw("43"));
    let withdrawal = lab.stated().created;
    fs::write(lab.path(RIGHT), before).expect("ours");
    for _ in 0..2 {
        done(&lab.renew());
        assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
        assert!(lab.stated().created > withdrawal);
    }
}

#[test]
fn renewers_at_once_sign_one_after_the_other() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    let key = "test-only-keys/clockwork.key";
    let words = ["freshness", "renew", "--key", key];
    let mut running: Vec<_> = (0..6)
        .map(|_| lab.command(&words, RIGHT).spawn().expect("run"))
        .collect();
    done(&lab.withdraw("43"));
    for child in &mut running {
        assert!(child.wait().expect("it ends").success());
    }
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
}

#[test]
fn packed_release_is_not_revived_by_a_withdrawal() {
    let lab = Lab::new();
    lab.pack(42);
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    // The channel offers nothing to go back to.
    let bytes = fs::read(lab.channel()).expect("there");
    let mut channel = Channel::parse(&bytes).expect("one");
    channel.releases.truncate(1);
    fs::write(lab.channel(), channel.encode()).expect("ours");
    done(&lab.withdraw("43"));
    assert_eq!(lab.listed(), [41]);
}

#[test]
fn version_that_fell_off_the_list_stays_off_it() {
    let lab = Lab::of(2);
    done(&lab.publish(&lab.pack(42)));
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    assert_eq!(lab.listed(), [43, 42]);
    done(&lab.withdraw("43"));
    assert_eq!(lab.listed(), [42]);
    // Where nothing else is left, the one before comes back.
    done(&lab.withdraw("42"));
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43, 42]));
}

#[test]
fn missing_listed_release_stops_the_renewal() {
    for gone in [
        "images/relay/41/x86_64.json".to_owned(),
        world::manifest(41).archive.blob_path(),
        world::manifest(41).archive.chunk_list_path(),
    ] {
        let lab = Lab::new();
        let before = fs::read(lab.channel()).expect("there");
        fs::remove_file(lab.path("store").join(&gone)).expect("ours");
        let said = refused(&lab.renew());
        assert!(said.contains(&gone), "{said}");
        assert_eq!(fs::read(lab.channel()).expect("there"), before);
    }
}

#[test]
fn archive_of_another_size_stops_the_renewal() {
    let lab = Lab::new();
    let archive = world::manifest(41).archive;
    for path in [archive.blob_path(), archive.chunk_list_path()] {
        let path = lab.path("store").join(path);
        let whole = fs::read(&path).expect("there");
        for other in [whole[1..].to_vec(), [&whole[..], b"x"].concat()] {
            fs::write(&path, other).expect("ours");
            let said = refused(&lab.renew());
            assert!(said.contains("has another size than was signed"), "{said}");
        }
        fs::write(&path, whole).expect("ours");
    }
    done(&lab.renew());
}

#[test]
fn stripped_signatures_do_not_bring_an_older_release_back() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    let path = lab.path("store/images/relay/43/x86_64.json");
    let envelope = Envelope::parse(&fs::read(&path).expect("there")).expect("an envelope");
    let payload = envelope.unverified_payload().to_vec();
    fs::write(
        &path,
        Envelope::unsigned(envelope.payload_type(), payload).encode(),
    )
    .expect("ours");
    let channel = fs::read(lab.path("store/images/relay/41/x86_64.json")).expect("there");
    fs::write(lab.channel(), world::channel(&channel, None)).expect("ours");
    let said = refused(&lab.renew());
    assert!(said.contains("MANIFEST-THRESHOLD"), "{said}");
}

#[test]
fn new_freshness_key_keeps_withdrawals() {
    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    done(&lab.withdraw("43"));
    let policy = fs::read(lab.path("fresh.json")).expect("there");
    let policy = TrustPolicy::parse(&policy).expect("a policy");
    let next = versioned(&renewed_by(policy, &mallory(), true), 2);
    let next = seal_policy(&next, &[&alice(), &bob()]);
    world::put(&lab.path("store/trust/2.json"), &next);
    // 43 is in the channel that the attacker has put back.
    let newer = fs::read(lab.path("staging/images/relay/43/x86_64.json")).expect("there");
    fs::write(lab.channel(), world::channel(&newer, None)).expect("ours");
    done(&lab.renew_by("mallory", RIGHT));
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
}

#[test]
fn policy_that_is_gone_stops_the_renewal() {
    let lab = Lab::new();
    let policy = fs::read(lab.path("fresh.json")).expect("there");
    let next = versioned(&TrustPolicy::parse(&policy).expect("a policy"), 2);
    let second = lab.path("store/trust/2.json");
    world::put(&second, &seal_policy(&next, &[&alice(), &bob()]));
    let first = fs::read(lab.channel()).expect("there");
    done(&lab.renew());
    // The attacker takes the policy away, and the statement that names it.
    fs::remove_file(&second).expect("ours");
    fs::write(lab.channel(), &first).expect("ours");
    let said = refused(&lab.renew());
    assert!(said.contains("TRUST-STALE"), "{said}");
    assert_eq!(fs::read(lab.channel()).expect("there"), first);
}

#[test]
fn publishing_an_older_copy_keeps_the_stores_signatures() {
    let lab = Lab::new();
    let signed = world::seal_manifest(&world::manifest(42), &[alice(), bob(), carol()]);
    let stored = lab.path("store/images/relay/42/x86_64.json");
    world::put(&stored, &signed);
    let copy = world::seal_manifest(&world::manifest(42), &[alice(), bob()]);
    world::put(&lab.path("copy.json"), &copy);
    done(&lab.publish("copy.json"));
    let channel = Channel::parse(&fs::read(lab.channel()).expect("there")).expect("one");
    let offered = channel.releases[0].manifest.encode();
    for bytes in [fs::read(&stored).expect("there"), offered] {
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        assert_eq!(envelope.signatures().len(), 3);
    }
}

/// Runs a command that the kernel kills when it writes more than `bytes` into one file.
fn killed_at(bytes: u64, command: &Command) -> Output {
    let mut limited = Command::new("prlimit");
    limited.args([&format!("--fsize={bytes}"), "--core=0", SEALBOOT]);
    limited.args(command.get_args());
    limited.current_dir(command.get_current_dir().expect("the world"));
    run(&mut limited)
}

#[test]
fn withdrawal_killed_before_it_is_published_holds() {
    use std::os::unix::process::ExitStatusExt as _;

    let lab = Lab::new();
    done(&lab.publish("staging/images/relay/43/x86_64.json"));
    let before = fs::read(lab.channel()).expect("there");
    let key = "test-only-keys/clockwork.key";
    #[rustfmt::skip]
    let words = ["freshness", "withdraw", "--key", key, "--version", "43"];
    let mut withdraw = lab.command(&words, RIGHT);
    withdraw.arg("relay");
    // The state is written whole, the channel is not: it is larger.
    let output = killed_at(1_800, &withdraw);
    let by = nix::sys::signal::Signal::SIGXFSZ as i32;
    assert_eq!(output.status.signal(), Some(by), "{}", text(&output.stderr));
    assert_eq!(fs::read(lab.channel()).expect("there"), before);
    done(&lab.renew());
    assert_eq!((lab.listed(), lab.withdrawn()), (vec![41], vec![43]));
}
