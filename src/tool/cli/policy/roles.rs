//! Who hands on the trust, and who takes it over: the two roles that must sign a policy.

use crate::cli::support::output;
use sealboot_core::format::shown;
use sealboot_core::trust::policy::{Signer, SignerName};
use sealboot_core::trust::{Envelope, PublicKey, TrustPolicy};
use sealboot_store::tally::{Missing, names};

/// The two policies whose signers must sign the newer of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roles<'a> {
    /// The policy before, where it is known.
    pub(super) old: Option<&'a TrustPolicy>,
    /// The policy that is signed.
    pub(super) new: &'a TrustPolicy,
}

impl<'a> Roles<'a> {
    /// The policies, the older first.
    pub(super) fn each(self) -> impl Iterator<Item = &'a TrustPolicy> {
        self.old.into_iter().chain([self.new])
    }

    /// Who must sign, and whose one signature counts for both.
    pub(super) fn required(self) -> String {
        let mut rows: Vec<[String; 2]> = self
            .each()
            .map(|policy| {
                let all: Vec<SignerName> =
                    policy.keys().iter().map(|key| key.name.clone()).collect();
                [
                    format!("as version {} asks", policy.version()),
                    format!("{} of {}", policy.threshold(), names(&all)),
                ]
            })
            .collect();
        let both = self.remaining();
        if !both.is_empty() {
            rows.push(["counts for both".to_owned(), names(&both)]);
        }
        format!(
            "who must sign version {}\n{}",
            self.new.version(),
            output::columns(rows)
        )
    }

    /// The new policy's signers who are the old one's too, whatever their names there.
    fn remaining(self) -> Vec<SignerName> {
        let is_old = |signer: &&Signer| self.old.is_some_and(|old| names_key(old, &signer.key));
        let remaining = self.new.keys().iter().filter(is_old);
        remaining.map(|signer| signer.name.clone()).collect()
    }

    /// What whoever makes the new policy should know before it is signed.
    pub(super) fn warnings(self) -> Vec<String> {
        let Some(old) = self.old else {
            return Vec::new();
        };
        let mut warnings = Vec::from_iter(self.stranded_host_configs(old));
        let remaining = self.remaining();
        if remaining.len() >= self.new.threshold() {
            return warnings;
        }
        let who = match remaining.as_slice() {
            [] => "none".to_owned(),
            [one] => format!("{one} alone"),
            some => format!("only {}", names(some)),
        };
        warnings.insert(0, format!(
            "of version {}'s signers {who} can sign by version {}, which asks for {}: what they have signed boots no more once it is published; have its new signers sign the published images first",
            old.version(),
            self.new.version(),
            self.new.threshold()
        ));
        warnings
    }

    /// Whether a host config that machines have by the old policy may be refused by the new one: it is baked in, or
    /// stands where no store reaches.
    fn stranded_host_configs(self, old: &TrustPolicy) -> Option<String> {
        let before = old.host_config();
        let what = match (before, self.new.host_config()) {
            (None, None) => return None,
            (Some(_), None) => "signed host configs",
            (None, Some(rule)) if rule.required => "plain host configs",
            (Some(before), Some(rule)) if rule.required && !before.required => "plain host configs",
            (None, Some(_)) => return None,
            (Some(before), Some(rule)) => {
                let is_old = |signer: &&Signer| before.keys.iter().any(|key| key.key == signer.key);
                let remaining = rule.keys.iter().filter(is_old).count();
                // Any threshold of the old signers may have signed one.
                let surely = (remaining + before.threshold).saturating_sub(before.keys.len());
                if surely >= rule.threshold {
                    return None;
                }
                "host configs that too few of the remaining signers have signed"
            }
        };
        Some(format!(
            "{what} are refused once version {} is published, and machines that have them boot no more: bake that version, with host configs that it takes, into their initramfs first",
            self.new.version()
        ))
    }

    /// Whether a signature by `key` counts at all.
    pub(super) fn name(self, key: &PublicKey) -> bool {
        self.each().any(|policy| names_key(policy, key))
    }

    /// Whose signature this is, of an envelope that holds no other.
    fn maker(self, alone: &Envelope) -> Option<SignerName> {
        let mut by = self.each().flat_map(|policy| policy.tally(alone).signers);
        by.next()
    }

    /// Who has signed, for each of the two, and what counts for neither.
    pub(super) fn standing(self, envelope: &Envelope) -> String {
        let mut rows: Vec<[String; 2]> = self
            .each()
            .map(|policy| {
                let signers = policy.tally(envelope).signers;
                let signed = if signers.is_empty() {
                    "nobody".to_owned()
                } else {
                    names(&signers)
                };
                let missing = match Missing::of(policy, envelope) {
                    None => String::new(),
                    Some(Missing { count, of, .. }) if count == of.len() => {
                        format!(", missing {}", names(&of))
                    }
                    Some(Missing { count, of, .. }) => {
                        format!(", missing {count} of {}", names(&of))
                    }
                };
                [
                    format!("signed, as version {} asks", policy.version()),
                    format!("{signed} ({} required{missing})", policy.threshold()),
                ]
            })
            .collect();
        for signature in envelope.signatures() {
            if self.maker(&envelope.with_only(signature.clone())).is_some() {
                continue;
            }
            let why = match self.old {
                Some(_) => "no key of either version made it",
                None => {
                    "no key of this version made it; whether one of the version before did, --policy says"
                }
            };
            rows.push([
                "ignored".to_owned(),
                format!(
                    "signature under key id \"{}\": {why}",
                    shown(&signature.key_id, 64)
                ),
            ]);
        }
        output::columns(rows)
    }
}

