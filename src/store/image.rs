//! Envelopes of images in files, which say nothing until a policy has judged them.

use std::path::Path;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::json::Read;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::format::payload::parse_with_unknown;
use sealboot_core::trust::{Channel, Envelope, EnvelopeError};

use crate::kind::Kind;
use crate::{StoreError, files};

/// A file that holds an image's envelope.
#[derive(Debug)]
pub enum StoredImage {
    /// The envelope of one version.
    Envelope(Envelope),
    /// The channel, which holds the envelope of the newest.
    Channel(Channel),
}

impl StoredImage {
    /// Reads either.
    ///
    /// # Errors
    ///
    /// As for [`files::read_stored`], and [`StoreError::NotEnvelope`].
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = files::read_stored(path, LIMITS.channel_bytes)?;
        Self::parse(&bytes).map_err(|source| StoreError::NotEnvelope {
            path: path.to_owned(),
            kind: Kind::Image,
            source,
        })
    }

    /// Reads either out of bytes.
    ///
    /// # Errors
    ///
    /// As for [`Channel::parse`] and [`Envelope::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if Channel::is_one(bytes) {
            return Channel::parse(bytes).map(Self::Channel);
        }
        match Envelope::parse(bytes) {
            Ok(envelope) => Ok(Self::Envelope(envelope)),
            // JSON can spell `manifest` in more ways than one looks for, and a machine would read it.
            Err(error) => Channel::parse(bytes).map(Self::Channel).map_err(|_| error),
        }
    }

    /// Reads what the last statement of a channel says, with nothing verified; `path` is the file that holds it.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoFreshness`] where it cannot be read.
    pub fn unverified_freshness(&self, path: &Path) -> Result<Option<Freshness>, StoreError> {
        let Self::Channel(channel) = self else {
            return Ok(None);
        };
        let mut known = channel.freshness.iter();
        let Some(envelope) =
            known.find(|envelope| envelope.payload_type() == Freshness::PAYLOAD_TYPE)
        else {
            return Ok(None);
        };
        Freshness::parse(envelope.unverified_payload())
            .map(Some)
            .map_err(|source| StoreError::NoFreshness {
                path: path.to_owned(),
                source,
            })
    }

    /// Returns the image's envelope; of a channel, that of the preferred release.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        match self {
            Self::Envelope(envelope) => envelope,
            Self::Channel(channel) => (channel.releases.into_iter().next()).map_or_else(
                || Envelope::unsigned("", Vec::new()),
                |release| release.manifest,
            ),
        }
    }
}

/// Returns an envelope with what a copy of it holds besides: signatures, and unknown fields. Without that where it is not
/// the same statement, or where together they are more than one reads.
pub(crate) fn joined(envelope: Envelope, copy: &Envelope) -> Envelope {
    if copy.signed_bytes() != envelope.signed_bytes() {
        return envelope;
    }
    let mut joined = envelope.clone();
    joined.join_copy(copy);
    match Envelope::parse(&joined.encode()) {
        Ok(_) => joined,
        Err(_) => envelope,
    }
}

/// Reads the manifest out of an envelope whose signatures say nothing yet: to show it, or to sign it.
///
/// # Errors
///
/// [`StoreError::PayloadType`] or [`StoreError::NoManifest`].
pub fn unverified_manifest(path: &Path, envelope: &Envelope) -> Result<Manifest, StoreError> {
    Ok(unverified(path, envelope)?.value)
}

/// As [`unverified_manifest`], with the fields of it that this version does not know.
///
/// # Errors
///
/// As [`unverified_manifest`].
pub fn unverified(path: &Path, envelope: &Envelope) -> Result<Read<Manifest>, StoreError> {
    Kind::Image.check(path, envelope)?;
    parse_with_unknown(envelope.unverified_payload()).map_err(|source| StoreError::NoManifest {
        path: path.to_owned(),
        source,
    })
}
