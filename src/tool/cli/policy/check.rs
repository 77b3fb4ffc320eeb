//! `sealboot policy check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::advice::weaknesses;
use super::describe::describe;
use super::fields::FIELDS;
use crate::cli::support::unknown::listed;
use crate::cli::support::{Failure, output, time};
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::json::Read;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::payload::{PayloadError, parse_with_unknown};
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::policy::SignerName;
use sealboot_core::trust::{Refusal, Statement, TrustPolicy};
use sealboot_store::Kind;
use sealboot_store::files;
use sealboot_store::policy::unverified;

/// Read a trust policy as a loader does, and show what it means
///
/// Exits with 3 and the loader's failure code where a loader would refuse the file. Reads the policy
/// itself, as it is baked in, or a signed one, whose signatures are not checked. A field that this
/// version does not know is refused in a plain policy: it is probably misspelt.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The trust policy
    file: PathBuf,

    /// Print JSON instead of text: the policy with every field, the key ids, and the warnings
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    policy: &'a TrustPolicy,
    key_ids: BTreeMap<&'a SignerName, String>,
    unknown_fields: Vec<String>,
    warnings: Vec<String>,
}

/// A loader refuses the policy.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the trust policy")]
struct Unusable {
    source: PayloadError,
    /// What a name in it may have been meant for.
    near: Option<String>,
}

impl Diagnose for Unusable {
    fn code(&self) -> FailureCode {
        if self.source.needs_upgrade() {
            FailureCode::TrustUpgrade
        } else {
            FailureCode::ConfigurePolicy
        }
    }

    fn hint(&self) -> String {
        if self.source.needs_upgrade() {
            "use a newer version of sealboot, in the loaders too".to_owned()
        } else if let Some(near) = &self.near {
            near.clone()
        } else {
            "correct the file, or create it with `sealboot policy create`".to_owned()
        }
    }
}

/// What to do where no loader of this version could go on to a next policy.
const UNREACHABLE_ROOT_HINT: &str = "give root as many ed25519 keys as its threshold, or use a newer version of sealboot, in the loaders too";

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let Read {
        value: policy,
        unknown,
    } = read(&args.file)?;
    let policy = &policy;
    if !policy.root_role().is_reachable() {
        let statement = Statement::Policy;
        let refusal = Refusal::UnknownKeyTypes { statement };
        return Err(Failure::refused(&refusal)
            .context(args.file.display())
            .hint(UNREACHABLE_ROOT_HINT));
    }
    let mut warnings = weaknesses(policy, time::today()?);
    if !unknown.is_empty() {
        let fields = listed(&unknown);
        warnings.insert(
            0,
            format!("this version of sealboot does not know {fields}"),
        );
    }
    if !args.json {
        output::data(&describe(policy))?;
        warnings.iter().for_each(output::warn);
        return Ok(());
    }
    let key_ids = policy.keys().iter().filter_map(|signer| {
        let key = signer.key.known()?;
        Some((&signer.name, key.id().to_string()))
    });
    output::json(&Checked {
        policy,
        key_ids: key_ids.collect(),
        unknown_fields: unknown,
        warnings,
    })
}

fn read(path: &Path) -> Result<Read<TrustPolicy>, Failure> {
    let bytes = files::read(path, LIMITS.policy_envelope_bytes)?;
    if is_envelope(&bytes) {
        let read = unverified(path, &Kind::Policy.parse(path, &bytes)?)?;
        output::talk("the signatures of this envelope were not checked");
        return Ok(read);
    }
    let read: Read<TrustPolicy> = parse_with_unknown(&bytes).map_err(|source| {
        let near = FIELDS.misspelt(&bytes);
        Failure::refused(&Unusable { source, near }).context(path.display())
    })?;
    if read.unknown.is_empty() {
        return Ok(read);
    }
    let fields = listed(&read.unknown);
    Err(Failure::new(format!(
        "{}: a trust policy does not have {fields}",
        path.display()
    ))
    .hint(
        FIELDS
            .did_you_mean(&read.unknown)
            .unwrap_or_else(|| "correct the name, or take the field out".to_owned()),
    ))
}
