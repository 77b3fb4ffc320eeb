//! Why a statement, or an image, is not accepted.

use jiff::Timestamp;

use super::envelope::EnvelopeError;
use super::statement::{SignatureCount, Statement, Unmet};
use crate::failure::{Diagnose, FailureCode};
use crate::format::digest::Sha256Digest;
use crate::format::host_config::HostConfigError;
use crate::format::manifest::{Arch, ImageName, ImageVersion};
use crate::format::payload::PayloadError;
use crate::format::shown;
use crate::format::version::PolicyVersion;

/// A statement, or an image, is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The bytes are no envelope.
    #[error("the {statement} is no signed envelope")]
    Envelope {
        /// What should be in it.
        statement: Statement,
        /// Why it is none.
        #[source]
        source: EnvelopeError,
    },
    /// The envelope holds another kind of statement.
    #[error("the envelope holds a statement of type \"{found}\"\n  expected \"{}\"", statement.payload_type())]
    PayloadType {
        /// What should be in it.
        statement: Statement,
        /// The type that it names, escaped.
        found: String,
    },
    /// Too few distinct trusted keys have signed.
    #[error("{} of {} required signatures are there{}", count.required - count.lacking(), count.required, describe(count))]
    Threshold {
        /// What was to be signed.
        statement: Statement,
        /// Who has signed, and what is missing.
        count: SignatureCount,
    },
    /// The role needs keys of types that this version cannot verify by.
    #[error(
        "the role that signs the {statement} needs keys of types that this version of sealboot does not know"
    )]
    UnknownKeyTypes {
        /// What was to be signed.
        statement: Statement,
    },
    /// The signed payload is no manifest.
    #[error("the signed manifest cannot be used")]
    Manifest(#[source] PayloadError),
    /// It is about another image than the one asked for.
    #[error("the manifest is of image \"{found}\", not of \"{expected}\"")]
    OtherImage {
        /// The image that it is about.
        found: ImageName,
        /// The image that was asked for.
        expected: ImageName,
    },
    /// The policy does not accept its name.
    #[error("the trust policy does not accept image \"{name}\"")]
    NameNotAccepted {
        /// The image's name.
        name: ImageName,
    },
    /// It is for another architecture.
    #[error("the image is for {found}, this machine is {expected}")]
    Arch {
        /// The image's architecture.
        found: Arch,
        /// This machine's.
        expected: Arch,
    },
    /// It was created later than now.
    #[error("the {statement} was created at {created}, but now is {now}")]
    Future {
        /// What was created.
        statement: Statement,
        /// When it says it was created.
        created: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// Its expiry has passed.
    #[error("the manifest expired at {expires}, now is {now}")]
    Expired {
        /// When it expired.
        expires: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// It has no expiry, but the policy requires one.
    #[error("the manifest has no expiry, but the trust policy requires one")]
    NoExpiry,
    /// It grants itself a longer life than the policy allows.
    #[error("the manifest grants itself {granted_days} days, the trust policy allows {max_days}")]
    LifeTooLong {
        /// From `created` to `expires`, in days, rounded up.
        granted_days: i64,
        /// The policy's longest.
        max_days: u32,
    },
    /// It is older than the policy's floor.
    #[error(
        "version {found} of image \"{name}\" is older than min_version {min_version} of the trust policy"
    )]
    Rollback {
        /// The image's name.
        name: ImageName,
        /// Its version.
        found: ImageVersion,
        /// The oldest that is accepted.
        min_version: ImageVersion,
    },
    /// The policy denies this version.
    #[error("the trust policy denies version {version} of image \"{name}\"")]
    DeniedVersion {
        /// The image's name.
        name: ImageName,
        /// The version.
        version: ImageVersion,
    },
    /// The policy denies this manifest, or the archive that it names.
    #[error("the trust policy denies this {what}\n  sha256 {digest}")]
    DeniedDigest {
        /// `manifest` or `archive`.
        what: &'static str,
        /// Its digest.
        digest: Sha256Digest,
    },
    /// The policy requires a freshness statement, and there is none.
    #[error(
        "the mirror says nothing about which version is the newest, but the trust policy requires it"
    )]
    NotFresh,
    /// The signed payload is no freshness statement.
    #[error("the signed freshness statement cannot be used")]
    Freshness(#[source] PayloadError),
    /// The freshness statement is about another image.
    #[error("the freshness statement is about image \"{found}\", not about \"{expected}\"")]
    FreshnessOfOther {
        /// The image that it is about.
        found: ImageName,
        /// The image that was asked for.
        expected: ImageName,
    },
    /// The freshness statement counts no more.
    #[error("the freshness statement counted until {expires}, now is {now}")]
    FreshnessExpired {
        /// Until when it counted.
        expires: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// The freshness statement grants itself a longer life than the policy allows.
    #[error(
        "the freshness statement grants itself {granted_hours} hours, the trust policy allows {max_hours}"
    )]
    FreshnessTooLong {
        /// From `created` to `expires`, in hours, rounded up.
        granted_hours: i64,
        /// The policy's longest.
        max_hours: u32,
    },
    /// The freshness statement lists more versions of one architecture than the policy allows.
    #[error(
        "the freshness statement lists {found} versions of one architecture, the trust policy allows {max_releases}"
    )]
    FreshnessTooMany {
        /// How many it lists.
        found: usize,
        /// The policy's most.
        max_releases: u32,
    },
    /// The freshness statement has taken this version back.
    #[error("version {found} of image \"{name}\" is withdrawn")]
    Withdrawn {
        /// The image's name.
        name: ImageName,
        /// Its version.
        found: ImageVersion,
    },
    /// The freshness statement does not list this version, and none that is newer.
    #[error("version {found} of image \"{name}\" is not current: {}", current(newest.as_ref()))]
    NotCurrent {
        /// The image's name.
        name: ImageName,
        /// Its version.
        found: ImageVersion,
        /// The newest that is current for this architecture, if any is.
        newest: Option<ImageVersion>,
    },
    /// The channel offers no release.
    #[error("the mirror's channel offers no release")]
    NoRelease,
    /// A newer version than this one is current.
    #[error("version {found} of image \"{name}\" is stale: version {newest} is current")]
    Stale {
        /// The image's name.
        name: ImageName,
        /// Its version.
        found: ImageVersion,
        /// The newest, by the freshness statement.
        newest: ImageVersion,
    },
    /// A newer trust policy than the mirror shows is published.
    #[error(
        "the mirror shows trust policies up to version {found}, but version {newest} is published"
    )]
    StalePolicy {
        /// The last that it shows.
        found: PolicyVersion,
        /// The newest, by the freshness statement.
        newest: PolicyVersion,
    },
    /// The newest trust policy has expired, and refuses what follows.
    #[error("version {version} of the trust policy expired at {expires}, now is {now}")]
    PolicyExpired {
        /// The policy's version.
        version: PolicyVersion,
        /// When it expired.
        expires: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// The signed payload is no trust policy.
    #[error("the signed trust policy cannot be used")]
    Policy(#[source] PayloadError),
    /// A trust policy does not follow the one before it.
    #[error("the trust policy has version {found} where version {expected} was due")]
    PolicyVersion {
        /// The version that it has.
        found: PolicyVersion,
        /// The one after the last.
        expected: PolicyVersion,
    },
    /// A trust policy was not signed by the one before it.
    #[error("version {version} of the trust policy is not signed as version {by} asks")]
    PolicyUnsigned {
        /// The policy that is refused.
        version: PolicyVersion,
        /// The policy whose signers are missing: the one before, or itself.
        by: PolicyVersion,
        /// What is missing.
        #[source]
        source: Box<Refusal>,
    },
    /// The host config is no host config, whether it was plain or signed.
    #[error("the host config does not load")]
    HostConfig(#[source] HostConfigError),
    /// The settings of the command line do not go with the host config, or make none.
    #[error("the kernel command line makes no host config that can be used")]
    HostCmdline(#[source] HostConfigError),
    /// The host config is signed, and the policy has no role for it.
    #[error("the host config is signed, but the trust policy names nobody who may sign one")]
    HostRole,
    /// The policy requires a signed host config, and this one is plain.
    #[error("the host config is not signed, but the trust policy requires it")]
    HostUnsigned,
    /// The policy requires a signed host config, and there is none at all.
    #[error("there is no host config, but the trust policy requires a signed one")]
    HostMissing,
    /// The policy requires a signed host config, and the command line would change it.
    #[error(
        "the trust policy requires that what the host config says is signed, but the kernel command line sets {name}="
    )]
    HostSetting {
        /// The first setting that would, escaped.
        name: String,
    },
    /// The host config has ended.
    #[error("the host config expired at {expires}, now is {now}")]
    HostExpired {
        /// When it ended.
        expires: Timestamp,
        /// What time was taken as now.
        now: Timestamp,
    },
    /// The host config is for other machines.
    #[error("the host config is for other machines; this one is known by {known_as}")]
    HostMachine {
        /// What this machine is known by.
        known_as: String,
    },
    /// The signed host config does not say when it was made.
    #[error("the signed host config does not say when it was created")]
    HostUndated,
    /// The signed host config was made before the policy takes any.
    #[error(
        "the host config was created at {created}; the trust policy takes none from before {not_before}"
    )]
    HostRevoked {
        /// When it was made.
        created: Timestamp,
        /// The policy's bound.
        not_before: Timestamp,
    },
    /// There are more trust policies than are walked.
    #[error("the chain of trust policies goes on after {limit} steps from version {from}")]
    ChainTooLong {
        /// Where the walk began.
        from: PolicyVersion,
        /// How many steps are walked.
        limit: usize,
    },
}

