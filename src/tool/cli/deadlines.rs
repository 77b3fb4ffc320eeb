//! `sealboot deadlines`: everything that expires, in one list.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;

use super::initramfs::read_baked;
use super::support::{Failure, output, time};
use crate::assemble::baked::Baked;
use sealboot_core::failure::FailureCode;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::{Envelope, TrustPolicy};
use sealboot_store::deadlines::{Deadline, State, What, of_host_config, of_policy};
use sealboot_store::policy::load;
use sealboot_store::{Store, files};

/// List everything that expires, with what machines do then and who must act
///
/// Reads what a fleet depends on: the newest trust policy of a store, the releases and freshness
/// statements in its channels, host configs, the certificates of mirrors, and the authorities that are
/// baked in. Prints a table, the next end first. Nothing is fetched: give copies of what the fleet has.
///
/// An end is near within the span of --within, or within half of the thing's own life where that is
/// shorter: a statement that lives a day is near its end after twelve hours. What a machine refuses
/// already for another reason stands first.
///
/// For monitoring: exits with 0 where nothing is near its end, and with 3 where something is near it, is
/// past it, or is refused already. 1 means that a file could not be read.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, once an hour beside the renewer:
  sealboot deadlines --store /srv/boot --initramfs sealboot.img --tls-cert /etc/ssl/boot.pem --json")]
pub(super) struct DeadlinesArgs {
    /// The store that the machines read
    #[arg(long, value_name = "DIR", requires = "trusted")]
    store: Option<PathBuf>,

    /// The trust policy that is baked in; the newest that follows it in the store judges
    #[arg(long, value_name = "FILE", group = "trusted", required_unless_present_any = ["initramfs", "tls_certs", "tls_roots", "host_configs"])]
    policy: Option<PathBuf>,

    /// An initramfs: its trust policy, unless --policy is given, its host config and its TLS roots
    #[arg(long, value_name = "FILE", group = "trusted")]
    initramfs: Option<PathBuf>,

    /// The certificate of a mirror, with its chain, as PEM (repeatable)
    #[arg(long = "tls-cert", value_name = "PEM")]
    tls_certs: Vec<PathBuf>,

    /// The certificate authorities that are baked in, as PEM (repeatable)
    #[arg(long = "tls-roots", value_name = "PEM")]
    tls_roots: Vec<PathBuf>,

    /// A host config that machines have, plain or signed (repeatable)
    #[arg(long = "host-config", value_name = "FILE")]
    host_configs: Vec<PathBuf>,

    /// How near an end must be to count
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = time::span)]
    within: SignedDuration,

    /// Judge as if it were this time, such as 2026-12-21T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// List what never expires too
    #[arg(long)]
    all: bool,

    /// Print JSON, with what never expires: {"at", "within_seconds", "due", "deadlines": [{"what", "name",
    /// "expires", "effect", "act", "state"}]}; the states are refused, expired, soon, fine and never
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    at: Timestamp,
    within_seconds: i64,
    /// How many need someone to act.
    due: usize,
    deadlines: Vec<Listed<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    what: What,
    name: &'a str,
    expires: Option<Timestamp>,
    effect: &'a str,
    act: &'a str,
    state: State,
}

pub(super) fn run(args: &DeadlinesArgs) -> Result<(), Failure> {
    let now = args.at.unwrap_or_else(time::now);
    let mut deadlines = gather(args, now)?;
    deadlines.sort_by_key(Deadline::order);
    let listed = deadlines.iter().map(|deadline| Listed {
        what: deadline.what,
        name: &deadline.name,
        expires: deadline.expires,
        effect: &deadline.effect,
        act: &deadline.act,
        state: deadline.state(now, args.within),
    });
    let listed: Vec<Listed<'_>> = listed.collect();
    let all = listed.len();
    let due = listed.iter().filter(|listed| listed.state.is_due()).count();
    if args.json {
        output::json(&Report {
            at: now,
            within_seconds: args.within.as_secs(),
            due,
            deadlines: listed,
        })?;
    } else {
        output::data(&table(&listed, now, args.all))?;
    }
    if due == 0 {
        return Ok(());
    }
    let is = if due == 1 { "is" } else { "are" };
    Err(Failure::new(format!(
        "{due} of {all} {is} past the end, near it, or refused already"
    ))
    .into_refusal(None)
    .hint("the last column says who must act"))
}

/// Lays the deadlines out in columns.
fn table(listed: &[Listed<'_>], now: Timestamp, all: bool) -> String {
    let shown = listed
        .iter()
        .filter(|listed| all || listed.state != State::Never);
    let rows = shown.map(|listed| {
        let when = match listed.expires {
            Some(expires) => expires.to_string(),
            None => "-".to_owned(),
        };
        let left = (listed.expires).map_or_else(|| "-".to_owned(), |expires| left(expires, now));
        [
            listed.state.as_str().to_owned(),
            when,
            left,
            format!("{} {}", listed.what.words(), listed.name),
            listed.effect.to_owned(),
            listed.act.to_owned(),
        ]
    });
    let head = ["state", "when", "left", "what", "then", "who must act"].map(str::to_owned);
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "nothing expires\n".to_owned();
    }
    output::columns(std::iter::once(head).chain(rows))
}

