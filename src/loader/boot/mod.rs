//! The boot: the stages in order, PID 1's duties, and what happens when a stage fails.
//!
//! | module | holds |
//! |---|---|
//! | [`stages`] | the eight stages, each from one type to the next |
//! | [`recovery`] | failed attempts, panics and hangs: pauses, shell, fallback, reboot |
//! | [`console`] | the kernel's consoles, and the lines of a stage |
//! | [`Loader`] | the state that they share |
//! | [`InForce`] | the trust policy in force |
//!
//! [`run`] is what PID 1 does. An attempt that fails has printed the reason on the console; the failure policy
//! then decides how long to wait, and whether to try again from the first stage or to reboot.

pub mod console;
pub mod recovery;
pub mod stages;

mod in_force;
mod loader;

use std::convert::Infallible;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use self::console::{Console, Consoles, Done, Stage, StageFailure};
pub use self::in_force::{DisksError, InForce};
pub use self::loader::{LOADER, Loader};
use self::recovery::failure_log;
use self::recovery::policy::Failures;
use self::stages::configure::{self, ConfigureError, Configured};
use self::stages::connect::{self, Connected};
use self::stages::{handover, image, load, manifest, measure, prepare};
use crate::fetch::Reputation;
use crate::hardware::Hardware;
use crate::net;
use crate::net::clock::{self, Clock, Reading};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::failure_log::FailureLog;
use sealboot_core::trust::JudgingTime;

/// Boots, as PID 1. Never returns: PID 1 that ends takes the kernel with it.
pub fn run() -> ! {
    let loader = &LOADER;
    // Before a shell, or anything else, can set the clock.
    let power_on = Reading::now();
    std::panic::set_hook(Box::new(|panic| {
        recovery::after_panic(loader, &panic.to_string())
    }));
    let taken_over = prepare::take_over(&loader.consoles);
    let mut console = loader.console();
    console.say(format_args!(
        "version {}, built {}",
        env!("CARGO_PKG_VERSION"),
        clock::binary_build_time()
    ));
    console::print_events(&cmdline().unwrap_or_default(), &loader.consoles);
    let say = |line: &str| loader.console().say(line);
    let reset = |silence| match recovery::after_hang(loader, silence) {};
    if let Err(error) = loader.watchdog.start(&loader.heartbeat, say, reset) {
        console.say(format_args!(
            "cannot start the watchdog thread: {error}; a hang will not be recovered"
        ));
    }
    let mut failures = Failures::default();
    let mut taken_over = Some(taken_over);
    let mut learnt = Learnt::default();
    loop {
        let taken_over = taken_over
            .take()
            .unwrap_or_else(|| prepare::take_over(&loader.consoles));
        let Err(failure) = attempt(loader, &mut console, power_on, taken_over, &mut learnt);
        let rest = learnt.reputation.all_rest(Instant::now());
        recovery::after_failure(
            loader,
            &mut console,
            &failure,
            rest.unwrap_or_default(),
            &mut failures,
        );
    }
}

