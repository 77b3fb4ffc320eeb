//! Signatures counted by a policy: how many are missing, and who could give them.

use std::fmt;

use serde::Serialize;

use sealboot_core::format::shown;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::policy::{Group, Signer, SignerName};
use sealboot_core::trust::{Envelope, IgnoredSignature as Ignored, Role, Unmet, Verifications};

/// Writes groups as `1 of build-1 and 2 of alice, bob, carol`.
#[must_use]
pub fn in_words(groups: &[Group]) -> String {
    let groups = groups.iter().map(|group| {
        let names: Vec<&str> = group.keys.iter().map(SignerName::as_str).collect();
        format!("{} of {}", group.threshold, names.join(", "))
    });
    groups.collect::<Vec<_>>().join(" and ")
}

/// The signatures that an envelope lacks by a role of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The policy's version.
    pub version: PolicyVersion,
    /// The groups of the role that lack signatures, at least one.
    pub unmet: Vec<Unmet>,
}

impl Missing {
    /// Returns what `envelope` lacks by this role of a policy; `None` where enough of its signers have signed.
    #[must_use]
    pub fn of(version: PolicyVersion, role: Role<'_>, envelope: &Envelope) -> Option<Self> {
        let unmet = role.count(envelope, &mut Verifications::default()).unmet;
        (!unmet.is_empty()).then_some(Self { version, unmet })
    }

    /// Returns how many signatures are missing, over all groups.
    #[must_use]
    pub fn count(&self) -> usize {
        self.unmet.iter().map(|unmet| unmet.lacking).sum()
    }
}

impl fmt::Display for Missing {
    /// Writes `1 of build-1 and 1 of alice, bob`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unmet: Vec<String> = self.unmet.iter().map(Unmet::to_string).collect();
        f.write_str(&unmet.join(" and "))
    }
}

/// The signatures of an envelope, counted by a role.
#[derive(Debug, Serialize)]
pub struct Counted {
    /// How many the role requires, over all its groups.
    pub required: usize,
    /// How many of them are missing.
    pub missing: usize,
    /// The signers whose signatures count.
    pub signers: Vec<SignerName>,
    /// The role's other signers.
    pub not_signed_by: Vec<SignerName>,
    /// The signatures that count for nothing.
    pub ignored: Vec<IgnoredSignature>,
}

/// A signature that counts for nothing; `Display` says why.
#[derive(Debug, Serialize)]
pub struct IgnoredSignature {
    /// The key id beside it, which anybody can have written.
    pub claimed_key_id: String,
    /// The signer who has that key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_signer: Option<SignerName>,
    /// Why it counts for nothing.
    pub reason: String,
}

impl Counted {
    /// Counts the signatures of `envelope` by `role`.
    #[must_use]
    pub fn of(role: Role<'_>, envelope: &Envelope) -> Self {
        let count = role.count(envelope, &mut Verifications::default());
        let others = role.signers().map(|signer| &signer.name);
        let ignored = count.ignored.iter();
        Self {
            required: count.required,
            missing: count.lacking(),
            not_signed_by: others
                .filter(|name| !count.signers.contains(name))
                .cloned()
                .collect(),
            ignored: ignored
                .map(|(key_id, why)| IgnoredSignature::new(role, key_id.clone(), *why))
                .collect(),
            signers: count.signers,
        }
    }
}

impl IgnoredSignature {
    fn new(role: Role<'_>, claimed_key_id: String, why: Ignored) -> Self {
        let has_id = |signer: &&Signer| {
            let key = signer.key.known();
            key.is_some_and(|key| key.id().to_string() == claimed_key_id)
        };
        let claimed_signer = role
            .signers()
            .find(has_id)
            .map(|signer| signer.name.clone());
        let reason = match (&claimed_signer, why) {
            (Some(signer), Ignored::NotByATrustedKey) => format!(
                "{signer}, whose key id that is, did not sign this statement, nor did another key of the role"
            ),
            _ => why.to_string(),
        };
        Self {
            claimed_key_id,
            claimed_signer,
            reason,
        }
    }
}

impl fmt::Display for IgnoredSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "signature under key id \"{}\": {}",
            shown(&self.claimed_key_id, 64),
            self.reason
        )
    }
}

/// Returns the key id beside a signature, fit to be printed: anybody can have written anything there.
#[must_use]
pub fn claimed_key_id(signature: &EnvelopeSignature) -> String {
    if signature.key_id.is_empty() {
        "(no key id)".to_owned()
    } else {
        shown(&signature.key_id, 64)
    }
}

/// Names in a row.
#[must_use]
pub fn names(names: &[SignerName]) -> String {
    let names: Vec<&str> = names.iter().map(SignerName::as_str).collect();
    names.join(", ")
}
