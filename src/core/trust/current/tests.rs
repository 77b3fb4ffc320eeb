//! Which release is taken, over several channels, policies and times.

use super::super::testing::{
    channel, freshness, freshness_of, group, listed, made, manifest, policy, renewed,
    sealed_freshness, sealed_manifest, sealed_policy, seconds, signer, time, versioned,
};
use super::*;
use crate::failure::{Diagnose as _, FailureCode as Code};
use crate::format::manifest::Arch;
use crate::trust::policy::OnExpiry;
use crate::trust::{ClockState, Envelope, JudgingTime};
use jiff::Timestamp;

fn relay() -> ImageName {
    "relay".parse().unwrap()
}

/// A policy that asks for statements, and takes them for up to two versions.
fn fresh_policy() -> TrustPolicy {
    let policy = renewed(policy(&["alice"]), true).with(|fields| fields.freshness.max_releases = 2);
    versioned(policy.unwrap(), 3)
}

fn by_alice(manifest: &Manifest) -> Envelope {
    sealed_manifest(manifest, &["alice"])
}

fn stated(freshness: &Freshness) -> Envelope {
    sealed_freshness(freshness, &["clockwork"])
}

/// That these versions are current, said so many seconds after [`made`].
fn said(versions: &[u64], after: i64) -> Freshness {
    let manifests: Vec<Manifest> = versions.iter().map(|version| manifest(*version)).collect();
    let of: Vec<&Manifest> = manifests.iter().collect();
    let mut freshness = freshness_of(&of, 3);
    freshness.created = made() + seconds(after);
    freshness
}

/// A mirror with these versions, in this order, and these statements.
fn mirror(versions: &[u64], statements: &[&Freshness]) -> Vec<u8> {
    let releases = versions.iter().map(|version| by_alice(&manifest(*version)));
    Channel::new(releases, statements.iter().map(|one| stated(one))).encode()
}

/// A machine that keeps what it has seen.
struct Machine {
    policy: TrustPolicy,
    kept: KeptProofs,
    now: JudgingTime,
}

impl Machine {
    fn new(policy: TrustPolicy) -> Self {
        Self {
            policy,
            kept: KeptProofs::default(),
            now: (made() + seconds(3600)).into(),
        }
    }

    /// Returns the version that it takes of a channel.
    fn takes(&mut self, channel: &[u8]) -> Result<u64, Code> {
        let name = relay();
        let mut expected = Expected {
            name: &name,
            arch: Some(Arch::X86_64),
            now: self.now,
        };
        let judged = (self.policy).judge_channel(channel, &mut expected, &mut self.kept);
        self.now = expected.now;
        judged
            .map(|current| current.manifest().as_ref().version.as_u64())
            .map_err(|refusal| refusal.code())
    }

    fn follows(&mut self, next: TrustPolicy) {
        self.kept.follow(&self.policy, &next);
        self.policy = next;
    }
}

/// What a machine that has seen nothing makes of a channel with these two statements.
fn current(
    policy: &TrustPolicy,
    version: u64,
    freshness: Option<Envelope>,
    now: Timestamp,
) -> Result<Current, Refusal> {
    let expected = Expected {
        name: &relay(),
        arch: None,
        now: now.into(),
    };
    let channel = channel(by_alice(&manifest(version)), freshness);
    policy.verify_channel(&channel, &expected)
}

fn code(judged: Result<Current, Refusal>) -> Result<(), Code> {
    judged.map(|_| ()).map_err(|refusal| refusal.code())
}

fn of_alice() -> TrustPolicy {
    policy(&["alice"])
}

#[test]
fn a_channel_gives_both_statements() {
    let policy = renewed(of_alice(), true);
    let fresh = sealed_freshness(&freshness(42, 1), &["clockwork"]);
    let current = current(&policy, 42, Some(fresh), made()).unwrap();
    assert_eq!(*current.manifest().as_ref(), manifest(42));
    let said = current.freshness().unwrap();
    assert_eq!(*said.as_ref(), freshness(42, 1));
    assert_eq!(said.signers()[0].as_str(), "clockwork");
}

