//! `sealboot serve`: the store over HTTPS.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::renewing::{Renewing, explained};
use super::support::{Failure, output, secrecy, time};
use sealboot_core::format::limits::LIMITS;
use sealboot_mirror::{AccessLog, Bounds, Config, Identity, Reloader, ServeError, Server};
use sealboot_store::files;
use sealboot_store::{Renewer, Store};

/// Serve a store over HTTPS, to the machines that boot from it.
///
/// Speaks HTTP/1.1 over TLS 1.3, with post-quantum key exchange (X25519MLKEM768) for clients that ask
/// for it, as loaders do. Answers GET and HEAD, with Range, and with ETags where a file can change, for images/,
/// trust/ and blobs/ of the store; every other path is 404, and no symbolic link leads out of the store. What is
/// published while it runs is served at once. Any static web server can do the same job: loaders check
/// every byte.
///
/// Prints its URL on stdout once it listens. SIGTERM or Ctrl-C stops it: it takes no new connections,
/// lets transfers go on for up to 30 seconds, and exits with 0; a second signal stops it at once.
/// SIGHUP reads certificate and key again, and renews what is due; open connections go on.
///
/// At most 480 connections are served at once, more wait. A client is dropped that takes over
/// 10 seconds for the TLS handshake, over 15 seconds to send a request, or that reads nothing for
/// 60 seconds while an answer is on its way; a slow one that does read is served to the end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  A lab, with a certificate authority of its own:
    sealboot tls generate --out tls --host boot.lab.example --host 10.0.0.1
    sealboot serve --store /srv/boot --listen 10.0.0.1:8443 \\
        --tls-cert tls/server.pem --tls-key tls/server.key

  Look at it as a machine would:
    curl --cacert tls/ca.pem https://10.0.0.1:8443/images/relay.json

  In a script, on any free port:
    sealboot serve --store store --listen 127.0.0.1:0 --tls-cert C --tls-key K > url &")]
pub(super) struct Args {
    /// The store: the directory that holds images/, trust/ and blobs/
    ///
    /// Opened once; moving another directory into its place is not noticed.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Address and port to listen on; port 0 takes any free one
    ///
    /// `10.0.0.1:8443` listens on one address, `0.0.0.0:8443` on all of IPv4, `[::]:8443` on all of
    /// IPv6 and, where net.ipv6.bindv6only is 0 as usual, of IPv4 too.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen)]
    listen: SocketAddr,

    /// The server's certificate chain, PEM: its own certificate first
    ///
    /// It must name the host in the mirrors' URL, and the loader's --tls-roots must hold its authority.
    #[arg(long, value_name = "PEM")]
    tls_cert: PathBuf,

    /// The private key of that certificate, PEM, unencrypted
    #[arg(long, value_name = "PEM")]
    tls_key: PathBuf,

    /// Record each request on stderr [default: nothing is recorded]
    ///
    /// One line a request, when its answer ends: the time, the client's address, the method, the path
    /// without its query, the status, and the bytes of body sent and their total. What is no HTTP, and
    /// what fails before, such as a TLS handshake, is not recorded. An example:
    ///
    /// 2026-11-21T12:00:00Z 10.0.0.7 GET /images/relay.json 200 8123/8123
    #[arg(long)]
    access_log: bool,

    /// Renew the images' freshness statements with this key for as long as the server runs; give as many
    /// as the threshold of the policy's freshness role
    ///
    /// Before it listens, and then every 15 seconds, looks for images whose statement is missing, lists
    /// other releases than it should, or has lived half its life, and renews it as `sealboot freshness
    /// renew` does. What cannot be renewed is reported on stderr, once. On one server of several; mirrors copy.
    #[arg(long = "renew", value_name = "KEY", requires = "policy")]
    keys: Vec<PathBuf>,

    #[command(flatten)]
    renewing: Renewing,

    /// The trust policy that the machines have, for --renew
    #[arg(long, value_name = "FILE", requires = "keys")]
    policy: Option<PathBuf>,
}

/// How often the freshness statements are looked at: a publisher who has no key of the role waits no
/// longer than this for machines to take a new image.
const RENEWAL_PERIOD: Duration = Duration::from_secs(15);

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port are needed, as in 10.0.0.1:8443, 0.0.0.0:8443 or [::]:8443"
            .to_owned()
    })
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    log_faults();
    let identity = read_identity(&args.tls_cert, &args.tls_key)?;
    let mut config = Config::new(args.store.clone(), args.listen, identity.clone());
    if args.access_log {
        config.access_log = AccessLog::Stderr;
    }
    let server = Server::bind(config).map_err(|error| failure(&error))?;
    let renewer = renewer(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Threads that read files. Each has its own stack and heap; this many keep any disk busy.
        .max_blocking_threads(32)
        .build()
        .map_err(|error| Failure::new("cannot start the asynchronous runtime").because(&error))?;
    let result = runtime.block_on(serve(server, &args, &identity, renewer));
    // Reads of files that nobody waits for any more.
    runtime.shutdown_background();
    result
}

