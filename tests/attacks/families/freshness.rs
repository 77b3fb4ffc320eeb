//! Freshness: whether what a mirror shows is the newest, by the word of a key of its own.

use sealboot_core::failure::FailureCode::{
    FreshnessExpired, FreshnessFuture, FreshnessInvalid, FreshnessMissing, FreshnessName,
    FreshnessReleases, FreshnessThreshold, FreshnessUpgrade, FreshnessValidity, ManifestDenied,
    ManifestEnvelope, ManifestFuture, ManifestInvalid, ManifestNotCurrent, ManifestStale,
    ManifestThreshold, ManifestWithdrawn, TrustStale,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};

use support::world::trust::versioned;

use super::{
    CHANNEL, Case, edited, fresh, fresh_by, freshness, freshness_of, good, key, keys, manifest,
    policy, policy_of, sealed, sealed_freshness, sealed_policy,
};
use support::world;

vectors! {
    /// The key that renews said yesterday that this version is the newest, until tomorrow.
    fresh_image => Ok(()), said(&freshness(42)).archive();

    /// The policy requires a freshness statement, and the mirror shows none: it may be frozen.
    freshness_missing => Err(FreshnessMissing), Case::of(&fresh(policy())).manifest(&good());

    /// A freshness statement is null: the channel is broken.
    freshness_null => Err(ManifestEnvelope),
        Case::of(&fresh(policy())).shows(CHANNEL, world::channel(&good(), Some(b"null")));

    /// The mirror is frozen since last month, and shows last month's statement.
    freshness_expired => Err(FreshnessExpired),
        said(&dated("2025-12-14T12:00:00Z", "2025-12-16T12:00:00Z"));

    /// The machine's clock says 1970, when nothing of this was signed: it must not judge by it.
    clock_in_1970 => Err(ManifestFuture), said(&freshness(42)).at("1970-01-01T00:00:00Z");

    /// The statement comes from tomorrow: whoever made it lies about the time, or this clock does.
    freshness_from_the_future => Err(FreshnessFuture),
        said(&dated("2026-01-16T00:00:00Z", "2026-01-17T00:00:00Z"));

    /// The statement grants itself a year, in which a stolen one could be shown.
    freshness_that_lives_too_long => Err(FreshnessValidity),
        said(&dated("2026-01-14T12:00:00Z", "2027-01-14T12:00:00Z"));

    /// The statement is about another image, of which this version is the newest.
    freshness_for_another_name => Err(FreshnessName),
        said(&Freshness { name: "exit".parse().unwrap(), ..freshness(42) });

    /// Those who sign images have signed the statement: they are not of this role.
    freshness_signed_by_image_keys_alone => Err(FreshnessThreshold),
        Case::of(&fresh(policy())).fresh(
            &good(),
            &sealed_freshness(&freshness(42), &["alice", "bob", "carol"]),
        );

    /// Nobody has signed the statement.
    freshness_without_a_signature => Err(FreshnessThreshold),
        Case::of(&fresh(policy())).fresh(&good(), &sealed_freshness(&freshness(42), &[]));

    /// The key that renews and alice have signed the image: a machine's key releases nothing.
    image_signed_by_the_freshness_key => Err(ManifestThreshold),
        Case::of(&fresh(policy())).fresh(
            &sealed(&manifest(42), &["alice", "clockwork"]),
            &sealed_freshness(&freshness(42), &["clockwork"]),
        );

    /// Of two keys that must say it, one has said it twice, once under the other's id.
    freshness_of_one_key_twice => Err(FreshnessThreshold), {
        let mut envelope = Envelope::parse(&sealed_freshness(&freshness(42), &["clockwork"])).unwrap();
        let signature = key("clockwork").sign(&envelope.signed_bytes());
        envelope.add_signature(key("clockwork2").public().id(), signature);
        Case::of(&fresh_by(policy(), 2, &["clockwork", "clockwork2"])).fresh(&good(), &envelope.encode())
    };

    /// The mirror shows an old image, validly signed, and the newest statement: it holds machines back.
    older_image_than_the_newest => Err(ManifestStale), said(&freshness(43));

    /// The mirror shows a newer image than the statement lists: a release that is not current yet.
    newer_image_than_the_freshness => Err(ManifestNotCurrent), said(&freshness(41));

    /// The mirror shows a newer image beside the one that is current: that one boots.
    newer_image_beside_the_current_one => Ok(()),
        offering(&[manifest(43), manifest(42)], &freshness(42)).archive();

    /// Two versions are current: the server's order decides.
    two_current_versions => Ok(()),
        Case::of(&of_two()).shows(CHANNEL, offered(
            &[manifest(42), manifest(43)], &freshness_of(&[&manifest(43), &manifest(42)]),
        )).archive();

    /// The statement lists two versions, the policy allows one.
    more_versions_than_the_policy_allows => Err(FreshnessReleases),
        said(&freshness_of(&[&manifest(43), &manifest(42)]));

    /// The statement withdraws the version that the mirror shows.
    withdrawn_version => Err(ManifestWithdrawn), said(&Freshness {
        withdrawn: vec![42.try_into().unwrap()], ..freshness(43)
    });

    /// The statement withdraws a version that it lists.
    withdrawn_version_that_is_current => Err(FreshnessInvalid), said(&Freshness {
        withdrawn: vec![42.try_into().unwrap()], ..freshness(42)
    });

    /// The release was current until yesterday, though the statement counts until tomorrow.
    release_that_was_current_until_yesterday => Err(ManifestNotCurrent), {
        let mut ended = freshness(42);
        ended.releases[0].until = Some("2026-01-14T13:00:00Z".parse().unwrap());
        said(&ended)
    };

    /// The statement lists another manifest of the same version: the digest decides, not the number.
    other_manifest_of_the_current_version => Err(ManifestNotCurrent), {
        let mut other = manifest(42);
        other.label = "another".parse().unwrap();
        said(&freshness_of(&[&other]))
    };

    /// The statement lists a manifest of a type that only a newer loader knows beside the one that this loader knows.
    current_release_of_a_future_type => Ok(()), {
        let mut both = freshness(42);
        let mut future = both.releases[0].clone();
        future.payload_type = "application/vnd.sealboot.manifest.v2+json".parse().unwrap();
        both.releases.insert(0, future);
        said(&both).archive()
    };

    /// The channel has an older statement before the newest one.
    older_statement_first => Err(ManifestStale), {
        let newer = Freshness {
            created: "2026-01-14T13:00:00Z".parse().unwrap(), ..freshness(43)
        };
        let releases = [sealed(&manifest(42), &["alice", "bob"])];
        let statements = [freshness(42), newer];
        Case::of(&fresh(policy())).shows(CHANNEL, channel_of(&releases, &statements))
    };

    /// The channel offers no release at all.
    channel_without_a_release => Err(ManifestEnvelope),
        Case::of(&fresh(policy())).shows(CHANNEL, channel_of(&[], &[freshness(42)]));

    /// The statement names a newer trust policy than the mirror shows.
    newer_policy_than_shown => Err(TrustStale),
        said(&Freshness { trust: 2.try_into().unwrap(), ..freshness(42) });

    /// The statement expires before it was made.
    freshness_that_expires_before_it_was_made => Err(FreshnessInvalid),
        said(&dated("2026-01-14T12:00:00Z", "2026-01-14T12:00:00Z"));

    /// The statement is that of a frozen mirror, where the policy would do without one: what the role has said last
    /// counts all the same.
    expired_freshness_where_none_is_required => Err(FreshnessExpired),
        Case::of(&not_required()).fresh(
            &good(),
            &sealed_freshness(&dated("2025-12-14T12:00:00Z", "2025-12-16T12:00:00Z"), &["clockwork"]),
        );

    /// The policy does without a statement, and there is none.
    freshness_missing_where_none_is_required => Ok(()),
        Case::of(&not_required()).manifest(&good()).archive();

    /// The policy has no role for freshness, and the mirror shows a statement of a stranger, about
    /// another image, long expired: it says nothing and is not looked at.
    freshness_where_the_policy_has_no_role => Ok(()), {
        let strange = Freshness {
            name: "exit".parse().unwrap(),
            ..dated("2020-01-14T12:00:00Z", "2020-01-16T12:00:00Z")
        };
        Case::of(&policy()).fresh(&good(), &sealed_freshness(&strange, &["mallory"])).archive()
    };

    /// A freshness statement that is no envelope, where the policy has no role for it: the channel file
    /// is broken, and nothing in it is taken.
    broken_freshness_where_the_policy_has_no_role => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, world::channel(&good(), Some(b"{}"))).archive();

    /// Whoever stole the key that renews says that the largest version is the newest: no image will ever
    /// be new enough.
    freshness_fast_forward => Err(ManifestStale), said(&freshness(LIMITS.number_max));

    /// Whoever stole the key that renews says that the largest version of the trust policy is the newest.
    freshness_fast_forward_of_the_policy => Err(TrustStale),
        said(&Freshness { trust: LIMITS.number_max.try_into().unwrap(), ..freshness(42) });

    /// The statement counts from the first year of the calendar to its last.
    freshness_of_all_time => Err(FreshnessValidity),
        said(&dated("0000-01-01T00:00:00Z", "9999-12-30T22:00:00Z"));

    /// The way back after a stolen key has named the largest version: the next policy replaces the key,
    /// and the new one says what is true.
    way_back_from_a_freshness_fast_forward => Ok(()),
        renewed_by_another().fresh(&good(), &sealed_freshness(&second(42), &["clockwork2"])).archive();

    /// The next policy has replaced the stolen key: its statement, which names the largest version,
    /// counts for nothing.
    fast_forward_after_the_way_back => Err(FreshnessThreshold),
        renewed_by_another()
            .fresh(&good(), &sealed_freshness(&freshness(LIMITS.number_max), &["clockwork"]));

    /// A version past the largest number that all readers of JSON agree on.
    freshness_of_a_version_past_the_largest => Err(FreshnessInvalid),
        spelled("\"version\":42", "\"version\":9007199254740992");

    /// A statement about version 0, which no image has.
    freshness_of_version_zero => Err(FreshnessInvalid), spelled("\"version\":42", "\"version\":0");

    /// A statement about version 0 of the trust policy.
    freshness_of_policy_zero => Err(FreshnessInvalid), spelled("\"trust\":1", "\"trust\":0");

    /// A field that this reader does not know: it may only add information or permission, and is ignored.
    unknown_field_in_a_freshness => Ok(()),
        spelled("{\"name\"", "{\"only\":\"exit\",\"name\"").archive();

    /// A feature that is critical and that this reader does not know.
    unknown_critical_word_in_a_freshness => Err(FreshnessUpgrade),
        spelled("{\"name\"", "{\"critical\":[\"new\"],\"name\"");

    /// A field that is given twice, of which readers take the first or the last.
    duplicate_key_in_a_freshness => Err(FreshnessInvalid),
        spelled("\"version\":42", "\"version\":42,\"version\":41");

    /// The statement leaves out which trust policy is the newest.
    freshness_without_a_policy => Err(FreshnessInvalid), spelled("\"trust\":1,", "");

    /// A good statement with white space in it, which is free: the signature is over the bytes.
    freshness_spelled_with_white_space => Ok(()), spelled("{\"name\"", "{ \"name\"").archive();

    /// A good statement with its time in another zone.
    freshness_in_another_time_zone => Err(FreshnessInvalid),
        spelled("2026-01-14T12:00:00Z", "2026-01-14T13:00:00+01:00");

    /// The statement's fields as a list, without their names.
    freshness_as_an_array => Err(FreshnessInvalid), {
        let array = r#"["relay",42,1,"2026-01-14T12:00:00Z","2026-01-16T12:00:00Z"]"#;
        said_in(array.as_bytes().to_vec())
    };

    /// Whoever stole two signers' keys releases the largest version there is: it is validly signed, and
    /// machines take it.
    image_fast_forward => Ok(()),
        Case::of(&policy()).manifest(&sealed(&manifest(LIMITS.number_max), &["alice", "bob"])).archive();

    /// The way back after stolen keys have released the largest version: the next policy, of new signers,
    /// denies it.
    image_fast_forward_denied => Err(ManifestDenied),
        denying_the_largest().manifest(&sealed(&manifest(LIMITS.number_max), &["carol", "dora"]));

    /// The next policy denies the largest version, which stolen keys released; an image with the next
    /// honest version boots, as no machine remembers the largest.
    way_back_from_an_image_fast_forward => Ok(()),
        denying_the_largest().manifest(&sealed(&manifest(42), &["carol", "dora"])).archive();

    /// One past the largest version that there is.
    image_fast_forward_past_the_largest => Err(ManifestInvalid), {
        let payload = edited(&manifest(42).encode(), "\"version\":42", "\"version\":9007199254740992");
        Case::of(&policy()).manifest(&world::seal(Manifest::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"])))
    };
}

/// The policy requires freshness, version 42 is shown, and this is what clockwork says.
fn said(freshness: &Freshness) -> Case {
    said_in(freshness.encode())
}

fn said_in(payload: Vec<u8>) -> Case {
    let envelope = world::seal(Freshness::PAYLOAD_TYPE, payload, &keys(&["clockwork"]));
    Case::of(&fresh(policy())).fresh(&good(), &envelope)
}

/// The same in another spelling, or with another content.
fn spelled(from: &str, to: &str) -> Case {
    said_in(edited(&freshness(42).encode(), from, to))
}

fn dated(created: &str, expires: &str) -> Freshness {
    Freshness {
        created: created.parse().unwrap(),
        expires: expires.parse().unwrap(),
        ..freshness(42)
    }
}

/// A channel that offers these releases, all good, and one statement.
fn offered(releases: &[Manifest], freshness: &Freshness) -> Vec<u8> {
    let releases: Vec<_> = (releases.iter())
        .map(|manifest| sealed(manifest, &["alice", "bob"]))
        .collect();
    channel_of(&releases, std::slice::from_ref(freshness))
}

fn offering(releases: &[Manifest], freshness: &Freshness) -> Case {
    Case::of(&fresh(policy())).shows(CHANNEL, offered(releases, freshness))
}

fn channel_of(releases: &[Vec<u8>], statements: &[Freshness]) -> Vec<u8> {
    let parse = |bytes: &[u8]| Envelope::parse(bytes).unwrap();
    let releases = releases.iter().map(|bytes| parse(bytes));
    let statements = statements
        .iter()
        .map(|one| parse(&sealed_freshness(one, &["clockwork"])));
    Channel::new(releases, statements).encode()
}

/// The policy, which lets two versions be current.
fn of_two() -> TrustPolicy {
    let changed = fresh(policy()).with(|fields| fields.freshness.max_releases = 2);
    changed.unwrap()
}

fn second(version: u64) -> Freshness {
    Freshness {
        trust: 2.try_into().unwrap(),
        ..freshness(version)
    }
}

fn not_required() -> TrustPolicy {
    let changed = fresh(policy()).with(|fields| fields.freshness.required = false);
    changed.unwrap()
}

/// The second policy gives the role of clockwork to clockwork2.
fn renewed_by_another() -> Case {
    let next = versioned(&fresh_by(policy(), 1, &["clockwork2"]), 2);
    Case::of(&fresh(policy())).policy(2, sealed_policy(&next, &["alice", "bob"]))
}

/// The second policy has carol and dora for alice and bob, whose keys were stolen, and denies the
/// largest version.
fn denying_the_largest() -> Case {
    let next = versioned(&policy_of(&["carol", "dora"], 2), 2).with(|fields| {
        fields.images[0].denied_versions = vec![LIMITS.number_max.try_into().unwrap()];
    });
    let next = next.unwrap();
    Case::of(&policy()).policy(2, sealed_policy(&next, &["alice", "bob", "carol", "dora"]))
}
