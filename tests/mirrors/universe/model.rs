//! What a machine must come to, in a few lines: the rules of state over time, over facts in place of signed bytes.

use super::{Attempt, PolicyFacts, ReleaseFacts, StatementFacts, TOLERANCE, Universe};
use crate::machine::What;

/// What is decided; the same is made of a turn of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Policies(usize),
    Channel(usize),
    Wait(Option<u64>),
    Accept(usize, u64),
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    NotAsked,
    Asked(u64),
    Walked,
    Answered,
    Failed,
}

/// What a machine knows from one attempt to the next.
#[derive(Debug, Clone)]
pub(super) struct Model<'u> {
    universe: &'u Universe,
    /// The newest policy, from 0 on.
    pub(super) newest: usize,
    /// The newest statement.
    pub(super) kept: Option<&'u StatementFacts>,
    highest: Option<u64>,
    /// When dates are judged, in seconds after the build.
    pub(super) now: i64,
    /// The latest date that root or release keys have signed, under an unset clock.
    pub(super) proved: Option<i64>,
    heard: Vec<Heard>,
}

impl<'u> Model<'u> {
    pub(super) fn new(universe: &'u Universe) -> Self {
        let (kept, highest, proved) = (None, None, None);
        Self {
            universe,
            newest: 0,
            kept,
            highest,
            now: 0,
            proved,
            heard: Vec::new(),
        }
    }

    /// Begins an attempt, on a clock that says `wall`.
    pub(super) fn begin(&mut self, wall: i64, attempt: &Attempt) {
        self.heard = vec![Heard::NotAsked; attempt.mirrors.len()];
        self.now = self.proved.map_or(wall, |proved| proved.max(wall));
        self.prove(self.policy().created);
    }

    pub(super) fn policy(&self) -> &'u PolicyFacts {
        &self.universe.policies[self.newest]
    }

    fn prove(&mut self, created: i64) {
        if self.universe.is_unset() {
            (self.now, self.proved) = (self.now.max(created), self.proved.max(Some(created)));
        }
    }

    fn has_ended(&self, expires: i64) -> bool {
        self.now >= expires + TOLERANCE
    }

    fn is_early(&self, created: i64) -> bool {
        !self.universe.is_unset() && created > self.now + TOLERANCE
    }

    fn goes_on(&self) -> bool {
        !self
            .policy()
            .expires
            .is_some_and(|expires| self.has_ended(expires))
    }

    fn may_ask(&self, mirror: usize, attempt: &Attempt) -> bool {
        !attempt.mirrors[mirror].is_http || self.policy().allows_http
    }

    /// What comes next, `clock` milliseconds after the attempt began.
    pub(super) fn turn(&mut self, clock: u64, attempt: &'u Attempt) -> Told {
        if let Some(mirror) = self.heard.iter().position(|heard| *heard == Heard::Walked) {
            self.heard[mirror] = Heard::Asked(clock);
            return Told::Channel(mirror);
        }
        for mirror in 0..self.heard.len() {
            match self.heard[mirror] {
                Heard::NotAsked if self.may_ask(mirror, attempt) => {
                    self.heard[mirror] = Heard::Asked(clock);
                    return Told::Policies(mirror);
                }
                Heard::Asked(at) if clock < at + 2000 => return Told::Wait(Some(at + 2000)),
                Heard::Answered => {
                    if let Some(version) = self.judge(mirror, attempt) {
                        return Told::Accept(mirror, version);
                    }
                    self.heard[mirror] = Heard::Failed;
                }
                Heard::NotAsked => self.heard[mirror] = Heard::Failed,
                Heard::Asked(_) | Heard::Walked | Heard::Failed => {}
            }
        }
        match self
            .heard
            .iter()
            .any(|heard| matches!(heard, Heard::Asked(_)))
        {
            true => Told::Wait(None),
            false => Told::Fail,
        }
    }

    /// A mirror shows something.
    pub(super) fn show(&mut self, mirror: usize, what: What, clock: u64, attempt: &Attempt) {
        self.heard[mirror] = match what {
            What::Policy(version) => {
                let index = usize::try_from(version - 1).unwrap();
                let is_new = index > self.newest;
                if is_new && attempt.mirrors[mirror].is_forged(index) {
                    Heard::Failed
                } else {
                    if is_new {
                        let old = std::mem::replace(&mut self.newest, index);
                        if self.universe.policies[old].freshness != self.policy().freshness {
                            self.kept = None;
                        }
                        self.prove(self.policy().created);
                    }
                    Heard::Asked(clock)
                }
            }
            What::NoPolicy if self.goes_on() => Heard::Walked,
            What::Channel => Heard::Answered,
            What::NoPolicy | What::Failed => Heard::Failed,
        };
        for mirror in 0..self.heard.len() {
            let is_open = matches!(self.heard[mirror], Heard::Asked(_) | Heard::Walked);
            if is_open && !self.may_ask(mirror, attempt) {
                self.heard[mirror] = Heard::Failed;
            }
        }
    }

    /// The version that is accepted of a mirror's channel.
    pub(super) fn judge(&mut self, mirror: usize, attempt: &'u Attempt) -> Option<u64> {
        let (policy, shown) = (self.policy(), &attempt.mirrors[mirror]);
        if !self.may_ask(mirror, attempt) || !self.goes_on() {
            return None;
        }
        for statement in &shown.statements {
            let is_newer = self
                .kept
                .is_none_or(|kept| kept.created < statement.created);
            let is_signed = statement.key == policy.freshness;
            if is_signed && !self.is_early(statement.created) && is_newer {
                self.kept = Some(statement);
            }
        }
        for release in &shown.releases {
            let is_listed = self.kept.is_none_or(|kept| kept.lists.contains(release));
            if !is_listed || !release.keys[policy.release] || !policy.takes(release.version) {
                continue;
            }
            self.prove(release.created);
            let highest = self.highest.filter(|highest| policy.takes(*highest));
            let is_lower = self.kept.is_none() && highest > Some(release.version);
            if self.is_early(release.created) || self.ended(release) || is_lower {
                continue;
            }
            match self.kept {
                Some(kept) if self.has_ended(kept.expires) => return None,
                Some(kept) if kept.trust > self.newest + 1 => return None,
                None if policy.requires_freshness => return None,
                None => self.highest = Some(release.version),
                Some(_) => {}
            }
            return Some(release.version);
        }
        None
    }

    pub(super) fn ended(&self, release: &ReleaseFacts) -> bool {
        release
            .expires
            .is_some_and(|expires| self.has_ended(expires))
    }
}
