//! What a new trust policy would orphan: what machines use under the policy before, and will be refused under it.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;

use sealboot_core::failure::{Diagnose, causes};
use sealboot_core::format::Invalid;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Refusal, TrustPolicy, Verified};

use crate::host_config::{Unusable, judge};
use crate::{Store, StoreError, files};

/// The agreement that a new policy breaks something: `NAME=VERSION`.
///
/// NAME is an image, and VERSION the release that machines boot; or NAME is the file of a host config, and VERSION that of
/// the policy that will refuse it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    name: String,
    version: u64,
}

impl Break {
    /// Returns the value of `--breaks` as it is, where `Display` quotes it for a shell.
    #[must_use]
    pub fn value(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

impl FromStr for Break {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let split = || {
            // A file may have `=` in its name.
            let (name, version) = text.rsplit_once('=')?;
            let number: ImageVersion = version.parse().ok()?;
            // One spelling: a sign or a leading zero is a typing error.
            let is_plain = number.to_string() == version;
            (!name.is_empty() && is_plain).then(|| Self {
                name: name.to_owned(),
                version: number.as_u64(),
            })
        };
        split().ok_or_else(|| Invalid::new("break", text, "NAME=VERSION, such as relay=42"))
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = files::quoted(Path::new(&self.name));
        write!(f, "{name}={}", self.version)
    }
}

/// Something that machines use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// A release that is current.
    Release {
        /// The image.
        image: ImageName,
        /// The version.
        version: ImageVersion,
        /// The architecture.
        arch: Arch,
    },
    /// The freshness statement of an image.
    Statement {
        /// The image.
        image: ImageName,
        /// The newest version that it lists.
        version: ImageVersion,
    },
    /// A host config.
    HostConfig {
        /// Its file.
        path: PathBuf,
    },
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release {
                image,
                version,
                arch,
            } => write!(f, "release {version} of image {image} ({arch})"),
            Self::Statement { image, version } => write!(
                f,
                "the freshness statement by which release {version} of image {image} is current"
            ),
            Self::HostConfig { path } => write!(f, "host config {}", path.display()),
        }
    }
}

/// What machines use now, and will be refused by a new policy; `Display` is a warning.
#[derive(Debug)]
pub struct Orphan {
    /// What it is.
    pub used: Used,
    /// What machines will say.
    pub refusal: Unusable,
    /// The version of the new policy.
    pub by: PolicyVersion,
}

impl Orphan {
    /// Returns what agrees to it.
    #[must_use]
    pub fn as_break(&self) -> Break {
        let (name, version) = match &self.used {
            Used::Release { image, version, .. } | Used::Statement { image, version } => {
                (image.to_string(), version.as_u64())
            }
            Used::HostConfig { path } => (path.display().to_string(), self.by.as_u64()),
        };
        Break { name, version }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, refusal, by } = self;
        write!(
            f,
            "{used} will be refused by version {by} of the trust policy: {refusal}"
        )?;
        for cause in causes(std::error::Error::source(refusal)) {
            write!(f, "\n  caused by: {cause}")?;
        }
        write!(f, "\n  code: {}\n  {}", refusal.code(), refusal.hint())
    }
}

/// An image whose releases a new policy accepts once a statement says that they are current, where the policy before needs
/// none; `Display` is a warning. Only once the policy is in the store can that statement be created.
#[derive(Debug)]
pub struct Waiting {
    /// The image.
    pub image: ImageName,
    /// What machines will say.
    pub refusal: Refusal,
    /// The version of the new policy.
    pub by: PolicyVersion,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, refusal, by } = self;
        write!(
            f,
            "image {image} will be refused by version {by} of the trust policy until `sealboot freshness renew` is run: {refusal}"
        )
    }
}

/// A policy and the one before it, which judge at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) old: &'a TrustPolicy,
    pub(crate) new: &'a TrustPolicy,
    pub(crate) now: Timestamp,
}

/// What a change of policy does to what machines use.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) waiting: Vec<Waiting>,
}