/// What one attempt leaves to the next ones.
#[derive(Debug, Default)]
struct Learnt {
    /// What the clock read at power-on, and the time that signatures have proved since.
    clock: Option<Clock>,
    /// The verified trust policies: no mirror can take a machine back behind one.
    chain: Option<InForce>,
    /// The mirrors that sent wrong chunks, and those that asked to be left alone.
    reputation: Reputation,
    /// The loaded modules, and the thread that serves devices which appear.
    hardware: Option<Arc<Hardware>>,
    /// The failures that earlier loaders recorded, once they are printed.
    failure_log: Option<FailureLog>,
    /// The part of the banner that the console has shown.
    introduced: Introduced,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Introduced {
    #[default]
    NotYet,
    /// The machine's identity.
    Machine,
    /// The configuration in force, too.
    Configured,
}

/// Prints the banner once, and once more when the configuration is known.
fn introduce(
    console: &mut Console<'_, impl std::io::Write>,
    configured: Option<&Configured<'_>>,
    introduced: &mut Introduced,
) {
    let known = match configured {
        Some(_) => Introduced::Configured,
        None => Introduced::Machine,
    };
    if *introduced < known {
        console::show_banner(console, configured);
        *introduced = known;
    }
}

/// Goes once through all the stages.
fn attempt(
    loader: &'static Loader,
    console: &mut Console<'_, &Consoles>,
    power_on: Reading,
    taken_over: Result<(), prepare::PrepareError>,
    learnt: &mut Learnt,
) -> Result<Infallible, StageFailure> {
    let mut prepared = console.stage(Stage::Prepare, || {
        taken_over?;
        prepare::run(
            &mut learnt.clock,
            power_on,
            &mut learnt.hardware,
            loader,
            &cmdline().unwrap_or_default(),
        )
    })?;
    (learnt.failure_log).get_or_insert_with(|| failure_log::print(console));
    let configured = console.stage(Stage::Configure, || {
        let now = prepared.clock().judging_time(Reading::now());
        configure(&prepared, &mut learnt.chain, loader, &now)
    });
    introduce(console, configured.as_ref().ok(), &mut learnt.introduced);
    let configured = configured?;
    // One thread waits for all sockets. Chunks are checked on as many as there are processors, and one
    // more unpacks.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(processors + 1)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("epoll is not to be had: {error}"));
    connect::load_modules(&configured.host.network, learnt.hardware.as_deref());
    let worth = learnt.reputation.worth_reaching(&configured.host.mirrors);
    let Connected {
        client,
        connection,
        mut mirrors,
    } = console.stage(Stage::Connect, || {
        runtime.block_on(connect::run(
            &configured,
            &worth,
            prepared.clock(),
            &loader.heartbeat,
        ))
    })?;
    learnt.reputation.sift(&mut mirrors);
    let chain = configured.chain;
    let mut judged = prepared.clock().judging_time(Reading::now());
    let accepted = console.stage(Stage::Manifest, || {
        runtime.block_on(manifest::run(
            &configured.host.image,
            &mirrors,
            &configured.presented,
            chain,
            &client,
            &mut learnt.reputation,
            &mut judged,
        ))
    });
    prepared.clock().keep(&judged, Reading::now().uptime);
    let accepted = accepted?;
    mirrors.retain(|mirror| mirror.is_https() || chain.newest().allows_http());
    let image = console.stage(Stage::Image, || {
        runtime.block_on(image::run(
            accepted,
            &client,
            &mirrors,
            &mut learnt.reputation,
        ))
    })?;
    // What is left needs memory and no network. The rings of a large card hold hundreds of megabytes,
    // which come back when its link goes down; another attempt brings it up again.
    drop((client, connection));
    runtime.block_on(net::disconnect());
    drop(runtime);
    if let Some(hardware) = &learnt.hardware {
        hardware.give_back();
    }
    let loaded = console.stage(Stage::Load, || {
        // Some buses are slow, and some disks are plugged in late.
        chain.judge_disks()?;
        load::run(image)
    })?;
    let measured = console.stage(Stage::Measure, || measure::run(loaded))?;
    if let Some(log) = &learnt.failure_log {
        failure_log::clear(console, log);
    }
    console.say("handover: entering the image's kernel");
    console.say(format_args!("stage={} status=ok ms=0", Stage::Handover));
    loader.watchdog.disarm();
    let failed = console.stage(Stage::Handover, || {
        handover::run(measured, &loader.consoles).map(|never| match never {})
    });
    // Still here.
    if let Err(error) = loader.watchdog.rearm() {
        tracing::warn!("the watchdog cannot be armed again: {error}");
    }
    failed
}

fn configure<'a>(
    _: &prepare::Prepared<'_>,
    chain: &'a mut Option<InForce>,
    loader: &'static Loader,
    now: &JudgingTime,
) -> Result<Done<Configured<'a>>, ConfigureError> {
    let cmdline = cmdline().map_err(ConfigureError::ReadCmdline)?;
    configure::run(Path::new("/"), &cmdline, chain, loader, now)
}

fn cmdline() -> std::io::Result<Parameters> {
    std::fs::read_to_string("/proc/cmdline").map(|line| Parameters::parse(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_whose_host_config_fails_again_and_again_is_named_once() {
        let mut shown = Vec::new();
        let loader = Loader::new();
        let mut console = Console::new(&mut shown, &loader);
        let mut introduced = Introduced::default();
        introduce(&mut console, None, &mut introduced);
        introduce(&mut console, None, &mut introduced);
        assert_eq!(introduced, Introduced::Machine);
        let shown = String::from_utf8(shown).unwrap();
        for row in [
            "sealboot: loader   ",
            "sealboot: machine  ",
            "sealboot: cards    ",
        ] {
            assert_eq!(shown.matches(row).count(), 1, "{row}\n{shown}");
        }
    }

    #[test]
    fn a_machine_that_was_introduced_in_full_is_not_introduced_anew() {
        let mut shown = Vec::new();
        let mut introduced = Introduced::Configured;
        let loader = Loader::new();
        introduce(
            &mut Console::new(&mut shown, &loader),
            None,
            &mut introduced,
        );
        assert_eq!(introduced, Introduced::Configured);
        assert!(shown.is_empty());
    }
}
