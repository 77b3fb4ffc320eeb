//! `sealboot image inspect`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{claimed_key_id, describe, read_envelope, unverified_manifest};
use crate::cli::{Failure, output};
use crate::format::manifest::Manifest;

/// Show what an envelope claims, without verifying anything.
///
/// For looking at a file before signing it. Whether it is signed by those who should have signed it,
/// `sealboot image verify` says.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The envelope
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspected {
    verified: bool,
    payload_type: String,
    manifest: Manifest,
    signatures: Vec<Claim>,
}

#[derive(Serialize)]
struct Claim {
    claimed_key_id: String,
    bytes: usize,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let envelope = read_envelope(&args.envelope)?;
    let manifest = unverified_manifest(&args.envelope, &envelope)?;
    if args.json {
        return output::json(&Inspected {
            verified: false,
            payload_type: envelope.payload_type().to_owned(),
            manifest,
            signatures: envelope
                .signatures()
                .iter()
                .map(|signature| Claim {
                    claimed_key_id: signature.key_id.clone(),
                    bytes: signature.bytes.len(),
                })
                .collect(),
        });
    }
    let signatures = envelope.signatures().iter().map(|signature| {
        [
            format!("claims key id {}", claimed_key_id(signature)),
            format!("{} bytes", signature.bytes.len()),
        ]
    });
    let signatures = match envelope.signatures() {
        [] => "  none\n".to_owned(),
        _ => output::columns(signatures),
    };
    output::data(&format!(
        "NOT VERIFIED: this is what the file says, and anybody can have written it\n{}signatures\n{signatures}",
        describe(&manifest)
    ))
}
