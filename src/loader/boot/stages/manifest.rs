//! Stage `manifest`: what a mirror shows becomes a verified manifest.
//!
//! Of each mirror, first the trust policies that follow the ones known so far are looked at, then the image's channel
//! file, judged by the newest policy: until one satisfies it. [`asking`] says in which order mirrors are asked, and whose
//! answer counts. A mirror that does not satisfy it is reported and passed over like one that does not answer: a stale or
//! hostile mirror must not keep a machine from a good one. What one mirror has proved of the trust policy holds for the
//! rest. If none satisfies it, a refusal says more than a dead mirror, so it is what the stage fails with.
//!
//! The newest policy judges the host config and the machine's disks too: where it does not take the one that led here, or
//! refuses disks and there is one, it says nothing about images. Another mirror may show a policy that is newer still.

pub mod asking;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::{self, LocalBoxStream};
use jiff::Timestamp;
use tokio::time::timeout_at;
use tracing::warn;

use self::asking::{Asking, Request, Shown, Turn};
use crate::boot::console::Done;
use crate::boot::in_force::{DisksError, InForce};
use crate::fetch::{Client, FetchError, Reputation};
use sealboot_core::failure::{Diagnose, FailureCode, Report};
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::ImageName;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::SignerName;
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
    let mirrors = reputation.not_resting(mirrors, Instant::now());
    let heartbeat = client.heartbeat();
    let mut asking = Asking::new(image, &mirrors, presented, chain, now);
    let mut open: Vec<Option<LocalBoxStream<'_, Shown>>> = mirrors.iter().map(|_| None).collect();
    let (mirror, current) = loop {
        match asking.turn(Instant::now()) {
            Turn::Ask(mirror, Request::Policies(first)) => {
                heartbeat.wait_for(format!("{} to show a manifest", mirrors[mirror]));
                open[mirror] = Some(policies(client, &mirrors[mirror], first));
            }
            Turn::Ask(mirror, Request::Channel) => {
                open[mirror] = Some(channel(client, &mirrors[mirror], image));
            }
            Turn::Wait(until) => {
                let shown = first_of(&mut open);
                let shown = match until {
                    Some(until) => timeout_at(until.into(), shown).await.ok(),
                    None => Some(shown.await),
                };
                heartbeat.beat();
                let Some((mirror, shown)) = shown else {
                    continue;
                };
                if let Shown::Failed(error) = &shown
                    && let Some(time) = error.retry_after()
                {
                    reputation.add_busy(&mirrors[mirror], time, Instant::now());
                }
                asking.take_in(mirror, shown, Instant::now());
                for (mirror, open) in open.iter_mut().enumerate() {
                    if !asking.is_open(mirror) {
                        *open = None;
                    }
                }
            }
            Turn::Accept(mirror, current) => break (mirror, *current),
            Turn::Fail(error) => return Err(error),
        }
    };
    Ok(accepted(current, &mirrors[mirror], chain, *now))
}

/// Returns what the first of these requests brings; of several at once, that of the mirror that comes first.
async fn first_of(open: &mut [Option<LocalBoxStream<'_, Shown>>]) -> (usize, Shown) {
    poll_fn(|context| {
        for (mirror, stream) in open.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            if let Poll::Ready(Some(shown)) = stream.poll_next_unpin(context) {
                return Poll::Ready((mirror, shown));
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns the policies of a mirror from version `first` on, until it has no other.
fn policies<'a>(
    client: &'a Client,
    mirror: &'a MirrorUrl,
    first: PolicyVersion,
) -> LocalBoxStream<'a, Shown> {
    let versions = std::iter::successors(Some(first), |version| version.next());
    let shown = client.policies(mirror, first).zip(stream::iter(versions));
    let shown = shown.map(|(envelope, version)| match envelope {
        Ok(Some(envelope)) => Shown::Policy(version, envelope),
        Ok(None) => Shown::NoPolicy,
        Err(error) => Shown::Failed(error),
    });
    // Versions end, too.
    Box::pin(shown.chain(stream::iter([Shown::NoPolicy])))
}

fn channel<'a>(
    client: &'a Client,
    mirror: &'a MirrorUrl,
    image: &'a ImageName,
) -> LocalBoxStream<'a, Shown> {
    Box::pin(stream::once(async move {
        match client.channel(mirror, image).await {
            Ok(channel) => Shown::Channel(channel),
            Err(error) => Shown::Failed(error),
        }
    }))
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
