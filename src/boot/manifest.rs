//! Stage `manifest`: an envelope from a mirror becomes a verified manifest.
//!
//! Mirrors are asked in order until one gives an envelope that satisfies the trust policy. One that
//! does not is said and passed over like one that does not answer: a stale or hostile mirror must not
//! keep a machine from a good one. If none does, a refusal says more than a dead mirror, so it is what
//! the stage fails with.

use jiff::Timestamp;
use tracing::warn;

use super::configure::Configured;
use super::stage::Done;
use crate::failure::{Diagnose, FailureCode, Report};
use crate::fetch::{Client, FetchError};
use crate::format::host_config::MirrorUrl;
use crate::format::manifest::{Arch, Manifest};
use crate::trust::verified::Expected;
use crate::trust::{Refusal, Verified};

/// A verified manifest, and the mirror that had it.
#[derive(Debug)]
pub struct Accepted {
    /// The manifest.
    pub manifest: Verified<Manifest>,
    /// The mirror to ask first for the archive.
    pub mirror: MirrorUrl,
}

/// No mirror had an envelope that the trust policy accepts.
#[derive(Debug, thiserror::Error)]
pub enum ManifestStageError {
    /// A mirror's envelope was refused.
    #[error("{mirror} has no manifest that the trust policy accepts")]
    Refused {
        /// The mirror.
        mirror: MirrorUrl,
        /// Why it was refused.
        #[source]
        refusal: Box<Refusal>,
    },
    /// No mirror gave an envelope; this is how the last one failed.
    #[error("no mirror gave a manifest")]
    Mirrors(#[source] FetchError),
    /// There is no mirror to ask.
    #[error("the host config names no mirror")]
    NoMirror,
}

impl Diagnose for ManifestStageError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Refused { refusal, .. } => refusal.code(),
            Self::Mirrors(error) => error.code(),
            Self::NoMirror => FailureCode::ConfigureHost,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Refused { refusal, .. } => refusal.hint(),
            Self::Mirrors(error) => error.hint(),
            Self::NoMirror => self.code().remedy().to_owned(),
        }
    }
}

/// Asks the mirrors for the image's envelope until one satisfies the policy at `now`.
///
/// # Errors
///
/// [`ManifestStageError`] if none did.
pub async fn manifest(
    configured: &Configured,
    client: &Client,
    now: Timestamp,
) -> Result<Done<Accepted>, ManifestStageError> {
    let host = &configured.host;
    // Of one mirror alone, the stage's own failure says it all.
    let several = host.mirrors.len() > 1;
    let mut failure = ManifestStageError::NoMirror;
    for mirror in &host.mirrors {
        let envelope = match client.manifest(mirror, &host.image).await {
            Ok(envelope) => envelope,
            Err(error) => {
                if several {
                    warn!("{:#}", Report(&error));
                }
                if !matches!(failure, ManifestStageError::Refused { .. }) {
                    failure = ManifestStageError::Mirrors(error);
                }
                continue;
            }
        };
        let expected = Expected {
            name: Some(&host.image),
            arch: Some(Arch::NATIVE),
            now,
        };
        match configured.policy.verify_manifest(&envelope, &expected) {
            Ok(manifest) => return Ok(accepted(manifest, mirror, now)),
            Err(refusal) => {
                if several {
                    warn!("{mirror}: {:#}", Report(&refusal));
                }
                failure = ManifestStageError::Refused {
                    mirror: mirror.clone(),
                    refusal: Box::new(refusal),
                };
            }
        }
    }
    Err(failure)
}

fn accepted(verified: Verified<Manifest>, mirror: &MirrorUrl, now: Timestamp) -> Done<Accepted> {
    let manifest = verified.as_ref();
    let signers: Vec<&str> = verified
        .signers()
        .iter()
        .map(|name| name.as_str())
        .collect();
    let expires = manifest
        .expires
        .map_or("never".to_owned(), |expires| expires.to_string());
    let says = format!(
        "image \"{}\" version {} ({}), signed by {}, expires {expires}, judged at {now}",
        manifest.name,
        manifest.version,
        manifest.label,
        signers.join(" and "),
    );
    Done::new((), says)
        .with("name", &manifest.name)
        .with("version", manifest.version)
        .with("signers", signers.join(","))
        .with("now", now)
        .with("sha256", verified.payload_sha256())
        .with("url", mirror)
        .map(|()| Accepted {
            manifest: verified,
            mirror: mirror.clone(),
        })
}
