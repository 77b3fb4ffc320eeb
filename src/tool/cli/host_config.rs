//! `sealboot host-config`: how a machine reaches its image, explained before it has to.

mod describe;
mod doubts;
mod efi;
mod fields;
mod merge;
mod sign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use self::describe::describe;
use self::doubts::doubts;
use self::fields::FIELDS;
use super::support::unknown::listed;
use super::support::{Failure, output, time};
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::{
    HostConfig, HostConfigError, MachineId, MirrorTemplate, TimeServer,
};
use sealboot_core::format::json::Read;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::format::network::Network;
use sealboot_core::format::payload::parse_with_unknown;
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Envelope, Presented, Refusal, Statement, TrustPolicy};
use sealboot_store::files;
use sealboot_store::tally::{claimed_key_id, names};
use sealboot_store::{EnvelopeFile, Kind};

/// Check, sign and keep host configs: how a machine reaches its image.
///
/// A host config names the image that a machine boots, the mirrors that serve it and how the machine
/// gets its address. It is baked into the loader's initramfs, or the machine's firmware keeps it; nothing
/// in it is trusted for more than reaching bytes. A trust policy can ask for a signed one.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Check(CheckArgs),
    Sign(sign::SignArgs),
    Merge(merge::MergeArgs),
    WriteEfi(efi::WriteArgs),
    RemoveEfi(efi::RemoveArgs),
}

/// Read a host config as a loader does, and say what it means.
///
/// Takes a plain host config or a signed one. With --policy, signatures are counted as a loader counts
/// them, and it is said who signed; without it, what an envelope holds is shown with nothing verified.
///
/// Exits with 3 and the loader's failure code where a loader would refuse the file. What the file
/// cannot say, such as whether the mirror answers, is not tried.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The host config, or the envelope that holds it
    file: PathBuf,

    /// Also check the host config against the trust policy that it will be baked in with
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::WriteEfi(args) => efi::write(&args),
        Command::RemoveEfi(args) => efi::remove(&args),
    }
}

/// A host config asks for what the trust policy forbids.
#[derive(Debug, thiserror::Error)]
enum Conflict {
    #[error("the mirror {mirror} is plain http, which the trust policy does not allow")]
    PlainHttp { mirror: MirrorTemplate },
    #[error("the trust policy does not accept image \"{image}\"\n  it accepts {accepted}")]
    Image { image: ImageName, accepted: String },
}

