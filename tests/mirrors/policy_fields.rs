//! Every field of the trust policy, changed by version 2, is obeyed by the attempt that proves version 2: whether the
//! mirror that shows it shows the image too, or another one does that hides it, or a mirror of the next attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sealboot_core::failure::FailureCode as Code;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, Fields, FinalAction, FreshnessRule, Group,
    HostConfigRule, OnExpiry, Roles, SignerName,
};
use sealboot_core::trust::{ClockState, JudgingTime, Presented, TrustPolicy};
use sealboot_init::boot::stages::manifest::asking::Asking;
use sealboot_init::boot::{InForce, Loader};
use support::world::archives::noon;
use support::world::trust::{
    freshness_of, group, seal_freshness, seal_host_config, seal_policy, signer,
};
use support::world::{alice, bob, carol, channel, clockwork, mallory, manifest, seal_manifest};

use crate::machine::{Shelf, ask, host};
use crate::machine_with;

/// What a machine is given. Without a change it boots, by version 1 as by version 2.
struct Given {
    policy: Fields,
    manifest: Manifest,
    freshness: Option<Freshness>,
    /// Version 3, which alice alone has signed.
    third: bool,
    is_host_signed: bool,
    is_http: bool,
    has_disk: bool,
    now: JudgingTime,
}

/// What a boot comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Boots,
    Refused(Code),
}

