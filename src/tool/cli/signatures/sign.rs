//! Adding one signature, after showing what it will be under.

use std::path::PathBuf;

use clap::Args;

use super::now_holds;
use crate::cli::support::signer::Signer;
use crate::cli::support::unknown::listed;
use crate::cli::support::{Failure, output, passphrase};
use sealboot_core::trust::PublicKey;
use sealboot_store::{EnvelopeFile, Signer as _};

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

    /// Sign without asking, on a terminal too
    #[arg(long)]
    yes: bool,

    /// Sign what has fields that this version of sealboot does not know
    #[arg(long)]
    unknown_fields: bool,
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
    ) -> Result<(), Failure> {
        let public = signer.public();
        if let Some(public) = public.filter(|key| file.is_signed_by(key)) {
            nothing_to_do(file, &public);
            return Ok(());
        }
        if !unknown.is_empty() && !self.unknown_fields {
            return Err(Failure::new(format!(
                "what is to be signed has {}, which this version of sealboot does not know",
                listed(unknown)
            ))
            .hint("sign with the version that wrote it; --unknown-fields signs it unseen"));
        }
        file.check_writable()?;
        file.check_room_for_one()?;

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
        if file.is_signed_by(&public) {
            nothing_to_do(file, &public);
            return Ok(());
        }
        let signed = file.sign(&mut signer)?;
        drop(signer);
        // Others may have signed while this signer read.
        let count = file.add(&[signed])?;
        output::talk(format!("signed: {}", now_holds(file, count)));
        Ok(())
    }
}

fn nothing_to_do(file: &EnvelopeFile, public: &PublicKey) {
    output::talk(format!(
        "nothing to do: key {} has signed {} already",
        public.id(),
        file.shown().display()
    ));
}
