//! Stage `configure`: the baked-in files and the command line become types.
//!
//! On entry /proc and /sys are mounted. On exit the trust policy, the host config and the TLS roots are whole and
//! agree with each other. Everything is read anew at each attempt, and nothing falls through silently:
//! a source that exists and is invalid is an error.

mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::warn;

pub use self::source::{FindError, Found, Source, find};

use crate::boot::console::Done;
use crate::boot::in_force::{DisksError, InForce};
use crate::boot::loader::Loader;
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::cmdline::Parameters;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::host_config::{HostConfig, HostConfigError};
use sealboot_core::format::layout::{self, POLICY_FILE, TLS_ROOTS_FILE};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::payload::PayloadError;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Judged, JudgingTime, Presented, Refusal, TrustPolicy};
use sealboot_sys::firmware::identity::{Identity, IdentityError};

/// All that a boot goes by.
#[derive(Debug)]
pub struct Configured<'a> {
    /// The trust policies verified so far; the newest is in force.
    pub chain: &'a mut InForce,
    /// The SHA-256 of the baked-in trust policy's file, as `sha256sum` prints it.
    pub policy_sha256: Sha256Digest,
    /// How the machine reaches its image.
    pub host: HostConfig,
    /// What that was made of, for a newer policy to judge.
    pub presented: Presented,
    /// Which machine it is, as far as that is known without a link.
    pub identity: Identity,
    /// Whom it takes for a mirror.
    pub tls_roots: RootCertStore,
}

/// The baked-in files or the command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The trust policy cannot be read.
    #[error("the trust policy {} cannot be read", path.display())]
    ReadPolicy {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The trust policy does not load.
    #[error("the trust policy {} does not load", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PayloadError,
    },
    /// The root of the trust policy needs keys of types that this loader does not know.
    #[error("the root of the trust policy {} needs keys of types that this loader does not know", path.display())]
    UnknownKeyTypes {
        /// The file.
        path: PathBuf,
    },
    /// The trust policy refuses to boot beside a disk.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// The host config that was found cannot be read.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The host config does not load.
    #[error("the host config in {from} does not load")]
    Host {
        /// Where it stands.
        from: Source,
        /// Why.
        #[source]
        source: HostConfigError,
    },
    /// The trust policy does not take the host config, or what the command line says in its place.
    #[error("version {version} of the trust policy does not take the host config{}", at(from.as_ref()))]
    Refused {
        /// Where it stands, if one was found.
        from: Option<Source>,
        /// The policy that judged.
        version: PolicyVersion,
        /// Why.
        #[source]
        refusal: Box<Refusal>,
    },
    /// Host config and command line do not make a whole.
    #[error(transparent)]
    Cmdline(HostConfigError),
    /// No source has a host config, and the command line alone does not make one.
    #[error("{why}{places}", places = places())]
    Nowhere {
        /// Which setting is missing.
        why: HostConfigError,
    },
    /// The kernel command line cannot be read.
    #[error("the kernel command line cannot be read")]
    ReadCmdline(#[source] io::Error),
    /// A mirror is plain http.
    #[error("the mirror {mirror} is plain http, which the trust policy does not allow")]
    PlainHttp {
        /// The mirror.
        mirror: String,
    },
    /// A mirror's URL asks for what the firmware does not say.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The TLS roots cannot be read, or hold no certificate that can be used.
    #[error("the TLS roots {} cannot be used", path.display())]
    TlsRoots {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Diagnose for ConfigureError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Policy { source, .. } if source.needs_upgrade() => FailureCode::TrustUpgrade,
            Self::UnknownKeyTypes { .. } => FailureCode::TrustUpgrade,
            Self::ReadPolicy { .. } | Self::Policy { .. } => FailureCode::ConfigurePolicy,
            Self::Disks(error) => error.code(),
            Self::Find(error) => error.code(),
            Self::Host { source, .. } | Self::Cmdline(source) | Self::Nowhere { why: source } => {
                source.code()
            }
            Self::Refused { refusal, .. } => refusal.code(),
            Self::ReadCmdline(_) => FailureCode::ConfigureCmdline,
            Self::PlainHttp { .. } => FailureCode::FetchPlainHttp,
            Self::Identity(error) => error.code(),
            Self::TlsRoots { .. } => FailureCode::ConfigureTlsRoots,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Find(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Host { from, source } if !source.needs_upgrade() => from.remedy().to_owned(),
            Self::Host { source, .. } => source.hint(),
            Self::Cmdline(source) => source.hint(),
            Self::Refused { refusal, .. } => refusal.hint(),
            _ => self.code().remedy().to_owned(),
        }
    }
}

fn at(from: Option<&Source>) -> String {
    from.map(|source| format!(" in {source}"))
        .unwrap_or_default()
}

