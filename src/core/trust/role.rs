//! A role: keys, and how many of them must have signed.
//!
//! Signatures are counted by distinct public key, and every signature is tried with every key: the key
//! id that stands beside one is the word of whoever wrote the file. A payload comes out of an envelope
//! only through `Role::open`, after the count.

use super::envelope::Envelope;
use super::policy::{Signer, SignerName, TrustPolicy};
use super::refusal::Refusal;
use super::statement::{Ignored, Statement, Tally};

/// Keys, and how many of them must have signed.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    keys: &'a [Signer],
    threshold: usize,
}

impl TrustPolicy {
    /// Who signs images and policies.
    #[must_use]
    pub fn signing(&self) -> Role<'_> {
        Role {
            keys: self.keys(),
            threshold: self.threshold(),
        }
    }

    /// Who signs freshness statements, if anybody does.
    #[must_use]
    pub fn renewing(&self) -> Option<Role<'_>> {
        self.freshness().map(|rule| Role {
            keys: &rule.keys,
            threshold: rule.threshold,
        })
    }

    /// Who signs host configs, if anybody does.
    #[must_use]
    pub fn configuring(&self) -> Option<Role<'_>> {
        self.host_config().map(|rule| Role {
            keys: &rule.keys,
            threshold: rule.threshold,
        })
    }

    /// Counts who signed an image or a policy; see [`Role::tally`].
    #[must_use]
    pub fn tally(&self, envelope: &Envelope) -> Tally {
        self.signing().tally(envelope)
    }
}