#[test]
fn silence_about_freshness_is_taken_where_the_policy_takes_it() {
    for (policy, expected) in [
        (of_alice(), Ok(())),
        (renewed(of_alice(), false), Ok(())),
        (renewed(of_alice(), true), Err(Code::FreshnessMissing)),
    ] {
        let judged = current(&policy, 42, None, made());
        assert!(
            !judged
                .as_ref()
                .is_ok_and(|current| current.freshness().is_some())
        );
        assert_eq!(code(judged), expected);
    }
}

#[test]
fn a_statement_that_no_role_makes_says_nothing() {
    let newer = sealed_freshness(&freshness(99, 9), &["clockwork"]);
    let current = current(&of_alice(), 42, Some(newer), made()).unwrap();
    assert!(current.freshness().is_none());
}

#[test]
fn a_statement_that_does_not_count_is_as_good_as_none() {
    for (required, expected) in [(false, Ok(())), (true, Err(Code::FreshnessThreshold))] {
        let policy = renewed(of_alice(), required);
        let by_mallory = sealed_freshness(&freshness(42, 1), &["mallory"]);
        let judged = current(&policy, 42, Some(by_mallory), made());
        assert_eq!(code(judged), expected);
    }
}

#[test]
fn only_what_is_listed_is_current() {
    let policy = versioned(renewed(of_alice(), true), 3);
    for (version, listed, trust, expected) in [
        (42, 42, 3, Ok(())),
        (43, 42, 3, Err(Code::ManifestNotCurrent)),
        (42, 42, 2, Ok(())),
        (41, 42, 3, Err(Code::ManifestStale)),
        (42, 42, 4, Err(Code::TrustStale)),
    ] {
        let fresh = sealed_freshness(&freshness(listed, trust), &["clockwork"]);
        let judged = code(current(&policy, version, Some(fresh), made()));
        assert_eq!(judged, expected, "{version}, {listed}, {trust}");
    }
}

#[test]
fn a_listed_manifest_is_judged_as_every_other() {
    let policy = renewed(of_alice(), true);
    let fresh = sealed_freshness(&freshness(40, 1), &["clockwork"]);
    assert_eq!(
        code(current(&policy, 40, Some(fresh), made())),
        Err(Code::ManifestRollback)
    );
    let expected = Expected {
        name: &relay(),
        arch: None,
        now: made().into(),
    };
    let refusal = policy.verify_channel(b"{}", &expected).unwrap_err();
    assert_eq!(refusal.code(), Code::ManifestEnvelope);
    let refusal = (policy.verify_channel(&mirror(&[], &[]), &expected)).unwrap_err();
    assert!(matches!(refusal, Refusal::NoRelease), "{refusal:?}");
}

#[test]
fn the_servers_order_decides_among_what_is_current() {
    let both = said(&[43, 42], 0);
    for (order, expected) in [
        (&[43, 42][..], 43),
        (&[42, 43], 42),
        // 44 was published and is not current yet.
        (&[44, 43, 42], 43),
        (&[41, 42], 42),
    ] {
        let mut machine = Machine::new(fresh_policy());
        assert_eq!(
            machine.takes(&mirror(order, &[&both])),
            Ok(expected),
            "{order:?}"
        );
    }
}

#[test]
fn a_release_that_fails_a_check_is_passed_over() {
    let both = said(&[43, 42], 0);
    let unsigned = sealed_manifest(&manifest(43), &["mallory"]);
    let releases = [unsigned, by_alice(&manifest(42))];
    let channel = Channel::new(releases, [stated(&both)]).encode();
    assert_eq!(Machine::new(fresh_policy()).takes(&channel), Ok(42));
}

