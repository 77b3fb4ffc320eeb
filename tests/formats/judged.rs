//! Statements as JSON, judged as a machine judges them: validly signed, under a policy with every field.

use sealboot_core::failure::{Diagnose as _, FailureCode, Report};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Manifest};
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Presented, Refusal, TrustPolicy};
use serde_json::Value;
use support::world::{alice, bob, carol, clockwork, full, seal};

/// Where a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Manifest,
    Freshness,
    /// A trust policy that follows the baked-in one.
    NextPolicy,
    /// A trust policy that nobody signs.
    BakedInPolicy,
    HostConfig,
}

/// The statement is not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: FailureCode,
    pub(crate) report: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code(),
            report: Report(&refusal).to_string(),
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Manifest,
        Self::Freshness,
        Self::NextPolicy,
        Self::BakedInPolicy,
        Self::HostConfig,
    ];

    /// The statements of this kind that together have every field.
    pub(crate) fn examples(self) -> Vec<Value> {
        let json = |value| serde_json::to_value(value).expect("JSON");
        match self {
            Self::Manifest => vec![serde_json::to_value(full::manifest()).expect("JSON")],
            Self::Freshness => vec![serde_json::to_value(full::freshness()).expect("JSON")],
            Self::NextPolicy => {
                let mut next = serde_json::to_value(full::policy()).expect("JSON");
                next["version"] = 2.into();
                vec![next]
            }
            Self::BakedInPolicy => vec![serde_json::to_value(full::policy()).expect("JSON")],
            Self::HostConfig => full::host_configs().into_iter().map(json).collect(),
        }
    }

    /// The code of what is not the JSON of this kind.
    pub(crate) const fn invalid(self) -> FailureCode {
        match self {
            Self::Manifest => FailureCode::ManifestInvalid,
            Self::Freshness => FailureCode::FreshnessInvalid,
            Self::NextPolicy | Self::BakedInPolicy => FailureCode::TrustInvalid,
            Self::HostConfig => FailureCode::ConfigureHost,
        }
    }

    /// The code of what a newer version of sealboot may be able to use.
    pub(crate) const fn upgrade(self) -> FailureCode {
        match self {
            Self::Manifest => FailureCode::ManifestUpgrade,
            Self::Freshness => FailureCode::FreshnessUpgrade,
            Self::NextPolicy | Self::BakedInPolicy => FailureCode::TrustUpgrade,
            Self::HostConfig => FailureCode::ConfigureHostUpgrade,
        }
    }

    /// Signs the payload, judges it, and returns what was read of it.
    pub(crate) fn judge(self, payload: &[u8]) -> Result<Value, Refused> {
        let policy = full::policy();
        let name = "relay".parse().expect("a name");
        let (people, payload) = ([alice(), bob()], payload.to_vec());
        let read = match self {
            Self::Manifest => {
                let expected = Expected {
                    name: &name,
                    arch: Some(Arch::X86_64),
                    now: full::now().into(),
                };
                let envelope = seal(Manifest::PAYLOAD_TYPE, payload, &people);
                let verified = policy.verify_manifest(&envelope, &expected)?;
                serde_json::to_value(verified.as_ref())
            }
            Self::Freshness => {
                let envelope = seal(Freshness::PAYLOAD_TYPE, payload, &[clockwork()]);
                let verified = policy.verify_freshness(&envelope, &name, full::now().into())?;
                serde_json::to_value(verified.as_ref())
            }
            Self::NextPolicy => {
                let envelope = seal(TrustPolicy::PAYLOAD_TYPE, payload, &people);
                let verified = policy.verify_successor(&envelope)?;
                serde_json::to_value(verified.as_ref())
            }
            Self::BakedInPolicy => {
                let policy = TrustPolicy::parse(&payload).map_err(Refusal::Policy)?;
                serde_json::to_value(policy)
            }
            Self::HostConfig => {
                let presented = Presented {
                    stored: Some(seal(HostConfig::PAYLOAD_TYPE, payload, &[carol()])),
                    ..Presented::default()
                };
                let judged = policy.judge_host_config(&presented, &full::now().into())?;
                serde_json::to_value(judged.config())
            }
        };
        Ok(read.expect("JSON"))
    }
}
