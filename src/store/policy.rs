//! Trust policies in files: the one that machines have, and those that are to follow it.

use std::path::Path;

use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::{Chain, Envelope, TrustPolicy};

use crate::envelope_file::EnvelopeFile;
use crate::kind::Kind;
use crate::{Store, StoreError, files};

/// Reads a policy as it is baked in, to work with it.
///
/// # Errors
///
/// As for [`files::read`], and [`StoreError::UnusablePolicy`].
pub fn load(path: &Path) -> Result<TrustPolicy, StoreError> {
    parse(path, &files::read(path, LIMITS.policy_bytes)?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<TrustPolicy, StoreError> {
    TrustPolicy::parse(bytes).map_err(StoreError::unusable_policy(path))
}

/// A file that holds a policy.
#[derive(Debug)]
pub enum StoredPolicy {
    /// The policy itself, as it is baked in.
    Plain(TrustPolicy),
    /// The policy in an envelope, as a store has it; its signatures are unchecked.
    Signed(TrustPolicy),
}

impl StoredPolicy {
    /// Reads either.
    ///
    /// # Errors
    ///
    /// As for [`load`], [`Kind::read`] and [`unverified`].
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
        if is_envelope(&bytes) {
            let envelope = Kind::Policy.parse(path, &bytes)?;
            return unverified(path, &envelope).map(Self::Signed);
        }
        parse(path, &bytes).map(Self::Plain)
    }
}

/// Reads the policy out of an envelope whose signatures say nothing yet: to show it, or to sign it.
///
/// # Errors
///
/// [`StoreError::PayloadType`] or [`StoreError::NoPolicy`].
pub fn unverified(path: &Path, envelope: &Envelope) -> Result<TrustPolicy, StoreError> {
    Kind::Policy.check(path, envelope)?;
    TrustPolicy::parse_signed(envelope.unverified_payload()).map_err(|source| {
        StoreError::NoPolicy {
            path: path.to_owned(),
            source,
        }
    })
}

/// Returns the policy that comes before the one at hand: `path`, or the newest that follows from it in `store`, below
/// version `end`.
///
/// A policy of a store is only accepted by the walk of a machine. What is there by itself may say anything, and an
/// operator who works on from it would hand that on with good signatures.
///
/// # Errors
///
/// [`StoreError::SignedPolicy`] where `path` is an envelope, and as for [`StoredPolicy::read`], [`Store::open`] and
/// [`Store::walk`].
pub fn before(
    path: &Path,
    store: Option<&Path>,
    end: Option<PolicyVersion>,
) -> Result<TrustPolicy, StoreError> {
    let policy = match StoredPolicy::read(path)? {
        StoredPolicy::Plain(policy) => policy,
        StoredPolicy::Signed(_) => {
            return Err(StoreError::SignedPolicy {
                path: path.to_owned(),
            });
        }
    };
    let Some(store) = store else {
        return Ok(policy);
    };
    let chain = Store::open(store)?.walk(Chain::from(policy), end)?;
    Ok(chain.newest().clone())
}

/// Returns the envelope to sign, and the policy in it: `file` itself, or the envelope beside a plain policy, which
/// need not exist yet.
///
/// # Errors
///
/// [`StoreError::FirstPolicy`], and as for [`StoredPolicy::read`] and [`EnvelopeFile::beside`].
pub fn to_be_signed(file: &Path) -> Result<(EnvelopeFile, TrustPolicy), StoreError> {
    let (envelope_file, policy) = match StoredPolicy::read(file)? {
        StoredPolicy::Signed(policy) => (EnvelopeFile::open(Kind::Policy, file)?, policy),
        StoredPolicy::Plain(policy) => {
            // One that was written by hand may be larger in the one spelling that is signed.
            let spelled = TrustPolicy::parse_signed(&policy.encode());
            let policy = spelled.map_err(StoreError::unusable_policy(file))?;
            let unsigned = Envelope::unsigned(TrustPolicy::PAYLOAD_TYPE, policy.encode());
            (EnvelopeFile::beside(Kind::Policy, file, unsigned)?, policy)
        }
    };
    if policy.version() == PolicyVersion::FIRST {
        return Err(StoreError::FirstPolicy {
            path: file.to_owned(),
        });
    }
    Ok((envelope_file, policy))
}
