//! Programs that do the same work, one after the other in every round, and what each took.
#![allow(dead_code, reason = "each benchmark uses its part")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::report::median;

/// What one run of a program took, with all the processes that it started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds from its start to its end.
    pub(crate) wall: f64,
    /// Seconds of processor time, the kernel's on its behalf included.
    pub(crate) cpu: f64,
    /// Bytes of resident memory at its peak; of several processes, the largest one's.
    pub(crate) peak: f64,
}

/// Runs a command to its end and gives what it took and what it printed. GNU time tells the peak, with a
/// millisecond of its own; `scratch` is where it may write that.
pub(crate) fn run(command: &Command, scratch: &Path) -> (Usage, String) {
    let peak = scratch.join("peak");
    let mut timed = Command::new("time");
    timed
        .args(["--quiet", "--format", "%M", "--output"])
        .arg(&peak)
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let (before, begin) = (cpu_of_children(), Instant::now());
    let output = timed.output().expect("GNU time, of the package `time`");
    let wall = begin.elapsed().as_secs_f64();
    let cpu = cpu_of_children() - before;
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let kib = fs::read_to_string(&peak).unwrap();
    let kib: f64 = kib.trim().parse().unwrap();
    let usage = Usage {
        wall,
        cpu,
        peak: kib * 1024.0,
    };
    (usage, String::from_utf8(output.stdout).unwrap())
}

/// Of the children that were waited for: the servers, which go on, are not among them.
fn cpu_of_children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds =
        |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64();
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Lets each contestant run once per round, in turn, and drops the first round, which warms caches.
/// Gives the rounds, each with the contestants' usages in their order.
pub(crate) fn rounds(
    count: usize,
    contestants: &mut [Box<dyn FnMut() -> Usage + '_>],
) -> Vec<Vec<Usage>> {
    (0..=count)
        .map(|_| contestants.iter_mut().map(|run| run()).collect())
        .skip(1)
        .collect()
}

/// A figure of every round: what stands in the middle, and how far the rounds differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) middle: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Asks each round. A ratio is taken within a round, where both had the same disturbances.
    pub(crate) fn of(rounds: &[Vec<Usage>], figure: impl Fn(&[Usage]) -> f64) -> Self {
        let figures = || rounds.iter().map(|round| figure(round));
        Self {
            least: figures().fold(f64::INFINITY, f64::min),
            middle: median(figures()),
            most: figures().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            least,
            middle,
            most,
        } = self;
        write!(f, "{middle:.2} × ({least:.2}–{most:.2})")
    }
}
