//! `sealboot host-config`: how a machine reaches its image, explained before it has to.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, files, output, policy};
use crate::failure::{Diagnose, FailureCode};
use crate::format::host_config::{HostConfig, MirrorUrl, Network};
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageName, ImageVersion};
use crate::trust::TrustPolicy;

/// Check host configs: how a machine reaches its image.
///
/// A host config names the image that a machine boots, the mirrors that serve it and how the machine
/// gets its address. It is baked into the loader's initramfs; nothing in it is trusted for more than
/// reaching bytes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Check(CheckArgs),
}

/// Read a host config as a loader does, and say what it means.
///
/// Exits with 3 and the loader's failure code where a loader would refuse the file. What the file
/// cannot say, such as whether the mirror answers, is not tried.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The host config
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
    }
}

/// A host config asks for what the trust policy forbids.
#[derive(Debug, thiserror::Error)]
enum Conflict {
    #[error("the mirror {mirror} is plain http, which the trust policy does not allow")]
    PlainHttp { mirror: MirrorUrl },
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
                "correct `image` in the host config, or create the policy with --name {image}"
            ),
        }
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    image: &'a ImageName,
    min_version: Option<ImageVersion>,
    mirrors: &'a [MirrorUrl],
    network: &'a Network,
    warnings: Vec<String>,
}

fn check(args: &CheckArgs) -> Result<(), Failure> {
    let bytes = files::read(&args.file, LIMITS.host_config_bytes)?;
    let config = HostConfig::parse(&bytes).map_err(|error| {
        Failure::refused(&error)
            .context(args.file.display())
            .hint("correct the file; docs/formats.md shows a whole host config")
    })?;
    let policy = args.policy.as_deref().map(policy::load).transpose()?;
    let min_version = policy
        .as_ref()
        .map(|policy| {
            agree(&config, policy)
                .map_err(|conflict| Failure::refused(&conflict).context(args.file.display()))
        })
        .transpose()?;
    let warnings = doubts(&config);
    if args.json {
        return output::json(&Summary {
            image: &config.image,
            min_version,
            mirrors: &config.mirrors,
            network: &config.network,
            warnings,
        });
    }
    output::data(&describe(&config, min_version))?;
    warnings.iter().for_each(output::warn);
    Ok(())
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

fn describe(config: &HostConfig, min_version: Option<ImageVersion>) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![row(
        "image",
        match min_version {
            Some(version) => format!("{}, version {version} or newer", config.image),
            None => config.image.to_string(),
        },
    )];
    for (at, mirror) in config.mirrors.iter().enumerate() {
        let name = if at == 0 { "mirrors" } else { "" };
        rows.push(row(name, mirror.to_string()));
    }
    let interface = config.network.interface();
    let (addressing, fallback) = match &config.network {
        Network::Dhcp { .. } => (
            "by DHCP".to_owned(),
            "the first interface that gets a lease",
        ),
        Network::Static {
            address, gateway, ..
        } => (
            match gateway {
                Some(gateway) => format!("{address}, router {gateway}"),
                None => format!("{address}, no router"),
            },
            "the first interface that has a carrier",
        ),
    };
    rows.push(row("address", addressing));
    rows.push(row(
        "interface",
        interface.map_or(fallback.to_owned(), ToString::to_string),
    ));
    let nameservers: Vec<String> = config
        .network
        .nameservers()
        .iter()
        .map(ToString::to_string)
        .collect();
    rows.push(row(
        "name servers",
        match (&config.network, nameservers.as_slice()) {
            (Network::Dhcp { .. }, []) => "from the lease".to_owned(),
            (Network::Static { .. }, []) => "none".to_owned(),
            (_, nameservers) => nameservers.join(", "),
        },
    ));
    output::columns(rows)
}

/// What is allowed, but may leave a machine without its image.
fn doubts(config: &HostConfig) -> Vec<String> {
    let mut found = Vec::new();
    if let [only] = config.mirrors.as_slice() {
        found.push(format!(
            "only one mirror: while {only} is down, this machine does not boot"
        ));
    }
    for (at, mirror) in config.mirrors.iter().enumerate() {
        if config.mirrors[..at].contains(mirror) {
            found.push(format!("{mirror} is named twice, and asked once"));
        }
        if !mirror.is_https() {
            found.push(format!(
                "{mirror} is plain http: everybody on the way sees which image is fetched"
            ));
        }
        let Network::Static {
            address,
            gateway,
            nameservers,
            ..
        } = &config.network
        else {
            continue;
        };
        let url = mirror.url();
        let by_address = url.host_str().and_then(|host| host.parse().ok());
        if let (Some(name), []) = (url.domain(), nameservers.as_slice()) {
            found.push(format!(
                "{mirror} cannot be reached: no name server is there to resolve {name}; see network.nameservers"
            ));
        } else if by_address.is_some_and(|host| gateway.is_none() && !address.contains(host)) {
            found.push(format!(
                "{mirror} cannot be reached: it is outside {address}, and there is no network.gateway"
            ));
        }
    }
    found
}