#[test]
fn the_most_telling_refusal_is_reported() {
    let mut withdrawn = said(&[43], 0);
    withdrawn.withdrawn = vec![42.try_into().unwrap()];
    let mut foreign = manifest(43);
    foreign.arch = Arch::Aarch64;
    for (versions, expected) in [
        (&[41][..], Code::ManifestStale),
        (&[41, 44], Code::ManifestNotCurrent),
        (&[44, 42, 41], Code::ManifestWithdrawn),
    ] {
        let mut machine = Machine::new(fresh_policy());
        let judged = machine.takes(&mirror(versions, &[&withdrawn]));
        assert_eq!(judged, Err(expected), "{versions:?}");
    }
    let channel = Channel::new([by_alice(&foreign)], [stated(&withdrawn)]).encode();
    let judged = Machine::new(fresh_policy()).takes(&channel);
    assert_eq!(judged, Err(Code::ManifestArch));
}

#[test]
fn a_machine_takes_what_is_current_for_its_architecture() {
    let mut foreign = manifest(43);
    foreign.arch = Arch::Aarch64;
    let ours = manifest(42);
    let statement = freshness_of(&[&foreign, &ours], 3);
    let releases = [by_alice(&foreign), by_alice(&ours)];
    let channel = Channel::new(releases, [stated(&statement)]).encode();
    assert_eq!(Machine::new(fresh_policy()).takes(&channel), Ok(42));
}

#[test]
fn a_release_is_current_until_its_own_end() {
    let mut statement = said(&[43, 42], 0);
    statement.releases[0].until = Some(made() + seconds(7200));
    let channel = mirror(&[43, 42], &[&statement]);
    let mut machine = Machine::new(fresh_policy());
    for (after, expected) in [(7199, 43), (7200, 42)] {
        machine.now = (made() + seconds(after)).into();
        assert_eq!(machine.takes(&channel), Ok(expected), "{after}");
    }
}

#[test]
fn a_manifest_of_a_future_type_is_skipped() {
    let mut statement = said(&[43], 0);
    let mut newer = listed(&manifest(44));
    newer.payload_type = "application/vnd.sealboot.manifest.v2+json".parse().unwrap();
    statement.releases.insert(0, newer);
    let future = Envelope::unsigned("application/vnd.sealboot.manifest.v2+json", b"?".to_vec());
    let alone = Channel::new([future.clone()], [stated(&statement)]).encode();
    let judged = Machine::new(fresh_policy()).takes(&alone);
    assert_eq!(judged, Err(Code::ManifestPayloadType));
    let beside = Channel::new([future, by_alice(&manifest(43))], [stated(&statement)]).encode();
    assert_eq!(Machine::new(fresh_policy()).takes(&beside), Ok(43));
}

#[test]
fn the_newest_statement_judges_every_mirror() {
    let (old, new) = (said(&[42], 0), said(&[43], 60));
    let mut machine = Machine::new(fresh_policy());
    // The stale mirror alone would do; it does not once the other was seen, in whatever order.
    assert_eq!(machine.takes(&mirror(&[42], &[&old])), Ok(42));
    assert_eq!(
        machine.takes(&mirror(&[41], &[&new])),
        Err(Code::ManifestStale)
    );
    assert_eq!(
        machine.takes(&mirror(&[42], &[&old])),
        Err(Code::ManifestStale)
    );
    assert_eq!(machine.takes(&mirror(&[42], &[])), Err(Code::ManifestStale));
    // A mirror that has the release and a statement of yesterday boots it by the kept one.
    assert_eq!(machine.takes(&mirror(&[42, 43], &[&old])), Ok(43));
}

#[test]
fn a_statement_is_kept_though_its_mirror_shows_nothing_good() {
    let new = said(&[43], 60);
    let mut machine = Machine::new(fresh_policy());
    let unsigned = sealed_manifest(&manifest(43), &["mallory"]);
    let channel = Channel::new([unsigned], [stated(&new)]).encode();
    assert_eq!(machine.takes(&channel), Err(Code::ManifestThreshold));
    let judged = machine.takes(&mirror(&[42], &[&said(&[42], 0)]));
    assert_eq!(judged, Err(Code::ManifestStale));
}

