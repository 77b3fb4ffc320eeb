//! Adding one signature, or printing what another program is to sign, after showing what it will be under.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::now_holds;
use crate::cli::support::signer::Signer;
use crate::cli::support::unknown::listed;
use crate::cli::support::{Failure, output, passphrase};
use sealboot_core::trust::PublicKey;
use sealboot_store::{EnvelopeFile, Signer as _};

/// How to sign.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("how").required(true)))]
pub(in crate::cli) struct Options {
    /// The key: a private key that its owner alone can read, or a public key whose private half an
    /// ssh-agent holds
    ///
    /// Private keys may be PKCS#8 PEM or OpenSSH's, encrypted or not; public ones SPKI PEM or OpenSSH's.
    /// The agent is found by SSH_AUTH_SOCK; gpg-agent and hardware tokens can be one.
    #[arg(long, value_name = "FILE", group = "how")]
    key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// Sign nothing, and write the bytes that a signature covers to standard output
    ///
    /// For a key in a KMS or an HSM: it signs exactly these bytes, and `sealboot signature attach` adds the
    /// signature to the envelope. What is to be signed is shown and checked as for signing.
    #[arg(long, group = "how", conflicts_with = "fd")]
    print_signed_bytes: bool,

    /// Sign, or print, without asking, on a terminal too
    #[arg(long)]
    yes: bool,

    /// Sign what has fields that this version of sealboot does not know
    #[arg(long)]
    unknown_fields: bool,
}

/// What a signing command has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// The envelope holds the signature.
    Signed,
    /// The bytes to sign are on standard output, and the envelope is in its file.
    Printed,
}

impl Options {
    /// Returns the signer; `None` where the bytes to sign are to be printed.
    ///
    /// Fails on what cannot work before the tool asks anything.
    pub(in crate::cli) fn signer(&self) -> Result<Option<Signer>, Failure> {
        if self.print_signed_bytes && std::io::stdout().is_terminal() {
            return Err(Failure::new(
                "the bytes to sign are not for a terminal: standard output is one",
            )
            .hint("write them to a file: `--print-signed-bytes … > FILE`"));
        }
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let signer = Signer::of(key)?;
        signer.check_askable(&self.passphrase)?;
        Ok(Some(signer))
    }

    /// Signs what is in `file`, or prints the bytes to sign. `show` says on stderr what that is, and is called with
    /// the signer's key, where it is known by then; `unknown` are the paths of the fields that it cannot show.
    pub(in crate::cli) fn sign(
        &self,
        signer: Option<Signer>,
        file: &EnvelopeFile,
        unknown: &[String],
        show: impl FnOnce(Option<&PublicKey>),
    ) -> Result<Outcome, Failure> {
        let public = signer.as_ref().and_then(Signer::public);
        if let Some(public) = public.filter(|key| file.is_signed_by(key)) {
            nothing_to_do(file, &public);
            return Ok(Outcome::Signed);
        }
        if !unknown.is_empty() && !self.unknown_fields {
            return Err(Failure::new(format!(
                "what is to be signed has {}, which this version of sealboot does not know",
                listed(unknown)
            ))
            .hint("sign with the version that wrote it; --unknown-fields signs it unseen"));
        }
        if signer.is_some() {
            file.check_writable()?;
        }
        file.check_room_for_one()?;

        match &signer {
            Some(signer) => output::talk(format!("signing with {signer}:")),
            None => output::talk("a signature over the printed bytes signs this:"),
        }
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

        let Some(signer) = signer else {
            return print(file);
        };
        let mut signer = signer.unlock(&self.passphrase)?;
        let public = signer.public();
        if file.is_signed_by(&public) {
            nothing_to_do(file, &public);
            return Ok(Outcome::Signed);
        }
        let signed = file.sign(&mut signer)?;
        drop(signer);
        // Others may have signed while this signer read.
        let count = file.add(&[signed])?;
        output::talk(format!("signed: {}", now_holds(file, count)));
        Ok(Outcome::Signed)
    }
}

/// Prints the bytes that a signature covers. The envelope is in its file by then, so that the signature can be attached.
fn print(file: &EnvelopeFile) -> Result<Outcome, Failure> {
    file.create()?;
    let bytes = file.envelope().signed_bytes();
    output::bytes(&bytes)?;
    output::talk(format!(
        "not signed: {} bytes to sign; add their signature with `sealboot signature attach --key PUBLIC-KEY --sig FILE {}`",
        bytes.len(),
        file.shown().display()
    ));
    Ok(Outcome::Printed)
}

pub(super) fn nothing_to_do(file: &EnvelopeFile, public: &PublicKey) {
    output::talk(format!(
        "nothing to do: key {} has signed {} already",
        public.id(),
        file.shown().display()
    ));
}
