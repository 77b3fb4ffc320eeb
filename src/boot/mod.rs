//! The boot: the stages in order, PID 1's duties, and what happens when a stage fails.
//!
//! | stage | module | from | to |
//! |---|---|---|---|
//! | prepare | [`prepare`] | a bare kernel | [`prepare::Prepared`] |
//! | configure | [`configure`] | baked-in files, command line | [`configure::Configured`] |
//! | connect | [`crate::net`] | the host config | [`crate::net::Connection`] |
//! | manifest | [`manifest`] | an envelope | [`manifest::Accepted`], with a `Verified<Manifest>` |
//! | image | [`image`] | checked chunks | [`image::Image`] |
//! | measure | [`measure`] | an image | [`measure::Measured`] |
//! | load | [`load`] | a measured image | [`load::Loaded`] |
//! | handover | [`handover`] | a loaded kernel | nobody is left |
//!
//! [`run`] is what PID 1 does. An attempt that fails has said why on the console; the failure policy
//! then decides how long to wait, and whether to try again from the first stage or to reboot.

pub mod configure;
pub mod failure_policy;
pub mod handover;
pub mod image;
pub mod load;
pub mod manifest;
pub mod measure;
pub mod memory;
pub mod prepare;
pub mod stage;
pub mod unpack;

mod console;

use std::convert::Infallible;
use std::io::Stdout;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::reboot::{RebootMode, reboot};

use self::configure::{ConfigureError, Configured};
use self::failure_policy::{Failures, Next};
use self::stage::{Console, Done, Stage, StageFailure};
use crate::failure::{Diagnose as _, FailureCode, Report};
use crate::fetch::{Client, Reputation};
use crate::format::cmdline::Parameters;
use crate::format::host_config::TimeServer;
use crate::format::network::Network;
use crate::hardware::{Hardware, NotLoaded};
use crate::jitter;
use crate::net::sntp::{self, Verdict};
use crate::net::{self, clock};
use crate::trust::Chain;
use crate::trust::policy::FailurePolicy;

/// Stands in every loader's binary, so that the builder of an initramfs can tell one from another program.
pub const LOADER_MARKER: &str = "the sealboot loader runs as PID 1 of an initramfs only";

/// The policy in force once one was read, for the panic hook too.
static FAILURE_POLICY: OnceLock<FailurePolicy> = OnceLock::new();