#[test]
fn a_withdrawal_goes_back_and_a_replay_does_not_undo_it() {
    let (old, mut new) = (said(&[43, 42], 0), said(&[42], 60));
    new.withdrawn = vec![43.try_into().unwrap()];
    let mut machine = Machine::new(fresh_policy());
    assert_eq!(machine.takes(&mirror(&[43, 42], &[&old])), Ok(43));
    assert_eq!(machine.takes(&mirror(&[43, 42], &[&new])), Ok(42));
    assert_eq!(machine.takes(&mirror(&[43, 42], &[&old])), Ok(42));
    assert_eq!(
        machine.takes(&mirror(&[43], &[&old])),
        Err(Code::ManifestWithdrawn)
    );
}

#[test]
fn two_statements_of_one_second_are_a_conflict() {
    let (first, second) = (said(&[42], 0), said(&[43], 0));
    let mut machine = Machine::new(fresh_policy());
    assert_eq!(machine.takes(&mirror(&[42], &[&first, &first])), Ok(42));
    assert!(!machine.kept.is_in_conflict(&relay()));
    let judged = machine.takes(&mirror(&[43], &[&second]));
    assert_eq!(judged, Err(Code::ManifestNotCurrent));
    assert!(machine.kept.is_in_conflict(&relay()));
    assert_eq!(machine.takes(&mirror(&[43], &[&said(&[43], 1)])), Ok(43));
    assert!(!machine.kept.is_in_conflict(&relay()));
}

#[test]
fn the_newest_of_several_statements_in_a_channel_counts() {
    let (old, new) = (said(&[42], 0), said(&[43], 60));
    for statements in [[&old, &new], [&new, &old]] {
        let mut machine = Machine::new(fresh_policy());
        assert_eq!(machine.takes(&mirror(&[42, 43], &statements)), Ok(43));
    }
}

#[test]
fn a_kept_statement_that_has_ended_is_not_replaced_by_an_older_one() {
    let old = said(&[42], 0);
    let mut new = said(&[43], 60);
    new.expires = made() + seconds(3600);
    let mut machine = Machine::new(fresh_policy());
    assert_eq!(machine.takes(&mirror(&[43], &[&new])), Ok(43));
    machine.now = (made() + seconds(2 * 3600)).into();
    assert_eq!(
        machine.takes(&mirror(&[43], &[&old])),
        Err(Code::FreshnessExpired)
    );
    assert_eq!(
        machine.takes(&mirror(&[42], &[&old])),
        Err(Code::ManifestStale)
    );
}

#[test]
fn a_statement_from_the_future_is_not_kept() {
    let mut future = said(&[43], 0);
    future.created = time("2099-01-01T00:00:00Z");
    future.expires = time("2099-01-02T00:00:00Z");
    let old = said(&[42], 0);
    let mut machine = Machine::new(fresh_policy());
    assert_eq!(machine.takes(&mirror(&[42], &[&future, &old])), Ok(42));
    assert_eq!(*machine.kept.statement(&relay()).unwrap().as_ref(), old);
}

#[test]
fn a_statement_moves_no_clock() {
    let mut future = said(&[42], 0);
    future.created = time("2099-01-01T00:00:00Z");
    future.expires = time("2099-01-02T00:00:00Z");
    let mut machine = Machine::new(fresh_policy());
    machine.now = JudgingTime::new(time("2025-01-01T00:00:00Z"), ClockState::Unset);
    assert_eq!(machine.takes(&mirror(&[42], &[&future])), Ok(42));
    // The manifest of 2026, by a release key, does.
    assert_eq!(machine.now.at(), made());
}

