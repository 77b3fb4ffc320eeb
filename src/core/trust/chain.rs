//! Rotation: from the baked-in trust policy to the newest.
//!
//! A store may carry `trust/<n+1>.json`, an envelope over the policy of version n+1 that is signed by
//! every group of the role `root` of version n *and* of version n+1. The first hands on the trust; the
//! second proves that the new holders have their keys. Keys that sign releases have no say. A machine
//! walks from its baked-in version, a step at a time, to the newest that a mirror shows.
//! Nothing else changes what it trusts, and a removed key counts for nothing from then on.
//!
//! Whether a mirror shows the whole chain is for freshness to say: the statement names the newest
//! version of the policy too.

use std::fmt;

use jiff::Timestamp;

use super::policy::{OnExpiry, TrustPolicy};
use super::refusal::Refusal;
use super::role::{Role, Verifications};
use super::statement::Statement;
use super::verified::{Verified, parse};
use crate::format::digest::Sha256Digest;
use crate::format::limits::LIMITS;
use crate::format::version::PolicyVersion;

/// A walk along the chain, from the baked-in policy on.
#[derive(Debug, Clone)]
pub struct Chain {
    newest: TrustPolicy,
    newest_sha256: Option<Sha256Digest>,
    from: PolicyVersion,
    steps: usize,
}

/// Few versions of the trust policy can follow before machines with this baked-in one stop following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndsSoon {
    /// The baked-in version.
    pub from: PolicyVersion,
    /// How many versions can follow.
    pub left: usize,
}

impl fmt::Display for EndsSoon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left {
            0 => f.write_str("no more versions of the trust policy can follow"),
            1 => f.write_str("only 1 more version of the trust policy can follow"),
            left => write!(
                f,
                "only {left} more versions of the trust policy can follow"
            ),
        }?;
        write!(
            f,
            ": a machine takes {} steps from the version that is baked in, {}; build the initramfs again with the newest",
            LIMITS.policy_chain, self.from
        )
    }
}

impl Chain {
    /// From how many steps on the end of the chain is warned of.
    const WARN_FROM: usize = 48;

    /// A walk that has only begun.
    #[must_use]
    pub fn from(baked_in: TrustPolicy) -> Self {
        Self {
            from: baked_in.version(),
            newest: baked_in,
            newest_sha256: None,
            steps: 0,
        }
    }

    /// The newest policy that was reached.
    #[must_use]
    pub const fn newest(&self) -> &TrustPolicy {
        &self.newest
    }

    /// Returns the SHA-256 of the payload of the newest policy; `None` for the baked-in one, which had no envelope.
    #[must_use]
    pub const fn newest_sha256(&self) -> Option<&Sha256Digest> {
        self.newest_sha256.as_ref()
    }

    /// Returns what to warn of where the walk has used up most of its steps.
    #[must_use]
    pub fn ends_soon(&self) -> Option<EndsSoon> {
        (self.steps >= Self::WARN_FROM).then(|| EndsSoon {
            from: self.from,
            left: LIMITS.policy_chain.saturating_sub(self.steps),
        })
    }

    /// Which version to look for next; `None` where versions end.
    #[must_use]
    pub fn next(&self) -> Option<PolicyVersion> {
        self.newest.version().next()
    }

    /// Goes one step, to the policy in this envelope.
    ///
    /// # Errors
    ///
    /// [`Refusal`] where it does not follow; the walk then stands where it stood.
    pub fn step(&mut self, envelope: &[u8]) -> Result<(), Refusal> {
        if self.steps == LIMITS.policy_chain {
            return Err(Refusal::ChainTooLong {
                from: self.from,
                limit: LIMITS.policy_chain,
            });
        }
        let verified = self.newest.verify_successor(envelope)?;
        self.newest_sha256 = Some(*verified.payload_sha256());
        self.newest = verified.into_statement();
        self.steps += 1;
        Ok(())
    }
}

