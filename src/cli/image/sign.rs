//! `sealboot image sign`.

use std::path::PathBuf;

use clap::Args;
use nix::unistd::{AccessFlags, access};

use super::{describe, read_envelope, unverified_manifest};
use crate::cli::files::{self, Existing};
use crate::cli::{Failure, key, output};
use crate::format::limits::LIMITS;
use crate::format::manifest::{ImageVersion, Manifest};
use crate::trust::policy::{AcceptedImage, Signer};
use crate::trust::{Envelope, PublicKey, TrustPolicy};

/// Add a signature to an envelope, in place.
///
/// Shows on stderr what is being signed. Read it: with your signature, machines that trust your key
/// may boot this image. The signature covers the manifest, and by its hashes every byte of the
/// archive; whether the archive is there and as described, `sealboot image verify` says.
///
/// Other signatures stay. Signing again with the same key changes nothing.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The private key, NAME.key, readable by its owner alone
    #[arg(long, value_name = "NAME.key")]
    key: PathBuf,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    let key = key::read_private(&args.key)?;
    // What a link points at is replaced, not the link.
    let path = args
        .envelope
        .canonicalize()
        .map_err(|error| files::unreadable(&args.envelope, &error))?;
    let _lock = files::lock(files::directory(&path));
    let mut envelope = read_envelope(&args.envelope)?;
    let manifest = unverified_manifest(&args.envelope, &envelope)?;
    let public = key.public();
    if has_signed(&public, &envelope, &manifest) {
        output::talk(format!(
            "nothing to do: key {} has signed {} already",
            public.id(),
            args.envelope.display()
        ));
        return Ok(());
    }
    if let Err(error) = access(&path, AccessFlags::W_OK) {
        return Err(
            Failure::new(format!("{} is write-protected", args.envelope.display()))
                .because(&error)
                .hint("a signature is added in place: make the file writable, or sign a copy"),
        );
    }
    envelope.add_signature(public.id(), key.sign(&envelope.signed_bytes()));
    let bytes = envelope.encode();
    Envelope::parse(&bytes).map_err(|error| {
        Failure::new("with one more signature, nobody could read the envelope")
            .because(&error)
            .hint(format!(
                "an envelope holds at most {} signatures; pack the image again and let only its signers sign",
                LIMITS.signatures
            ))
    })?;
    output::talk(format!("signing with key {}:", public.id()));
    output::talk(describe(&manifest).trim_end());
    files::write(&path, &bytes, 0o644, Existing::Replace)?;
    let count = envelope.signatures().len();
    let plural = if count == 1 { "" } else { "s" };
    output::talk(format!(
        "signed: {} now holds {count} signature{plural}",
        args.envelope.display()
    ));
    Ok(())
}

/// Whether `key` has validly signed: asked of the one function that counts signatures, through a
/// policy of this key alone. The key ids in the envelope would not do; they are hints.
fn has_signed(key: &PublicKey, envelope: &Envelope, manifest: &Manifest) -> bool {
    let alone = || {
        let signer = Signer {
            name: "signer".parse().ok()?,
            key: *key,
        };
        let image = AcceptedImage {
            name: manifest.name.clone(),
            min_version: ImageVersion::FIRST,
        };
        TrustPolicy::new(vec![signer], 1, vec![image]).ok()
    };
    alone().is_some_and(|policy| !policy.tally(envelope).signers.is_empty())
}
