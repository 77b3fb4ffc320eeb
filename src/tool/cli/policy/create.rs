//! `sealboot policy create`: the first policy of a fleet, or the one that follows another.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::describe::{describe, weaknesses};
use super::roles::Roles;
use super::rules::{Keys, Rules};
use super::sign::compared;
use crate::cli::support::{Failure, key_file, output};
use sealboot_core::format::Invalid;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{Signer, SignerName};
use sealboot_store::files::{self, Existing};
use sealboot_store::policy::before;

/// Make a trust policy, or the next version of one.
///
/// Prints the path of the new file; what the policy means, and what is weak about it, goes to stderr.
///
/// With --from, everything is as in the old policy but what is given here, and it is said what changes
/// and who must sign. A list that is given (--key, --name, --freshness-key, --host-config-key) replaces
/// the old one; denials add up. What no option takes back, such as a denial, can be edited out of the file before it
/// is signed.
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The policy that the new one follows; with --store, the one that the machines have baked in
    #[arg(long, value_name = "OLD")]
    from: Option<PathBuf>,

    /// Follow the newest policy in this store, found from OLD as a machine finds it
    #[arg(long, value_name = "DIR", requires = "from")]
    store: Option<PathBuf>,

    /// A signer's public key; give one for each signer
    ///
    /// The signer's name is that of the file without its suffix (alice.pub is alice's), or what stands
    /// before `=`: alice=keys/2026.pub. Compare key ids with their holders first.
    #[arg(
        long = "key",
        value_name = "[NAME=]FILE.pub",
        required_unless_present = "from"
    )]
    keys: Vec<KeyArgument>,

    /// The public key of who says which version is the newest, often a machine; give one for each
    ///
    /// With such a role, machines notice a mirror that is frozen. Its keys sign nothing else, so none
    /// of them may be a --key too.
    #[arg(long = "freshness-key", value_name = "[NAME=]FILE.pub")]
    freshness_keys: Vec<KeyArgument>,

    /// The public key of who signs host configs; give one for each
    ///
    /// With such a role, a host config may be signed (`sealboot host-config sign`); with
    /// --require-signed-host-config, it must. Its keys sign nothing else, so none of them may be a --key
    /// or a --freshness-key too.
    #[arg(long = "host-config-key", value_name = "[NAME=]FILE.pub")]
    host_config_keys: Vec<KeyArgument>,

    #[command(flatten)]
    rules: Rules,

    /// The file to make; one that exists is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: CreateArgs) -> Result<(), Failure> {
    let old = match &args.from {
        Some(path) => Some(before(path, args.store.as_deref(), None)?),
        None => None,
    };
    let keys = Keys {
        signing: signers(args.keys)?,
        freshness: signers(args.freshness_keys)?,
        host_config: signers(args.host_config_keys)?,
    };
    let policy = args.rules.policy(keys, old.as_ref())?;
    files::write(&args.out, &policy.encode(), 0o644, Existing::Keep)?;
    output::talk(describe(&policy).trim_end());
    if let Some(old) = &old {
        say_what_changes(old, &policy);
    }
    for weakness in weaknesses(&policy) {
        output::warn(weakness);
    }
    output::data(&format!("{}\n", args.out.display()))
}

fn say_what_changes(old: &TrustPolicy, new: &TrustPolicy) {
    let roles = Roles {
        old: Some(old),
        new,
    };
    output::talk(compared(old, new));
    output::talk(roles.required().trim_end());
    roles.warnings().iter().for_each(output::warn);
}

fn signers(keys: Vec<KeyArgument>) -> Result<Vec<Signer>, Failure> {
    keys.into_iter().map(KeyArgument::signer).collect()
}

/// `[NAME=]FILE`.
#[derive(Debug, Clone)]
struct KeyArgument {
    name: Option<SignerName>,
    file: PathBuf,
}

impl FromStr for KeyArgument {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A `=` in a path: `./a=b.pub`, for no signer's name holds a slash.
        let named = text
            .split_once('=')
            .and_then(|(name, file)| Some((name.parse().ok()?, file)));
        Ok(match named {
            Some((name, file)) => Self {
                name: Some(name),
                file: file.into(),
            },
            None => Self {
                name: None,
                file: text.into(),
            },
        })
    }
}

impl KeyArgument {
    fn signer(self) -> Result<Signer, Failure> {
        let key = key_file::read_public(&self.file)?;
        let name = match self.name {
            Some(name) => name,
            None => self
                .file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .parse()
                .map_err(|error: Invalid| {
                    Failure::new(format!(
                        "the name of {} makes no signer's name",
                        self.file.display()
                    ))
                    .because(&error)
                    .hint(format!("give one: --key \"NAME={}\"", self.file.display()))
                })?,
        };
        Ok(Signer { name, key })
    }
}