impl Role<'_> {
    /// Counts who signed. [`LIMITS`](crate::format::limits::LIMITS) bounds the signatures and the keys.
    #[must_use]
    pub fn tally(&self, envelope: &Envelope) -> Tally {
        let signed_bytes = envelope.signed_bytes();
        let mut signed = vec![false; self.keys.len()];
        let mut ignored = Vec::new();
        for (index, signature) in envelope.signatures().iter().enumerate() {
            let by = self
                .keys
                .iter()
                .position(|signer| envelope.is_signed_by(&signed_bytes, index, &signer.key));
            match by {
                Some(by) if !signed[by] => signed[by] = true,
                Some(_) => ignored.push((signature.key_id.clone(), Ignored::SameKeyAgain)),
                None => ignored.push((signature.key_id.clone(), Ignored::NotByATrustedKey)),
            }
        }
        let signers = self.keys.iter().zip(signed).filter(|(_, signed)| *signed);
        Tally {
            signers: signers.map(|(key, _)| key.name.clone()).collect(),
            ignored,
        }
    }

    /// Gives the payload of an envelope that holds a statement of this kind and that enough distinct
    /// keys have signed, and their holders' names.
    pub(super) fn open<'e>(
        &self,
        statement: Statement,
        envelope: &'e Envelope,
    ) -> Result<(&'e [u8], Vec<SignerName>), Refusal> {
        if envelope.payload_type() != statement.payload_type() {
            let found = envelope.payload_type().chars().take(80);
            return Err(Refusal::PayloadType {
                statement,
                found: found.flat_map(char::escape_default).collect(),
            });
        }
        let tally = self.tally(envelope);
        if tally.signers.len() < self.threshold {
            let missing = self
                .keys
                .iter()
                .filter(|key| !tally.signers.contains(&key.name));
            return Err(Refusal::Threshold {
                statement,
                threshold: self.threshold,
                missing: missing.map(|key| key.name.clone()).collect(),
                tally,
            });
        }
        Ok((envelope.payload(), tally.signers))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{configured, policy, renewed, sealed, signer, signers};
    use super::*;

    const TYPE: &str = Statement::Manifest.payload_type();

    fn tally(by: &[&str]) -> (Vec<String>, Vec<Ignored>) {
        let tally = policy(&["alice", "bob"]).tally(&sealed(TYPE, b"x".to_vec(), by));
        let signers = tally.signers.iter().map(ToString::to_string).collect();
        (signers, tally.ignored.iter().map(|(_, why)| *why).collect())
    }

    #[test]
    fn signers_are_counted_by_key_in_the_order_of_the_policy() {
        assert_eq!(tally(&[]), (vec![], vec![]));
        assert_eq!(tally(&["bob"]), (vec!["bob".into()], vec![]));
        assert_eq!(
            tally(&["bob", "mallory", "alice"]),
            (
                vec!["alice".into(), "bob".into()],
                vec![Ignored::NotByATrustedKey]
            )
        );
    }

    #[test]
    fn a_second_signature_of_a_key_counts_for_nothing() {
        let mut envelope = sealed(TYPE, b"x".to_vec(), &["alice"]);
        let mut again = envelope.signatures()[0].clone();
        again.key_id = signer("bob").key.id().to_string();
        envelope.join(again.clone());
        let policy = policy(&["alice", "bob"]);
        let tally = policy.tally(&envelope);
        assert_eq!(tally.signers, [signer("alice").name]);
        assert_eq!(tally.ignored, [(again.key_id, Ignored::SameKeyAgain)]);
        let refusal = policy
            .signing()
            .open(Statement::Manifest, &envelope)
            .unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Threshold { missing, .. } if *missing == [signer("bob").name]),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_payload_comes_out_once_enough_have_signed() {
        let policy = policy(&["alice", "bob"]);
        let open = |by: &[&str]| {
            let envelope = sealed(TYPE, b"x".to_vec(), by);
            let opened = policy.signing().open(Statement::Manifest, &envelope);
            opened.map(|(payload, signers)| (payload.to_vec(), signers))
        };
        let names = signers(&["alice", "bob"])
            .into_iter()
            .map(|signer| signer.name);
        assert_eq!(
            open(&["mallory", "bob", "alice"]).unwrap(),
            (b"x".to_vec(), names.collect())
        );
        for by in [&[][..], &["alice"], &["bob", "mallory"]] {
            assert!(matches!(open(by), Err(Refusal::Threshold { .. })), "{by:?}");
        }
    }

    #[test]
    fn no_kind_of_statement_passes_for_another() {
        let kinds = Statement::ALL;
        let policy = policy(&["alice"]);
        for held in kinds {
            let envelope = sealed(held.payload_type(), b"x".to_vec(), &["alice"]);
            for asked in kinds {
                let opened = policy.signing().open(asked, &envelope);
                assert_eq!(opened.is_ok(), held == asked, "{held} for {asked}");
            }
        }
        // The type is signed: who exchanges it has no signature.
        let signature = sealed(TYPE, b"x".to_vec(), &["alice"]).signatures()[0].clone();
        let relabelled = Envelope::unsigned(Statement::Policy.payload_type(), b"x".to_vec());
        let relabelled = relabelled.with_only(signature);
        assert!(matches!(
            policy.signing().open(Statement::Policy, &relabelled),
            Err(Refusal::Threshold { .. })
        ));
    }

    #[test]
    fn a_strange_type_is_shown_short_and_escaped() {
        let strange = format!("\x1b{}", "x".repeat(100));
        let envelope = sealed(&strange, b"x".to_vec(), &["alice"]);
        let policy = policy(&["alice"]);
        let refusal = policy
            .signing()
            .open(Statement::Manifest, &envelope)
            .unwrap_err();
        let expected = format!("\\u{{1b}}{}", "x".repeat(79));
        assert!(
            matches!(&refusal, Refusal::PayloadType { found, .. } if *found == expected),
            "{refusal:?}"
        );
    }

    #[test]
    fn who_renews_signs_nothing_else_and_nobody_else_renews() {
        let policy = renewed(policy(&["alice"]), false);
        let count = |role: Role<'_>, by| {
            role.tally(&sealed(TYPE, b"x".to_vec(), &[by]))
                .signers
                .len()
        };
        let renewing = policy.renewing().unwrap();
        assert_eq!(count(policy.signing(), "alice"), 1);
        assert_eq!(count(policy.signing(), "clockwork"), 0);
        assert_eq!(count(renewing, "clockwork"), 1);
        assert_eq!(count(renewing, "alice"), 0);
        assert!(policy.with_freshness(None).unwrap().renewing().is_none());
    }

    #[test]
    fn who_signs_host_configs_signs_nothing_else_and_nobody_else_does() {
        let policy = configured(renewed(policy(&["alice"]), false), false);
        let configuring = policy.configuring().unwrap();
        let roles = [policy.signing(), policy.renewing().unwrap(), configuring];
        for (by, expected) in [
            ("alice", [1, 0, 0]),
            ("clockwork", [0, 1, 0]),
            ("carol", [0, 0, 1]),
            ("mallory", [0, 0, 0]),
        ] {
            let envelope = sealed(TYPE, b"x".to_vec(), &[by]);
            let counted = roles.map(|role| role.tally(&envelope).signers.len());
            assert_eq!(counted, expected, "{by}");
        }
        assert!(
            policy
                .with_host_config(None)
                .unwrap()
                .configuring()
                .is_none()
        );
    }

    #[test]
    fn why_a_signature_does_not_count_is_said() {
        assert_eq!(
            Ignored::NotByATrustedKey.to_string(),
            "no key of the trust policy made it"
        );
        assert_eq!(
            Ignored::SameKeyAgain.to_string(),
            "its key has signed already, and counts once"
        );
    }
}
