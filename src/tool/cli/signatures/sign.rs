//! Adding one signature, after showing what it will be under.

use std::path::PathBuf;

use clap::Args;

use super::now_holds;
use crate::cli::support::signer::Signer;
use crate::cli::support::unknown::listed;
use crate::cli::support::{Failure, output, passphrase};
use sealboot_core::trust::PublicKey;
use sealboot_core::trust::detached::DetachedSignatures;
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_store::envelope_file::{Adding, EnvelopeFile};
use sealboot_store::files::{self, Existing, quoted};
use sealboot_store::{Signer as _, StoreError};

/// How to sign.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The key: a private key that its owner alone can read, or a public key whose private half an
    /// ssh-agent holds
    ///
    /// Private keys may be PKCS#8 PEM or OpenSSH's, encrypted or not; public ones SPKI PEM or OpenSSH's.
    /// The agent is found by SSH_AUTH_SOCK; gpg-agent and hardware tokens can be one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// Leave the envelope as it is and write the signature by itself, for `merge`
    #[arg(long)]
    detached: bool,

    /// Where to write a detached signature, instead of standard output; a file that exists is not
    /// replaced
    #[arg(long, value_name = "FILE", requires = "detached")]
    out: Option<PathBuf>,

    /// Sign without asking, on a terminal too
    #[arg(long)]
    yes: bool,

    /// Sign what has fields that this version of sealboot does not know
    #[arg(long)]
    unknown_fields: bool,
}

/// What became of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// It holds one signature more.
    Added,
    /// It held that signature already.
    AlreadyThere,
    /// It is as it was; the signature is elsewhere.
    Detached,
}

impl Options {
    /// The signer. What cannot work is found out before anybody is asked anything.
    pub(in crate::cli) fn signer(&self) -> Result<Signer, Failure> {
        let signer = Signer::of(&self.key)?;
        signer.check_askable(&self.passphrase)?;
        Ok(signer)
    }

    /// Signs what is in `file`. `show` says on stderr what that is, and is called with the signer's key,
    /// where it is known by then; `unknown` are the paths of the fields that it cannot show.
    pub(in crate::cli) fn sign(
        &self,
        signer: Signer,
        file: &EnvelopeFile,
        unknown: &[String],
        show: impl FnOnce(Option<&PublicKey>),
    ) -> Result<Outcome, Failure> {
        let public = signer.public();
        if let Some(public) = public.filter(|key| !self.detached && file.is_signed_by(key)) {
            return Ok(nothing_to_do(file, &public));
        }
        if !unknown.is_empty() && !self.unknown_fields {
            return Err(Failure::new(format!(
                "what is to be signed has {}, which this version of sealboot does not know",
                listed(unknown)
            ))
            .hint("sign with the version that wrote it; --unknown-fields signs it unseen"));
        }
        match &self.out {
            Some(out) if out.symlink_metadata().is_ok() => {
                let path = out.clone();
                return Err(StoreError::Exists { path }.into());
            }
            None if !self.detached => {
                file.check_writable(Adding::Own)?;
                file.check_room_for_one()?;
            }
            _ => {}
        }

        output::talk(format!("signing with {signer}:"));
        show(public.as_ref());
        if !unknown.is_empty() {
            output::warn(format!(
                "the signature also covers {}, which this version of sealboot does not know",
                listed(unknown)
            ));
        }
        if !self.yes && passphrase::interactive() && !output::agreed("Sign this?")? {
            return Err(Failure::new("not signed").hint("nothing was changed"));
        }

        let mut signer = signer.unlock(&self.passphrase)?;
        let public = signer.public();
        if !self.detached && file.is_signed_by(&public) {
            return Ok(nothing_to_do(file, &public));
        }
        let signature = file.sign(&mut signer)?;
        drop(signer);
        if self.detached {
            self.write_detached(file, signature)?;
            return Ok(Outcome::Detached);
        }
        // Others may have signed while this signer read.
        let count = file.add(vec![signature])?;
        output::talk(format!("signed: {}", now_holds(file, count)));
        Ok(Outcome::Added)
    }

    fn write_detached(
        &self,
        file: &EnvelopeFile,
        signature: EnvelopeSignature,
    ) -> Result<(), Failure> {
        let alone = file.envelope().with_only(signature);
        let bytes = DetachedSignatures::of(&alone).encode();
        let Some(out) = &self.out else {
            output::talk("signed: the envelope is as it was; this is the signature");
            return output::data(&String::from_utf8_lossy(&bytes));
        };
        files::write(out, &bytes, 0o644, Existing::Keep)?;
        output::talk(format!(
            "signed: the envelope is as it was; join the signature to it with `sealboot {} merge {} {}`",
            file.kind().command(),
            quoted(file.typed()),
            quoted(out)
        ));
        output::data(&format!("{}\n", out.display()))
    }
}

fn nothing_to_do(file: &EnvelopeFile, public: &PublicKey) -> Outcome {
    output::talk(format!(
        "nothing to do: key {} has signed {} already",
        public.id(),
        file.shown().display()
    ));
    Outcome::AlreadyThere
}
