//! The order in which mirrors are asked, and the rule by which an answer counts. Pure.
//!
//! Mirrors are asked in their order. Each is asked for the trust policies that follow the newest one, until it has no
//! other, and then for the image's channel. [`Asking`] is fed with what they show, and with the time:
//!
//! - The loader *waits for* a mirror for [`HEAD_START`] after it was asked, and again after each file that it has shown,
//!   until it has failed. A mirror that is no longer waited for is still asked: it may answer late.
//! - A mirror is asked as soon as none of those before it is waited for.
//! - A policy counts as soon as any mirror has shown it, and is obeyed at once by what all others show.
//! - A channel is judged as soon as none of the mirrors before it is waited for. The first that counts ends the stage.
//!
//! So a dead mirror costs two seconds. A mirror that has begun to answer, and goes on, keeps its place before those that are
//! faster: its order of the releases, which is how a machine is held at one of them, is the one that is used. All is
//! judged here, in one place and one after the other, by the one [`InForce`]; the requests alone overlap.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{ManifestStageError, says_more, warn_of};
use crate::boot::in_force::InForce;
use crate::fetch::FetchError;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::{Arch, ImageName};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::verified::Expected;
use sealboot_core::trust::{Current, JudgingTime, Presented, Refusal};

/// The time for which a mirror may show nothing before the next one is asked, too. Name, TCP and TLS take half a second over an
/// intercontinental link, and a SYN that is lost is sent again after a second (RFC 6298).
pub const HEAD_START: Duration = Duration::from_secs(2);

/// An answer of a mirror.
#[derive(Debug)]
pub enum Shown {
    /// The policy of this version.
    Policy(PolicyVersion, Vec<u8>),
    /// That it has no other policy.
    NoPolicy,
    /// The channel of the image.
    Channel(Vec<u8>),
    /// Not what it was asked for.
    Failed(FetchError),
}

/// A request to a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The policies from this version on.
    Policies(PolicyVersion),
    /// The channel of the image.
    Channel,
}

/// The next action of the stage.
#[derive(Debug)]
pub enum Turn {
    /// Send this request to the mirror of this number.
    Ask(usize, Request),
    /// Wait for an answer, until this moment if there is one.
    Wait(Option<Instant>),
    /// The mirror of this number has shown a release that counts.
    Accept(usize, Box<Current>),
    /// No mirror has shown one.
    Fail(ManifestStageError),
}

#[derive(Debug)]
enum State {
    NotAsked,
    /// It was asked, or has last answered, at this moment.
    Asked(Instant),
    /// Its policies have been judged, and it is to be asked for the channel.
    Walked,
    /// It has shown this channel.
    Answered(Vec<u8>),
    Failed(ManifestStageError),
}

/// Mirrors that are being asked for an image.
#[derive(Debug)]
pub struct Asking<'a> {
    image: &'a ImageName,
    presented: &'a Presented,
    chain: &'a mut InForce,
    now: &'a mut JudgingTime,
    mirrors: &'a [MirrorUrl],
    states: Vec<State>,
    /// A policy has followed since the last walk ended.
    is_longer: bool,
}

impl<'a> Asking<'a> {
    /// Begins to ask `mirrors`. `presented` is what the host config was made of; `now` moves as [`JudgingTime::prove`] says.
    pub fn new(
        image: &'a ImageName,
        mirrors: &'a [MirrorUrl],
        presented: &'a Presented,
        chain: &'a mut InForce,
        now: &'a mut JudgingTime,
    ) -> Self {
        now.prove(chain.newest().fields().created);
        Self {
            image,
            presented,
            chain,
            now,
            mirrors,
            states: mirrors.iter().map(|_| State::NotAsked).collect(),
            is_longer: false,
        }
    }

    /// Returns `true` for a mirror whose answer is still of use.
    #[must_use]
    pub fn is_open(&self, mirror: usize) -> bool {
        matches!(self.states[mirror], State::Asked(_) | State::Walked)
    }