/// Returns how far an end is away, in one unit, rounded down.
fn left(expires: Timestamp, now: Timestamp) -> String {
    let seconds = expires.duration_since(now).as_secs();
    let (minute, hour, day) = (60, 3600, 86_400);
    let span = match seconds.unsigned_abs() {
        span if span >= 2 * day => format!("{} days", span / day),
        span if span >= 2 * hour => format!("{} hours", span / hour),
        span => format!("{} min", span / minute),
    };
    if seconds > 0 {
        span
    } else {
        format!("{span} ago")
    }
}

fn gather(args: &DeadlinesArgs, now: Timestamp) -> Result<Vec<Deadline>, Failure> {
    let baked = match &args.initramfs {
        Some(path) => read_baked(path)?.1,
        None => Baked::default(),
    };
    let mut deadlines = Vec::new();
    let policy = newest(args, &baked)?;
    if let Some(policy) = &policy {
        deadlines.push(of_policy(policy));
        if let Some(store) = &args.store {
            deadlines.extend(Store::at(store).deadlines(policy, now)?);
        }
    }
    let mut host_configs = Vec::new();
    for path in &args.host_configs {
        let bytes = files::read(path, LIMITS.host_config_bytes)?;
        host_configs.push((path.display().to_string(), bytes));
    }
    let inside = |path: &Path, file: &str| format!("{file} of {}", path.display());
    let initramfs = args.initramfs.as_deref().unwrap_or(Path::new(""));
    host_configs.extend(
        baked
            .host_config
            .map(|bytes| (inside(initramfs, "host.json"), bytes)),
    );
    for (name, bytes) in &host_configs {
        let of = of_host_config(policy.as_ref(), name, bytes, now);
        let of = of.map_err(|refusal| Failure::refused(&refusal).context(name))?;
        deadlines.push(of);
    }
    let pinned = !host_configs.is_empty() && host_configs.iter().all(|(_, bytes)| is_pinned(bytes));
    for path in &args.tls_certs {
        let pem = files::read(path, LIMITS.tls_roots_bytes)?;
        let name = path.display().to_string();
        deadlines.extend(certificates(What::Certificate, &name, &pem, pinned, now)?);
    }
    let mut roots = Vec::new();
    for path in &args.tls_roots {
        roots.push((
            path.display().to_string(),
            files::read(path, LIMITS.tls_roots_bytes)?,
        ));
    }
    roots.extend(
        baked
            .tls_roots
            .map(|pem| (inside(initramfs, "tls-roots.pem"), pem)),
    );
    for (name, pem) in &roots {
        deadlines.extend(certificates(What::TlsRoot, name, pem, pinned, now)?);
    }
    Ok(deadlines)
}

/// Returns the policy that judges on the machines.
fn newest(args: &DeadlinesArgs, baked: &Baked) -> Result<Option<TrustPolicy>, Failure> {
    let policy = match (&args.policy, &args.initramfs, &baked.policy) {
        (Some(path), ..) => load(path)?,
        (None, Some(path), Some(json)) => TrustPolicy::parse(json).map_err(|error| {
            Failure::new(format!("cannot use the trust policy of {}", path.display()))
                .because(&error)
        })?,
        (None, Some(path), None) => {
            return Err(
                Failure::new(format!("{} holds no trust policy", path.display()))
                    .hint("give an initramfs that `sealboot initramfs build` made, or --policy"),
            );
        }
        (None, None, _) => return Ok(None),
    };
    let Some(store) = &args.store else {
        return Ok(Some(policy));
    };
    let newest = Store::open(store)?.newest_policy(policy, &mut |notice| {
        if notice.is_warning() {
            output::say(notice);
        }
    })?;
    Ok(Some(newest))
}

/// Returns `true` if a host config identifies its mirrors by their keys, so that no certificate is checked.
fn is_pinned(bytes: &[u8]) -> bool {
    let config = if is_envelope(bytes) {
        let envelope = Envelope::parse(bytes).ok();
        envelope.and_then(|envelope| HostConfig::parse(envelope.unverified_payload()).ok())
    } else {
        HostConfig::parse_plain(bytes).ok().map(|plain| plain.value)
    };
    config.is_some_and(|config| !config.mirror_keys.is_empty())
}

