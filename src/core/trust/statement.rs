//! The kinds of signed statement, and the count of the signatures over one.

use std::fmt;

use super::policy::{SignerName, TrustPolicy};
use crate::format::freshness::Freshness;
use crate::format::host_config::HostConfig;
use crate::format::manifest::Manifest;
use crate::format::payload::Payload as _;

/// A kind of signed statement. Its payload type is signed with it, so that none can pass for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// Describes an image.
    Manifest,
    /// The next trust policy.
    Policy,
    /// Lists the current releases of an image.
    Freshness,
    /// Says how a machine reaches its image.
    HostConfig,
}

impl Statement {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Manifest,
        Self::Policy,
        Self::Freshness,
        Self::HostConfig,
    ];

    /// The DSSE payload type.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Manifest => Manifest::PAYLOAD_TYPE,
            Self::Policy => TrustPolicy::PAYLOAD_TYPE,
            Self::Freshness => Freshness::PAYLOAD_TYPE,
            Self::HostConfig => HostConfig::PAYLOAD_TYPE,
        }
    }

    /// Bytes of a payload, at most.
    #[must_use]
    pub(super) const fn payload_limit(self) -> u64 {
        match self {
            Self::Manifest => Manifest::LIMIT,
            Self::Policy => TrustPolicy::LIMIT,
            Self::Freshness => Freshness::LIMIT,
            Self::HostConfig => HostConfig::LIMIT,
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => Manifest::NAME,
            Self::Policy => TrustPolicy::NAME,
            Self::Freshness => Freshness::NAME,
            Self::HostConfig => HostConfig::NAME,
        })
    }
}

/// The count of the signatures over one statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignatureCount {
    /// The distinct keys of the role that validly signed, by name, in the order of the policy's table.
    pub signers: Vec<SignerName>,
    /// How many signatures the role needs, over all its groups.
    pub required: usize,
    /// The groups that lack signatures.
    pub unmet: Vec<Unmet>,
    /// Signatures that count for nothing: the key id that each claims, and why.
    pub ignored: Vec<(String, IgnoredSignature)>,
}

/// A group of keys that lacks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// How many more are needed.
    pub lacking: usize,
    /// The holders of the keys that have not signed.
    pub of: Vec<SignerName>,
}

impl SignatureCount {
    /// Returns `true` if every group has enough signatures.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.unmet.is_empty()
    }

    /// Returns how many signatures are still needed, over all groups.
    #[must_use]
    pub fn lacking(&self) -> usize {
        self.unmet.iter().map(|unmet| unmet.lacking).sum()
    }
}

impl fmt::Display for Unmet {
    /// Writes `1 of bob, carol`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.of.iter().map(SignerName::as_str).collect();
        write!(f, "{} of {}", self.lacking, names.join(", "))
    }
}

/// Why a signature counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoredSignature {
    /// None of the role's keys that had not signed yet made it.
    NotByATrustedKey,
    /// The same key has made an earlier one.
    SameKeyAgain,
    /// It was not verified: the file has too many.
    TooMany,
}

impl fmt::Display for IgnoredSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotByATrustedKey => "it verifies with no key of the role that had not signed yet",
            Self::SameKeyAgain => "its key has signed already and counts once",
            Self::TooMany => "it was not verified, because the file has too many signatures",
        })
    }
}
