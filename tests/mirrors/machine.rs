//! A machine at its stage `manifest`, without a network: mirrors answer at a pace, in virtual time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sealboot_core::failure::{Diagnose as _, FailureCode};
use sealboot_core::format::host_config::{HostConfig, MirrorUrl};
use sealboot_core::format::network::Network;
use sealboot_core::trust::Current;
use sealboot_init::boot::stages::manifest::asking::{Asking, Request, Shown, Turn};
use sealboot_init::fetch::FetchError;
use sealboot_init::fetch::problem::FetchProblem;
use support::world::archives::noon;

/// How long a mirror that shows nothing is heard: as long as a small file may take.
const LIMIT: u64 = 30_000;

/// What a mirror has.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    /// Its policies, by their versions.
    pub(crate) policies: BTreeMap<u64, Vec<u8>>,
    /// The channel of the image.
    pub(crate) channel: Option<Vec<u8>>,
    /// Milliseconds that it takes over a file; `None` shows nothing.
    pub(crate) pace: Option<u64>,
}

/// What a mirror has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Policy(u64),
    NoPolicy,
    Channel,
    Failed,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// The stage has decided this.
    Turn(&'a Turn),
    /// A mirror has shown this.
    Shown(usize, What),
}

impl Shelf {
    fn policy(&self, version: u64, now: u64) -> (u64, What) {
        match (self.pace, self.policies.contains_key(&version)) {
            (None, _) => (now + LIMIT, What::Failed),
            (Some(pace), true) => (now + pace, What::Policy(version)),
            (Some(pace), false) => (now + pace, What::NoPolicy),
        }
    }

    fn channel(&self, now: u64) -> (u64, What) {
        match (self.pace, &self.channel) {
            (None, _) => (now + LIMIT, What::Failed),
            (Some(pace), Some(_)) => (now + pace, What::Channel),
            (Some(pace), None) => (now + pace, What::Failed),
        }
    }

    fn show(&self, what: What) -> Shown {
        match what {
            What::Policy(version) => {
                Shown::Policy(version.try_into().unwrap(), self.policies[&version].clone())
            }
            What::NoPolicy => Shown::NoPolicy,
            What::Channel => Shown::Channel(self.channel.clone().unwrap_or_default()),
            What::Failed => gone(),
        }
    }
}

/// A mirror that is not there.
pub(crate) fn gone() -> Shown {
    let url = "https://one.example/".parse().unwrap();
    Shown::Failed(FetchError::new(&url, FetchProblem::Connect))
}

/// The host config that names these mirrors, created at noon.
pub(crate) fn host(mirrors: &[MirrorUrl]) -> HostConfig {
    let mirrors = mirrors.iter().map(|url| url.to_string().parse().unwrap());
    HostConfig {
        image: "relay".parse().unwrap(),
        mirrors: mirrors.collect(),
        created: Some(noon()),
        expires: None,
        machines: Vec::new(),
        mirror_keys: Vec::new(),
        network: Network::by_dhcp(),
        ntp: Vec::new(),
    }
}

/// Lets the stage ask mirrors that have these shelves. `watch` sees each step with its time in milliseconds.
pub(crate) fn ask(
    asking: &mut Asking<'_>,
    shelves: &[Shelf],
    mut watch: impl FnMut(u64, Step<'_>),
) -> Result<(usize, Current), FailureCode> {
    let began = Instant::now();
    let mut clock = 0;
    let mut coming: Vec<Option<(u64, What)>> = vec![None; shelves.len()];
    loop {
        let now = began + Duration::from_millis(clock);
        let turn = asking.turn(now);
        watch(clock, Step::Turn(&turn));
        let until = match turn {
            Turn::Ask(mirror, Request::Policies(first)) => {
                coming[mirror] = Some(shelves[mirror].policy(first.as_u64(), clock));
                continue;
            }
            Turn::Ask(mirror, Request::Channel) => {
                coming[mirror] = Some(shelves[mirror].channel(clock));
                continue;
            }
            Turn::Wait(until) => until,
            Turn::Accept(mirror, current) => return Ok((mirror, *current)),
            Turn::Fail(error) => return Err(error.code()),
        };
        let until =
            until.map(|until| u64::try_from(until.duration_since(began).as_millis()).unwrap());
        let next = (coming.iter().enumerate())
            .filter_map(|(mirror, coming)| coming.map(|(at, what)| (at, mirror, what)))
            .min_by_key(|(at, mirror, _)| (*at, *mirror));
        match (next, until) {
            (Some((at, mirror, what)), until) if until.is_none_or(|until| at < until) => {
                clock = at;
                coming[mirror] = match what {
                    What::Policy(version) => Some(shelves[mirror].policy(version + 1, clock)),
                    _ => None,
                };
                let now = began + Duration::from_millis(clock);
                asking.take_in(mirror, shelves[mirror].show(what), now);
                watch(clock, Step::Shown(mirror, what));
                for (mirror, coming) in coming.iter_mut().enumerate() {
                    if !asking.is_open(mirror) {
                        *coming = None;
                    }
                }
            }
            (_, Some(until)) => clock = until,
            (_, None) => panic!("nothing is left to wait for"),
        }
    }
}
