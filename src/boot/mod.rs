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
pub mod consoles;
pub mod failure_policy;
pub mod fallback;
pub mod handover;
pub mod image;
pub mod kept;
pub mod load;
pub mod manifest;
pub mod measure;
pub mod memory;
pub mod prepare;
pub mod shell;
pub mod stage;
pub mod unpack;
pub mod watchdog;

mod banner;
mod console;
mod recovery;

use std::convert::Infallible;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use self::configure::{ConfigureError, Configured};
use self::consoles::Consoles;
use self::failure_policy::Failures;
use self::recovery::WATCHDOG;
use self::stage::{Console, Done, Stage, StageFailure};
use crate::failure::{Diagnose, FailureCode, Report};
use crate::fetch::{Client, Reputation};
use crate::firmware::identity::IdentityError;
use crate::format::cmdline::Parameters;
use crate::format::host_config::{MirrorTemplate, MirrorUrl, TimeServer};
use crate::format::kept::Kept;
use crate::format::network::Network;
use crate::hardware::{Hardware, NotLoaded};
use crate::net::sntp::{self, Verdict};
use crate::net::{self, clock};
use crate::trust::Chain;

/// Stands in every loader's binary, so that the builder of an initramfs can tell one from another program.
pub const LOADER_MARKER: &str = "the sealboot loader runs as PID 1 of an initramfs only";

/// Boots, as PID 1. Never returns: PID 1 that ends takes the kernel with it.
pub fn run() -> ! {
    std::panic::set_hook(Box::new(|panic| recovery::after_panic(&panic.to_string())));
    let taken_over = prepare::take_over();
    let mut console = Console::new(Consoles);
    console.say(format_args!(
        "version {}, built {}",
        env!("CARGO_PKG_VERSION"),
        clock::binary_build_time()
    ));
    console::print_events(&cmdline().unwrap_or_default());
    let say = |line: &str| Console::new(Consoles).say(line);
    let reset = |silence| match recovery::after_stall(silence) {};
    if let Err(error) = WATCHDOG.start(say, reset) {
        console.say(format_args!("nobody watches this loader: {error}"));
    }
    let mut failures = Failures::default();
    let mut taken_over = Some(taken_over);
    let mut learnt = Learnt::default();
    loop {
        let taken_over = taken_over.take().unwrap_or_else(prepare::take_over);
        let Err(failure) = attempt(&mut console, taken_over, &mut learnt);
        let rest = learnt.reputation.all_rest(Instant::now());
        recovery::after_failure(
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
    /// What the loaders before this one have kept, once it was told.
    kept: Option<Kept>,
    /// What the console has shown of this machine.
    introduced: Introduced,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Introduced {
    #[default]
    NotYet,
    /// Which machine it is.
    Machine,
    /// By what it goes, too.
    Configured,
}

/// Says which machine this is, once; and once more when it is known by what it goes.
fn introduce(
    console: &mut Console<impl std::io::Write>,
    configured: Option<&Configured>,
    introduced: &mut Introduced,
) {
    let known = match configured {
        Some(_) => Introduced::Configured,
        None => Introduced::Machine,
    };
    if *introduced < known {
        banner::show(console, configured);
        *introduced = known;
    }
}

/// One way through all the stages.
fn attempt(
    console: &mut Console<Consoles>,
    taken_over: Result<(), prepare::PrepareError>,
    learnt: &mut Learnt,
) -> Result<Infallible, StageFailure> {
    let prepared = console.stage(Stage::Prepare, || {
        taken_over?;
        prepare::prepare(
            &mut learnt.hardware,
            &WATCHDOG,
            &cmdline().unwrap_or_default(),
        )
    })?;
    learnt.kept.get_or_insert_with(|| kept::tell(console));
    let configured = console.stage(Stage::Configure, || {
        configure(prepared, learnt.trusted.as_ref())
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
    load_for(&configured.host.network, learnt.hardware.as_deref());
    let worth = learnt.reputation.worth_reaching(&configured.host.mirrors);
    let (client, connection, mut mirrors) = console.stage(Stage::Connect, || {
        runtime.block_on(connect(&configured, &worth, learnt.trusted.as_ref()))
    })?;
    learnt.reputation.sift(&mut mirrors);
    let chain = learnt
        .trusted
        .get_or_insert_with(|| Chain::from(configured.policy));
    let accepted = console.stage(Stage::Manifest, || {
        runtime.block_on(manifest::manifest(
            &configured.host.image,
            &mirrors,
            &configured.presented,
            chain,
            &client,
            &mut learnt.reputation,
            clock::now(),
        ))
    })?;
    recovery::set_policy(chain.newest().on_failure());
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
    if let Some(kept) = &learnt.kept {
        kept::forget(console, kept);
    }
    console.say("handover: entering the image's kernel");
    console.say(format_args!("stage={} status=ok ms=0", Stage::Handover));
    WATCHDOG.disarm();
    let failed = console.stage(Stage::Handover, || {
        handover::handover(loaded).map(|never| match never {})
    });
    // Still here.
    if let Err(error) = WATCHDOG.rearm() {
        tracing::warn!("the watchdog cannot be armed again: {error}");
    }
    failed
}

fn configure(
    _: prepare::Prepared,
    trusted: Option<&Chain>,
) -> Result<Done<Configured>, ConfigureError> {
    let cmdline = cmdline().map_err(ConfigureError::ReadCmdline)?;
    let configured = configure::configure(Path::new("/"), &cmdline, trusted.map(Chain::newest))?;
    Ok(configured.map(|configured| {
        recovery::set_policy(configured.policy.on_failure());
        configured
    }))
}

/// Connects to a network, and gives the mirrors' URLs for the machine on its link. `worth` is which mirrors it should reach,
/// and `trusted` the newest trust policy that was proved in an earlier attempt.
async fn connect(
    configured: &Configured,
    worth: &[MirrorTemplate],
    trusted: Option<&Chain>,
) -> Result<Done<Connected>, ConnectError> {
    let goal = net::Goal {
        network: &configured.host.network,
        mirrors: worth,
    };
    let connection = net::connect(&goal).await?;
    let link = connection.interface().to_string();
    let identity = configured.identity.clone().on_link(Path::new("/"), &link);
    let mirrors = configured.host.mirrors.iter();
    let mirrors: Result<Vec<MirrorUrl>, _> = mirrors.map(|mirror| identity.url(mirror)).collect();
    let mirrors = mirrors?;
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
    let done = Done::new((client, connection, mirrors), says);
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

/// What a connection is used by, what keeps it, and where it leads.
type Connected = (Client, net::Connection, Vec<MirrorUrl>);

/// There is no connection, or no URL for the machine on it.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    /// The network.
    #[error(transparent)]
    Net(#[from] net::NetError),
    /// A mirror's URL asks for what the link has not.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Diagnose for ConnectError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Net(error) => error.code(),
            Self::Identity(error) => error.code(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Net(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
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
        let mut console = Console::new(&mut shown);
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
        introduce(&mut Console::new(&mut shown), None, &mut introduced);
        assert_eq!(introduced, Introduced::Configured);
        assert!(shown.is_empty());
    }
}
