//! Who has signed, by a policy's names: how many are missing, and whose signature did not count, and why.

use serde::Serialize;

use crate::cli::support::output;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Envelope, Ignored, Tally, TrustPolicy};
use sealboot_store::tally::names;

/// The signatures of an envelope, counted.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Counted {
    /// How many the policy asks for.
    pub(in crate::cli) threshold: usize,
    /// How many of them are not there yet.
    pub(in crate::cli) missing: usize,
    /// Whose signatures count.
    pub(in crate::cli) signers: Vec<SignerName>,
    /// The policy's other signers.
    pub(in crate::cli) not_signed_by: Vec<SignerName>,
    /// What counts for nothing.
    pub(in crate::cli) ignored: Vec<IgnoredSignature>,
}

/// A signature that counts for nothing.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct IgnoredSignature {
    /// The key id that stands beside it; anybody can have written it.
    claimed_key_id: String,
    /// The signer who has that key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_signer: Option<SignerName>,
    reason: String,
}

impl Counted {
    pub(in crate::cli) fn new(policy: &TrustPolicy, envelope: &Envelope) -> Self {
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

    /// The rows of a description.
    pub(in crate::cli) fn rows(&self) -> Vec<[String; 2]> {
        let row = |name: &str, value: String| [name.to_owned(), value];
        let signed = if self.signers.is_empty() {
            "nobody".to_owned()
        } else {
            names(&self.signers)
        };
        let required = match self.missing {
            0 => format!("{} required", self.threshold),
            missing => format!("{} required, {missing} missing", self.threshold),
        };
        let mut rows = vec![row("signed by", format!("{signed} ({required})"))];
        if !self.not_signed_by.is_empty() {
            rows.push(row("not signed by", names(&self.not_signed_by)));
        }
        rows.extend(
            self.ignored
                .iter()
                .map(|ignored| row("ignored", ignored.describe())),
        );
        rows
    }

    /// The rows as text.
    pub(in crate::cli) fn describe(&self) -> String {
        output::columns(self.rows())
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

    fn describe(&self) -> String {
        format!(
            "signature under key id \"{}\": {}",
            sealboot_core::format::shown(&self.claimed_key_id, 64),
            self.reason
        )
    }
}
