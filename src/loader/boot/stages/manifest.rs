//! Stage `manifest`: what a mirror shows becomes a verified manifest.
//!
//! Mirrors are asked in order. Of each, first the trust policies that follow the ones known so far,
//! then the image's channel file, judged by the newest policy: until one satisfies it. A mirror that
//! does not is said and passed over like one that does not answer: a stale or hostile mirror must not
//! keep a machine from a good one. What one mirror has proved of the trust policy holds for the rest.
//! If none satisfies it, a refusal says more than a dead mirror, so it is what the stage fails with.
//!
//! The newest policy judges the host config and the machine's disks too: where it does not take the one that led here, or
//! refuses disks and there is one, it says nothing about images. Another mirror may show a policy that is newer still.

use std::pin::pin;
use std::time::Instant;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::boot::console::Done;
use crate::boot::in_force::{DisksError, InForce};
use crate::fetch::{Client, FetchError, Reputation};
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::{Arch, ImageName};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{ClockState, Current, JudgingTime, Presented, Refusal};

/// A verified manifest, and the mirror that had it.
#[derive(Debug)]
pub struct Accepted {
    /// The manifest, current by the trust policy.
    pub current: Current,
    /// The mirror to ask first for the archive.
    pub mirror: MirrorUrl,
}

/// No mirror had an envelope that the trust policy accepts.
#[derive(Debug, thiserror::Error)]
pub enum ManifestStageError {
    /// A mirror's envelope was refused.
    #[error(
        "{mirror} shows nothing that version {version} of the trust policy accepts at {now} (the clock is {clock})"
    )]
    Refused {
        /// The mirror.
        mirror: MirrorUrl,
        /// The policy that judged.
        version: PolicyVersion,
        /// The time by which its dates were judged.
        now: Timestamp,
        /// Whether the clock counted.
        clock: ClockState,
        /// Why it was refused.
        #[source]
        refusal: Box<Refusal>,
    },
    /// No mirror gave an envelope; this is how the last one failed.
    #[error("no mirror gave a manifest")]
    Mirrors(#[source] FetchError),
    /// The mirror is plain http, and a policy that followed the baked-in one does not allow that.
    #[error(
        "the mirror {mirror} is plain http, which version {version} of the trust policy does not allow"
    )]
    PlainHttp {
        /// The mirror.
        mirror: MirrorUrl,
        /// The policy.
        version: PolicyVersion,
    },
    /// A policy that followed the baked-in one does not take the host config.
    #[error("version {version} of the trust policy does not take the host config")]
    HostConfig {
        /// The policy.
        version: PolicyVersion,
        /// Why.
        #[source]
        refusal: Box<Refusal>,
    },
    /// A policy that followed the baked-in one refuses to boot beside a disk.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// There is no mirror to ask.
    #[error("the host config names no mirror")]
    NoMirror,
}

impl Diagnose for ManifestStageError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Refused { refusal, .. } | Self::HostConfig { refusal, .. } => refusal.code(),
            Self::Mirrors(error) => error.code(),
            Self::PlainHttp { .. } => FailureCode::FetchPlainHttp,
            Self::Disks(error) => error.code(),
            Self::NoMirror => FailureCode::ConfigureHost,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Refused { refusal, .. } | Self::HostConfig { refusal, .. } => refusal.hint(),
            Self::Mirrors(error) => error.hint(),
            Self::PlainHttp { .. } | Self::Disks(_) | Self::NoMirror => {
                self.code().remedy().to_owned()
            }
        }
    }
}

/// Says why one of several mirrors was passed over.
fn warn_of(mirror: &MirrorUrl, error: &ManifestStageError) {
    match error {
        ManifestStageError::Mirrors(error) => warn!("{}: {:#}", error.code(), Report(error)),
        ManifestStageError::Refused { refusal, .. } => {
            warn!("{mirror}: {}: {:#}", refusal.code(), Report(&**refusal));
        }
        _ => warn!("{}: {:#}", error.code(), Report(error)),
    }
}

/// Whether one failure says more than another: a refusal more than a mirror that gave nothing.
fn says_more(new: &ManifestStageError, old: &ManifestStageError) -> bool {
    !matches!(new, ManifestStageError::Mirrors(_))
        || matches!(
            old,
            ManifestStageError::Mirrors(_) | ManifestStageError::NoMirror
        )
}

/// Asks the mirrors until one shows an image that satisfies the newest trust policy at `now`, which every verified
/// statement of root and release keys moves as [`JudgingTime::prove`] says.
///
/// `chain` begins with the baked-in policy and keeps what was proved, from one mirror to the next and
/// from one attempt of the machine to the next. `presented` is what `host` was made of. A mirror that `reputation` remembers to have asked to be left alone
/// is, as long as there is another.
///
/// # Errors
///
/// [`ManifestStageError`] if no mirror did.
pub async fn run(
    image: &ImageName,
    mirrors: &[MirrorUrl],
    presented: &Presented,
    chain: &mut InForce,
    client: &Client,
    reputation: &mut Reputation,
    now: &mut JudgingTime,
) -> Result<Done<Accepted>, ManifestStageError> {
    // Of one mirror alone, the stage's own failure says it all.
    let several = mirrors.len() > 1;
    let mut failure = ManifestStageError::NoMirror;
    for mirror in &reputation.not_resting(mirrors, Instant::now()) {
        client.heartbeat().beat();
        (client.heartbeat()).wait_for(format!("{mirror} to show a manifest"));
        match ask(mirror, image, presented, chain, client, now).await {
            Ok(current) => return Ok(accepted(current, mirror, chain, *now)),
            Err(error) => {
                if several {
                    warn_of(mirror, &error);
                }
                if let ManifestStageError::Mirrors(error) = &error
                    && let Some(time) = error.retry_after()
                {
                    reputation.add_busy(mirror, time, Instant::now());
                }
                if says_more(&error, &failure) {
                    failure = error;
                }
            }
        }
    }
    Err(failure)
}

