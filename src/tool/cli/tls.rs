//! `sealboot tls`: certificates for labs and private fleets.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::support::mirror_key::mirror_key;
use super::support::{Failure, output, secrecy};
use crate::assemble::tls::{Authority, Host, Pair, TlsError};
use sealboot_core::format::limits::LIMITS;
use sealboot_store::files::{self, Existing};

/// Make TLS certificates for labs and private fleets.
///
/// Loaders trust no public authority by themselves, only the --tls-roots that are baked into their
/// initramfs. In production, use the authority that your organisation has, or certificates by ACME;
/// --tls-roots is then that authority's root certificate. Where there is neither, these commands make
/// an authority of your own.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Generate(GenerateArgs),
    Pin(PinArgs),
}

/// Print the pin of a mirror's key, for `mirror_keys` in a host config
///
/// The pin is the SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 5280, section 4.1). It stays the same when the
/// certificate is renewed for the same key. A machine whose host config has `mirror_keys` identifies every mirror by
/// them alone, whatever its certificate says.
#[derive(Debug, clap::Args)]
pub(super) struct PinArgs {
    /// The mirror's certificate, in PEM
    #[arg(value_name = "CERT.pem")]
    certificate: PathBuf,
}

/// Make a certificate authority, and a server certificate from it.
///
/// Writes four files into DIR:
///
///   ca.pem      the authority, for `sealboot initramfs build --tls-roots` and curl --cacert
///   ca.key      its key (0600): needed only here; keep it off the servers
///   server.pem  the server's certificate, for `sealboot serve --tls-cert`
///   server.key  its key (0600), for `sealboot serve --tls-key`
///
/// Where DIR holds ca.pem and ca.key already, they are used again: this is how a server certificate is
/// renewed, and how a second mirror gets one that the same loaders accept. No file is ever replaced.
///
/// The authority is valid for 10 years. Both certificates are valid from the day before, for machines
/// whose clock runs late. Keys are ECDSA on P-256, and not encrypted.
///
/// Prints the paths of the files that it wrote.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    about = "Make a certificate authority, and a server certificate from it",
    after_long_help = "\
Examples:
  An authority, and a certificate for a server with a name and an address:
    sealboot tls generate --out tls --host boot.lab.example --host 10.0.0.1

  A year later:
    mv tls/server.pem tls/server.key old/
    sealboot tls generate --out tls --host boot.lab.example --host 10.0.0.1
    kill -HUP PID-OF-SEALBOOT-SERVE"
)]
pub(super) struct GenerateArgs {
    /// The directory to write to; made where there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// A DNS name or IP address that the server is reached by; may be repeated
    ///
    /// Exactly as it stands in the mirrors' URL: https://boot.lab.example:8443/ needs
    /// `boot.lab.example`, https://10.0.0.1/ needs `10.0.0.1`. No wildcards.
    #[arg(long = "host", value_name = "NAME_OR_IP", required = true, value_parser = parse_host)]
    hosts: Vec<Host>,

    /// How many days the server's certificate is valid
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
}

fn parse_host(text: &str) -> Result<Host, String> {
    text.parse()
        .map_err(|error: sealboot_core::format::Invalid| format!("this is not {}", error.takes))
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Generate(args) => generate(&args),
        Command::Pin(args) => pin(&args.certificate),
    }
}

fn pin(certificate: &Path) -> Result<(), Failure> {
    let key = mirror_key(certificate)?;
    if key.is_authority {
        output::warn(format!(
            "{} is the certificate of an authority: its key identifies no mirror, so machines with this pin reach none; pin the mirror's own certificate, and give this one to `sealboot initramfs build --tls-roots`",
            certificate.display()
        ));
    }
    output::data(&format!("{}\n", key.digest))
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    secrecy::protect()?;
    let file = |name| args.out.join(name);
    let (ca_pem, ca_key) = (file("ca.pem"), file("ca.key"));
    let (server_pem, server_key) = (file("server.pem"), file("server.key"));
    for path in [&server_pem, &server_key] {
        if exists(path)? {
            return Err(
                Failure::new(format!("{} exists already", path.display())).hint(
                    "nothing was changed; to renew the certificate, move server.pem and server.key away first",
                ),
            );
        }
    }

    let now = Timestamp::now();
    let (authority, new) = match (exists(&ca_pem)?, exists(&ca_key)?) {
        (false, false) => {
            let (authority, pair) = Authority::generate(now).map_err(|error| failure(&error))?;
            (authority, Some(pair))
        }
        (true, true) => {
            let certificate = files::read(&ca_pem, LIMITS.tls_roots_bytes)?;
            let key = Zeroizing::new(read_text(&ca_key)?);
            let authority = Authority::from_pem(&certificate, &key).map_err(|error| {
                failure(&error).context(format!("cannot use {}", ca_pem.display()))
            })?;
            (authority, None)
        }
        (has_pem, _) => {
            let (there, missing) = if has_pem {
                (ca_pem, ca_key)
            } else {
                (ca_key, ca_pem)
            };
            return Err(Failure::new(format!(
                "{} is there, but {} is not",
                there.display(),
                missing.display()
            ))
            .hint("put the missing file back, or move the other away to start a new authority; loaders then need new --tls-roots"));
        }
    };
    let server = authority
        .issue(&args.hosts, args.days, now)
        .map_err(|error| failure(&error))?;

    fs::create_dir_all(&args.out).map_err(|error| {
        Failure::new(format!("cannot make the directory {}", args.out.display())).because(&error)
    })?;
    if let Some(authority) = &new {
        write_pair(&ca_pem, &ca_key, authority)?;
    }
    write_pair(&server_pem, &server_key, &server)?;

    let hosts: Vec<String> = args.hosts.iter().map(Host::to_string).collect();
    anstream::eprintln!(
        "{} certificate authority; a certificate for {}, valid until {}",
        if new.is_some() { "new" } else { "the existing" },
        hosts.join(", "),
        server.not_after.strftime("%F"),
    );
    Ok(())
}

/// The key first: a certificate whose key could not be written is of no use.
fn write_pair(certificate: &Path, key: &Path, pair: &Pair) -> Result<(), Failure> {
    files::write(key, pair.key.as_bytes(), 0o600, Existing::Keep)?;
    files::write(
        certificate,
        pair.certificate.as_bytes(),
        0o644,
        Existing::Keep,
    )?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}\n{}", certificate.display(), key.display())
        .map_err(|error| Failure::new("cannot print on stdout").because(&error))
}

fn exists(path: &Path) -> Result<bool, Failure> {
    // A dangling link is something that stands there.
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(Failure::new(format!("cannot look at {}", path.display())).because(&error))
        }
    }
}

fn failure(error: &TlsError) -> Failure {
    let failure = Failure::new(error.to_string()).hint(error.hint());
    match std::error::Error::source(error) {
        Some(source) => failure.because(source),
        None => failure,
    }
}

/// Reads the text of a key file.
fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(files::read(path, LIMITS.key_file_bytes)?).map_err(|_| {
        Failure::new(format!("{} is not a text file", path.display()))
            .hint("is this the file that you meant?")
    })
}