impl TrustPolicy {
    /// Judges the expiry of the newest policy, once the walk has ended.
    ///
    /// # Errors
    ///
    /// [`Refusal::PolicyExpired`] where it has expired and refuses what follows. One that only warns passes.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Refusal> {
        match (self.expired(now), self.fields().on_expiry) {
            (Some(expires), OnExpiry::Refuse) => Err(Refusal::PolicyExpired {
                version: self.version(),
                expires,
                now,
            }),
            (None, _) | (_, OnExpiry::Warn) => Ok(()),
        }
    }

    /// Checks the envelope of the policy that follows this one.
    ///
    /// # Errors
    ///
    /// Where it is not signed by the threshold of this policy, does not load, has another version than
    /// the next, or is not signed by its own threshold.
    pub fn verify_successor(&self, envelope: &[u8]) -> Result<Verified<TrustPolicy>, Refusal> {
        let envelope = parse(Statement::Policy, envelope)?;
        let mut left = Verifications::default();
        let mut open = |role: Role<'_>| {
            role.open(Statement::Policy, &envelope, &mut left)
                .map(|(payload, signers)| (payload.to_vec(), signers))
        };
        // Read only once the root of this policy has signed it.
        let (payload, signers) = open(self.root_role())?;
        let next = TrustPolicy::parse(&payload).map_err(Refusal::Policy)?;
        if Some(next.version()) != self.version().next() {
            return Err(Refusal::PolicyVersion {
                found: next.version(),
                expected: self.version().next().unwrap_or(self.version()),
            });
        }
        open(next.root_role()).map_err(|missing| match missing {
            unknown @ Refusal::UnknownKeyTypes { .. } => unknown,
            missing => Refusal::PolicyUnsigned {
                version: next.version(),
                by: next.version(),
                source: Box::new(missing),
            },
        })?;
        Ok(Verified::new(next, signers, &payload))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        group, manifest, names, policy, sealed, sealed_manifest, sealed_policy, signer, versioned,
    };
    use super::*;
    use crate::failure::{Diagnose as _, FailureCode};

    fn version(number: u64) -> PolicyVersion {
        number.try_into().unwrap()
    }

    /// Version 1 is of alice and bob; carol takes alice's place in this one.
    fn of_bob_and_carol(number: u64) -> TrustPolicy {
        versioned(policy(&["bob", "carol"]), number)
    }

    const ALL: [&str; 3] = ["alice", "bob", "carol"];

    #[test]
    fn a_walk_goes_from_policy_to_policy() {
        let mut chain = Chain::from(policy(&["alice", "bob"]));
        assert_eq!(chain.newest().version(), version(1));
        assert_eq!(chain.newest_sha256(), None);
        assert_eq!(chain.next(), Some(version(2)));
        let second = of_bob_and_carol(2);
        chain.step(&sealed_policy(&second, &ALL).encode()).unwrap();
        assert_eq!(*chain.newest(), second);
        let digest = Sha256Digest::of(&second.encode());
        assert_eq!(chain.newest_sha256(), Some(&digest));
        assert_eq!(chain.next(), Some(version(3)));
        // Alice, whose key is gone, has no part in the next.
        let third = versioned(policy(&["carol", "dave"]), 3);
        let by_alice = sealed_policy(&third, &["alice", "carol", "dave"]);
        assert_eq!(
            chain.step(&by_alice.encode()).unwrap_err().code(),
            FailureCode::TrustThreshold
        );
        let by_bob = sealed_policy(&third, &["bob", "carol", "dave"]);
        chain.step(&by_bob.encode()).unwrap();
        assert_eq!(*chain.newest(), third);
    }

    #[test]
    fn the_signers_of_both_are_needed() {
        let first = policy(&["alice", "bob"]);
        let second = of_bob_and_carol(2);
        let verified = first
            .verify_successor(&sealed_policy(&second, &ALL).encode())
            .unwrap();
        assert_eq!(*verified.as_ref(), second);
        assert_eq!(
            verified.signers(),
            names(&["alice", "bob"]),
            "of the policy that they hand on"
        );
        for by in [&[][..], &["bob"], &["alice", "carol"], &["bob", "carol"]] {
            let refusal = first
                .verify_successor(&sealed_policy(&second, by).encode())
                .unwrap_err();
            assert!(
                matches!(
                    refusal,
                    Refusal::Threshold {
                        statement: Statement::Policy,
                        ..
                    }
                ),
                "{by:?}: {refusal:?}"
            );
        }
        let by_the_old = sealed_policy(&second, &["alice", "bob"]);
        let refusal = first.verify_successor(&by_the_old.encode()).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::PolicyUnsigned { version: found, by, source }
                if *found == version(2) && *by == version(2)
                    && matches!(&**source, Refusal::Threshold { count, .. } if count.unmet[0].of == names(&["carol"]))),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_policy_that_does_not_follow_is_refused_and_the_walk_stands_where_it_stood() {
        let mut chain = Chain::from(of_bob_and_carol(5));
        let by = ["bob", "carol"];
        let of = |number| sealed_policy(&of_bob_and_carol(number), &by);
        let json = String::from_utf8(of_bob_and_carol(6).encode()).unwrap();
        let edited = |from: &str, to: &str| {
            assert!(json.contains(from), "{from}");
            let payload = json.replacen(from, to, 1).into_bytes();
            sealed(TrustPolicy::PAYLOAD_TYPE, payload, &by).encode()
        };
        for (envelope, code) in [
            (of(7).encode(), FailureCode::TrustVersion),
            (of(5).encode(), FailureCode::TrustVersion),
            (of(4).encode(), FailureCode::TrustVersion),
            (of(1).encode(), FailureCode::TrustVersion),
            (
                edited("\"threshold\": 2", "\"threshold\": 3"),
                FailureCode::TrustInvalid,
            ),
            (
                edited("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 2"),
                FailureCode::TrustInvalid,
            ),
            (
                edited("{", "{\"critical\": [\"new\"],"),
                FailureCode::TrustUpgrade,
            ),
            (
                sealed_manifest(&manifest(42), &by).encode(),
                FailureCode::TrustPayloadType,
            ),
            (b"{}".to_vec(), FailureCode::TrustEnvelope),
            (Vec::new(), FailureCode::TrustEnvelope),
        ] {
            let refusal = chain.step(&envelope).unwrap_err();
            assert_eq!(refusal.code(), code, "{refusal:?}");
            assert_eq!(*chain.newest(), of_bob_and_carol(5));
        }
        chain.step(&of(6).encode()).unwrap();
        assert_eq!(chain.newest().version(), version(6));
    }

    #[test]
    fn release_keys_have_no_say_in_the_next_policy() {
        let first = policy(&["alice"]).with(|fields| {
            fields.keys.push(signer("builder"));
            fields.roles.release = vec![group(1, &["builder"])];
        });
        let first = first.unwrap();
        let next = versioned(first.clone(), 2);
        let by_builder = sealed_policy(&next, &["builder"]).encode();
        assert_eq!(
            first.verify_successor(&by_builder).unwrap_err().code(),
            FailureCode::TrustThreshold
        );
        first
            .verify_successor(&sealed_policy(&next, &["alice"]).encode())
            .unwrap();
    }

    #[test]
    fn every_group_of_both_roots_must_sign() {
        let first = policy(&["alice", "bob"]).with(|fields| {
            fields.roles.root = vec![group(1, &["alice"]), group(1, &["bob"])];
        });
        let first = first.unwrap();
        let next = versioned(policy(&["carol", "dave"]), 2).with(|fields| {
            fields.roles.root = vec![group(1, &["carol"]), group(1, &["dave"])];
        });
        let next = next.unwrap();
        let all = ["alice", "bob", "carol", "dave"];
        first
            .verify_successor(&sealed_policy(&next, &all).encode())
            .unwrap();
        for missing in all {
            let by: Vec<&str> = all.into_iter().filter(|name| *name != missing).collect();
            let refusal = first.verify_successor(&sealed_policy(&next, &by).encode());
            assert_eq!(
                refusal.unwrap_err().code(),
                FailureCode::TrustThreshold,
                "{missing}"
            );
        }
    }

    #[test]
    fn a_root_of_unknown_key_types_asks_for_an_upgrade() {
        let first = policy(&["alice"]);
        let next = versioned(first.clone(), 2).with(|fields| {
            fields.keys.push(signer("bob"));
            fields.keys[1].key = "ml-dsa-65:AAAA".parse().unwrap();
            fields.roles.root = vec![group(2, &["alice", "bob"])];
        });
        let envelope = sealed_policy(&next.unwrap(), &["alice"]).encode();
        let refusal = first.verify_successor(&envelope).unwrap_err();
        assert_eq!(refusal.code(), FailureCode::TrustUpgrade);
    }

    #[test]
    fn a_chain_is_walked_for_64_steps() {
        let by = ["bob", "carol"];
        let mut chain = Chain::from(of_bob_and_carol(3));
        for number in 4..4 + 64 {
            chain
                .step(&sealed_policy(&of_bob_and_carol(number), &by).encode())
                .unwrap();
        }
        let refusal = chain
            .step(&sealed_policy(&of_bob_and_carol(68), &by).encode())
            .unwrap_err();
        assert!(
            matches!(refusal, Refusal::ChainTooLong { from, limit: 64 } if from == version(3)),
            "{refusal:?}"
        );
        assert_eq!(chain.newest().version(), version(67));
    }

    #[test]
    fn after_the_last_version_nothing_follows() {
        let last = 9_007_199_254_740_991;
        let mut chain = Chain::from(of_bob_and_carol(last));
        assert_eq!(chain.next(), None);
        let again = sealed_policy(&of_bob_and_carol(last), &["bob", "carol"]);
        let refusal = chain.step(&again.encode()).unwrap_err();
        assert_eq!(refusal.code(), FailureCode::TrustVersion);
    }
}
