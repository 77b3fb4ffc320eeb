//! What a caller should know though nothing went wrong.

use std::fmt;
use std::path::PathBuf;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::chain::EndsSoon;

use crate::StoreError;

/// Something that a caller should know though nothing went wrong; `Display` is the sentence.
///
/// Functions that can have more than one outcome worth a word take a `say: &mut dyn FnMut(Notice)`.
#[derive(Debug)]
pub enum Notice {
    /// A policy of the store judges, not the one that was given.
    JudgedBy {
        /// The version that judges.
        version: PolicyVersion,
        /// Where it is.
        path: PathBuf,
        /// The version that was given.
        from: PolicyVersion,
    },
    /// Machines will soon stop following the store's trust policies.
    ChainEndsSoon(EndsSoon),
    /// An archive was copied from another store.
    ArchiveCopied {
        /// Its place in this one.
        path: PathBuf,
    },
    /// An older version takes the place of a newer one, as was asked.
    GoesBack {
        /// The image.
        image: ImageName,
        /// The version that machines fetch from now on.
        version: ImageVersion,
        /// The newest that was published.
        newest: ImageVersion,
    },
    /// The policy requires a freshness statement, and the channel has none by which the release is current.
    FreshnessMissing,
    /// The freshness statement does not list the release yet.
    NotYetCurrent {
        /// The version that was published.
        version: ImageVersion,
        /// The version that machines boot until then.
        current: ImageVersion,
    },
    /// A new freshness statement is in an image's channel.
    Renewed {
        /// What it says.
        freshness: Freshness,
    },
    /// An image's statement was not renewed.
    NotRenewed {
        /// The image.
        image: ImageName,
        /// Why.
        error: StoreError,
    },
    /// Nothing was renewed, because the store's trust policies cannot be walked.
    PolicyUnknown {
        /// Why.
        error: StoreError,
    },
}

impl Notice {
    /// Returns `true` if an operator should do something about it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::JudgedBy { .. } | Self::ArchiveCopied { .. } | Self::Renewed { .. } => false,
            Self::ChainEndsSoon(_)
            | Self::GoesBack { .. }
            | Self::FreshnessMissing
            | Self::NotYetCurrent { .. }
            | Self::NotRenewed { .. }
            | Self::PolicyUnknown { .. } => true,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JudgedBy {
                version,
                path,
                from,
            } => write!(
                f,
                "judged by version {version} of the trust policy, {}, which follows from version {from}",
                path.display()
            ),
            Self::ChainEndsSoon(ends_soon) => ends_soon.fmt(f),
            Self::ArchiveCopied { path } => {
                write!(f, "copied the archive to {}", path.display())
            }
            Self::GoesBack {
                image,
                version,
                newest,
            } => write!(
                f,
                "version {newest} of image {image} was published before: machines go back to version {version}"
            ),
            Self::FreshnessMissing => f.write_str(
                "machines refuse this image until `sealboot freshness renew` has said that it is current: the trust policy requires it",
            ),
            Self::NotYetCurrent { version, current } => write!(
                f,
                "machines go on with version {current} until `sealboot freshness renew` has said that version {version} is current"
            ),
            Self::Renewed { freshness } => {
                write!(f, "image {}: ", freshness.name)?;
                let releases: Vec<String> = (freshness.releases.iter())
                    .map(|release| format!("{} ({})", release.version, release.arch))
                    .collect();
                match &releases[..] {
                    [release] => write!(f, "version {release} is current"),
                    releases => write!(f, "versions {} are current", releases.join(", ")),
                }?;
                write!(f, " until {}", freshness.expires)?;
                match &freshness.withdrawn[..] {
                    [] => Ok(()),
                    withdrawn => {
                        let versions: Vec<_> = withdrawn.iter().map(ToString::to_string).collect();
                        write!(f, "; withdrawn: {}", versions.join(", "))
                    }
                }
            }
            Self::NotRenewed { image, error } => {
                write!(f, "image {image} is not renewed: {}", error.report())
            }
            Self::PolicyUnknown { error } => f.write_str(&error.report()),
        }
    }
}
