//! Trust policies in files: the one that machines have, and those that are to follow it.

use std::path::Path;

use jiff::Timestamp;

use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::json::Read;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::payload::parse_with_unknown;
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
/// As for [`files::read`], [`StoreError::SignedPolicy`] where it is in an envelope, and [`StoreError::UnusablePolicy`].
pub fn load(path: &Path) -> Result<TrustPolicy, StoreError> {
    load_with_sha256(path).map(|(policy, _)| policy)
}

/// As [`load`], with the SHA-256 of the file.
pub(crate) fn load_with_sha256(path: &Path) -> Result<(TrustPolicy, Sha256Digest), StoreError> {
    let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
    if is_envelope(&bytes) {
        return Err(StoreError::SignedPolicy {
            path: path.to_owned(),
        });
    }
    Ok((parse(path, &bytes)?, Sha256Digest::of(&bytes)))
}

/// Checks that machines do not refuse every image under this policy because it has expired.
///
/// # Errors
///
/// [`StoreError::PolicyExpired`].
pub fn check_in_force(policy: &TrustPolicy, now: Timestamp) -> Result<(), StoreError> {
    let refusal = policy.check_expiry(now);
    refusal.map_err(|refusal| StoreError::PolicyExpired(Box::new(refusal)))
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
            return unverified(path, &envelope).map(|read| Self::Signed(read.value));
        }
        parse(path, &bytes).map(Self::Plain)
    }
}

/// Reads the policy out of an envelope whose signatures say nothing yet: to show it, or to sign it.
///
/// # Errors
///
/// [`StoreError::PayloadType`] or [`StoreError::NoPolicy`].
pub fn unverified(path: &Path, envelope: &Envelope) -> Result<Read<TrustPolicy>, StoreError> {
    Kind::Policy.check(path, envelope)?;
    parse_with_unknown(envelope.unverified_payload()).map_err(|source| StoreError::NoPolicy {
        path: path.to_owned(),
        source,
    })
}

/// Returns the policy that comes before the one at hand: `path`, or the newest that follows from it in `store`, below
/// version `end`; and the fields of it that this version does not know.
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
) -> Result<Read<TrustPolicy>, StoreError> {
    let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
    if is_envelope(&bytes) {
        unverified(path, &Kind::Policy.parse(path, &bytes)?)?;
        return Err(StoreError::SignedPolicy {
            path: path.to_owned(),
        });
    }
    let first: Read<TrustPolicy> =
        parse_with_unknown(&bytes).map_err(StoreError::unusable_policy(path))?;
    let Some(store) = store else {
        return Ok(first);
    };
    let store = Store::open(store)?;
    let chain = store.walk(Chain::from(first.value.clone()), end)?;
    let newest = chain.newest();
    if *newest == first.value {
        return Ok(first);
    }
    let path = store.policy(newest.version());
    let published = unverified(&path, &Kind::Policy.read(&path)?)?;
    Ok(Read {
        value: newest.clone(),
        unknown: published.unknown,
    })
}

/// A policy to sign.
#[derive(Debug)]
pub struct ToSign {
    /// Its envelope, or the one beside a plain policy, which need not exist yet.
    pub file: EnvelopeFile,
    /// The policy.
    pub policy: TrustPolicy,
    /// The paths of the fields that this version does not know. They are signed all the same.
    pub unknown: Vec<String>,
}

/// Reads the policy to sign: an envelope, or a plain policy.
///
/// A plain policy is signed with every field spelled out. One with unknown fields is signed as it is.
///
/// # Errors
///
/// [`StoreError::FirstPolicy`], and as for [`files::read`], [`unverified`] and [`EnvelopeFile::beside`].
pub fn to_be_signed(path: &Path) -> Result<ToSign, StoreError> {
    let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
    let (file, read) = if is_envelope(&bytes) {
        let file = EnvelopeFile::open(Kind::Policy, path)?;
        let read = unverified(path, file.envelope())?;
        (file, read)
    } else {
        let unusable = StoreError::unusable_policy;
        let read: Read<TrustPolicy> = parse_with_unknown(&bytes).map_err(unusable(path))?;
        let payload = if read.unknown.is_empty() {
            read.value.encode()
        } else {
            bytes
        };
        // One that a person wrote may be larger once every field is spelled out.
        TrustPolicy::parse(&payload).map_err(unusable(path))?;
        let unsigned = Envelope::unsigned(TrustPolicy::PAYLOAD_TYPE, payload);
        (EnvelopeFile::beside(Kind::Policy, path, unsigned)?, read)
    };
    if read.value.version() == PolicyVersion::FIRST {
        return Err(StoreError::FirstPolicy {
            path: path.to_owned(),
        });
    }
    Ok(ToSign {
        file,
        policy: read.value,
        unknown: read.unknown,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{policy, sealed, store, versioned, write};

    fn with_unknown(policy: &TrustPolicy) -> Vec<u8> {
        let json = String::from_utf8(policy.encode()).unwrap();
        json.replacen('{', "{\"zone\": 1,", 1).into_bytes()
    }

    #[test]
    fn a_plain_policy_with_unknown_fields_is_signed_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust-2.json");
        let second = versioned(&policy(&["alice"]), 2);
        let bytes = with_unknown(&second);
        fs::write(&path, &bytes).unwrap();
        let to_sign = to_be_signed(&path).unwrap();
        assert_eq!(to_sign.unknown, ["zone"]);
        assert_eq!(to_sign.file.envelope().unverified_payload(), bytes);
        assert_eq!(to_sign.policy, second);
    }

    #[test]
    fn a_plain_policy_is_signed_with_every_field_spelled_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust-2.json");
        let second = versioned(&policy(&["alice"]), 2);
        let json = String::from_utf8(second.encode()).unwrap();
        let short = json.replace("\"disks\": \"allow\"", "\"denied_digests\": []");
        let short = short.replacen("\"denied_digests\": [],\n", "", 1);
        assert_ne!(short, json);
        fs::write(&path, short).unwrap();
        let to_sign = to_be_signed(&path).unwrap();
        assert_eq!(
            to_sign.file.envelope().unverified_payload(),
            second.encode()
        );
        assert_eq!(to_sign.unknown, [""; 0]);
    }

    #[test]
    fn unknown_fields_of_an_envelope_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trust-2.signed.json");
        let bytes = with_unknown(&versioned(&policy(&["alice"]), 2));
        write(&path, &sealed(TrustPolicy::PAYLOAD_TYPE, bytes, &[]));
        assert_eq!(to_be_signed(&path).unwrap().unknown, ["zone"]);
        let error = before(&path, None, None).unwrap_err();
        assert!(
            matches!(error, StoreError::SignedPolicy { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn unknown_fields_of_the_policy_before_are_named() {
        let (_dir, store) = store();
        let first = policy(&["alice"]);
        let second = versioned(&first, 2);
        let path = store.root().join("trust.json");
        let read = || before(&path, Some(store.root()), None).unwrap();
        fs::write(&path, with_unknown(&first)).unwrap();
        assert_eq!(
            (read().value, read().unknown),
            (first.clone(), vec!["zone".to_owned()])
        );
        fs::write(&path, first.encode()).unwrap();
        assert_eq!(read().unknown, [""; 0]);
        let bytes = with_unknown(&second);
        let published = sealed(TrustPolicy::PAYLOAD_TYPE, bytes, &["alice"]);
        write(&store.policy(second.version()), &published);
        assert_eq!(
            (read().value, read().unknown),
            (second.clone(), vec!["zone".to_owned()])
        );
    }
}
