//! Everything that expires: when, what happens to machines then, and who must act before.
//!
//! Nothing that a cold machine needs to reach its successor should end by the calendar unnoticed. What never expires is
//! listed too, so that a reader sees what was looked at. Dates of certificates come from the caller, which can read them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::{CurrentRelease, Freshness};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, ImageName, ImageVersion, Manifest};
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::policy::OnExpiry;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Channel, Envelope, Refusal, Role, TrustPolicy};

use crate::host_config::{Unusable, judge};
use crate::renewal::last_statement;
use crate::tally::in_words;
use crate::{Store, StoreError, files};

/// What expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A trust policy.
    Policy,
    /// A release of an image.
    Image,
    /// The freshness statement of an image.
    Freshness,
    /// A release's place in a freshness statement.
    Listing,
    /// A host config.
    HostConfig,
    /// The TLS certificate of a mirror.
    Certificate,
    /// A certificate authority that is baked in.
    TlsRoot,
}

impl What {
    /// Returns the words for it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Policy => "trust policy",
            Self::Image => "image",
            Self::Freshness => "freshness of",
            Self::Listing => "listing of",
            Self::HostConfig => "host config",
            Self::Certificate => "certificate",
            Self::TlsRoot => "TLS root",
        }
    }
}

/// How near an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Machines refuse it already, for another reason than its end.
    Refused,
    /// It has ended.
    Expired,
    /// It ends soon.
    Soon,
    /// It ends later.
    Fine,
    /// It never ends.
    Never,
}

impl State {
    /// Returns `true` if someone must act.
    #[must_use]
    pub const fn is_due(self) -> bool {
        matches!(self, Self::Refused | Self::Expired | Self::Soon)
    }

    /// Returns the word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Soon => "soon",
            Self::Fine => "fine",
            Self::Never => "never",
        }
    }
}

/// Something that expires, or could.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// What it is.
    pub what: What,
    /// Which one.
    pub name: String,
    /// When its life began, where that is known.
    pub created: Option<Timestamp>,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// What happens to machines then, or happens already.
    pub effect: String,
    /// Who must act.
    pub act: String,
    /// Machines refuse it already.
    pub is_refused: bool,
}

impl Deadline {
    /// Returns how near its end is at `now`: soon `within` that span, or within half of its life if that is shorter. So a
    /// statement that lives a day is not always near its end.
    #[must_use]
    pub fn state(&self, now: Timestamp, within: SignedDuration) -> State {
        if self.is_refused {
            return State::Refused;
        }
        let Some(expires) = self.expires else {
            return State::Never;
        };
        let left = expires.duration_since(now);
        let half = self
            .created
            .map(|created| expires.duration_since(created) / 2);
        if left <= SignedDuration::ZERO {
            State::Expired
        } else if left < half.map_or(within, |half| half.min(within)) {
            State::Soon
        } else {
            State::Fine
        }
    }

    /// Returns what sorts by urgency: what is refused, then by the time of its end, then what never ends.
    #[must_use]
    pub fn order(&self) -> impl Ord + use<> {
        let never = self.expires.is_none();
        let refused = Reverse(self.is_refused);
        (refused, never, self.expires, self.what, self.name.clone())
    }
}

fn who(role: &str, of: Option<Role<'_>>) -> String {
    match of {
        Some(of) => format!("{role}: {}", in_words(of.groups())),
        None => role.to_owned(),
    }
}

fn refused(what: What, name: impl Into<String>, effect: String, act: String) -> Deadline {
    Deadline {
        what,
        name: name.into(),
        created: None,
        expires: None,
        effect,
        act,
        is_refused: true,
    }
}

/// Returns when the newest policy of a fleet ends.
#[must_use]
pub fn of_policy(policy: &TrustPolicy) -> Deadline {
    let fields = policy.fields();
    let effect = match fields.on_expiry {
        OnExpiry::Warn => "machines that boot print a warning and go on".to_owned(),
        OnExpiry::Refuse => format!(
            "machines that boot refuse every image: {}",
            FailureCode::TrustExpired
        ),
    };
    Deadline {
        what: What::Policy,
        name: format!("version {}", policy.version()),
        created: Some(fields.created),
        expires: fields.expires,
        effect,
        act: who("root signers", Some(policy.root_role())),
        is_refused: false,
    }
}

