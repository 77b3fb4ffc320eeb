//! The kinds of signed statement, and the count of the signatures over one.

use std::fmt;

use super::policy::{SignerName, TrustPolicy};
use crate::format::freshness::Freshness;
use crate::format::host_config::HostConfig;
use crate::format::manifest::Manifest;

/// A kind of signed statement. Its payload type is signed with it, so that none can pass for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// What an image is.
    Manifest,
    /// The next trust policy.
    Policy,
    /// Which version of an image is the newest.
    Freshness,
    /// How a machine reaches its image.
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
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Policy => "trust policy",
            Self::Freshness => "freshness statement",
            Self::HostConfig => "host config",
        })
    }
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

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotByATrustedKey => "no key of the trust policy made it",
            Self::SameKeyAgain => "its key has signed already, and counts once",
        })
    }
}
