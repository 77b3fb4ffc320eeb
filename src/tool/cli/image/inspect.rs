//! `sealboot image inspect`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{describe, describe_freshness, release_role};
use crate::cli::policy;
use crate::cli::signatures;
use crate::cli::support::{Failure, output};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::manifest::Manifest;
use sealboot_store::image::{StoredImage, unverified_manifest};
use sealboot_store::path::Place;
use sealboot_store::tally::{Counted, claimed_key_id};

/// Show what an envelope claims, without verifying it.
///
/// For looking at a file before signing it. With --policy, it also says who has signed, how many are
/// missing, and which signatures count for nothing; whether a machine would boot the image,
/// `sealboot image verify` says.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Count the signatures by this trust policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// The envelope of a version, or a channel: STORE/images/NAME.json
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
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<Freshness>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<Counted>,
}

#[derive(Serialize)]
struct Claim {
    claimed_key_id: String,
    bytes: usize,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let store = Place::of(&args.envelope).map(|place| place.store.root().to_owned());
    let policy = match &args.policy {
        Some(path) => Some(policy::newest(path, store.as_deref())?),
        None => None,
    };
    let stored = StoredImage::read(&args.envelope)?;
    let freshness = stored.unverified_freshness(&args.envelope)?;
    let envelope = stored.into_envelope();
    let manifest = unverified_manifest(&args.envelope, &envelope)?;
    let counted = match &policy {
        Some(policy) => {
            let role = release_role(policy, &manifest.name)?;
            Some(Counted::of(role, &envelope))
        }
        None => None,
    };
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
            freshness,
            counted,
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
    let freshness = freshness.map_or(String::new(), |freshness| {
        format!("freshness\n{}", describe_freshness(&freshness))
    });
    let counted = counted.map_or(String::new(), |counted| {
        format!(
            "counted by the trust policy\n{}",
            signatures::describe(&counted)
        )
    });
    output::data(&format!(
        "NOT VERIFIED: this is what the file says, and anybody can have written it\n{}signatures\n{signatures}{freshness}{counted}",
        describe(&manifest)
    ))
}