/// How a row shows that version 2 is obeyed.
enum Obeyed {
    /// The boot, which version 1 lets go on, is refused.
    Refused(Code),
    /// The boot, which version 1 refuses, goes on.
    Boots(Code),
    /// The console prints this.
    Prints(&'static str),
    /// The image is said to be signed by these.
    SignedBy(&'static str),
    /// The failure policy in force is that of version 2, and shows this.
    InForce(&'static str),
}

use Obeyed::{Boots, Prints, Refused, SignedBy};

type Row = (&'static str, fn(&mut Given), fn(&mut Fields), Obeyed);

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn created() -> Timestamp {
    noon() - days(10)
}

fn name(name: &str) -> SignerName {
    name.parse().unwrap()
}

/// Every field has a value here, so that each is in its JSON. A new field does not compile until it has one, and then
/// [`every_field_is_obeyed_by_the_attempt_that_proves_it`] asks for its row.
fn whole() -> Fields {
    let alice_and_bob = group(2, &["alice", "bob"]);
    Fields {
        version: 1.try_into().unwrap(),
        created: created(),
        expires: Some(noon() + days(1000)),
        on_expiry: OnExpiry::Warn,
        min_loader: Some("0.0.1".parse().unwrap()),
        keys: vec![
            signer("alice", &alice()),
            signer("bob", &bob()),
            signer("carol", &carol()),
            signer("mallory", &mallory()),
            signer("clockwork", &clockwork()),
        ],
        roles: Roles {
            root: alice_and_bob.clone(),
            release: alice_and_bob.clone(),
            freshness: Some(group(1, &["clockwork"])),
            host_config: Some(group(1, &["carol"])),
        },
        images: vec![AcceptedImage {
            name: "relay".parse().unwrap(),
            min_version: 41.try_into().unwrap(),
            denied_versions: vec![40.try_into().unwrap()],
            release: Some(alice_and_bob),
            freshness: Some(group(1, &["clockwork"])),
        }],
        denied_digests: vec![Sha256Digest::of(b"")],
        expiry: ExpiryRule {
            required: false,
            max_days: Some(1000),
        },
        freshness: FreshnessRule {
            required: true,
            max_hours: 72,
            max_releases: 2,
        },
        host_config: HostConfigRule {
            required: false,
            not_before: Some(noon() - days(1)),
        },
        allow_http: false,
        clock_tolerance_seconds: 300,
        on_failure: FailurePolicy {
            retry_initial_seconds: 2,
            retry_max_seconds: 60,
            max_attempts: 20,
            final_action: FinalAction::Reboot,
            stall_seconds: 900,
            shell: false,
            unconfirmed_boots: 3,
            handover_watchdog_seconds: 0,
        },
        disks: Disks::Allow,
    }
}

impl Given {
    fn new() -> Self {
        let mut policy = whole();
        // What an image has of its own, rows of its own change.
        (policy.images[0].release, policy.images[0].freshness) = (None, None);
        policy.expires = None;
        let manifest = manifest(42);
        Self {
            policy,
            freshness: Some(freshness_of(&[&manifest], 1, noon())),
            manifest,
            third: false,
            is_host_signed: true,
            is_http: false,
            has_disk: false,
            now: noon().into(),
        }
    }

    fn relay(&mut self) -> &mut AcceptedImage {
        &mut self.policy.images[0]
    }

    /// Changes the image, and lists it anew.
    fn image(&mut self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.manifest);
        self.freshness = Some(freshness_of(&[&self.manifest], 1, noon()));
    }

    fn freshness(&mut self) -> &mut Freshness {
        self.freshness.as_mut().unwrap()
    }
}

fn same(_: &mut Given) {}

fn own_release(given: &mut Given) {
    given.relay().release = Some(group(2, &["alice", "bob", "mallory"]));
}

fn own_freshness(given: &mut Given) {
    given.relay().freshness = Some(group(1, &["clockwork", "mallory"]));
}

fn keys(names: &[&str]) -> Vec<SignerName> {
    names.iter().map(|one| name(one)).collect()
}

fn first_of(role: &mut Option<Vec<Group>>) -> &mut Group {
    &mut role.as_mut().unwrap()[0]
}

fn on_failure(field: &'static str, change: fn(&mut Fields), shown: &'static str) -> Row {
    (field, same, change, Obeyed::InForce(shown))
}

fn rows() -> Vec<Row> {
    vec![
        (
            "version",
            |given| given.freshness().trust = 2.try_into().unwrap(),
            |_| {},
            Boots(Code::TrustStale),
        ),
        (
            // The image had ended by then.
            "created",
            |given| {
                given.image(|image| image.expires = Some(noon() + days(1)));
                given.now = JudgingTime::new(created(), ClockState::Unset);
            },
            |next| next.created = noon() + days(2),
            Refused(Code::ManifestExpired),
        ),
        (
            "expires",
            |given| given.policy.on_expiry = OnExpiry::Refuse,
            |next| next.expires = Some(noon() - days(1)),
            Refused(Code::TrustExpired),
        ),
        (
            "on_expiry",
            |given| given.policy.expires = Some(noon() - days(1)),
            |next| next.on_expiry = OnExpiry::Refuse,
            Refused(Code::TrustExpired),
        ),
        (
            "min_loader",
            same,
            |next| next.min_loader = Some("9.0.0".parse().unwrap()),
            Prints("version 2 of the trust policy advises a loader of version 9.0.0 or newer"),
        ),
        (
            "keys.name",
            same,
            |next| {
                next.keys[1].name = name("robert");
                next.roles.root = group(2, &["alice", "robert"]);
                next.roles.release = next.roles.root.clone();
            },
            SignedBy("alice,robert"),
        ),
        (
            "keys.key",
            same,
            |next| {
                next.keys.retain(|signer| signer.name != name("mallory"));
                next.keys[1].key = signer("bob", &mallory()).key;
            },
            Refused(Code::ManifestThreshold),
        ),
        (
            "roles.root.keys",
            |given| (given.third, given.policy.roles.root[0].threshold) = (true, 1),
            |next| next.roles.root[0].keys = keys(&["bob"]),
            Refused(Code::TrustThreshold),
        ),
        (
            "roles.root.threshold",
            |given| (given.third, given.policy.roles.root[0].threshold) = (true, 1),
            |next| next.roles.root[0].threshold = 2,
            Refused(Code::TrustThreshold),
        ),
        (
            "roles.release.keys",
            same,
            |next| next.roles.release[0].keys = keys(&["alice", "mallory"]),
            Refused(Code::ManifestThreshold),
        ),
        (
            "roles.release.threshold",
            |given| given.policy.roles.release = group(2, &["alice", "bob", "mallory"]),
            |next| next.roles.release[0].threshold = 3,
            Refused(Code::ManifestThreshold),
        ),
        (
            "roles.freshness.keys",
            same,
            |next| first_of(&mut next.roles.freshness).keys = keys(&["mallory"]),
            Refused(Code::FreshnessThreshold),
        ),
        (
            "roles.freshness.threshold",
            |given| given.policy.roles.freshness = Some(group(1, &["clockwork", "mallory"])),
            |next| first_of(&mut next.roles.freshness).threshold = 2,
            Refused(Code::FreshnessThreshold),
        ),
        (
            "roles.host_config.keys",
            same,
            |next| first_of(&mut next.roles.host_config).keys = keys(&["mallory"]),
            Refused(Code::ConfigureHostThreshold),
        ),
        (
            "roles.host_config.threshold",
            |given| given.policy.roles.host_config = Some(group(1, &["carol", "mallory"])),
            |next| first_of(&mut next.roles.host_config).threshold = 2,
            Refused(Code::ConfigureHostThreshold),
        ),
        (
            "images.name",
            same,
            |next| next.images[0].name = "other".parse().unwrap(),
            Refused(Code::ManifestName),
        ),
        (
            "images.min_version",
            same,
            |next| next.images[0].min_version = 43.try_into().unwrap(),
            Refused(Code::ManifestRollback),
        ),
        (
            "images.denied_versions",
            same,
            |next| next.images[0].denied_versions.push(42.try_into().unwrap()),
            Refused(Code::ManifestDenied),
        ),
        (
            "images.release.keys",
            own_release,
            |next| first_of(&mut next.images[0].release).keys = keys(&["alice", "mallory"]),
            Refused(Code::ManifestThreshold),
        ),
        (
            "images.release.threshold",
            own_release,
            |next| first_of(&mut next.images[0].release).threshold = 3,
            Refused(Code::ManifestThreshold),
        ),
        (
            "images.freshness.keys",
            own_freshness,
            |next| first_of(&mut next.images[0].freshness).keys = keys(&["mallory"]),
            Refused(Code::FreshnessThreshold),
        ),
        (
            "images.freshness.threshold",
            own_freshness,
            |next| first_of(&mut next.images[0].freshness).threshold = 2,
            Refused(Code::FreshnessThreshold),
        ),
        (
            "denied_digests",
            same,
            |next| next.denied_digests.push(manifest(42).files[0].sha256),
            Refused(Code::ManifestDenied),
        ),
        (
            "expiry.required",
            same,
            |next| next.expiry.required = true,
            Refused(Code::ManifestValidity),
        ),
        (
            "expiry.max_days",
            |given| {
                given.image(|image| image.expires = Some(image.created + days(999)));
            },
            |next| next.expiry.max_days = Some(998),
            Refused(Code::ManifestValidity),
        ),
        (
            "freshness.required",
            |given| (given.freshness, given.policy.freshness.required) = (None, false),
            |next| next.freshness.required = true,
            Refused(Code::FreshnessMissing),
        ),
        (
            "freshness.max_hours",
            same,
            |next| next.freshness.max_hours = 23,
            Refused(Code::FreshnessValidity),
        ),
        (
            "freshness.max_releases",
            |given| {
                let listed = [&manifest(43), &given.manifest];
                given.freshness = Some(freshness_of(&listed, 1, noon()));
            },
            |next| next.freshness.max_releases = 1,
            Refused(Code::FreshnessReleases),
        ),
        (
            "host_config.required",
            |given| given.is_host_signed = false,
            |next| next.host_config.required = true,
            Refused(Code::ConfigureHostUnsigned),
        ),
        (
            "host_config.not_before",
            same,
            |next| next.host_config.not_before = Some(noon() + days(1)),
            Refused(Code::ConfigureHostRevoked),
        ),
        (
            "allow_http",
            |given| (given.policy.allow_http, given.is_http) = (true, true),
            |next| next.allow_http = false,
            Refused(Code::FetchPlainHttp),
        ),
        (
            "clock_tolerance_seconds",
            |given| {
                given.image(|image| image.expires = Some(noon() - SignedDuration::from_secs(100)))
            },
            |next| next.clock_tolerance_seconds = 0,
            Refused(Code::ManifestExpired),
        ),
        on_failure(
            "on_failure.retry_initial_seconds",
            |next| next.on_failure.retry_initial_seconds = 7,
            "retry_initial_seconds: 7,",
        ),
        on_failure(
            "on_failure.retry_max_seconds",
            |next| next.on_failure.retry_max_seconds = 77,
            "retry_max_seconds: 77,",
        ),
        on_failure(
            "on_failure.max_attempts",
            |next| next.on_failure.max_attempts = 7,
            "max_attempts: 7,",
        ),
        on_failure(
            "on_failure.final_action",
            |next| next.on_failure.final_action = FinalAction::PowerOff,
            "final_action: PowerOff,",
        ),
        on_failure(
            // The watchdog's own, too.
            "on_failure.stall_seconds",
            |next| next.on_failure.stall_seconds = 777,
            "stall: 777s,",
        ),
        on_failure(
            "on_failure.shell",
            |next| next.on_failure.shell = true,
            "shell: true,",
        ),
        // No stage acts upon the last two yet.
        on_failure(
            "on_failure.unconfirmed_boots",
            |next| next.on_failure.unconfirmed_boots = 7,
            "unconfirmed_boots: 7,",
        ),
        on_failure(
            "on_failure.handover_watchdog_seconds",
            |next| next.on_failure.handover_watchdog_seconds = 7,
            "handover_watchdog_seconds: 7",
        ),
        (
            "disks",
            |given| given.has_disk = true,
            |next| next.disks = Disks::Refuse,
            Refused(Code::ConfigureDisks),
        ),
    ]
}

/// The paths of all fields of this JSON that hold a value, without the numbers of lists.
fn fields_of(json: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                fields_of(value, &format!("{path}{dot}{name}"), found);
            }
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            items.iter().for_each(|item| fields_of(item, path, found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Which mirrors show version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Never,
    /// The mirror that shows the image.
    BySame,
    /// A mirror before, which shows nothing else.
    ByOther,
    /// Such a mirror, in an attempt before.
    Before,
}

struct Boot {
    seen: Seen,
    signers: String,
    printed: String,
    loader: String,
}

fn boot(given: &Given, next: &TrustPolicy, shown: Shown) -> Boot {
    let loader: &'static Loader = Box::leak(Box::new(Loader::new()));
    let policy = TrustPolicy::try_from(given.policy.clone()).unwrap();
    let root = match given.has_disk {
        true => machine_with("pci0000:00/nvme/nvme0/nvme0n1"),
        false => tempfile::tempdir().unwrap(),
    };
    let mut chain = InForce::new(policy, loader).at(root.path());
    let mut now = given.now;

    let everyone = [&alice(), &bob(), &carol(), &mallory(), &clockwork()];
    let second = seal_policy(next, &everyone);
    let third = next.with(|fields| fields.version = 3.try_into().unwrap());
    let third = seal_policy(&third.unwrap(), &[&alice()]);
    let envelope = seal_manifest(&given.manifest, &[alice(), bob()]);
    let freshness = given.freshness.as_ref();
    let freshness = freshness.map(|freshness| seal_freshness(freshness, &clockwork()));
    let mut image = Shelf {
        policies: BTreeMap::new(),
        channel: Some(channel(&envelope, freshness.as_deref())),
        pace: Some(1),
    };
    if given.third && shown != Shown::Never {
        image.policies.insert(3, third);
    }
    let proof = Shelf {
        policies: BTreeMap::from([(2, second.clone())]),
        channel: None,
        pace: Some(1),
    };
    let scheme = if given.is_http { "http" } else { "https" };
    let of_image: MirrorUrl = format!("{scheme}://image.example/").parse().unwrap();
    let of_proof: MirrorUrl = "https://proof.example/".parse().unwrap();
    let (mut mirrors, mut shelves) = (vec![of_image.clone()], vec![image.clone()]);
    match shown {
        Shown::BySame => drop(shelves[0].policies.insert(2, second)),
        Shown::ByOther => {
            mirrors.insert(0, of_proof.clone());
            shelves.insert(0, proof.clone());
        }
        Shown::Never | Shown::Before => {}
    }
    let host = host(&[of_image.clone(), of_proof.clone()]).encode();
    let presented = Presented {
        stored: Some(match given.is_host_signed {
            true => seal_host_config(host, &carol()),
            false => host,
        }),
        ..Presented::default()
    };
    let name = "relay".parse().unwrap();
    let mut attempt = |mirrors: &[MirrorUrl], shelves: &[Shelf]| {
        let mut asking = Asking::new(&name, mirrors, &presented, &mut chain, &mut now);
        ask(&mut asking, shelves, |_, _| {})
    };

    let printed = tempfile::NamedTempFile::new().unwrap();
    let console = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Arc::new(printed.reopen().unwrap()))
        .finish();
    let found = tracing::subscriber::with_default(console, || {
        if shown == Shown::Before {
            attempt(&[of_proof], &[proof]).unwrap_err();
        }
        attempt(&mirrors, &shelves)
    });
    let mut text = String::new();
    let mut printed = File::open(printed.path()).unwrap();
    printed.read_to_string(&mut text).unwrap();
    let (seen, signers) = match found {
        Ok((_, current)) => {
            let signers = current.manifest().signers().iter();
            let signers: Vec<&str> = signers.map(SignerName::as_str).collect();
            (Seen::Boots, signers.join(","))
        }
        Err(code) => (Seen::Refused(code), String::new()),
    };
    Boot {
        seen,
        signers,
        printed: text,
        loader: format!("{loader:?}"),
    }
}

#[test]
fn every_field_is_obeyed_by_the_attempt_that_proves_it() {
    let mut fields = BTreeSet::new();
    fields_of(&serde_json::to_value(whole()).unwrap(), "", &mut fields);
    let rows = rows();
    let with_row: BTreeSet<String> = rows.iter().map(|(field, ..)| (*field).to_owned()).collect();
    assert_eq!(fields, with_row);

    for (field, give, change, obeyed) in rows {
        let mut given = Given::new();
        give(&mut given);
        let mut next = given.policy.clone();
        next.version = 2.try_into().unwrap();
        change(&mut next);
        let next = TrustPolicy::try_from(next).unwrap();
        for shown in [Shown::Never, Shown::BySame, Shown::ByOther, Shown::Before] {
            let boot = boot(&given, &next, shown);
            let is_second = shown != Shown::Never;
            let expected = match (&obeyed, is_second) {
                (Refused(code), true) | (Boots(code), false) => Seen::Refused(*code),
                _ => Seen::Boots,
            };
            assert_eq!(boot.seen, expected, "{field}, {shown:?}: {}", boot.printed);
            let (what, holds) = match &obeyed {
                Prints(line) => (&boot.printed, boot.printed.contains(line)),
                SignedBy(names) => (&boot.signers, boot.signers == *names),
                Obeyed::InForce(text) => (&boot.loader, boot.loader.contains(text)),
                Refused(_) | Boots(_) => continue,
            };
            assert_eq!(holds, is_second, "{field}, {shown:?}: {what}");
        }
    }
}
