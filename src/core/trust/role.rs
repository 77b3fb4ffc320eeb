//! A role: groups of keys, and how many of each must have signed.
//!
//! Signatures are counted by distinct public key. The key id beside a signature is a hint, written by whoever wrote the
//! file: the key that it names is tried first, then every other key of the role that has not signed yet. A payload comes
//! out of an envelope only through `Role::open`, after the count.

use std::collections::BTreeSet;

use super::envelope::Envelope;
use super::policy::{Group, Signer, SignerName, TrustPolicy};
use super::refusal::Refusal;
use super::statement::{IgnoredSignature, SignatureCount, Statement, Unmet};
use crate::format::limits::LIMITS;
use crate::format::manifest::ImageName;
use crate::format::payload::PayloadError;

/// Groups of keys, each with its threshold.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    table: &'a [Signer],
    groups: &'a [Group],
}

/// How many signatures may still be verified. Stops a file of many envelopes that keeps a machine busy.
#[derive(Debug)]
pub struct Verifications(usize);

impl Default for Verifications {
    fn default() -> Self {
        Self(LIMITS.verifications)
    }
}

impl TrustPolicy {
    const fn role<'a>(&'a self, groups: &'a [Group]) -> Role<'a> {
        Role {
            table: self.fields().keys.as_slice(),
            groups,
        }
    }

    /// Returns the role that signs the next policy.
    #[must_use]
    pub fn root_role(&self) -> Role<'_> {
        self.role(&self.fields().roles.root)
    }

    /// Returns the role that signs the manifests of an image; `None` for an image that the policy does not accept.
    #[must_use]
    pub fn release_role(&self, name: &ImageName) -> Option<Role<'_>> {
        let own = self.image(name)?.release.as_ref();
        Some(self.role(own.unwrap_or(&self.fields().roles.release)))
    }

    /// Returns the role that signs the freshness statements of an image, if there is one.
    #[must_use]
    pub fn freshness_role(&self, name: &ImageName) -> Option<Role<'_>> {
        let own = self.image(name)?.freshness.as_ref();
        let groups = own.or(self.fields().roles.freshness.as_ref())?;
        Some(self.role(groups))
    }

    /// Returns the role that signs host configs, if there is one.
    #[must_use]
    pub fn host_config_role(&self) -> Option<Role<'_>> {
        let groups = self.fields().roles.host_config.as_ref()?;
        Some(self.role(groups))
    }
}

