//! `sealboot image sign`.

use std::path::PathBuf;

use clap::Args;

use super::{compare, describe, join, place, read_envelope, unverified_manifest};
use crate::cli::files::{self, Existing};
use crate::cli::signer::Signer;
use crate::cli::{Failure, output, passphrase};
use crate::format::manifest::{ImageVersion, Manifest};
use crate::trust::detached::DetachedSignatures;
use crate::trust::envelope::EnvelopeSignature;
use crate::trust::policy::{AcceptedImage, Signer as PolicySigner};
use crate::trust::{Envelope, PublicKey, TrustPolicy};

/// Add a signature to an envelope, or write one that travels by itself.
///
/// Shows on stderr what is being signed, and what differs from the newest published version of the
/// image in the same store; on a terminal, it then asks. Read it: with your signature, machines that
/// trust your key may boot this image. The signature covers the manifest, and by its hashes every byte
/// of the archive; whether the archive is there and as described, `sealboot image verify` says.
///
/// Other signatures stay. Signing again with the same key changes nothing. The envelope may stand
/// anywhere: one that came by mail is signed as it is.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The key: a private key that its owner alone can read, or a public key whose private half an
    /// ssh-agent holds
    ///
    /// Private keys may be PKCS#8 PEM or OpenSSH's, encrypted or not; public ones SPKI PEM or OpenSSH's.
    /// The agent is found by SSH_AUTH_SOCK; gpg-agent and hardware tokens can be one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// Leave the envelope as it is and write the signature by itself, for `sealboot image merge`
    #[arg(long)]
    detached: bool,

    /// Where to write a detached signature, instead of standard output; a file that exists is not
    /// replaced
    #[arg(long, value_name = "FILE", requires = "detached")]
    out: Option<PathBuf>,

    /// Sign without asking, on a terminal too
    #[arg(long)]
    yes: bool,

    /// The envelope that `sealboot image pack` made
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
}

pub(super) fn run(args: &SignArgs) -> Result<(), Failure> {
    // What cannot work is found out before anybody is asked anything.
    let signer = Signer::of(&args.key)?;
    signer.check_askable(&args.passphrase)?;
    // What a link points at is replaced, not the link.
    let path = args
        .envelope
        .canonicalize()
        .map_err(|error| files::unreadable(&args.envelope, &error))?;
    let envelope = read_envelope(&args.envelope)?;
    let manifest = unverified_manifest(&args.envelope, &envelope)?;
    if let Some(public) = signer.public().filter(|_| !args.detached)
        && has_signed(&public, &envelope, &manifest)
    {
        return nothing_to_do(args, &public);
    }
    match &args.out {
        Some(out) if out.symlink_metadata().is_ok() => return Err(files::exists_already(out)),
        None if !args.detached => {
            join::check_writable(
                &args.envelope,
                &path,
                "a signature is added in place: make the file writable, sign a copy, or write the signature by itself with --detached",
            )?;
            join::check_room(&envelope, 1)?;
        }
        _ => {}
    }

    output::talk(format!("signing with {signer}:"));
    output::talk(describe(&manifest).trim_end());
    let place = place(&args.envelope);
    output::talk(compare::with_published(
        place.as_ref(),
        &envelope,
        &manifest,
    ));
    if !args.yes && passphrase::interactive() && !output::agreed("Sign this?")? {
        return Err(Failure::new("not signed").hint("nothing was changed"));
    }

    let mut signer = signer.unlock(&args.passphrase)?;
    let public = signer.public();
    if !args.detached && has_signed(&public, &envelope, &manifest) {
        return nothing_to_do(args, &public);
    }
    let signature = EnvelopeSignature {
        key_id: public.id().to_string(),
        bytes: signer.sign(&envelope.signed_bytes())?.to_vec(),
    };
    drop(signer);
    if args.detached {
        return write_detached(args, &envelope, signature);
    }
    // Others may have signed while this signer read.
    let count = join::into_file(&args.envelope, &path, &envelope, vec![signature])?;
    let plural = if count == 1 { "" } else { "s" };
    output::talk(format!(
        "signed: {} now holds {count} signature{plural}",
        args.envelope.display()
    ));
    Ok(())
}

fn nothing_to_do(args: &SignArgs, public: &PublicKey) -> Result<(), Failure> {
    output::talk(format!(
        "nothing to do: key {} has signed {} already",
        public.id(),
        args.envelope.display()
    ));
    Ok(())
}

fn write_detached(
    args: &SignArgs,
    envelope: &Envelope,
    signature: EnvelopeSignature,
) -> Result<(), Failure> {
    let bytes = DetachedSignatures::of(&envelope.with_only(signature)).encode();
    let Some(out) = &args.out else {
        output::talk("signed: the envelope is as it was; this is the signature");
        return output::data(&String::from_utf8_lossy(&bytes));
    };
    files::write(out, &bytes, 0o644, Existing::Keep)?;
    output::talk(format!(
        "signed: the envelope is as it was; join the signature to it with `sealboot image merge {} {}`",
        args.envelope.display(),
        out.display()
    ));
    output::data(&format!("{}\n", out.display()))
}

/// Whether `key` has validly signed: asked of the one function that counts signatures, through a
/// policy of this key alone. The key ids in the envelope would not do; they are hints.
fn has_signed(key: &PublicKey, envelope: &Envelope, manifest: &Manifest) -> bool {
    let alone = || {
        let signer = PolicySigner {
            name: "signer".parse().ok()?,
            key: *key,
        };
        let image = AcceptedImage::new(manifest.name.clone(), ImageVersion::FIRST);
        TrustPolicy::new(vec![signer], 1, vec![image]).ok()
    };
    alone().is_some_and(|policy| !policy.tally(envelope).signers.is_empty())
}
