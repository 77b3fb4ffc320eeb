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
            let statement = self.statement(&channel);
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

    /// Returns what the freshness role said last, whether it has ended or not.
    fn statement(&self, channel: &Channel) -> Option<Freshness> {
        let stated = channel.freshness.iter();
        stated
            .filter_map(|envelope| self.policy.stated(self.name, envelope))
            .filter(|stated| stated.name == *self.name)
            .max_by_key(|stated| stated.created)
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
mod tests {
    use std::fs;

    use support::world;

    use super::*;
    use crate::testing::{
        fresh, image, made, policy, sealed, sealed_freshness, sealed_manifest, sealed_statement,
        store,
    };

    const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

    fn after(hours: i64) -> Timestamp {
        made() + SignedDuration::from_hours(hours)
    }

    fn of(life_hours: i64) -> Deadline {
        Deadline {
            what: What::Image,
            name: String::new(),
            created: Some(made()),
            expires: Some(after(life_hours)),
            effect: String::new(),
            act: String::new(),
            is_refused: false,
        }
    }

    #[test]
    fn an_end_is_soon_within_the_span_or_half_of_the_life() {
        for (life, at, expected) in [
            (24, 0, State::Fine),
            (24, 12, State::Fine),
            (24, 13, State::Soon),
            (24, 23, State::Soon),
            (24, 24, State::Expired),
            (24 * 365, 24 * 357, State::Fine),
            (24 * 365, 24 * 359, State::Soon),
            (24 * 365, 24 * 366, State::Expired),
        ] {
            assert_eq!(of(life).state(after(at), WEEK), expected, "{life} {at}");
        }
        let without_creation = Deadline {
            created: None,
            ..of(24)
        };
        assert_eq!(without_creation.state(made(), WEEK), State::Soon);
        let never = Deadline {
            expires: None,
            ..of(24)
        };
        assert_eq!(never.state(made(), WEEK), State::Never);
        assert!(!State::Fine.is_due() && !State::Never.is_due());
    }

    fn lines(deadlines: &[Deadline]) -> Vec<String> {
        let mut sorted: Vec<&Deadline> = deadlines.iter().collect();
        sorted.sort_by_key(|deadline| deadline.order());
        let line = |deadline: &&Deadline| {
            let expires = deadline.expires.map(|expires| expires.to_string());
            format!(
                "{} {} {}; {}; {}",
                deadline.what.words(),
                deadline.name,
                expires.as_deref().unwrap_or("-"),
                deadline.effect,
                deadline.act
            )
        };
        sorted.iter().map(line).collect()
    }

    fn expiring(version: u64, hours: i64) -> (Manifest, Envelope) {
        let mut manifest = world::manifest(version);
        manifest.expires = Some(after(hours));
        let envelope = sealed(Manifest::PAYLOAD_TYPE, manifest.encode(), &["alice"]);
        (manifest, envelope)
    }

    #[test]
    fn the_last_release_stops_machines_and_another_one_carries_on() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let policy = policy
            .with(|fields| fields.freshness.max_releases = 2)
            .unwrap();
        let ([first, second], statement) = {
            let releases = [expiring(43, 48), expiring(42, 72)];
            let current = |(manifest, envelope): &(Manifest, Envelope)| CurrentRelease {
                version: manifest.version,
                arch: manifest.arch.clone(),
                payload_type: sealboot_core::format::freshness::ReleaseType::known(),
                sha256: sha256(envelope),
                until: (manifest.version.as_u64() == 43).then(|| after(20)),
            };
            let statement = Freshness {
                name: image(),
                trust: policy.version(),
                created: made(),
                expires: after(24),
                releases: releases.iter().map(current).collect(),
                withdrawn: Vec::new(),
            };
            let statement = sealed(Freshness::PAYLOAD_TYPE, statement.encode(), &["clockwork"]);
            (releases.map(|(_, envelope)| envelope), statement)
        };
        let (_, unlisted) = expiring(44, 1);
        let channel = Channel::new([unlisted, first, second], [statement]);
        fs::write(store.channel(&image()), channel.encode()).unwrap();
        let deadlines = store.deadlines(&policy, made()).unwrap();
        assert_eq!(
            lines(&deadlines),
            [
                "listing of relay 43 (x86_64) 2026-01-02T08:00:00Z; machines that boot go on with relay 42; the renewer: 1 of clockwork",
                "freshness of relay 2026-01-02T12:00:00Z; machines that boot refuse image relay: FRESHNESS-EXPIRED; the renewer: 1 of clockwork",
                "image relay 43 (x86_64) 2026-01-03T12:00:00Z; machines that boot go on with relay 42; release signers: 1 of alice",
                "image relay 42 (x86_64) 2026-01-04T12:00:00Z; machines that boot refuse relay 42: MANIFEST-EXPIRED; release signers: 1 of alice",
            ]
        );
        // What has ended is listed with its end, and as nothing else.
        let later = store.deadlines(&policy, after(100)).unwrap();
        assert_eq!(later, deadlines);
        assert_eq!(later[0].state(after(100), WEEK), State::Expired);
    }

    #[test]
    fn what_machines_refuse_already_is_listed_first() {
        let (_dir, store) = store();
        let policy = fresh(policy(&["alice"]));
        let put = |releases: Vec<Envelope>, statement: Option<Envelope>| {
            let channel = Channel::new(releases, statement);
            fs::write(store.channel(&image()), channel.encode()).unwrap();
            lines(&store.deadlines(&policy, made()).unwrap())
        };
        let found = put(vec![sealed_manifest(42, &["alice"])], None);
        assert_eq!(
            found[0],
            "freshness of relay -; machines that boot refuse image relay: FRESHNESS-MISSING; the renewer: 1 of clockwork"
        );
        assert!(found[1].starts_with("image relay 42 (x86_64) -; "));
        let statement = || Some(sealed_statement(&[42], &["clockwork"]));
        let found = put(vec![sealed_manifest(42, &["eve"])], statement());
        assert_eq!(
            found[0],
            "image relay -; machines that boot refuse image relay: MANIFEST-THRESHOLD; release signers: 1 of alice"
        );
        let newer = Some(sealed_freshness((42, 2), &["clockwork"]));
        let found = put(vec![sealed_manifest(42, &["alice"])], newer);
        assert_eq!(
            found[0],
            "freshness of relay -; machines that boot refuse image relay: TRUST-STALE; the renewer: 1 of clockwork"
        );
        fs::write(store.channel(&image()), "{}").unwrap();
        let found = lines(&store.deadlines(&policy, made()).unwrap());
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("MANIFEST-ENVELOPE"), "{found:?}");
        fs::remove_file(store.channel(&image())).unwrap();
        assert!(store.deadlines(&policy, made()).unwrap().is_empty());
    }

    #[test]
    fn the_end_of_a_policy_does_what_the_policy_says() {
        let ends = |on_expiry| {
            let changed = policy(&["alice", "bob"]).with(|fields| {
                fields.expires = Some(after(24));
                fields.on_expiry = on_expiry;
            });
            lines(&[of_policy(&changed.unwrap())])
        };
        assert_eq!(
            ends(OnExpiry::Warn),
            [
                "trust policy version 1 2026-01-02T12:00:00Z; machines that boot print a warning and go on; root signers: 2 of alice, bob"
            ]
        );
        assert_eq!(
            ends(OnExpiry::Refuse),
            [
                "trust policy version 1 2026-01-02T12:00:00Z; machines that boot refuse every image: TRUST-EXPIRED; root signers: 2 of alice, bob"
            ]
        );
    }

    #[test]
    fn host_configs_end_or_are_refused_already() {
        let policy = policy(&["alice"]);
        let json = |more: &str, image: &str| {
            format!(
                r#"{{{more}"image": "{image}", "mirrors": ["https://boot.example/"], "network": {{"mode": "dhcp"}}}}"#
            )
        };
        let expires = r#""expires": "2026-01-02T12:00:00Z", "#;
        let ends = |json: &str, now| {
            let deadline = of_host_config(Some(&policy), "host.json", json.as_bytes(), now);
            lines(&[deadline.unwrap()])
        };
        let expected = "host config host.json 2026-01-02T12:00:00Z; machines that boot refuse it: CONFIGURE-HOST-EXPIRED; the operator who installs host configs";
        for now in [made(), after(48)] {
            assert_eq!(ends(&json(expires, "relay"), now), [expected]);
        }
        let other = ends(&json(expires, "other"), made());
        assert_eq!(
            other,
            [
                "host config host.json -; machines that boot refuse it: MANIFEST-NAME; the operator who installs host configs"
            ]
        );
        of_host_config(None, "host.json", b"{}", made()).unwrap_err();
    }
}
