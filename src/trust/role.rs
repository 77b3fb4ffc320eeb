//! A role: keys, and how many of them must have signed.
//!
//! Signatures are counted by distinct public key, and every signature is tried with every key: the key
//! id that stands beside one is the word of whoever wrote the file. A payload comes out of an envelope
//! only through `Role::open`, after the count.

use std::fmt;

use super::envelope::Envelope;
use super::policy::{Signer, SignerName, TrustPolicy};
use super::refusal::{Refusal, Statement};

/// Keys, and how many of them must have signed.
#[derive(Debug, Clone, Copy)]
pub struct Role<'a> {
    keys: &'a [Signer],
    threshold: usize,
}

/// Who signed, and which signatures count for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The distinct keys of the role that validly signed, by name, in the policy's order.
    pub signers: Vec<SignerName>,
    /// Signatures that count for nothing: the key id they claim, and why.
    pub ignored: Vec<(String, Ignored)>,
}

/// Why a signature counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// No key of the role made it.
    NotByATrustedKey,
    /// The same key has made an earlier one.
    SameKeyAgain,
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

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotByATrustedKey => "no key of the trust policy made it",
            Self::SameKeyAgain => "its key has signed already, and counts once",
        })
    }
}