    /// Returns the next action at `now`. Judges the channels whose turn has come.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let walked = |state: &State| matches!(state, State::Walked);
        if let Some(mirror) = self.states.iter().position(walked) {
            self.states[mirror] = State::Asked(now);
            return Turn::Ask(mirror, Request::Channel);
        }
        let mut silent = None;
        for mirror in 0..self.mirrors.len() {
            match &mut self.states[mirror] {
                State::NotAsked => match self.check_scheme(mirror) {
                    Ok(()) => {
                        if let Some(silent) = silent {
                            let (silent, next): (&MirrorUrl, _) = (silent, &self.mirrors[mirror]);
                            let seconds = HEAD_START.as_secs();
                            info!(
                                "{silent} has shown nothing for {seconds} s; {next} is asked, too"
                            );
                        }
                        self.states[mirror] = State::Asked(now);
                        let first = self.chain.next().map(Request::Policies);
                        return Turn::Ask(mirror, first.unwrap_or(Request::Channel));
                    }
                    Err(error) => self.fail(mirror, error),
                },
                State::Asked(shown) if now < *shown + HEAD_START => {
                    return Turn::Wait(Some(*shown + HEAD_START));
                }
                State::Answered(channel) => {
                    let channel = std::mem::take(channel);
                    match self.judge(mirror, &channel) {
                        Ok(current) => return Turn::Accept(mirror, Box::new(current)),
                        Err(error) => self.fail(mirror, error),
                    }
                }
                State::Asked(_) => silent = Some(&self.mirrors[mirror]),
                State::Walked | State::Failed(_) => {}
            }
        }
        match silent {
            Some(_) => Turn::Wait(None),
            None => Turn::Fail(self.failure()),
        }
    }

    /// Accepts the answer of a mirror at `now`. Judges policies.
    pub fn take_in(&mut self, mirror: usize, shown: Shown, now: Instant) {
        let next = match shown {
            Shown::Policy(version, envelope) => self
                .step(mirror, version, &envelope)
                .map(|()| State::Asked(now)),
            Shown::NoPolicy => self.end_walk(mirror).map(|()| State::Walked),
            Shown::Channel(channel) => Ok(State::Answered(channel)),
            Shown::Failed(error) => Err(ManifestStageError::Mirrors(error)),
        };
        match next {
            Ok(state) => self.states[mirror] = state,
            Err(error) => self.fail(mirror, error),
        }
        for other in 0..self.mirrors.len() {
            if self.is_open(other)
                && let Err(error) = self.check_scheme(other)
            {
                self.fail(other, error);
            }
        }
    }

    /// Goes one step along the chain, unless another mirror has led there.
    fn step(
        &mut self,
        mirror: usize,
        version: PolicyVersion,
        envelope: &[u8],
    ) -> Result<(), ManifestStageError> {
        if version <= self.chain.newest().version() {
            return Ok(());
        }
        let stepped = self.chain.step(envelope);
        stepped.map_err(|refusal| self.refused(mirror, refusal))?;
        self.is_longer = true;
        self.now.prove(self.chain.newest().fields().created);
        info!(
            "{} shows version {version} of the trust policy, signed by the one before and by itself",
            self.mirrors[mirror]
        );
        Ok(())
    }

    fn end_walk(&mut self, mirror: usize) -> Result<(), ManifestStageError> {
        if std::mem::take(&mut self.is_longer) {
            self.chain.warn_of_age();
            if let Some(ends_soon) = self.chain.ends_soon() {
                warn!("{ends_soon}");
            }
        }
        self.check_policy(mirror)
    }

    /// Judges a channel by the newest policy, and first whether that one lets the boot go on.
    fn judge(&mut self, mirror: usize, channel: &[u8]) -> Result<Current, ManifestStageError> {
        // Another mirror may have shown a policy since this one's walk ended.
        self.check_scheme(mirror)?;
        self.check_policy(mirror)?;
        let policy = self.chain.newest();
        if let Some(expires) = policy.expired(self.now.at()) {
            warn!(
                "version {} of the trust policy expired at {expires}; it lets the boot go on",
                policy.version()
            );
        }
        let image = self.image;
        let mut expected = Expected {
            name: image,
            arch: Some(Arch::NATIVE),
            now: *self.now,
        };
        let judged = self.chain.judge_channel(channel, &mut expected);
        if self.chain.kept().is_in_conflict(image) {
            warn!(
                "{}: two different freshness statements of image \"{image}\" were created in the same second; the first \
                 one counts: does more than one renewer sign it?",
                self.mirrors[mirror]
            );
        }
        *self.now = expected.now;
        judged.map_err(|refusal| self.refused(mirror, refusal))
    }

    /// Judges what the newest policy says of itself, the host config and the machine's disks.
    fn check_policy(&self, mirror: usize) -> Result<(), ManifestStageError> {
        let policy = self.chain.newest();
        (policy.check_expiry(self.now.at())).map_err(|refusal| self.refused(mirror, refusal))?;
        let judged = policy.judge_host_config(self.presented, self.now);
        judged.map_err(|refusal| ManifestStageError::HostConfig {
            version: policy.version(),
            refusal: Box::new(refusal),
        })?;
        Ok(self.chain.judge_disks()?)
    }

    fn check_scheme(&self, mirror: usize) -> Result<(), ManifestStageError> {
        let mirror = &self.mirrors[mirror];
        if mirror.is_https() || self.chain.newest().allows_http() {
            return Ok(());
        }
        Err(ManifestStageError::PlainHttp {
            mirror: mirror.clone(),
            version: self.chain.newest().version(),
        })
    }

    fn refused(&self, mirror: usize, refusal: Refusal) -> ManifestStageError {
        ManifestStageError::Refused {
            mirror: self.mirrors[mirror].clone(),
            version: self.chain.newest().version(),
            now: self.now.at(),
            clock: self.now.clock(),
            refusal: Box::new(refusal),
        }
    }

    fn fail(&mut self, mirror: usize, error: ManifestStageError) {
        // Of one mirror alone, the stage's own failure says it all.
        if self.mirrors.len() > 1 {
            warn_of(&self.mirrors[mirror], &error);
        }
        self.states[mirror] = State::Failed(error);
    }

    /// Returns the failure that says most; of those that say the same, that of the last mirror.
    fn failure(&mut self) -> ManifestStageError {
        let failures = self.states.drain(..).filter_map(|state| match state {
            State::Failed(error) => Some(error),
            _ => None,
        });
        failures.fold(ManifestStageError::NoMirror, |old, new| {
            if says_more(&new, &old) { new } else { old }
        })
    }
}