#[test]
fn a_dead_clock_learns_from_the_manifest_that_a_statement_has_ended() {
    let mut late = manifest(42);
    late.created = made() + seconds(100_000);
    let statement = freshness_of(&[&late], 3);
    let channel = channel(by_alice(&late), Some(stated(&statement)));
    let mut machine = Machine::new(fresh_policy());
    machine.now = JudgingTime::new(time("2025-01-01T00:00:00Z"), ClockState::Unset);
    assert_eq!(machine.takes(&channel), Err(Code::FreshnessExpired));
}

#[test]
fn a_statement_lists_no_more_versions_than_the_policy_allows() {
    let mut machine = Machine::new(fresh_policy());
    let judged = machine.takes(&mirror(&[43], &[&said(&[43, 42, 41], 0)]));
    assert_eq!(judged, Err(Code::FreshnessReleases));
    assert_eq!(
        machine.takes(&mirror(&[43], &[&said(&[43, 42], 0)])),
        Ok(43)
    );
}

#[test]
fn a_policy_that_changes_the_freshness_role_forgets_what_it_said() {
    let by_other_keys = |policy: &TrustPolicy| {
        let next = policy.with(|fields| {
            fields.keys.push(signer("dora"));
            fields.roles.freshness = Some(vec![group(1, &["dora"])]);
        });
        versioned(next.unwrap(), 4)
    };
    let by_the_same = |policy: &TrustPolicy| versioned(policy.clone(), 4);
    let first = fresh_policy();
    for (next, expected) in [
        (by_the_same(&first), Err(Code::ManifestStale)),
        (by_other_keys(&first), Err(Code::FreshnessThreshold)),
    ] {
        let mut machine = Machine::new(fresh_policy());
        assert_eq!(machine.takes(&mirror(&[43], &[&said(&[43], 60)])), Ok(43));
        machine.follows(next);
        assert_eq!(machine.takes(&mirror(&[42], &[&said(&[42], 0)])), expected);
    }
}

#[test]
fn without_statements_the_highest_version_stays_the_floor() {
    let mut machine = Machine::new(of_alice());
    assert_eq!(machine.takes(&mirror(&[43], &[])), Ok(43));
    assert_eq!(machine.takes(&mirror(&[42], &[])), Err(Code::ManifestStale));
    assert_eq!(machine.takes(&mirror(&[42, 43], &[])), Ok(43));
    // Unless the next policy denies that version.
    let next = machine.policy.with(|fields| {
        fields.images[0]
            .denied_versions
            .push(43.try_into().unwrap());
    });
    machine.follows(versioned(next.unwrap(), 2));
    assert_eq!(
        machine.takes(&mirror(&[43], &[])),
        Err(Code::ManifestDenied)
    );
    assert_eq!(machine.takes(&mirror(&[42], &[])), Ok(42));
}

#[test]
fn releases_that_are_not_listed_cost_no_verification() {
    let people: Vec<String> = (0..32).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let policy = renewed(policy(&people), true);
    // Each of 31 junk releases would take 1,024 verifications.
    let mut releases: Vec<Envelope> = (1..32)
        .map(|version| sealed_manifest(&manifest(version), &["mallory"; 32]))
        .collect();
    releases.push(sealed_manifest(&manifest(42), &people));
    let channel = Channel::new(releases, [stated(&freshness(42, 1))]).encode();
    assert_eq!(Machine::new(policy).takes(&channel), Ok(42));
}

// Who can hold a machine at which version, until when: a test for each row of the threat model's table.

#[test]
fn a_mirror_holds_a_machine_until_its_statement_ends() {
    let day = 24 * 3600;
    // 43 is published, and the mirror shows 42 alone.
    let held = mirror(&[42], &[&said(&[43, 42], 0)]);
    let at = |after| {
        let mut machine = Machine::new(fresh_policy());
        machine.now = (made() + seconds(after)).into();
        machine.takes(&held)
    };
    // The clocks may differ by 300 seconds.
    assert_eq!(at(day + 299), Ok(42));
    assert_eq!(at(day + 300), Err(Code::FreshnessExpired));
    // A later statement ends it in the run that sees one.
    let mut machine = Machine::new(fresh_policy());
    assert_eq!(machine.takes(&mirror(&[43], &[&said(&[43], 60)])), Ok(43));
    assert_eq!(machine.takes(&held), Err(Code::ManifestStale));
    // What no statement lists holds nothing.
    let unlisted = mirror(&[41], &[&said(&[43, 42], 0)]);
    let judged = Machine::new(fresh_policy()).takes(&unlisted);
    assert_eq!(judged, Err(Code::ManifestStale));
}