impl Diagnose for Conflict {
    fn code(&self) -> FailureCode {
        match self {
            Self::PlainHttp { .. } => FailureCode::FetchPlainHttp,
            Self::Image { .. } => FailureCode::ManifestName,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::PlainHttp { .. } => self.code().remedy().to_owned(),
            Self::Image { image, .. } => format!(
                "correct `image` in the host config, or create the policy with --image {image}"
            ),
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(rename = "for", skip_serializing_if = "<[_]>::is_empty")]
    machines: &'a [MachineId],
    image: &'a ImageName,
    min_version: Option<ImageVersion>,
    mirrors: &'a [MirrorTemplate],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mirror_keys: &'a [Sha256Digest],
    network: &'a Network,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ntp: &'a [TimeServer],
    #[serde(skip_serializing_if = "Option::is_none")]
    signatures: Option<&'a Signatures>,
    warnings: Vec<String>,
}

/// What is known of who signed an envelope.
#[derive(Serialize)]
#[serde(untagged)]
enum Signatures {
    /// Counted by a policy's role.
    Counted {
        verified: bool,
        signers: Vec<SignerName>,
    },
    /// What stands beside signatures that nobody has checked.
    Claimed {
        verified: bool,
        claimed_key_ids: Vec<String>,
    },
}

impl Signatures {
    /// Who signed, as far as it is known, to go on after "signed by".
    fn by(&self) -> String {
        match self {
            Self::Counted { signers, .. } => names(signers),
            Self::Claimed {
                claimed_key_ids, ..
            } if claimed_key_ids.is_empty() => "nobody".to_owned(),
            Self::Claimed {
                claimed_key_ids, ..
            } => format!("key id {}, or so it claims", claimed_key_ids.join(", ")),
        }
    }
}

/// A host config that a loader would take.
struct Loaded {
    config: HostConfig,
    /// As it stands in the file.
    bytes: Vec<u8>,
    /// Of a signed one.
    signatures: Option<Signatures>,
    /// The oldest version of its image that the policy takes, where one was given.
    min_version: Option<ImageVersion>,
}

/// Reads a host config, plain or signed, as a loader does, and compares it with a policy.
fn load(file: &Path, policy: Option<&Path>) -> Result<Loaded, Failure> {
    let bytes = files::read(file, LIMITS.host_config_bytes)?;
    let policy = policy.map(sealboot_store::policy::load).transpose()?;
    let (config, signatures) = match &policy {
        Some(policy) => judged(file, bytes.clone(), policy)?,
        None if is_envelope(&bytes) => claimed(file, &bytes)?,
        None => {
            let read = HostConfig::parse_plain(&bytes);
            (by_hand(file, &bytes, read)?, None)
        }
    };
    let min_version = policy
        .as_ref()
        .map(|policy| {
            agree(&config, policy)
                .map_err(|conflict| Failure::refused(&conflict).context(file.display()))
        })
        .transpose()?;
    Ok(Loaded {
        config,
        bytes,
        signatures,
        min_version,
    })
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let Loaded {
        config,
        signatures,
        min_version,
        ..
    } = load(&args.file, args.policy.as_deref())?;
    let warnings = doubts(&config, time::today()?);
    if args.json {
        return output::json(&Summary {
            created: config.created,
            expires: config.expires,
            machines: &config.machines,
            image: &config.image,
            min_version,
            mirrors: &config.mirrors,
            mirror_keys: &config.mirror_keys,
            network: &config.network,
            ntp: &config.ntp,
            signatures: signatures.as_ref(),
            warnings,
        });
    }
    let heading = match signatures {
        Some(Signatures::Claimed { .. }) => {
            "NOT VERIFIED: this is what the file says, and anybody can have written it\n"
        }
        _ => "",
    };
    let by = signatures.map_or("nobody".to_owned(), |signatures| signatures.by());
    let text = describe(&config, min_version, Some(by));
    output::data(&format!("{heading}{text}"))?;
    warnings.iter().for_each(output::warn);
    Ok(())
}

/// What a loader with this policy makes of a file.
fn judged(
    path: &Path,
    bytes: Vec<u8>,
    policy: &TrustPolicy,
) -> Result<(HostConfig, Option<Signatures>), Failure> {
    let presented = Presented {
        stored: Some(bytes.clone()),
        ..Presented::default()
    };
    let judged = policy.judge_host_config(&presented, &time::now().into());
    let judged = judged.map_err(|refusal| refused_by_hand(path, &bytes, refusal))?;
    if !judged.ignored().is_empty() {
        return Err(no_such(path, judged.ignored()));
    }
    let signatures = judged.signers().map(|signers| Signatures::Counted {
        verified: true,
        signers: signers.to_vec(),
    });
    Ok((judged.into_config(), signatures))
}

/// What an envelope says, with nothing verified.
fn claimed(path: &Path, bytes: &[u8]) -> Result<(HostConfig, Option<Signatures>), Failure> {
    let envelope = Envelope::parse(bytes).map_err(|source| {
        let statement = Statement::HostConfig;
        refused(path, Refusal::Envelope { statement, source })
    })?;
    let config = unverified_host_config(path, &envelope)?.value;
    let claimed = envelope.signatures().iter().map(claimed_key_id);
    let signatures = Signatures::Claimed {
        verified: false,
        claimed_key_ids: claimed.collect(),
    };
    Ok((config, Some(signatures)))
}

fn refused(path: &Path, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::HostConfig(error) if error.needs_upgrade() => {
            Failure::refused(&error).context(path.display())
        }
        Refusal::HostConfig(error) => Failure::refused(&error)
            .context(path.display())
            .hint("correct the file; docs/host-config.md describes every field"),
        refusal => Failure::refused(&refusal).context(path.display()),
    }
}

/// As [`refused`], for a plain host config that misses what a misspelt field may have been meant to say.
fn refused_by_hand(path: &Path, json: &[u8], refusal: Refusal) -> Failure {
    let near = match refusal {
        Refusal::HostConfig(_) if !is_envelope(json) => FIELDS.misspelt(json),
        _ => None,
    };
    let failure = refused(path, refusal);
    match near {
        Some(near) => failure.hint(near),
        None => failure,
    }
}

