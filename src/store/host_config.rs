//! Host configs, judged by a trust policy as a machine with it judges them.

use std::error::Error;
use std::fmt;

use jiff::Timestamp;

use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::host_config::{HostConfig, MirrorTemplate};
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::trust::host_config::Judged;
use sealboot_core::trust::{Presented, Refusal, TrustPolicy};

/// A host config asks for what the trust policy forbids.
#[derive(Debug, thiserror::Error)]
pub enum Conflict {
    /// A mirror is plain http.
    #[error("the mirror {mirror} is plain http, which the trust policy does not allow")]
    PlainHttp {
        /// The mirror.
        mirror: MirrorTemplate,
    },
    /// The image is another.
    #[error("the trust policy does not accept image \"{image}\"\n  it accepts {accepted}")]
    Image {
        /// The image that the host config names.
        image: ImageName,
        /// The images of the policy.
        accepted: String,
    },
}

impl Diagnose for Conflict {
    fn code(&self) -> FailureCode {
        match self {
            Self::PlainHttp { .. } => FailureCode::FetchPlainHttp,
            Self::Image { .. } => FailureCode::ManifestName,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::PlainHttp { .. } => self.code().remedy().to_owned(),
            Self::Image { image, .. } => format!(
                "correct `image` in the host config, or create the policy with --image {image}"
            ),
        }
    }
}

/// Checks that a policy lets this config boot; returns the oldest version that it then accepts.
///
/// # Errors
///
/// [`Conflict`].
pub fn agree(config: &HostConfig, policy: &TrustPolicy) -> Result<ImageVersion, Conflict> {
    let plain = config.mirrors.iter().find(|mirror| !mirror.is_https());
    if let (Some(mirror), false) = (plain, policy.allows_http()) {
        return Err(Conflict::PlainHttp {
            mirror: mirror.clone(),
        });
    }
    let accepted = policy.image(&config.image);
    accepted
        .map(|image| image.min_version)
        .ok_or_else(|| Conflict::Image {
            image: config.image.clone(),
            accepted: (policy.images().iter())
                .map(|image| image.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// A machine does not boot with a host config; `Display`, its causes and its code are those of what it says.
#[derive(Debug)]
pub enum Unusable {
    /// The policy refuses it.
    Refused(Refusal),
    /// The policy accepts it, and forbids what it asks for.
    Conflict(Conflict),
}

impl Unusable {
    fn inner(&self) -> &(dyn Diagnose + 'static) {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Conflict(conflict) => conflict,
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl Error for Unusable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner().source()
    }
}

impl Diagnose for Unusable {
    fn code(&self) -> FailureCode {
        self.inner().code()
    }

    fn hint(&self) -> String {
        self.inner().hint()
    }
}

/// Judges the bytes of a host config, plain or signed, for any machine at `now`.
///
/// # Errors
///
/// [`Unusable`].
pub fn judge(policy: &TrustPolicy, bytes: &[u8], now: Timestamp) -> Result<Judged, Unusable> {
    let presented = Presented {
        stored: Some(bytes.to_vec()),
        ..Presented::default()
    };
    let judged = policy.judge_host_config(&presented, &now.into());
    let judged = judged.map_err(Unusable::Refused)?;
    agree(judged.config(), policy).map_err(Unusable::Conflict)?;
    Ok(judged)
}
