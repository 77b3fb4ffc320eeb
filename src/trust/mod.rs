//! The only way to trust anything.
//!
//! Bytes from a mirror come in as an [`Envelope`], whose payload nothing in the
//! loader can read. A [`TrustPolicy`] counts who signed it, by distinct public
//! key; only then is the payload parsed, and only if it satisfies the policy's names, architecture,
//! freshness and rollback floor does it become a [`Verified`] value. Whatever
//! acts on an image takes that type.
//!
//! ```text
//! bytes → Envelope::parse → TrustPolicy::verify_manifest → Verified<Manifest>
//!                             │ payload type, signatures, threshold   (payload unread)
//!                             └ parse, name, arch, created, expires, min_version
//! ```

#[cfg(feature = "operator")]
pub mod detached;
pub mod envelope;
pub mod policy;
pub mod verified;

pub use crate::format::key::{KeyId, PublicKey};
pub use envelope::{Envelope, EnvelopeError};
pub use policy::{PolicyError, TrustPolicy};
pub use verified::{Refusal, Tally, Verified};