/// A plain host config has fields that a loader would ignore.
fn no_such(path: &Path, unknown: &[String]) -> Failure {
    Failure::new(format!(
        "{}: a host config does not have {}",
        path.display(),
        listed(unknown)
    ))
    .hint(
        FIELDS
            .did_you_mean(unknown)
            .unwrap_or_else(|| "correct the name, or take the field out".to_owned()),
    )
}

/// What a person wrote: each field must be one that a loader reads.
fn by_hand(
    path: &Path,
    json: &[u8],
    read: Result<Read<HostConfig>, HostConfigError>,
) -> Result<HostConfig, Failure> {
    let read = read.map_err(|error| refused_by_hand(path, json, Refusal::HostConfig(error)))?;
    if read.unknown.is_empty() {
        return Ok(read.value);
    }
    Err(no_such(path, &read.unknown))
}

/// Reads the host config out of an envelope whose signatures say nothing yet: to show it, or to sign it.
fn unverified_host_config(path: &Path, envelope: &Envelope) -> Result<Read<HostConfig>, Failure> {
    Kind::HostConfig.check(path, envelope)?;
    parse_with_unknown(envelope.unverified_payload())
        .map_err(|error| refused(path, Refusal::HostConfig(error.into())))
}

/// The envelope to sign, and the host config in it: FILE itself, or the envelope beside a plain one, which need not be
/// there yet; and the fields that this version does not know.
fn to_be_signed(file: &Path) -> Result<(EnvelopeFile, Read<HostConfig>), Failure> {
    let bytes = files::read(file, LIMITS.host_config_bytes)?;
    if is_envelope(&bytes) {
        let there = EnvelopeFile::open(Kind::HostConfig, file)?;
        let config = unverified_host_config(file, there.envelope())?;
        return Ok((there, config));
    }
    let read = parse_with_unknown(&bytes).map_err(HostConfigError::from);
    let value = by_hand(file, &bytes, read)?;
    let (value, payload) = dated(file, value, bytes)?;
    let unsigned = Envelope::unsigned(HostConfig::PAYLOAD_TYPE, payload);
    let unknown = Vec::new();
    Ok((
        EnvelopeFile::beside(Kind::HostConfig, file, unsigned)?,
        Read { value, unknown },
    ))
}

/// Returns a host config that says when it was created, and its bytes: as they stand where it says so; with the time of
/// the envelope that is there already, so that every signer signs the same; else with the time of now.
fn dated(
    file: &Path,
    config: HostConfig,
    bytes: Vec<u8>,
) -> Result<(HostConfig, Vec<u8>), Failure> {
    if config.created.is_some() {
        return Ok((config, bytes));
    }
    let there = EnvelopeFile::open(Kind::HostConfig, &files::signed_path(file)).ok();
    let there = there.and_then(|there| {
        let payload = there.envelope().unverified_payload().to_vec();
        Some((HostConfig::parse(&payload).ok()?, payload))
    });
    if let Some((there, payload)) = there {
        let undated = HostConfig {
            created: None,
            ..there.clone()
        };
        if undated == config {
            return Ok((there, payload));
        }
    }
    let now = time::source_date_epoch()?.unwrap_or_else(time::now);
    output::talk(format!(
        "the host config does not say when it was created: created is {now:.0} in the envelope; other signers sign the envelope, not a copy of {}",
        file.display()
    ));
    let json = String::from_utf8_lossy(&bytes);
    let dated = json.replacen('{', &format!("{{\"created\": \"{now:.0}\", "), 1);
    let config = HostConfig::parse(dated.as_bytes())
        .map_err(|error| refused(file, Refusal::HostConfig(error)))?;
    Ok((config, dated.into_bytes()))
}

/// Checks that a policy lets this config boot; gives the oldest version that it then takes.
fn agree(config: &HostConfig, policy: &TrustPolicy) -> Result<ImageVersion, Conflict> {
    let plain = config.mirrors.iter().find(|mirror| !mirror.is_https());
    if let (Some(mirror), false) = (plain, policy.allows_http()) {
        return Err(Conflict::PlainHttp {
            mirror: mirror.clone(),
        });
    }
    let accepted = policy
        .images()
        .iter()
        .find(|image| image.name == config.image);
    accepted
        .map(|image| image.min_version)
        .ok_or_else(|| Conflict::Image {
            image: config.image.clone(),
            accepted: policy
                .images()
                .iter()
                .map(|image| image.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })
}
