//! `sealboot policy`: what loaders will accept, made, explained, signed and handed on.

mod check;
mod create;
mod describe;
mod merge;
mod publish;
mod roles;
mod rules;
mod sign;

use std::path::Path;

use clap::Subcommand;

use super::rotation;
use super::signatures::{EnvelopeFile, Kind};
use super::support::Failure;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::shown;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::{Chain, Envelope, PolicyError, TrustPolicy};
use sealboot_store::files;

/// Make, check, sign and publish trust policies: what a loader accepts.
///
/// A policy names the keys that may sign, how many of them must, the images that may boot, and how
/// fresh they must be. The first is baked into the loader's initramfs. The next ones come from a store,
/// each signed as the one before asks and as it asks itself; nothing else changes what a machine trusts.
///
/// To replace a key of a fleet whose machines have trust.json baked in:
///
///   sealboot policy create --from trust.json --key A.pub --key B.pub --out trust-2.json
///   sealboot policy sign --policy trust.json --key K.key trust-2.json       each signer
///   sealboot image sign and publish, for the images that run: signed as both policies ask
///   sealboot policy publish --policy trust.json --store DIR trust-2.signed.json
///   sealboot freshness renew, where the policy has a role for it
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Command {
    Create(Box<create::CreateArgs>),
    Check(check::CheckArgs),
    Sign(sign::SignArgs),
    Merge(merge::MergeArgs),
    Publish(publish::PublishArgs),
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Publish(args) => publish::run(&args),
    }
}

/// Reads a policy to work with; `policy check` reads one to judge it.
pub(super) fn load(path: &Path) -> Result<TrustPolicy, Failure> {
    TrustPolicy::parse(&files::read(path, LIMITS.policy_bytes)?)
        .map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &PolicyError) -> Failure {
    Failure::new(format!("cannot use the trust policy {}", path.display()))
        .because(error)
        .hint("check the file with `sealboot policy check`")
}

/// Envelopes of policies, as signing sees them.
const POLICY: Kind = Kind {
    command: "policy",
    what: "policy",
    limit: LIMITS.policy_envelope_bytes,
    read: read_envelope,
    show: "sealboot policy check",
    make: "move the file away, sign the policy anew",
};

/// A file that holds a policy.
#[derive(Debug)]
enum Stored {
    /// The policy itself, as it is baked in.
    Plain(TrustPolicy),
    /// An envelope, as it stands in a store; its signatures are unchecked.
    Signed(TrustPolicy),
}

impl Stored {
    /// Reads either.
    fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
        if is_envelope(&bytes) {
            let envelope = parse_envelope(path, &bytes)?;
            let policy = unverified_policy(path, &envelope)?;
            return Ok(Self::Signed(policy));
        }
        TrustPolicy::parse(&bytes)
            .map(Self::Plain)
            .map_err(|error| unusable(path, &error))
    }
}

/// The policy that comes before the one at hand: `path`, or the newest that follows from it in `store`,
/// below version `end`.
///
/// A policy out of a store is only taken by the walk of a machine. What stands there by itself may say
/// anything, and whoever works on from it would hand that on with good signatures.
fn before(
    path: &Path,
    store: Option<&Path>,
    end: Option<PolicyVersion>,
) -> Result<TrustPolicy, Failure> {
    let policy = match Stored::read(path)? {
        Stored::Plain(policy) => policy,
        Stored::Signed(_) => {
            return Err(Failure::new(format!(
                "{} is a signed policy, and nothing says that the right people signed it",
                path.display()
            ))
            .hint("give the policy that the machines have, and --store DIR: from it, the newest in the store is found as machines find it"));
        }
    };
    let Some(store) = store else {
        return Ok(policy);
    };
    rotation::check_store(store)?;
    let chain = rotation::go_on(Chain::from(policy), store, end)?;
    Ok(chain.newest().clone())
}

fn parse_envelope(path: &Path, bytes: &[u8]) -> Result<Envelope, Failure> {
    Envelope::parse(bytes).map_err(|error| {
        Failure::new(format!("{} is no envelope", path.display()))
            .because(&error)
            .hint("give the file that `sealboot policy sign` made")
    })
}

/// Reads the envelope of a policy, to work on it.
fn read_envelope(path: &Path) -> Result<Envelope, Failure> {
    parse_envelope(path, &files::read(path, LIMITS.policy_envelope_bytes)?)
}

/// Reads the policy out of an envelope whose signatures say nothing yet: to show it, or to sign it.
fn unverified_policy(path: &Path, envelope: &Envelope) -> Result<TrustPolicy, Failure> {
    if envelope.payload_type() != TrustPolicy::PAYLOAD_TYPE {
        return Err(Failure::new(format!(
            "{} holds a statement of type \"{}\"\n  expected \"{}\"",
            path.display(),
            shown(envelope.payload_type(), 80),
            TrustPolicy::PAYLOAD_TYPE
        ))
        .hint("give a policy that `sealboot policy create` made, or an envelope that `sealboot policy sign` did"));
    }
    TrustPolicy::parse_signed(envelope.unverified_payload()).map_err(|error| {
        Failure::new(format!("{} holds no usable trust policy", path.display()))
            .because(&error)
            .hint("make the policy again with `sealboot policy create --from`")
    })
}

/// The envelope to sign, and the policy in it: FILE itself, or the envelope beside a plain policy, which
/// need not be there yet.
fn to_be_signed(file: &Path) -> Result<(EnvelopeFile, TrustPolicy), Failure> {
    let (envelope_file, policy) = match Stored::read(file)? {
        Stored::Signed(policy) => (EnvelopeFile::open(&POLICY, file)?, policy),
        Stored::Plain(policy) => {
            // One that was written by hand may be larger in the one spelling that is signed.
            let spelled = TrustPolicy::parse_signed(&policy.encode());
            let policy = spelled.map_err(|error| unusable(file, &error))?;
            let unsigned = Envelope::unsigned(TrustPolicy::PAYLOAD_TYPE, policy.encode());
            (EnvelopeFile::beside(&POLICY, file, unsigned)?, policy)
        }
    };
    if policy.version() == PolicyVersion::FIRST {
        return Err(Failure::new(format!(
            "{} is version 1 of a trust policy, which follows no other",
            file.display()
        ))
        .hint("a first policy needs no signature, it is baked in; make the next with `sealboot policy create --from`"));
    }
    Ok((envelope_file, policy))
}
