//! The only way to trust anything.
//!
//! Bytes from a mirror come in as an [`Envelope`], whose payload nothing in the
//! loader can read. A [`Role`] of a [`TrustPolicy`] counts who signed
//! it, by distinct public key; only then is the payload parsed, and only if it satisfies the policy does
//! it become a [`Verified`] value. Whatever acts on an image takes that type.
//!
//! ```text
//! trust/2.json, 3, …   → Chain::step            → the newest TrustPolicy      signed by the old and the new
//! images/NAME.json     → TrustPolicy::judge_channel → Current          by what KeptProofs has of earlier channels
//!     freshness        : type, signatures, threshold │ name, dates, current releases, newest policy
//!     releases         : type, signatures, threshold │ name, arch, versions, dates, digests
//!                                  payload unread ───┘
//! a host config, command line → TrustPolicy::judge_host_config → Judged     plain, or signed by its role
//! ```

pub mod chain;
pub mod channel;
pub mod current;
pub mod envelope;
pub mod host_config;
pub mod judging_time;
pub mod policy;
pub mod refusal;
pub mod role;
pub mod statement;
#[cfg(test)]
mod testing;
pub mod verified;

pub use chain::Chain;
pub use channel::{Channel, OfferedRelease};
pub use current::{Current, KeptProofs};
pub use envelope::{Envelope, EnvelopeError};
pub use host_config::{Judged, Presented};
pub use judging_time::{ClockState, JudgingTime};
pub use policy::TrustPolicy;
pub use refusal::Refusal;
pub use role::{Role, Verifications};
pub use statement::{IgnoredSignature, SignatureCount, Statement, Unmet};
pub use verified::Verified;

pub use crate::format::key::{KeyId, PublicKey};