/// Returns who renews the freshness statements, after a first round: no machine is to be refused for it.
fn renewer(args: &Args) -> Result<Option<Renewer>, Failure> {
    let Some(policy) = args.policy.as_ref().filter(|_| !args.keys.is_empty()) else {
        return Ok(None);
    };
    let store = Store::at(&args.store);
    let mut renewer = args.renewing.renewer(&args.keys, policy, &store)?;
    let begun = renewer.begin(time::now(), &mut output::say);
    begun.map_err(explained)?;
    Ok(Some(renewer))
}

/// Renews for ever, in a thread of its own: a signature by an agent can take as long as a person does.
async fn renew(renewer: Option<Renewer>, mut hurry: mpsc::Receiver<()>) {
    let Some(mut renewer) = renewer else {
        return std::future::pending().await;
    };
    loop {
        // A closed channel means that the server ends.
        let _ = tokio::time::timeout(RENEWAL_PERIOD, hurry.recv()).await;
        let renewed = tokio::task::spawn_blocking(move || {
            renewer.renew_due(time::now(), &mut output::say);
            renewer
        });
        renewer = match renewed.await {
            Ok(renewer) => renewer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
    }
}

async fn serve(
    server: Server,
    args: &Args,
    identity: &Identity,
    renewer: Option<Renewer>,
) -> Result<(), Failure> {
    let install = |kind| {
        signal(kind).map_err(|error| Failure::new("cannot watch for signals").because(&error))
    };
    let (mut interrupt, mut terminate, mut hangup) = (
        install(SignalKind::interrupt())?,
        install(SignalKind::terminate())?,
        install(SignalKind::hangup())?,
    );

    warn_of_validity(identity);
    announce(args, server.local_addr())?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let reloader = server.reloader();
    let (hurry, hurried) = mpsc::channel(1);
    let mut renewing = std::pin::pin!(renew(renewer, hurried));
    let mut serving = std::pin::pin!(server.run(async {
        // An error is a sender that was dropped, which happens when `serve` itself ends.
        let _ = stopped.await;
    }));
    loop {
        tokio::select! {
            result = &mut serving => return result.map_err(|error| failure(&error)),
            () = first_of(&mut interrupt, &mut terminate) => break,
            () = &mut renewing => unreachable!("renewing goes on for ever"),
            _ = hangup.recv() => {
                reload(&reloader, args);
                // One that is under way already is as good.
                let _ = hurry.try_send(());
            }
        }
    }
    anstream::eprintln!(
        "stopping: transfers may go on for {} s; another signal stops at once",
        Bounds::DEFAULT.grace.as_secs()
    );
    // The receiver lives in `serving`, which has not ended.
    let _ = stop.send(());
    tokio::select! {
        result = &mut serving => result.map_err(|error| failure(&error)),
        () = first_of(&mut interrupt, &mut terminate) => Ok(()),
    }
}

async fn first_of(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The URL is data: scripts read it, so it goes out at once. Nobody reading it is no reason to stop.
fn announce(args: &Args, address: SocketAddr) -> Result<(), Failure> {
    let url = format!("https://{address}/");
    anstream::eprintln!("serving {} on {url}", args.store.display());
    let mut stdout = std::io::stdout();
    match writeln!(stdout, "{url}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot print the URL on stdout").because(&error))
        }
        _ => Ok(()),
    }
}

fn reload(reloader: &Reloader, args: &Args) {
    match read_identity(&args.tls_cert, &args.tls_key) {
        Ok(identity) => {
            warn_of_validity(&identity);
            reloader.replace(identity);
            anstream::eprintln!("{} is in use from now on", args.tls_cert.display());
        }
        Err(failure) => {
            anstream::eprintln!("{}", failure.context("the certificate stays the old one"));
        }
    }
}

fn warn_of_validity(identity: &Identity) {
    let (not_before, not_after) = identity.validity();
    let now = Timestamp::now();
    if now > not_after {
        anstream::eprintln!("warning: the certificate expired on {not_after}; loaders refuse it");
    } else if now < not_before {
        anstream::eprintln!("warning: the certificate is valid from {not_before} on only");
    }
}

fn read_identity(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    let chain = files::read(cert, LIMITS.tls_roots_bytes)?;
    secrecy::protect()?;
    let secret = Zeroizing::new(files::read(key, LIMITS.key_file_bytes)?);
    Identity::from_pem(&chain, &secret).map_err(|error| {
        Failure::new(format!(
            "cannot serve with {} and {}",
            cert.display(),
            key.display()
        ))
        .because(&error)
        .hint(error.hint())
    })
}

fn failure(error: &ServeError) -> Failure {
    let failure = Failure::new(error.to_string()).hint(error.hint());
    match std::error::Error::source(error) {
        Some(source) => failure.because(source),
        None => failure,
    }
}

/// Prints what the server itself cannot do, a file that it cannot read for one. No request is recorded.
fn log_faults() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
}