/// Returns when a host config ends, as machines with this policy judge it; `name` is what to call it.
///
/// # Errors
///
/// The refusal of a file that holds no host config.
pub fn of_host_config(
    policy: Option<&TrustPolicy>,
    name: &str,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Deadline, Refusal> {
    let is_signed = is_envelope(bytes);
    let config = if is_signed {
        let statement = sealboot_core::trust::Statement::HostConfig;
        let envelope =
            Envelope::parse(bytes).map_err(|source| Refusal::Envelope { statement, source })?;
        HostConfig::parse(envelope.unverified_payload()).map_err(Refusal::HostConfig)?
    } else {
        let plain = HostConfig::parse_plain(bytes).map_err(Refusal::HostConfig)?;
        plain.value
    };
    let role = policy.and_then(TrustPolicy::host_config_role);
    let act = if is_signed {
        who("host config signers", role)
    } else {
        "the operator who installs host configs".to_owned()
    };
    let says = |code: FailureCode| format!("machines that boot refuse it: {code}");
    let judged = policy.map(|policy| judge(policy, bytes, now));
    if let Some(Err(unusable)) = judged
        && !matches!(unusable, Unusable::Refused(Refusal::HostExpired { .. }))
    {
        return Ok(refused(What::HostConfig, name, says(unusable.code()), act));
    }
    Ok(Deadline {
        what: What::HostConfig,
        name: name.to_owned(),
        created: config.created,
        expires: config.expires,
        effect: says(FailureCode::ConfigureHostExpired),
        act,
        is_refused: false,
    })
}

impl Store {
    /// Returns what expires in the channels of a policy's images: releases, and freshness statements.
    ///
    /// # Errors
    ///
    /// As for [`files::read_stored`].
    pub fn deadlines(
        &self,
        policy: &TrustPolicy,
        now: Timestamp,
    ) -> Result<Vec<Deadline>, StoreError> {
        let mut deadlines = Vec::new();
        for name in policy.images().iter().map(|image| &image.name) {
            let path = self.channel(name);
            if path.exists() {
                let of_image = OfImage { policy, name, now };
                deadlines.extend(of_image.deadlines(&path)?);
            }
        }
        Ok(deadlines)
    }
}

/// The channel of an image, as a policy judges it.
struct OfImage<'a> {
    policy: &'a TrustPolicy,
    name: &'a ImageName,
    now: Timestamp,
}

/// A release that machines take.
struct Taken {
    version: ImageVersion,
    arch: Arch,
    created: Timestamp,
    expires: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Taken {
    fn ends(&self) -> Option<Timestamp> {
        let ends = [self.expires, self.until];
        ends.into_iter().flatten().min()
    }
}

impl OfImage<'_> {
    fn deadlines(&self, path: &Path) -> Result<Vec<Deadline>, StoreError> {
        let bytes = files::read_stored(path, LIMITS.channel_bytes)?;
        let mut deadlines = Vec::new();
        let statement = Channel::parse(&bytes).ok().map(|channel| {
            let last = last_statement(self.policy, self.name, &channel);
            let statement = last.map(|last| last.freshness);
            let taken = self.taken(&channel, statement.as_ref());
            for release in &taken {
                deadlines.extend(self.of_release(release, &taken));
            }
            let arches: BTreeSet<Arch> = taken.into_iter().map(|taken| taken.arch).collect();
            (statement, arches)
        });
        let (statement, arches) = statement.unwrap_or_default();
        if let Some(statement) = &statement {
            deadlines.push(self.of_statement(statement));
        }
        deadlines.extend(self.refusal(&bytes, arches));
        Ok(deadlines)
    }