/// Boots, as PID 1. Never returns: PID 1 that ends takes the kernel with it.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|panic| after_panic(&panic.to_string())));
    let taken_over = prepare::take_over();
    let mut console = Console::new(std::io::stdout());
    console.say(format_args!(
        "version {}, built {}",
        env!("CARGO_PKG_VERSION"),
        clock::binary_build_time()
    ));
    console::print_events(&cmdline().unwrap_or_default());
    let mut failures = Failures::default();
    let mut taken_over = Some(taken_over);
    let mut learnt = Learnt::default();
    loop {
        let taken_over = taken_over.take().unwrap_or_else(prepare::take_over);
        let Err(failure) = attempt(&mut console, taken_over, &mut learnt);
        let rest = learnt.reputation.all_rest(Instant::now());
        after_failure(
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
    /// The trust policies that were proved: no mirror can take a machine back behind one.
    trusted: Option<Chain>,
    /// The mirrors that have lied.
    reputation: Reputation,
    /// What is loaded, and who serves the devices that appear.
    hardware: Option<Arc<Hardware>>,
}

/// One way through all the stages.
fn attempt(
    console: &mut Console<Stdout>,
    taken_over: Result<(), prepare::PrepareError>,
    learnt: &mut Learnt,
) -> Result<Infallible, StageFailure> {
    let prepared = console.stage(Stage::Prepare, || {
        taken_over?;
        prepare::prepare(&mut learnt.hardware, &cmdline().unwrap_or_default())
    })?;
    let mut configured = console.stage(Stage::Configure, || configure(prepared))?;
    learnt.reputation.sift(&mut configured.host.mirrors);
    // One thread waits for all sockets. Chunks are checked on as many as there are processors, and one
    // more unpacks.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(processors + 1)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("epoll is not to be had: {error}"));
    load_for(&configured.host.network, learnt.hardware.as_deref());
    let (client, connection) = console.stage(Stage::Connect, || {
        runtime.block_on(connect(&configured, learnt.trusted.as_ref()))
    })?;
    let chain = learnt
        .trusted
        .get_or_insert_with(|| Chain::from(configured.policy));
    let accepted = console.stage(Stage::Manifest, || {
        runtime.block_on(manifest::manifest(
            &configured.host,
            chain,
            &client,
            &mut learnt.reputation,
            clock::now(),
        ))
    })?;
    let mut mirrors = configured.host.mirrors;
    mirrors.retain(|mirror| mirror.is_https() || chain.newest().allows_http());
    let image = console.stage(Stage::Image, || {
        runtime.block_on(image::image(
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
    let measured = console.stage(Stage::Measure, || measure::measure(image))?;
    let loaded = console.stage(Stage::Load, || load::load(measured))?;
    console.say("handover: entering the image's kernel");
    console.say(format_args!("stage={} status=ok ms=0", Stage::Handover));
    console.stage(Stage::Handover, || {
        handover::handover(loaded).map(|never| match never {})
    })
}

fn configure(_: prepare::Prepared) -> Result<Done<Configured>, ConfigureError> {
    let cmdline = cmdline().map_err(ConfigureError::ReadCmdline)?;
    let configured = configure::configure(Path::new("/"), &cmdline)?;
    Ok(configured.map(|configured| {
        // Another attempt reads the same baked-in file again.
        let _ = FAILURE_POLICY.set(configured.policy.on_failure());
        configured
    }))
}

/// `trusted` is the newest trust policy that was proved in an earlier attempt.
async fn connect(
    configured: &Configured,
    trusted: Option<&Chain>,
) -> Result<Done<Connected>, net::NetError> {
    let goal = net::Goal {
        network: &configured.host.network,
        mirrors: &configured.host.mirrors,
    };
    let connection = net::connect(&goal).await?;
    let policy = trusted.map_or(&configured.policy, Chain::newest);
    let client = match policy.mirror_keys() {
        [] => Client::new(configured.tls_roots.clone(), connection.resolver()),
        keys => Client::with_mirror_keys(keys, connection.resolver()),
    };
    let client = client
        .unwrap_or_else(|error| panic!("the HTTPS client refuses a fixed configuration: {error}"));
    let clock = set_clock(configured, &connection).await;
    let addresses: Vec<String> = connection.addresses().map(|own| own.to_string()).collect();
    let interface = connection.interface().clone();
    let mut says = connection.to_string();
    if let Some(clock) = clock {
        says.push_str("; ");
        says.push_str(&clock);
    }
    let done = Done::new((client, connection), says);
    Ok(done
        .with("interface", interface)
        .with("address", addresses.join(",")))
}

/// Loads the kernel modules of links that are to be made, which no device asks for.
fn load_for(network: &Network, hardware: Option<&Hardware>) {
    let wanted = [
        ("bonding", !network.bonds.is_empty()),
        ("8021q", !network.vlans.is_empty()),
    ];
    for (name, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        match hardware.map(|hardware| hardware.load(name)) {
            // The kernel may have it built in; where it has not, making the link says so.
            None | Some(Ok(()) | Err(NotLoaded::NotBaked)) => {}
            Some(Err(error)) => tracing::warn!(
                "{}: the kernel module {name} is not loaded: {:#}",
                error.code(),
                Report(&error)
            ),
        }
    }
}

/// Asks the time servers of the host config, or else of the network, and sets the clock where they are believed.
/// Gives what to say of it; nothing where there are none.
async fn set_clock(configured: &Configured, connection: &net::Connection) -> Option<String> {
    let of_the_network = || connection.ntp().into_iter().map(TimeServer::from).collect();
    let servers: Vec<TimeServer> = match &configured.host.ntp[..] {
        [] => of_the_network(),
        servers => servers.to_vec(),
    };
    if servers.is_empty() {
        return None;
    }
    let floor = clock::build_time(Path::new("/")).unwrap_or_else(|_| clock::binary_build_time());
    let verdict = sntp::ask(&servers, &connection.resolver(), floor).await;
    if let Verdict::Step(step, _) = &verdict
        && let Err(error) = clock::step_by(*step)
    {
        return Some(format!("the clock cannot be set: {error}"));
    }
    Some(verdict.to_string())
}

/// What a connection is used by, and what keeps it.
type Connected = (Client, net::Connection);

fn cmdline() -> std::io::Result<Parameters> {
    std::fs::read_to_string("/proc/cmdline").map(|line| Parameters::parse(&line))
}

fn failure_policy() -> FailurePolicy {
    FAILURE_POLICY.get().copied().unwrap_or_default()
}

/// Waits, or reboots, as the policy has it.
///
/// `rest` is how long all mirrors have asked to be left alone.
fn after_failure(
    console: &mut Console<Stdout>,
    failure: &StageFailure,
    rest: Duration,
    failures: &mut Failures,
) {
    let next = failures
        .add(&failure_policy(), jitter::random())
        .at_least(rest);
    let (code, count) = (failure.code(), failures.count());
    match next {
        Next::Wait(wait) => {
            console.say(format_args!(
                "failure {count}, {code}: trying again in {:.1} s",
                wait.as_secs_f64()
            ));
            sleep(wait);
        }
        Next::Reboot(wait) => {
            console.say(format_args!(
                "failure {count}, {code}: rebooting in {:.1} s",
                wait.as_secs_f64()
            ));
            sleep(wait);
            restart();
        }
    }
}

/// A bug in the loader: nothing of this run can be trusted to go on, so the machine reboots, after the
/// policy's longest wait so that the message can be read and a bug does not make a hot loop.
fn after_panic(panic: &str) -> ! {
    let wait = Duration::from_secs(u64::from(failure_policy().longest_wait_seconds));
    let code = FailureCode::LoaderPanic;
    let mut console = Console::new(std::io::stdout());
    console.say(format_args!("status=failed code={code}"));
    console.say(format_args!("{panic}\n  hint: {}", code.remedy()));
    console.say(format_args!("rebooting in {} s", wait.as_secs()));
    sleep(wait);
    restart();
}

/// Resets the machine; where even that fails, waits for ever, because PID 1 must not end.
fn restart() -> ! {
    let Err(errno) = reboot(RebootMode::RB_AUTOBOOT);
    Console::new(std::io::stdout()).say(format_args!("the machine cannot be rebooted: {errno}"));
    loop {
        sleep(Duration::from_secs(3600));
    }
}
