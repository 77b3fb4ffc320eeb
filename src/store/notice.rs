//! What a caller should know though nothing went wrong.

use std::fmt;
use std::path::PathBuf;

use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion};
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
    /// Another process works with the renewer's state.
    WaitsForState {
        /// The state.
        path: PathBuf,
    },
    /// A renewer's state is created of what the store says.
    StateBegins {
        /// The newest trust policy in the store.
        policy: PolicyVersion,
    },
    /// What a renewer remembers of an image begins with what the store says.
    TakenFromStore {
        /// The image.
        image: ImageName,
        /// The last statement in its channel.
        statement: Option<Freshness>,
    },
    /// The channel offers a newer release that does not count.
    NotListed {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// The architecture.
        arch: Arch,
        /// Why.
        error: StoreError,
    },
    /// No release is current any more for an architecture.
    NothingCurrent {
        /// The image.
        image: ImageName,
        /// The architecture.
        arch: Arch,
    },
    /// Nothing was renewed: the store's trust policies or the renewer's state stop it.
    NothingRenewed {
        /// Why.
        error: StoreError,
    },
}

impl Notice {
    /// Returns `true` if an operator should do something about it.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        match self {
            Self::JudgedBy { .. }
            | Self::ArchiveCopied { .. }
            | Self::Renewed { .. }
            | Self::WaitsForState { .. }
            | Self::StateBegins { .. }
            | Self::TakenFromStore { .. } => false,
            Self::ChainEndsSoon(_)
            | Self::GoesBack { .. }
            | Self::FreshnessMissing
            | Self::NotYetCurrent { .. }
            | Self::NotRenewed { .. }
            | Self::NotListed { .. }
            | Self::NothingCurrent { .. }
            | Self::NothingRenewed { .. } => true,
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
                write_current(f, freshness)
            }
            Self::NotRenewed { image, error } => {
                write!(f, "image {image} is not renewed: {}", error.report())
            }
            Self::WaitsForState { path } => write!(
                f,
                "waiting for another process that works with {}",
                path.display()
            ),
            Self::StateBegins { policy } => write!(
                f,
                "the renewer begins with version {policy} of the trust policy and with what the store says:"
            ),
            Self::TakenFromStore { image, statement } => match statement {
                None => write!(f, "  image {image}: no statement"),
                Some(statement) => {
                    write!(f, "  image {image}: by a statement of {}, ", statement.created)?;
                    write_current(f, statement)
                }
            },
            Self::NotListed {
                image,
                version,
                arch,
                error,
            } => write!(
                f,
                "version {version} ({arch}) of image {image} is not listed: {}",
                error.report()
            ),
            Self::NothingCurrent { image, arch } => write!(
                f,
                "no release of image {image} is current for {arch}: those that were published are refused by the trust policy, or gone"
            ),
            Self::NothingRenewed { error } => f.write_str(&error.report()),
        }
    }
}

/// Writes which versions are current, until when, and which are withdrawn.
fn write_current(f: &mut fmt::Formatter<'_>, freshness: &Freshness) -> fmt::Result {
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
