//! `sealboot policy check`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::describe::{describe, weaknesses};
use crate::cli::support::{Failure, output};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::envelope::is_envelope;
use sealboot_core::trust::policy::{AcceptedImage, ExpiryRule, FailurePolicy, Signer, SignerName};
use sealboot_store::Kind;
use sealboot_store::files;
use sealboot_store::policy::unverified;

/// Read a trust policy as a loader does, and say what it means.
///
/// Exits with 3 and the loader's failure code where a loader would refuse the file. Takes the policy
/// itself, as it is baked in, or a signed one, whose signatures are not checked.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The trust policy
    file: PathBuf,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    version: PolicyVersion,
    threshold: usize,
    signers: Vec<SummarySigner<'a>>,
    images: &'a [AcceptedImage],
    denied_digests: &'a [Sha256Digest],
    expiry: ExpiryRule,
    freshness: Option<SummaryFreshness<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_config: Option<SummaryHostConfig<'a>>,
    allow_http: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mirror_keys: &'a [Sha256Digest],
    clock_tolerance_seconds: u64,
    on_failure: FailurePolicy,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct SummarySigner<'a> {
    name: &'a SignerName,
    key_id: String,
    key: String,
}

#[derive(Serialize)]
struct SummaryFreshness<'a> {
    threshold: usize,
    signers: Vec<SummarySigner<'a>>,
    required: bool,
    max_hours: u32,
}

#[derive(Serialize)]
struct SummaryHostConfig<'a> {
    threshold: usize,
    signers: Vec<SummarySigner<'a>>,
    required: bool,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let bytes = files::read(&args.file, LIMITS.policy_envelope_bytes)?;
    let policy = if is_envelope(&bytes) {
        let policy = unverified(&args.file, &Kind::Policy.parse(&args.file, &bytes)?)?;
        output::talk("this is what the envelope holds; its signatures were not checked");
        policy
    } else {
        TrustPolicy::parse(&bytes).map_err(|error| {
            Failure::refused(&error)
                .context(args.file.display())
                .hint("correct the file, or make it with `sealboot policy create`")
        })?
    };
    let warnings = weaknesses(&policy);
    if !args.json {
        output::data(&describe(&policy))?;
        warnings.iter().for_each(output::warn);
        return Ok(());
    }
    output::json(&Summary {
        version: policy.version(),
        threshold: policy.threshold(),
        signers: signers(policy.keys()),
        images: policy.images(),
        denied_digests: policy.denied_digests(),
        expiry: policy.expiry(),
        freshness: policy.freshness().map(|rule| SummaryFreshness {
            threshold: rule.threshold,
            signers: signers(&rule.keys),
            required: rule.required,
            max_hours: rule.max_hours,
        }),
        host_config: policy.host_config().map(|rule| SummaryHostConfig {
            threshold: rule.threshold,
            signers: signers(&rule.keys),
            required: rule.required,
        }),
        allow_http: policy.allows_http(),
        mirror_keys: policy.mirror_keys(),
        clock_tolerance_seconds: policy.clock_tolerance().as_secs(),
        on_failure: policy.on_failure(),
        warnings,
    })
}

fn signers(keys: &[Signer]) -> Vec<SummarySigner<'_>> {
    let signers = keys.iter().map(|signer| SummarySigner {
        name: &signer.name,
        key_id: signer.key.id().to_string(),
        key: signer.key.to_string(),
    });
    signers.collect()
}
