//! The kinds of statement that people sign, as files.

use std::path::Path;

use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::format::shown;
use sealboot_core::trust::{Envelope, TrustPolicy};

use crate::image::StoredImage;
use crate::{StoreError, files};

/// A kind of signed file: how it is read, and what the commands that work on it are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The manifest of one version of an image.
    Image,
    /// A trust policy.
    Policy,
    /// A host config.
    HostConfig,
}

impl Kind {
    /// Returns the kind of statement that has this payload type.
    #[must_use]
    pub fn of(payload_type: &str) -> Option<Self> {
        [Self::Image, Self::Policy, Self::HostConfig]
            .into_iter()
            .find(|kind| kind.payload_type() == payload_type)
    }

    /// Returns what a file of this kind holds, in words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Policy => "policy",
            Self::HostConfig => "host config",
        }
    }

    /// Returns the command for this kind, as in `sealboot image sign`.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Policy => "policy",
            Self::HostConfig => "host-config",
        }
    }

    /// Returns the command that shows such a file.
    pub(crate) const fn show(self) -> &'static str {
        match self {
            Self::Image => "sealboot image inspect",
            Self::Policy => "sealboot policy check",
            Self::HostConfig => "sealboot host-config check",
        }
    }

    /// Returns what makes such a file again, in words.
    pub(crate) const fn make(self) -> &'static str {
        match self {
            Self::Image => "pack the image again",
            Self::Policy => "move the file away, sign the policy anew",
            Self::HostConfig => "move the file away, sign the host config anew",
        }
    }

    /// Returns the bytes of the largest envelope of this kind that is read.
    #[must_use]
    pub const fn limit(self) -> u64 {
        match self {
            Self::Image => LIMITS.envelope_bytes,
            Self::Policy => LIMITS.policy_envelope_bytes,
            Self::HostConfig => LIMITS.host_config_bytes,
        }
    }

    /// Returns what the payload of such an envelope says it is.
    #[must_use]
    pub const fn payload_type(self) -> &'static str {
        match self {
            Self::Image => Manifest::PAYLOAD_TYPE,
            Self::Policy => TrustPolicy::PAYLOAD_TYPE,
            Self::HostConfig => HostConfig::PAYLOAD_TYPE,
        }
    }

    /// Reads the envelope in a file, to work on it; what it holds is not looked at.
    ///
    /// # Errors
    ///
    /// As for [`files::read`], [`StoreError::NotEnvelope`], and [`StoreError::IsChannel`] for an image's channel.
    pub fn read(self, path: &Path) -> Result<Envelope, StoreError> {
        match self {
            Self::Image => match StoredImage::read(path)? {
                StoredImage::Envelope(envelope) => Ok(envelope),
                StoredImage::Channel(_) => Err(StoreError::IsChannel {
                    path: path.to_owned(),
                }),
            },
            Self::Policy | Self::HostConfig => self.parse(path, &files::read(path, self.limit())?),
        }
    }

    /// Reads the envelope in `bytes`, which are those of `path`.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotEnvelope`].
    pub fn parse(self, path: &Path, bytes: &[u8]) -> Result<Envelope, StoreError> {
        Envelope::parse(bytes).map_err(|source| StoreError::NotEnvelope {
            path: path.to_owned(),
            kind: self,
            source,
        })
    }

    /// Checks that an envelope, which `path` holds, says that it holds a statement of this kind.
    ///
    /// # Errors
    ///
    /// [`StoreError::PayloadType`].
    pub fn check(self, path: &Path, envelope: &Envelope) -> Result<(), StoreError> {
        if envelope.payload_type() == self.payload_type() {
            return Ok(());
        }
        Err(StoreError::PayloadType {
            path: path.to_owned(),
            found: shown(envelope.payload_type(), 80),
            kind: self,
        })
    }
}
