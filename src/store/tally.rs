//! Signatures counted by a policy: how many are missing, and who could give them.

use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Envelope, TrustPolicy};

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

/// Names in a row.
#[must_use]
pub fn names(names: &[SignerName]) -> String {
    let names: Vec<&str> = names.iter().map(SignerName::as_str).collect();
    names.join(", ")
}
