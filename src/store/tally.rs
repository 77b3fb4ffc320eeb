//! Signatures counted by a policy: how many are missing, and who could give them.

use std::fmt;

use serde::Serialize;

use sealboot_core::format::shown;
use sealboot_core::format::version::{ImageVersion, PolicyVersion};
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::policy::{AcceptedImage, Signer, SignerName};
use sealboot_core::trust::{Envelope, Ignored, PublicKey, Tally, TrustPolicy};

/// The signatures that an envelope lacks by a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The policy's version.
    pub version: PolicyVersion,
    /// How many are missing.
    pub count: usize,
    /// The policy's signers who have not signed.
    pub of: Vec<SignerName>,
}

impl Missing {
    /// Returns what `envelope` lacks by `policy`, `None` where enough of its signers have signed.
    #[must_use]
    pub fn of(policy: &TrustPolicy, envelope: &Envelope) -> Option<Self> {
        let signed = policy.tally(envelope).signers;
        let count = policy.threshold().checked_sub(signed.len())?;
        let others = policy.keys().iter().map(|signer| signer.name.clone());
        (count > 0).then(|| Self {
            version: policy.version(),
            count,
            of: others.filter(|name| !signed.contains(name)).collect(),
        })
    }
}

/// The signatures of an envelope, counted by a policy.
#[derive(Debug, Serialize)]
pub struct Counted {
    /// How many the policy asks for.
    pub threshold: usize,
    /// How many of them are missing.
    pub missing: usize,
    /// The signers whose signatures count.
    pub signers: Vec<SignerName>,
    /// The policy's other signers.
    pub not_signed_by: Vec<SignerName>,
    /// What counts for nothing.
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
    /// Counts the signatures of `envelope` by `policy`.
    #[must_use]
    pub fn of(policy: &TrustPolicy, envelope: &Envelope) -> Self {
        let Tally { signers, ignored } = policy.tally(envelope);
        let others = policy.keys().iter().map(|signer| &signer.name);
        Self {
            threshold: policy.threshold(),
            missing: policy.threshold().saturating_sub(signers.len()),
            not_signed_by: others
                .filter(|name| !signers.contains(name))
                .cloned()
                .collect(),
            signers,
            ignored: ignored
                .into_iter()
                .map(|(key_id, why)| IgnoredSignature::new(policy, key_id, why))
                .collect(),
        }
    }
}

impl IgnoredSignature {
    fn new(policy: &TrustPolicy, claimed_key_id: String, why: Ignored) -> Self {
        let claimed_signer = policy
            .keys()
            .iter()
            .find(|signer| signer.key.id().to_string() == claimed_key_id)
            .map(|signer| signer.name.clone());
        let reason = match (&claimed_signer, why) {
            (Some(signer), Ignored::NotByATrustedKey) => format!(
                "it is not by {signer}, whose key id that is, over this manifest, and by no other key of the trust policy"
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

/// Returns `true` if `key` has validly signed: asked of the one function that counts signatures, through a
/// policy of this key alone. The key ids in the envelope would not do; they are hints.
#[must_use]
pub fn is_signed_by(envelope: &Envelope, key: &PublicKey) -> bool {
    let alone = || {
        let signer = Signer {
            name: "signer".parse().ok()?,
            key: *key,
        };
        let image = AcceptedImage::new("any".parse().ok()?, ImageVersion::FIRST);
        TrustPolicy::new(vec![signer], 1, vec![image]).ok()
    };
    alone().is_some_and(|policy| !policy.tally(envelope).signers.is_empty())
}

/// Names in a row.
#[must_use]
pub fn names(names: &[SignerName]) -> String {
    let names: Vec<&str> = names.iter().map(SignerName::as_str).collect();
    names.join(", ")
}