impl Change<'_> {
    /// Judges the channels of a store, in the order of their names, and then the host configs in these files.
    pub(crate) fn effects(
        self,
        store: &Store,
        host_configs: &[PathBuf],
    ) -> Result<Effects, StoreError> {
        let mut effects = Effects::default();
        for image in store.channels()? {
            self.judge_channel(store, &image, &mut effects)?;
        }
        for path in host_configs {
            let bytes = files::read(path, LIMITS.host_config_bytes)?;
            if judge(self.old, &bytes, self.now).is_err() {
                continue;
            }
            if let Err(refusal) = judge(self.new, &bytes, self.now) {
                let path = path.clone();
                effects.orphans.push(Orphan {
                    used: Used::HostConfig { path },
                    refusal,
                    by: self.new.version(),
                });
            }
        }
        Ok(effects)
    }

    fn judge_channel(
        self,
        store: &Store,
        image: &ImageName,
        effects: &mut Effects,
    ) -> Result<(), StoreError> {
        let bytes = files::read_stored(&store.channel(image), LIMITS.channel_bytes)?;
        // What machines cannot read now does not stop now.
        let Ok(channel) = Channel::parse(&bytes) else {
            return Ok(());
        };
        let by = self.new.version();
        let boots = |policy: &TrustPolicy, arch: &Arch| {
            let arch = Some(arch.clone());
            policy.verify_channel(&bytes, &self.expected(image, arch))
        };
        let mut current = self.current(image, &channel, &bytes);
        while let Some(arch) = current.first().map(|used| used.arch.clone()) {
            let (of_arch, others) = current.into_iter().partition(|used| used.arch == arch);
            current = others;
            let of_arch: Vec<Current> = of_arch;
            let accepted = of_arch.iter().any(|used| used.by_new.is_ok());
            for used in of_arch {
                let Err(refusal) = used.by_new else {
                    continue;
                };
                // A denial is what its authors want, where machines have another release to go on with.
                if accepted && is_denial(&refusal) {
                    continue;
                }
                effects.orphans.push(Orphan {
                    used: Used::Release {
                        image: image.clone(),
                        version: used.version,
                        arch: used.arch,
                    },
                    refusal: Unusable::Refused(refusal),
                    by,
                });
            }
            if !accepted {
                continue;
            }
            let (Ok(old), Err(refusal)) = (boots(self.old, &arch), boots(self.new, &arch)) else {
                continue;
            };
            let image = image.clone();
            let Some(stated) = old.freshness() else {
                let is_new = |waiting: &Waiting| waiting.image != image;
                if effects.waiting.iter().all(is_new) {
                    effects.waiting.push(Waiting { image, refusal, by });
                }
                continue;
            };
            let newest = stated.as_ref().newest_for(Some(&arch));
            let version = newest.unwrap_or(old.manifest().as_ref().version);
            let used = Used::Statement { image, version };
            if effects.orphans.iter().all(|orphan| orphan.used != used) {
                let refusal = Unusable::Refused(refusal);
                effects.orphans.push(Orphan { used, refusal, by });
            }
        }
        Ok(())
    }

    /// Returns the releases that machines take now, those that the statement lists. Without one, of each architecture the
    /// first that is accepted; of one that has ended, all: it is renewed in a moment.
    fn current(self, image: &ImageName, channel: &Channel, bytes: &[u8]) -> Vec<Current> {
        let judged = self
            .old
            .verify_channel(bytes, &self.expected(image, None))
            .map(|current| current.freshness().cloned());
        let mut current: Vec<Current> = Vec::new();
        for release in &channel.releases {
            let envelope = release.manifest.encode();
            let expected = self.expected(image, None);
            let Ok(verified) = self.old.verify_manifest(&envelope, &expected) else {
                continue;
            };
            let Manifest { version, arch, .. } = verified.as_ref();
            let counts = match &judged {
                Ok(Some(stated)) => lists(stated.as_ref(), &verified, self.now),
                Ok(None) => current.iter().all(|before| before.arch != *arch),
                Err(_) => true,
            };
            if counts {
                current.push(Current {
                    version: *version,
                    arch: arch.clone(),
                    by_new: self.new.verify_manifest(&envelope, &expected).map(drop),
                });
            }
        }
        current
    }

    fn expected(self, name: &ImageName, arch: Option<Arch>) -> Expected<'_> {
        Expected {
            name,
            arch,
            now: self.now.into(),
        }
    }
}

/// A release that machines take now.
struct Current {
    version: ImageVersion,
    arch: Arch,
    by_new: Result<(), Refusal>,
}

fn lists(stated: &Freshness, manifest: &Verified<Manifest>, now: Timestamp) -> bool {
    stated.releases.iter().any(|listed| {
        listed.sha256 == *manifest.payload_sha256() && listed.until.is_none_or(|until| now < until)
    })
}

/// Returns `true` if a policy says by name that it refuses this.
const fn is_denial(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::DeniedVersion { .. } | Refusal::DeniedDigest { .. } | Refusal::Rollback { .. }
    )
}

impl Store {
    /// Returns the names of the channels, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unreadable`].
    pub fn channels(&self) -> Result<Vec<ImageName>, StoreError> {
        let images = self.images();
        let entries = match fs::read_dir(&images) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(StoreError::unreadable(&images))?,
        };
        let mut names: Vec<ImageName> = Vec::new();
        for entry in entries {
            let path = entry.map_err(StoreError::unreadable(&images))?.path();
            let is_channel =
                path.is_file() && path.extension().is_some_and(|suffix| suffix == "json");
            let name = path.file_stem().and_then(|stem| stem.to_str());
            names.extend(
                name.filter(|_| is_channel)
                    .and_then(|name| name.parse().ok()),
            );
        }
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Ok(names)
    }
}