    /// Returns the releases that the policy accepts, at the time at which each was created, and that the statement lists.
    fn taken(&self, channel: &Channel, statement: Option<&Freshness>) -> Vec<Taken> {
        let releases = channel.releases.iter().map(|release| &release.manifest);
        let taken = releases.filter_map(|envelope| {
            let claimed = Manifest::parse(envelope.unverified_payload()).ok()?;
            let expected = Expected {
                name: self.name,
                arch: None,
                now: claimed.created.into(),
            };
            let verified = self.policy.verify_manifest(&envelope.encode(), &expected);
            let verified = verified.ok()?;
            let manifest = verified.as_ref();
            let listed = |listed: &&CurrentRelease| listed.sha256 == sha256(envelope);
            let until = match statement {
                Some(statement) => statement.releases.iter().find(listed)?.until,
                None => None,
            };
            Some(Taken {
                version: manifest.version,
                arch: manifest.arch.clone(),
                created: manifest.created,
                expires: manifest.expires,
                until,
            })
        });
        taken.collect()
    }

    fn of_release(&self, release: &Taken, all: &[Taken]) -> Vec<Deadline> {
        let (image, version) = (self.name, release.version);
        let name = format!("{image} {version} ({})", release.arch);
        let effect = |end: Timestamp, code: FailureCode| {
            let others = all.iter().filter(|other| {
                other.arch == release.arch
                    && other.version != version
                    && other.ends().is_none_or(|ends| ends > end)
            });
            match others.map(|other| other.version).max() {
                Some(other) => format!("machines that boot go on with {image} {other}"),
                None => format!("machines that boot refuse {image} {version}: {code}"),
            }
        };
        let end = release.expires.unwrap_or(Timestamp::MAX);
        let act = who("release signers", self.policy.release_role(image));
        let mut deadlines = vec![Deadline {
            what: What::Image,
            name: name.clone(),
            created: Some(release.created),
            expires: release.expires,
            effect: effect(end, FailureCode::ManifestExpired),
            act,
            is_refused: false,
        }];
        deadlines.extend(release.until.map(|until| Deadline {
            what: What::Listing,
            name,
            created: Some(release.created),
            expires: Some(until),
            effect: effect(until, FailureCode::ManifestNotCurrent),
            act: self.renewer(),
            is_refused: false,
        }));
        deadlines
    }

    fn renewer(&self) -> String {
        who("the renewer", self.policy.freshness_role(self.name))
    }

    fn of_statement(&self, statement: &Freshness) -> Deadline {
        Deadline {
            what: What::Freshness,
            name: self.name.to_string(),
            created: Some(statement.created),
            expires: Some(statement.expires),
            effect: self.effect(FailureCode::FreshnessExpired),
            act: self.renewer(),
            is_refused: false,
        }
    }

    fn effect(&self, code: FailureCode) -> String {
        format!("machines that boot refuse image {}: {code}", self.name)
    }

    /// Returns what machines refuse now for another reason than an end, which has a deadline of its own.
    fn refusal(&self, bytes: &[u8], arches: BTreeSet<Arch>) -> Option<Deadline> {
        let arches: Vec<Option<Arch>> = if arches.is_empty() {
            vec![None]
        } else {
            arches.into_iter().map(Some).collect()
        };
        let mut refusals = arches.into_iter().filter_map(|arch| {
            let expected = Expected {
                name: self.name,
                arch,
                now: self.now.into(),
            };
            self.policy.verify_channel(bytes, &expected).err()
        });
        let refusal = refusals.find(|refusal| {
            !matches!(
                refusal,
                Refusal::Expired { .. } | Refusal::FreshnessExpired { .. }
            )
        })?;
        let of_statement = matches!(
            refusal,
            Refusal::NotFresh
                | Refusal::Freshness(_)
                | Refusal::FreshnessOfOther { .. }
                | Refusal::FreshnessTooLong { .. }
                | Refusal::FreshnessTooMany { .. }
                | Refusal::StalePolicy { .. }
        );
        let (what, act) = if of_statement {
            (What::Freshness, self.renewer())
        } else {
            let role = self.policy.release_role(self.name);
            (What::Image, who("release signers", role))
        };
        let effect = self.effect(refusal.code());
        Some(refused(what, self.name.to_string(), effect, act))
    }
}

fn sha256(envelope: &Envelope) -> Sha256Digest {
    Sha256Digest::of(envelope.unverified_payload())
}

#[cfg(test)]
mod tests;