/// Returns when the certificates of a PEM file end.
fn certificates(
    what: What,
    file: &str,
    pem: &[u8],
    pinned: bool,
    now: Timestamp,
) -> Result<Vec<Deadline>, Failure> {
    let unusable = || {
        Failure::new(format!("{file} holds no certificate that can be read"))
            .hint("give certificates in PEM, such as the server.pem of `sealboot tls generate`")
    };
    let mut deadlines = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable().because(&error))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| unusable().because(&error))?;
        deadlines.push(of_certificate(what, file, &certificate, pinned, now));
    }
    if deadlines.is_empty() {
        return Err(unusable());
    }
    Ok(deadlines)
}

fn of_certificate(
    what: What,
    file: &str,
    certificate: &X509Certificate<'_>,
    pinned: bool,
    now: Timestamp,
) -> Deadline {
    let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = certificate.validity();
    let (created, expires) = (time(validity.not_before), time(validity.not_after));
    let act = match what {
        What::TlsRoot => "the operator who builds the initramfs",
        _ => "the mirror's operator",
    };
    let is_future = created.is_some_and(|created| created > now);
    let effect = match what {
        _ if pinned => "nothing: the host configs identify mirrors by their keys".to_owned(),
        // A loader looks at the dates of what a mirror shows, and never at those of a root.
        What::TlsRoot => "machines go on, but no certificate of it should live longer".to_owned(),
        _ => format!(
            "machines that boot refuse the mirror: {}",
            FailureCode::FetchTlsClock
        ),
    };
    Deadline {
        what,
        name: format!("{} in {file}", name_of(certificate)),
        created,
        // What machines do not look at ends for no machine.
        expires: expires.filter(|_| !pinned),
        effect,
        act: act.to_owned(),
        is_refused: is_future && !pinned && what != What::TlsRoot,
    }
}

/// Returns the first host that a certificate is for, or its subject.
fn name_of(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let hosts = names.iter().flat_map(|names| &names.value.general_names);
    let mut hosts = hosts.filter_map(|host| match host {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    });
    let name = hosts
        .next()
        .unwrap_or_else(|| certificate.subject().to_string());
    sealboot_core::format::shown(&name, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_written_in_one_unit() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().expect("a time");
        for (seconds, expected) in [
            (90, "1 min"),
            (7_199, "119 min"),
            (7_200, "2 hours"),
            (172_799, "47 hours"),
            (172_800, "2 days"),
            (86_400 * 30 + 1, "30 days"),
            (0, "0 min ago"),
            (-7_200, "2 hours ago"),
        ] {
            let expires = now + SignedDuration::from_secs(seconds);
            assert_eq!(left(expires, now), expected, "{seconds}");
        }
    }

    #[test]
    fn the_end_of_a_root_ends_no_certificate_of_it() {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier as _;
        use rustls::pki_types::UnixTime;

        let dated = |name: &str, to: i32| {
            let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params
        };
        let mut root = dated("root.example", 2021);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = || KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(root, key()).expect("a root");
        let verdict = |to: i32| {
            let leaf = dated("boot.example", to).signed_by(&key(), &root);
            let leaf = leaf.expect("a certificate");
            let mut roots = rustls::RootCertStore::empty();
            roots.add(root.der().clone()).expect("a root");
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into());
            let verifier = verifier.build().expect("a verifier");
            // 2022.
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_640_995_200));
            let name = "boot.example".try_into().expect("a name");
            verifier
                .verify_server_cert(leaf.der(), &[], &name, &[], now)
                .is_ok()
        };
        assert!(verdict(2030));
        assert!(!verdict(2021));
    }

    #[test]
    fn certificates_are_named_by_their_host_and_end_when_they_say() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().expect("a time");
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = |host: &str, from: i32, to: i32| {
            let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a host");
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params.self_signed(&key).expect("signed").pem()
        };
        let week = SignedDuration::from_hours(7 * 24);
        let found = |what, pem: &str, pinned| {
            let found = certificates(what, "a.pem", pem.as_bytes(), pinned, now);
            let found = found.expect("certificates").into_iter();
            let found = found.map(|deadline| (deadline.name.clone(), deadline.state(now, week)));
            found.collect::<Vec<_>>()
        };
        let two = pem("boot.example", 2026, 2030) + &pem("10.0.0.1", 2020, 2021);
        let names = ["boot.example in a.pem", "10.0.0.1 in a.pem"].map(str::to_owned);
        let states = |states: [State; 2]| names.clone().into_iter().zip(states).collect::<Vec<_>>();
        let expected = states([State::Fine, State::Expired]);
        assert_eq!(found(What::Certificate, &two, false), expected);
        assert_eq!(found(What::TlsRoot, &two, false), expected);
        let never = states([State::Never, State::Never]);
        assert_eq!(found(What::Certificate, &two, true), never);
        let later = pem("boot.example", 2027, 2030);
        let [(_, state)] = &found(What::Certificate, &later, false)[..] else {
            panic!("one");
        };
        assert_eq!(*state, State::Refused);
        for bad in ["", "noise"] {
            let found = certificates(What::Certificate, "a.pem", bad.as_bytes(), false, now);
            found.expect_err("refused");
        }
    }
}