/// Reads what is baked in under `root` (`/` in a boot) and the settings of `cmdline`. The host config is judged by
/// the newest trust policy in `chain`, which an earlier attempt may have extended; without one, the chain begins here, with
/// the baked-in policy. So are the disks of the machine.
///
/// # Errors
///
/// The first source that is missing, invalid or at odds with another.
pub fn run<'a>(
    root: &Path,
    cmdline: &Parameters,
    chain: &'a mut Option<InForce>,
    loader: &'static Loader,
    now: &JudgingTime,
) -> Result<Done<Configured<'a>>, ConfigureError> {
    let (baked_in, policy_sha256) = read_policy(root)?;
    let chain = chain.get_or_insert_with(|| InForce::new(baked_in, loader).at(root));
    chain.judge_disks()?;
    let policy = chain.newest();
    chain.warn_of_age();
    let identity = Identity::read(root);
    let (mut presented, source) = find_host_config(root, cmdline)?;
    presented.machine = Some(identity.known_as(root));
    let judged = judge(policy, &presented, source.as_ref(), now)?;
    let source = source.as_ref().map_or("cmdline", Source::word);
    let (proof, signers) = (proof(&judged), names(&judged, ","));
    let signed = said(&judged);
    let ignored = judged.ignored().to_vec();
    let host = judged.into_config();
    if let Some(mirror) = host
        .mirrors
        .iter()
        .find(|mirror| !mirror.is_https() && !policy.allows_http())
    {
        return Err(ConfigureError::PlainHttp {
            mirror: mirror.to_string(),
        });
    }
    for field in &ignored {
        warn!("the host config's field {field} is unknown to this loader and was ignored");
    }
    for mirror in &host.mirrors {
        identity.suits(mirror)?;
    }
    let tls_roots = read_tls_roots(root)?;
    let release = policy.release_role(&host.image);
    let (required, keys) = release.map_or((0, 0), |role| (role.required(), role.signers().count()));
    let says = format!(
        "image \"{}\"{signed}, mirrors: {}, version {} of the trust policy, signatures required: {} of {}",
        host.image,
        host.mirrors.len(),
        policy.version(),
        required,
        keys,
    );
    let mut done = Done::new((), says)
        .with("source", source)
        .with("host", proof);
    if let Some(signers) = signers {
        done = done.with("signers", signers);
    }
    let done = done
        .with("image", &host.image)
        .with("mirrors", host.mirrors.len())
        .with("trust", policy.version())
        .with("required", required)
        .with("keys", keys);
    Ok(done.map(|()| Configured {
        chain,
        policy_sha256,
        host,
        presented,
        identity,
        tls_roots,
    }))
}

fn read_policy(root: &Path) -> Result<(TrustPolicy, Sha256Digest), ConfigureError> {
    let path = layout::under(root, POLICY_FILE);
    let json =
        read_bounded(&path, LIMITS.policy_bytes).map_err(|source| ConfigureError::ReadPolicy {
            path: path.clone(),
            source,
        })?;
    let policy = TrustPolicy::parse(&json);
    let policy = match policy {
        Ok(policy) if policy.root_role().is_reachable() => policy,
        Ok(_) => return Err(ConfigureError::UnknownKeyTypes { path }),
        Err(source) => return Err(ConfigureError::Policy { path, source }),
    };
    Ok((policy, Sha256Digest::of(&json)))
}

/// What the host config is to be made of; and where something was found.
fn find_host_config(
    root: &Path,
    cmdline: &Parameters,
) -> Result<(Presented, Option<Source>), ConfigureError> {
    let (stored, source) = match source::find(root, cmdline)? {
        Some(Found { source, bytes }) => (Some(bytes), Some(source)),
        None => (None, None),
    };
    let presented = Presented {
        stored,
        cmdline: cmdline.clone(),
        machine: None,
    };
    Ok((presented, source))
}

fn judge(
    policy: &TrustPolicy,
    presented: &Presented,
    source: Option<&Source>,
    now: &JudgingTime,
) -> Result<Judged, ConfigureError> {
    let refused = |refusal| match (refusal, source) {
        (Refusal::HostConfig(error), Some(from)) => ConfigureError::Host {
            from: from.clone(),
            source: error,
        },
        (Refusal::HostCmdline(error @ HostConfigError::Incomplete { .. }), _) => {
            ConfigureError::Nowhere { why: error }
        }
        (Refusal::HostCmdline(error), _) => ConfigureError::Cmdline(error),
        (refusal, from) => ConfigureError::Refused {
            from: from.cloned(),
            version: policy.version(),
            refusal: Box::new(refusal),
        },
    };
    policy.judge_host_config(presented, now).map_err(refused)
}

/// One word, for machines, of how far the host config is what somebody signed.
fn proof(judged: &Judged) -> &'static str {
    match (judged.signers(), judged.overridden()) {
        (None, _) => "plain",
        (Some(_), None) => "signed",
        (Some(_), Some(_)) => "overridden",
    }
}

/// The same for people; nothing of a plain one.
fn said(judged: &Judged) -> String {
    let Some(names) = names(judged, " and ") else {
        return String::new();
    };
    let overridden = judged
        .overridden()
        .map(|name| format!(", but overridden by {name}= of the kernel command line"));
    format!(
        " (host config signed by {names}{})",
        overridden.unwrap_or_default()
    )
}

fn names(judged: &Judged, between: &str) -> Option<String> {
    let signers = judged.signers()?.iter().map(SignerName::as_str);
    Some(signers.collect::<Vec<_>>().join(between))
}

/// Where a host config was looked for, each on a line of its own.
fn places() -> String {
    Source::WITHOUT_A_WORD
        .map(|place| format!("\n  none in {place}"))
        .concat()
}

fn read_tls_roots(root: &Path) -> Result<RootCertStore, ConfigureError> {
    let path = layout::under(root, TLS_ROOTS_FILE);
    let unusable = |source| ConfigureError::TlsRoots {
        path: path.clone(),
        source,
    };
    let pem =
        read_bounded(&path, LIMITS.tls_roots_bytes).map_err(|error| unusable(Box::new(error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(Box::new(error)))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(Box::new(error)))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".into()));
    }
    Ok(roots)
}

/// Reads a file, at most one byte more than `limit`, so that the parser sees that it is too long.
pub(in crate::boot) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
