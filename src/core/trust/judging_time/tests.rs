//! Both states of a clock, and what moves the time of an unset one.

use super::super::policy::AcceptedImage;
use super::super::testing::{
    channel, freshness, made, manifest, policy, renewed, sealed_freshness, sealed_manifest,
    seconds, time,
};
use super::super::verified::Expected;
use super::super::{Envelope, KeptProofs, TrustPolicy};
use super::*;
use crate::failure::{Diagnose as _, FailureCode as Code};
use crate::format::manifest::Manifest;

const TOLERANCE: SignedDuration = SignedDuration::from_secs(300);

fn unset(at: Timestamp) -> JudgingTime {
    JudgingTime::new(at, ClockState::Unset)
}

#[test]
fn only_an_unset_clock_accepts_what_is_from_the_future() {
    let at = made();
    for (created, refused) in [
        (at, false),
        (at + TOLERANCE, false),
        (at + TOLERANCE + seconds(1), true),
        (Timestamp::MAX, true),
    ] {
        let set = JudgingTime::from(at);
        assert_eq!(set.is_before(created, TOLERANCE), refused, "{created}");
        assert!(!unset(at).is_before(created, TOLERANCE), "{created}");
    }
}

#[test]
fn what_has_ended_is_refused_under_every_clock() {
    let at = made();
    for now in [JudgingTime::from(at), unset(at)] {
        assert!(now.is_after(at - TOLERANCE, TOLERANCE), "{now}");
        assert!(
            !now.is_after(at - TOLERANCE + seconds(1), TOLERANCE),
            "{now}"
        );
    }
}

#[test]
fn a_proof_moves_an_unset_clock_and_only_forward() {
    let (early, at, late) = (made(), made() + seconds(10), made() + seconds(20));
    let mut now = unset(at);
    now.prove(early);
    assert_eq!((now.at(), now.proved()), (at, Some(early)));
    now.prove(late);
    now.prove(at);
    assert_eq!((now.at(), now.proved()), (late, Some(late)));
    let mut set = JudgingTime::from(at);
    set.prove(late);
    assert_eq!(set, JudgingTime::from(at));
}

/// A year before every statement here.
fn year_before() -> Timestamp {
    made() - SignedDuration::from_hours(365 * 24)
}

/// Judges what a mirror shows of `relay` at `now`, and returns the time by which it was judged.
fn judge(
    policy: &TrustPolicy,
    manifest: Envelope,
    freshness: Option<Envelope>,
    now: JudgingTime,
) -> (Result<(), Code>, JudgingTime) {
    let name = "relay".parse().unwrap();
    let mut expected = Expected {
        name: &name,
        arch: None,
        now,
    };
    let channel = channel(manifest, freshness);
    let judged = policy.judge_channel(&channel, &mut expected, &mut KeptProofs::default());
    let code = judged.map(drop).map_err(|refusal| refusal.code());
    (code, expected.now)
}

fn by_alice(manifest: &Manifest) -> Envelope {
    sealed_manifest(manifest, &["alice"])
}

fn clockwork(created: Timestamp) -> Option<Envelope> {
    let mut statement = freshness(42, 1);
    (statement.created, statement.expires) = (created, created + seconds(3600));
    Some(sealed_freshness(&statement, &["clockwork"]))
}

#[test]
fn an_unset_clock_takes_the_time_of_the_manifest() {
    let policy = renewed(policy(&["alice"]), true);
    let image = || by_alice(&manifest(42));
    let (code, now) = judge(&policy, image(), clockwork(made()), unset(year_before()));
    assert_eq!((code, now.at()), (Ok(()), made()));
    let set = JudgingTime::from(year_before());
    let (code, now) = judge(&policy, image(), clockwork(made()), set);
    assert_eq!((code, now), (Err(Code::ManifestFuture), set));
    // The statement of a mirror that froze before the image was built has ended.
    let frozen = clockwork(made() - seconds(2 * 3600));
    let (code, _) = judge(&policy, image(), frozen, unset(year_before()));
    assert_eq!(code, Err(Code::FreshnessExpired));
}

#[test]
fn a_freshness_key_alone_moves_no_time() {
    let policy = renewed(policy(&["alice"]), true);
    let claimed = clockwork(time("2099-01-01T00:00:00Z"));
    let image = by_alice(&manifest(42));
    let (code, now) = judge(&policy, image, claimed, unset(year_before()));
    assert_eq!((code, now.at()), (Ok(()), made()));
    assert_eq!(now.proved(), Some(made()));
}

#[test]
fn a_refused_channel_leaves_the_time_that_its_manifest_proves() {
    let policy = renewed(policy(&["alice"]), true);
    let (code, now) = judge(&policy, by_alice(&manifest(42)), None, unset(year_before()));
    assert_eq!((code, now.at()), (Err(Code::FreshnessMissing), made()));
    // An image that ended before that is then refused.
    let mut old = manifest(41);
    (old.created, old.expires) = (year_before(), Some(made() - TOLERANCE));
    let (code, _) = judge(&policy, by_alice(&old), None, now);
    assert_eq!(code, Err(Code::ManifestExpired));
    let (code, _) = judge(
        &policy,
        by_alice(&old),
        clockwork(made()),
        unset(year_before()),
    );
    assert_eq!(code, Err(Code::ManifestStale));
}

#[test]
fn a_manifest_that_is_not_accepted_proves_nothing() {
    let mut denying = AcceptedImage::new("relay".parse().unwrap(), 41.try_into().unwrap());
    denying.denied_versions.push(42.try_into().unwrap());
    let denying = policy(&["alice"]).with(|fields| fields.images = vec![denying]);
    let denying = denying.unwrap();
    let plain = policy(&["alice"]);
    let mut other = manifest(42);
    other.name = "other".parse().unwrap();
    for (policy, shown, expected) in [
        (&denying, by_alice(&manifest(42)), Code::ManifestDenied),
        (&plain, by_alice(&manifest(40)), Code::ManifestRollback),
        (&plain, by_alice(&other), Code::ManifestName),
        (
            &plain,
            sealed_manifest(&manifest(42), &["mallory"]),
            Code::ManifestThreshold,
        ),
    ] {
        let before = unset(year_before());
        let (code, now) = judge(policy, shown, None, before);
        assert_eq!((code, now), (Err(expected), before));
    }
}

#[test]
fn a_judging_time_says_whether_the_clock_counts() {
    for (now, said) in [
        (
            JudgingTime::from(made()),
            "2026-01-01T12:00:00Z (the clock is set)",
        ),
        (unset(made()), "2026-01-01T12:00:00Z (the clock is unset)"),
    ] {
        assert_eq!(now.to_string(), said);
    }
}