impl Diagnose for Refusal {
    fn code(&self) -> FailureCode {
        use FailureCode as Code;
        use Statement::{Freshness, HostConfig, Manifest, Policy};
        match self {
            Self::Envelope { statement, .. } => match statement {
                Manifest => Code::ManifestEnvelope,
                Policy => Code::TrustEnvelope,
                Freshness => Code::FreshnessInvalid,
                HostConfig => Code::ConfigureHostEnvelope,
            },
            Self::PayloadType { statement, .. } => match statement {
                Manifest => Code::ManifestPayloadType,
                Policy => Code::TrustPayloadType,
                Freshness => Code::FreshnessInvalid,
                HostConfig => Code::ConfigureHostEnvelope,
            },
            Self::Threshold { statement, .. } => match statement {
                Manifest => Code::ManifestThreshold,
                Policy => Code::TrustThreshold,
                Freshness => Code::FreshnessThreshold,
                HostConfig => Code::ConfigureHostThreshold,
            },
            Self::UnknownKeyTypes { statement } => match statement {
                Manifest => Code::ManifestUpgrade,
                Policy => Code::TrustUpgrade,
                Freshness => Code::FreshnessUpgrade,
                HostConfig => Code::ConfigureHostUpgrade,
            },
            Self::PolicyExpired { .. } => Code::TrustExpired,
            Self::Future { statement, .. } => match statement {
                Manifest | Policy | HostConfig => Code::ManifestFuture,
                Freshness => Code::FreshnessFuture,
            },
            Self::Manifest(error) if error.needs_upgrade() => Code::ManifestUpgrade,
            Self::Manifest(_) => Code::ManifestInvalid,
            Self::OtherImage { .. } | Self::NameNotAccepted { .. } => Code::ManifestName,
            Self::Arch { .. } => Code::ManifestArch,
            Self::Expired { .. } => Code::ManifestExpired,
            Self::NoExpiry | Self::LifeTooLong { .. } => Code::ManifestValidity,
            Self::Rollback { .. } => Code::ManifestRollback,
            Self::DeniedVersion { .. } | Self::DeniedDigest { .. } => Code::ManifestDenied,
            Self::NotFresh => Code::FreshnessMissing,
            Self::Freshness(error) if error.needs_upgrade() => Code::FreshnessUpgrade,
            Self::Freshness(_) => Code::FreshnessInvalid,
            Self::FreshnessOfOther { .. } => Code::FreshnessName,
            Self::FreshnessExpired { .. } => Code::FreshnessExpired,
            Self::FreshnessTooLong { .. } => Code::FreshnessValidity,
            Self::FreshnessTooMany { .. } => Code::FreshnessReleases,
            Self::Withdrawn { .. } => Code::ManifestWithdrawn,
            Self::NotCurrent { .. } => Code::ManifestNotCurrent,
            Self::NoRelease => Code::ManifestEnvelope,
            Self::Stale { .. } => Code::ManifestStale,
            Self::StalePolicy { .. } => Code::TrustStale,
            Self::Policy(error) if error.needs_upgrade() => Code::TrustUpgrade,
            Self::Policy(_) => Code::TrustInvalid,
            Self::PolicyVersion { .. } => Code::TrustVersion,
            Self::PolicyUnsigned { .. } => Code::TrustThreshold,
            Self::ChainTooLong { .. } => Code::TrustLength,
            Self::HostConfig(error) | Self::HostCmdline(error) => error.code(),
            Self::HostExpired { .. } => Code::ConfigureHostExpired,
            Self::HostMachine { .. } => Code::ConfigureHostMachine,
            Self::HostUndated => Code::ConfigureHost,
            Self::HostRevoked { .. } => Code::ConfigureHostRevoked,
            Self::HostRole => Code::ConfigureHostRole,
            Self::HostUnsigned | Self::HostMissing | Self::HostSetting { .. } => {
                Code::ConfigureHostUnsigned
            }
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Threshold {
                statement: statement @ (Statement::Manifest | Statement::HostConfig),
                count,
            } if !count.unmet.is_empty() => {
                let needed: Vec<String> = count.unmet.iter().map(Unmet::to_string).collect();
                let (command, then) = match statement {
                    Statement::HostConfig => ("host-config sign", "put it in its place"),
                    _ => ("image sign", "publish"),
                };
                format!(
                    "{} must also run `sealboot {command}`; then {then} again",
                    needed.join(" and ")
                )
            }
            Self::HostConfig(error) | Self::HostCmdline(error) => error.hint(),
            Self::HostUnsigned => {
                "sign it with `sealboot host-config sign`, and put the envelope in its place".to_owned()
            }
            Self::HostMissing => {
                "sign a host config with `sealboot host-config sign`, and bake it in (`sealboot initramfs build --host-config`) or put it where the machine looks for one".to_owned()
            }
            Self::HostSetting { name } => format!(
                "take {name}= out of the boot loader's configuration, and put what it says into the signed host config"
            ),
            Self::Rollback { min_version, .. } => format!(
                "publish version {min_version} or newer; a mirror that serves older ones is stale or hostile"
            ),
            Self::Stale { newest, .. } => {
                format!(
                    "copy version {newest} to this mirror, or ask another; a mirror that holds machines back is stale or hostile"
                )
            }
            _ => self.code().remedy().to_owned(),
        }
    }
}

fn current(newest: Option<&ImageVersion>) -> String {
    match newest {
        Some(newest) => format!("version {newest} is"),
        None => "no version for this architecture is".to_owned(),
    }
}

/// Signatures that count for nothing of which each has a line of its own. Who wrote the envelope chose how
/// many there are and what they are called, and a console may be serial.
const IGNORED_SHOWN: usize = 8;

/// Characters of a key id that are shown; a good one has 16. An envelope may have many and long ones.
const KEY_ID_SHOWN: usize = 32;

fn describe(count: &SignatureCount) -> String {
    let mut text = String::new();
    for signer in &count.signers {
        text.push_str(&format!("\n  signed by {signer}"));
    }
    for (key_id, why) in count.ignored.iter().take(IGNORED_SHOWN) {
        text.push_str(&format!(
            "\n  ignored the signature under key id \"{}\": {why}",
            shown(key_id, KEY_ID_SHOWN)
        ));
    }
    if let more @ 1.. = count.ignored.len().saturating_sub(IGNORED_SHOWN) {
        text.push_str(&format!("\n  ignored as well: {more} more"));
    }
    text
}

#[cfg(test)]
mod tests;