/// Goes along the trust policies that a mirror shows, from version `first` on, until it has no other.
async fn walk(
    mirror: &MirrorUrl,
    first: PolicyVersion,
    chain: &mut InForce,
    client: &Client,
    now: &mut JudgingTime,
) -> Result<(), ManifestStageError> {
    let mut policies = pin!(client.policies(mirror, first));
    let mut is_longer = false;
    while let Some(envelope) = policies.next().await {
        let Some(envelope) = envelope.map_err(ManifestStageError::Mirrors)? else {
            break;
        };
        chain
            .step(&envelope)
            .map_err(|refusal| refused(mirror, chain, *now, refusal))?;
        is_longer = true;
        now.prove(chain.newest().fields().created);
        info!(
            "{mirror} shows version {} of the trust policy, signed by the one before and by itself",
            chain.newest().version()
        );
        check_scheme(mirror, chain)?;
    }
    if let Some(ends_soon) = chain.ends_soon().filter(|_| is_longer) {
        warn!("{ends_soon}");
    }
    Ok(())
}

async fn ask(
    mirror: &MirrorUrl,
    image: &ImageName,
    presented: &Presented,
    chain: &mut InForce,
    client: &Client,
    now: &mut JudgingTime,
) -> Result<Current, ManifestStageError> {
    check_scheme(mirror, chain)?;
    now.prove(chain.newest().fields().created);
    if let Some(first) = chain.next() {
        walk(mirror, first, chain, client, now).await?;
    }
    check_expiry(mirror, chain, *now)?;
    check_host_config(presented, chain, *now)?;
    chain.judge_disks()?;
    let channel = client
        .channel(mirror, image)
        .await
        .map_err(ManifestStageError::Mirrors)?;
    let mut expected = Expected {
        name: image,
        arch: Some(Arch::NATIVE),
        now: *now,
    };
    let judged = chain.judge_channel(&channel, &mut expected);
    if chain.kept().is_in_conflict(image) {
        warn!(
            "{mirror}: two different freshness statements of image \"{image}\" were created in the same second; the first \
             one counts: does more than one renewer sign it?"
        );
    }
    *now = expected.now;
    judged.map_err(|refusal| refused(mirror, chain, *now, refusal))
}

fn refused(
    mirror: &MirrorUrl,
    chain: &InForce,
    now: JudgingTime,
    refusal: Refusal,
) -> ManifestStageError {
    ManifestStageError::Refused {
        mirror: mirror.clone(),
        version: chain.newest().version(),
        now: now.at(),
        clock: now.clock(),
        refusal: Box::new(refusal),
    }
}

fn check_host_config(
    presented: &Presented,
    chain: &InForce,
    now: JudgingTime,
) -> Result<(), ManifestStageError> {
    let refused = |refusal| ManifestStageError::HostConfig {
        version: chain.newest().version(),
        refusal: Box::new(refusal),
    };
    let judged = chain.newest().judge_host_config(presented, &now);
    judged.map(drop).map_err(refused)
}

/// Judges the expiry of the newest policy, once the walk has ended.
fn check_expiry(
    mirror: &MirrorUrl,
    chain: &InForce,
    now: JudgingTime,
) -> Result<(), ManifestStageError> {
    let policy = chain.newest();
    policy
        .check_expiry(now.at())
        .map_err(|refusal| refused(mirror, chain, now, refusal))?;
    if let Some(expires) = policy.expired(now.at()) {
        warn!(
            "version {} of the trust policy expired at {expires}; it lets the boot go on",
            policy.version()
        );
    }
    Ok(())
}

fn check_scheme(mirror: &MirrorUrl, chain: &InForce) -> Result<(), ManifestStageError> {
    if mirror.is_https() || chain.newest().allows_http() {
        return Ok(());
    }
    Err(ManifestStageError::PlainHttp {
        mirror: mirror.clone(),
        version: chain.newest().version(),
    })
}

fn accepted(
    current: Current,
    mirror: &MirrorUrl,
    chain: &InForce,
    now: JudgingTime,
) -> Done<Accepted> {
    let verified = current.manifest();
    let manifest = verified.as_ref();
    let signers: Vec<&str> = verified.signers().iter().map(SignerName::as_str).collect();
    let expires = manifest
        .expires
        .map_or("never".to_owned(), |expires| expires.to_string());
    let fresh = match current.freshness() {
        Some(freshness) => format!("current until {}", freshness.as_ref().expires),
        None => "not known to be current".to_owned(),
    };
    let policy = chain.newest().version();
    let says = format!(
        "image \"{}\" version {} ({}), signed by {}, expires {expires}, {fresh}; judged at {now} by version {policy} of the trust policy",
        manifest.name,
        manifest.version,
        manifest.label,
        signers.join(" and "),
    );
    Done::new((), says)
        .with("name", &manifest.name)
        .with("version", manifest.version)
        .with("signers", signers.join(","))
        .with("trust", policy)
        .with("now", now.at())
        .with("clock", now.clock())
        .with("sha256", verified.payload_sha256())
        .with("url", mirror)
        .map(|()| Accepted {
            current,
            mirror: mirror.clone(),
        })
}