#[test]
fn a_freshness_key_lists_any_valid_release_until_it_changes() {
    let listing = |version| mirror(&[version], &[&said(&[version], 60)]);
    for (version, expected) in [
        (43, Ok(43)),
        (41, Ok(41)),
        // Below the policy's min_version.
        (40, Err(Code::ManifestRollback)),
    ] {
        let judged = Machine::new(fresh_policy()).takes(&listing(version));
        assert_eq!(judged, expected, "{version}");
    }
    let by_eve = sealed_manifest(&manifest(43), &["eve"]);
    let unsigned = Channel::new([by_eve], [stated(&said(&[43], 60))]).encode();
    let judged = Machine::new(fresh_policy()).takes(&unsigned);
    assert_eq!(judged, Err(Code::ManifestThreshold));
    let next = fresh_policy().with(|fields| {
        fields.keys.push(signer("dora"));
        fields.roles.freshness = Some(vec![group(1, &["dora"])]);
    });
    let mut machine = Machine::new(fresh_policy());
    machine.follows(versioned(next.unwrap(), 4));
    assert_eq!(machine.takes(&listing(41)), Err(Code::FreshnessThreshold));
}

#[test]
fn a_freshness_key_with_all_mirrors_holds_until_the_policy_ends() {
    let days = |count: i64| made() + seconds(count * 24 * 3600);
    // The mirrors hide the policy that replaces the key, and the key goes on renewing.
    let after = |on_expiry, count| {
        let policy = fresh_policy().with(|fields| {
            fields.expires = Some(days(10));
            fields.on_expiry = on_expiry;
        });
        let policy = policy.unwrap();
        let mut statement = said(&[41], 0);
        (statement.created, statement.expires) = (days(count), days(count + 1));
        let ended = policy.check_expiry(days(count));
        let mut machine = Machine::new(policy);
        machine.now = days(count).into();
        let taken = machine.takes(&mirror(&[41], &[&statement]));
        ended.map_err(|refusal| refusal.code()).and(taken)
    };
    assert_eq!(after(OnExpiry::Refuse, 9), Ok(41));
    assert_eq!(after(OnExpiry::Refuse, 11), Err(Code::TrustExpired));
    // One that only warns holds on.
    assert_eq!(after(OnExpiry::Warn, 11), Ok(41));
}

#[test]
fn release_keys_choose_until_root_replaces_them() {
    let of = |number, builder: &str| {
        let policy = policy(&["alice"]).with(|fields| {
            fields.keys.push(signer(builder));
            fields.roles.release = vec![group(1, &[builder])];
        });
        versioned(policy.unwrap(), number)
    };
    let by_thief = |version| {
        let manifest = sealed_manifest(&manifest(version), &["thief"]);
        Channel::new([manifest], []).encode()
    };
    let mut machine = Machine::new(of(1, "thief"));
    assert_eq!(machine.takes(&by_thief(99)), Ok(99));
    // Their word on the next policy counts for nothing; that of root ends it.
    let next = of(2, "builder");
    let signed = |by: &[&str]| {
        machine
            .policy
            .verify_successor(&sealed_policy(&next, by).encode())
    };
    assert_eq!(signed(&["thief"]).unwrap_err().code(), Code::TrustThreshold);
    let next = signed(&["alice"]).unwrap().as_ref().clone();
    machine.follows(next);
    assert_eq!(machine.takes(&by_thief(99)), Err(Code::ManifestThreshold));
}