impl<'a> Role<'a> {
    /// Returns the groups.
    #[must_use]
    pub const fn groups(&self) -> &'a [Group] {
        self.groups
    }

    /// Returns the keys of the role, in the order of the table.
    pub fn signers(&self) -> impl Iterator<Item = &'a Signer> + use<'a> {
        let groups = self.groups;
        self.table
            .iter()
            .filter(move |signer| groups.iter().any(|group| group.keys.contains(&signer.name)))
    }

    /// Returns the thresholds and keys of its groups, whatever the keys' names and the order are.
    pub(super) fn material(&self) -> BTreeSet<(usize, BTreeSet<String>)> {
        let key = |name: &SignerName| {
            let signer = self.table.iter().find(|signer| signer.name == *name);
            signer.map(|signer| signer.key.to_string())
        };
        let groups = self.groups.iter().map(|group| {
            let keys = group.keys.iter().filter_map(key).collect();
            (group.threshold, keys)
        });
        groups.collect()
    }

    /// Returns how many signatures the role needs, over all its groups.
    #[must_use]
    pub fn required(&self) -> usize {
        self.groups.iter().map(|group| group.threshold).sum()
    }

    /// Returns `true` if this version can verify by enough keys of every group.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let known: Vec<&SignerName> = (self.table.iter())
            .filter(|signer| signer.key.known().is_some())
            .map(|signer| &signer.name)
            .collect();
        self.groups.iter().all(|group| {
            let keys = group.keys.iter().filter(|name| known.contains(name));
            keys.count() >= group.threshold
        })
    }

    /// Counts the distinct keys that have signed, and verifies at most as many signatures as `left` says.
    #[must_use]
    pub fn count(&self, envelope: &Envelope, left: &mut Verifications) -> SignatureCount {
        let signed_bytes = envelope.signed_bytes();
        let keys: Vec<_> = self
            .signers()
            .filter_map(|signer| Some((signer, signer.key.known()?)))
            .collect();
        let mut signed = vec![false; keys.len()];
        let mut ignored = Vec::new();
        for (index, signature) in envelope.signatures().iter().enumerate() {
            let mut ignore = |why| ignored.push((signature.key_id.clone(), why));
            if signature.bytes.len() != 64 {
                ignore(IgnoredSignature::NotByATrustedKey);
                continue;
            }
            let is_hinted = |at: &usize| keys[*at].1.id().to_string() == signature.key_id;
            let hinted = (0..keys.len()).find(is_hinted);
            // A second signature by a key that has signed is verified too, so that the reason is right.
            let others = (0..keys.len()).filter(|at| Some(*at) != hinted && !signed[*at]);
            let mut by = None;
            for at in hinted.into_iter().chain(others) {
                if left.0 == 0 {
                    break;
                }
                left.0 -= 1;
                if envelope.is_signed_by(&signed_bytes, index, keys[at].1) {
                    by = Some(at);
                    break;
                }
            }
            match by {
                Some(at) if !signed[at] => signed[at] = true,
                Some(_) => ignore(IgnoredSignature::SameKeyAgain),
                None if left.0 == 0 => ignore(IgnoredSignature::TooMany),
                None => ignore(IgnoredSignature::NotByATrustedKey),
            }
        }
        let signers: Vec<SignerName> = keys
            .iter()
            .zip(signed)
            .filter(|(_, signed)| *signed)
            .map(|((signer, _), _)| signer.name.clone())
            .collect();
        SignatureCount {
            unmet: self.unmet(&signers),
            required: self.required(),
            signers,
            ignored,
        }
    }

    /// Returns the groups that these signers do not meet.
    fn unmet(&self, signers: &[SignerName]) -> Vec<Unmet> {
        let unmet = self.groups.iter().filter_map(|group| {
            let (there, missing): (Vec<_>, Vec<_>) =
                group.keys.iter().partition(|name| signers.contains(name));
            let lacking = group
                .threshold
                .checked_sub(there.len())
                .filter(|lacking| *lacking > 0)?;
            Some(Unmet {
                lacking,
                of: missing.into_iter().cloned().collect(),
            })
        });
        unmet.collect()
    }

    /// Returns the payload of an envelope that has a statement of this kind and that enough distinct keys have signed,
    /// and the names of their holders.
    ///
    /// A payload that is longer than its kind may be is refused before any signature over it is verified: each
    /// verification hashes all of it.
    pub(super) fn open<'e>(
        &self,
        statement: Statement,
        envelope: &'e Envelope,
        left: &mut Verifications,
    ) -> Result<(&'e [u8], Vec<SignerName>), Refusal> {
        if envelope.payload_type() != statement.payload_type() {
            return Err(Refusal::PayloadType {
                statement,
                found: envelope.shown_payload_type(),
            });
        }
        let limit = statement.payload_limit();
        if !u64::try_from(envelope.payload().len()).is_ok_and(|len| len <= limit) {
            let error = PayloadError::TooLarge { limit };
            return Err(Refusal::of_payload(statement, error));
        }
        if !self.is_reachable() {
            return Err(Refusal::UnknownKeyTypes { statement });
        }
        let count = self.count(envelope, left);
        if count.is_met() {
            Ok((envelope.payload(), count.signers))
        } else {
            Err(Refusal::Threshold { statement, count })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::EnvelopeSignature;
    use super::super::policy::AcceptedImage;
    use super::super::testing::{configured, group, key, names, policy, renewed, sealed, signer};
    use super::*;

    const TYPE: &str = Statement::Manifest.payload_type();

    fn relay() -> ImageName {
        "relay".parse().unwrap()
    }

    fn count(policy: &TrustPolicy, envelope: &Envelope) -> SignatureCount {
        let role = policy.release_role(&relay()).unwrap();
        role.count(envelope, &mut Verifications::default())
    }

    fn open(role: Role<'_>, statement: Statement, envelope: &Envelope) -> Result<(), Refusal> {
        let mut left = Verifications::default();
        role.open(statement, envelope, &mut left).map(drop)
    }

    fn signed(by: &[&str]) -> Envelope {
        sealed(TYPE, b"x".to_vec(), by)
    }

    /// The build machine, and one of three people.
    fn in_two_groups() -> TrustPolicy {
        let people = ["alice", "bob", "carol"];
        let groups = vec![group(1, &["build"]), group(1, &people)];
        let changed = policy(&people).with(|fields| {
            fields.keys.push(signer("build"));
            fields.roles.release = groups;
        });
        changed.unwrap()
    }

    #[test]
    fn signers_are_counted_by_key_in_the_order_of_the_table() {
        let policy = policy(&["alice", "bob"]);
        for (by, expected, ignored) in [
            (&[][..], &[][..], 0),
            (&["bob"], &["bob"], 0),
            (&["bob", "mallory", "alice"], &["alice", "bob"], 1),
        ] {
            let count = count(&policy, &signed(by));
            assert_eq!(count.signers, names(expected));
            let why: Vec<_> = count.ignored.iter().map(|(_, why)| *why).collect();
            assert_eq!(why, vec![IgnoredSignature::NotByATrustedKey; ignored]);
        }
    }

    #[test]
    fn a_second_signature_of_a_key_counts_for_nothing() {
        let policy = policy(&["alice", "bob"]);
        for (hint, why) in [
            ("alice", IgnoredSignature::SameKeyAgain),
            ("bob", IgnoredSignature::NotByATrustedKey),
            ("mallory", IgnoredSignature::NotByATrustedKey),
        ] {
            let mut envelope = Envelope::unsigned(TYPE, b"x".to_vec());
            let signature = signed(&["alice"]).signatures()[0].clone();
            // As key ids are hints, the first one may say anything.
            envelope.join(EnvelopeSignature::new("", signature.bytes.clone()));
            envelope.join(EnvelopeSignature::new(
                key(hint).id().to_string(),
                signature.bytes,
            ));
            let count = count(&policy, &envelope);
            assert_eq!(count.signers, names(&["alice"]));
            assert_eq!(count.ignored.len(), 1, "{hint}");
            assert_eq!(count.ignored[0].1, why, "{hint}");
            assert_eq!(count.lacking(), 1);
            assert_eq!(count.unmet[0].of, names(&["bob"]));
        }
    }

    #[test]
    fn a_wrong_hint_costs_nothing_but_time() {
        let policy = policy(&["alice", "bob"]);
        let envelope = signed(&["alice", "bob"]);
        let mut exchanged = Envelope::unsigned(TYPE, b"x".to_vec());
        for (signature, id) in envelope.signatures().iter().zip(["bob", "alice"]) {
            let mut signature = signature.clone();
            signature.key_id = key(id).id().to_string();
            exchanged.join(signature);
        }
        let count = count(&policy, &exchanged);
        assert_eq!(count.signers, names(&["alice", "bob"]));
        assert!(count.is_met() && count.ignored.is_empty(), "{count:?}");
    }

    #[test]
    fn every_group_needs_its_threshold() {
        let policy = in_two_groups();
        for (by, lacking) in [
            (&["build", "bob"][..], &[][..]),
            (&["carol", "build", "alice"], &[]),
            (&["build"], &[("1 of alice, bob, carol")]),
            (&["alice", "bob", "carol"], &["1 of build"]),
            (&[], &["1 of build", "1 of alice, bob, carol"]),
        ] {
            let count = count(&policy, &signed(by));
            let unmet: Vec<_> = count.unmet.iter().map(ToString::to_string).collect();
            assert_eq!(unmet, lacking, "{by:?}");
            assert_eq!(count.required, 2);
            let opened = open(
                policy.release_role(&relay()).unwrap(),
                Statement::Manifest,
                &signed(by),
            );
            assert_eq!(opened.is_ok(), lacking.is_empty(), "{by:?}");
        }
    }

    #[test]
    fn verifications_are_bounded_over_all_envelopes() {
        let people: Vec<String> = (0..64).map(|number| format!("p{number}")).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        let policy = policy(&people);
        let role = policy.release_role(&relay()).unwrap();
        let mut junk = signed(&[]);
        for number in 0..32_u8 {
            let mut signature = signed(&["mallory"]).signatures()[0].clone();
            signature.bytes[0] ^= number;
            junk.join(signature);
        }
        let mut left = Verifications::default();
        let first = role.count(&junk, &mut left);
        let not_tried = first
            .ignored
            .iter()
            .filter(|(_, why)| *why == IgnoredSignature::TooMany);
        assert_eq!(not_tried.count(), 32 - 1024 / 64 + 1);
        // Nothing is left for an honest envelope after it.
        assert!(!role.count(&signed(&people[..32]), &mut left).is_met());
        assert_eq!(left.0, 0);
    }

    #[test]
    fn the_hinted_key_is_tried_first() {
        let people: Vec<String> = (0..32).map(|number| format!("p{number}")).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        let policy = policy(&people);
        let role = policy.release_role(&relay()).unwrap();
        let mut left = Verifications::default();
        assert!(role.count(&signed(&people), &mut left).is_met());
        assert_eq!(left.0, LIMITS.verifications - 32);
    }

    #[test]
    fn a_payload_past_its_limit_is_refused_before_its_signatures() {
        let policy = configured(renewed(policy(&["alice"]), false), false);
        let role = policy.release_role(&relay()).unwrap();
        for statement in Statement::ALL {
            let limit = statement.payload_limit();
            let open = |bytes: u64, left: &mut Verifications| {
                let payload = vec![b' '; usize::try_from(bytes).unwrap()];
                let envelope = sealed(statement.payload_type(), payload, &["alice"]);
                role.open(statement, &envelope, left)
                    .map(|(payload, _)| payload.len())
                    .map_err(|refusal| crate::failure::Report(&refusal).to_string())
            };
            let mut left = Verifications::default();
            let refused = open(limit + 1, &mut left).unwrap_err();
            let expected = format!("it has more than {limit} bytes");
            assert!(refused.contains(&expected), "{refused}");
            assert_eq!(left.0, LIMITS.verifications, "{statement}");
            assert_eq!(open(limit, &mut left), Ok(usize::try_from(limit).unwrap()));
            assert_eq!(left.0, LIMITS.verifications - 1, "{statement}");
        }
    }

    #[test]
    fn a_signature_that_is_not_64_bytes_is_not_verified() {
        let policy = policy(&["alice"]);
        let role = policy.release_role(&relay()).unwrap();
        let mut envelope = signed(&["alice"]);
        let mut short = envelope.signatures()[0].clone();
        short.bytes.pop();
        envelope.join(short);
        let mut left = Verifications::default();
        let count = role.count(&envelope, &mut left);
        assert!(count.is_met());
        assert_eq!(count.ignored.len(), 1);
        assert_eq!(left.0, LIMITS.verifications - 1);
    }

    #[test]
    fn a_key_of_an_unknown_type_in_any_role_stops_only_that_role() {
        let policy = configured(renewed(policy(&["alice"]), false), false);
        let with = |at: usize| {
            let changed = policy.with(|fields| {
                fields.keys[at].key = "ml-dsa-65:AAAA".parse().unwrap();
            });
            changed.unwrap()
        };
        for (at, expected) in [
            (0, [false, false, true, true]),
            (1, [true, true, false, true]),
            (2, [true, true, true, false]),
        ] {
            let policy = with(at);
            let roles = [
                policy.root_role(),
                policy.release_role(&relay()).unwrap(),
                policy.freshness_role(&relay()).unwrap(),
                policy.host_config_role().unwrap(),
            ];
            assert_eq!(roles.map(|role| role.is_reachable()), expected);
            for (role, reachable) in roles.into_iter().zip(expected) {
                let refusal = open(role, Statement::Manifest, &signed(&[])).unwrap_err();
                assert_eq!(
                    matches!(refusal, Refusal::UnknownKeyTypes { .. }),
                    !reachable,
                    "{refusal:?}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_key_beside_enough_known_ones_changes_nothing() {
        let policy = policy(&["alice", "bob"]).with(|fields| {
            fields.keys[1].key = "ml-dsa-65:AAAA".parse().unwrap();
            fields.roles.release = vec![group(1, &["alice", "bob"])];
            fields.roles.root = vec![group(1, &["alice"])];
        });
        assert!(count(&policy.unwrap(), &signed(&["alice"])).is_met());
    }

    #[test]
    fn no_kind_of_statement_passes_for_another() {
        let kinds = Statement::ALL;
        let policy = policy(&["alice"]);
        for held in kinds {
            let envelope = sealed(held.payload_type(), b"x".to_vec(), &["alice"]);
            for asked in kinds {
                let opened = open(policy.root_role(), asked, &envelope);
                assert_eq!(opened.is_ok(), held == asked, "{held} for {asked}");
            }
        }
        // The type is signed: exchanged, it has no signature.
        let signature = signed(&["alice"]).signatures()[0].clone();
        let relabelled = Envelope::unsigned(Statement::Policy.payload_type(), b"x".to_vec());
        let relabelled = relabelled.with_only(signature);
        assert!(matches!(
            open(policy.root_role(), Statement::Policy, &relabelled),
            Err(Refusal::Threshold { .. })
        ));
    }

    #[test]
    fn a_strange_type_is_shown_short_and_escaped() {
        let strange = format!("\x1b{}", "x".repeat(100));
        let envelope = sealed(&strange, b"x".to_vec(), &["alice"]);
        let policy = policy(&["alice"]);
        let refusal = open(policy.root_role(), Statement::Manifest, &envelope).unwrap_err();
        let expected = format!("\\u{{1b}}{}", "x".repeat(79));
        assert!(
            matches!(&refusal, Refusal::PayloadType { found, .. } if *found == expected),
            "{refusal:?}"
        );
    }

    #[test]
    fn each_role_counts_its_own_keys() {
        let policy = configured(renewed(policy(&["alice"]), false), false);
        let policy = policy.with(|fields| {
            fields.keys.push(signer("builder"));
            fields.roles.release = vec![group(1, &["builder"])];
        });
        let policy = policy.unwrap();
        let roles = [
            policy.root_role(),
            policy.release_role(&relay()).unwrap(),
            policy.freshness_role(&relay()).unwrap(),
            policy.host_config_role().unwrap(),
        ];
        for (by, expected) in [
            ("alice", [1, 0, 0, 0]),
            ("builder", [0, 1, 0, 0]),
            ("clockwork", [0, 0, 1, 0]),
            ("carol", [0, 0, 0, 1]),
            ("mallory", [0, 0, 0, 0]),
        ] {
            let counted = roles.map(|role| {
                let count = role.count(&signed(&[by]), &mut Verifications::default());
                count.signers.len()
            });
            assert_eq!(counted, expected, "{by}");
        }
    }

    #[test]
    fn an_images_own_roles_take_the_place_of_the_common_ones() {
        let mut own = AcceptedImage::new("dns".parse().unwrap(), 1.try_into().unwrap());
        own.release = Some(vec![group(1, &["team-b"])]);
        own.freshness = Some(vec![group(1, &["clock-b"])]);
        let policy = renewed(policy(&["alice"]), true).with(|fields| {
            fields.keys.extend([signer("team-b"), signer("clock-b")]);
            fields.images.push(own);
        });
        let policy = policy.unwrap();
        let dns: ImageName = "dns".parse().unwrap();
        let names_of = |role: Option<Role<'_>>| -> Vec<String> {
            let signers = role.unwrap().signers();
            signers.map(|signer| signer.name.to_string()).collect()
        };
        assert_eq!(names_of(policy.release_role(&relay())), ["alice"]);
        assert_eq!(names_of(policy.release_role(&dns)), ["team-b"]);
        assert_eq!(names_of(policy.freshness_role(&relay())), ["clockwork"]);
        assert_eq!(names_of(policy.freshness_role(&dns)), ["clock-b"]);
        let other: ImageName = "other".parse().unwrap();
        assert!(policy.release_role(&other).is_none());
        assert!(policy.freshness_role(&other).is_none());
    }

    #[test]
    fn the_reason_why_a_signature_does_not_count_is_printed() {
        assert_eq!(
            IgnoredSignature::NotByATrustedKey.to_string(),
            "it verifies with no key of the role that had not signed yet"
        );
        assert_eq!(
            IgnoredSignature::SameKeyAgain.to_string(),
            "its key has signed already and counts once"
        );
    }
}