fn names_key(policy: &TrustPolicy, key: &PublicKey) -> bool {
    policy.keys().iter().any(|signer| signer.key == *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealboot_core::trust::policy::{AcceptedImage, HostConfigRule};

    fn signer(seed: u8) -> Signer {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        Signer {
            name: format!("signer-{seed}").parse().expect("a name"),
            key: PublicKey::from_bytes(secret.verifying_key().as_bytes()).expect("a key"),
        }
    }

    /// A policy that one signs; these sign host configs, if anybody does.
    fn policy(role: Option<(&[u8], usize, bool)>) -> TrustPolicy {
        let image = "relay".parse().expect("a name");
        let image = AcceptedImage::new(image, 1.try_into().expect("in range"));
        let rule = role.map(|(keys, threshold, required)| HostConfigRule {
            keys: keys.iter().copied().map(signer).collect(),
            threshold,
            required,
        });
        TrustPolicy::new(vec![signer(0)], 1, vec![image])
            .and_then(|policy| policy.with_host_config(rule))
            .expect("agrees with itself")
    }

    #[test]
    fn who_makes_a_policy_that_refuses_what_machines_have_is_told() {
        const PLAIN: Option<&str> = Some("plain host configs are refused");
        const SIGNED: Option<&str> = Some("signed host configs are refused");
        const TOO_FEW: Option<&str> = Some("host configs that too few of the remaining");
        let none = None::<(&[u8], usize, bool)>;
        for (old, new, expected) in [
            (none, none, None),
            (none, Some((&[1][..], 1, false)), None),
            (none, Some((&[1], 1, true)), PLAIN),
            (Some((&[1], 1, false)), none, SIGNED),
            (Some((&[1], 1, true)), none, SIGNED),
            (Some((&[1], 1, false)), Some((&[1], 1, true)), PLAIN),
            (Some((&[1], 1, true)), Some((&[1], 1, true)), None),
            (Some((&[1], 1, true)), Some((&[1], 1, false)), None),
            (Some((&[1], 1, true)), Some((&[1, 2], 1, true)), None),
            (Some((&[1], 1, true)), Some((&[2], 1, true)), TOO_FEW),
            (Some((&[1, 2], 1, true)), Some((&[1], 1, true)), TOO_FEW),
            (Some((&[1, 2], 2, true)), Some((&[1], 1, true)), None),
            (Some((&[1, 2], 2, true)), Some((&[1, 3], 2, true)), TOO_FEW),
            (Some((&[1, 2], 1, true)), Some((&[1, 2], 2, true)), TOO_FEW),
            (
                Some((&[1, 2, 3], 2, false)),
                Some((&[1, 2, 4], 1, false)),
                None,
            ),
        ] {
            let (before, after) = (policy(old), policy(new));
            let roles = Roles {
                old: Some(&before),
                new: &after,
            };
            let warnings = roles.warnings();
            let found = warnings.iter().map(String::as_str).collect::<Vec<_>>();
            match (expected, &found[..]) {
                (None, []) => {}
                (Some(start), [one]) if one.starts_with(start) => {}
                _ => panic!("{old:?} to {new:?}: {found:?}"),
            }
        }
    }
}
