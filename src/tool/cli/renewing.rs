//! What every command needs that signs freshness statements.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::SignedDuration;

use super::support::signer::Signer;
use super::support::{Failure, passphrase, time};
use sealboot_store::error::StateError;
use sealboot_store::files::quoted;
use sealboot_store::{Renewal, Renewer, Start, Store, StoreError};

/// The options of a renewer, beside its keys: the argument `keys` of each command.
#[derive(Debug, Args)]
pub(super) struct Renewing {
    /// The renewer's state: a file outside the store in which it remembers what it has signed
    ///
    /// What is in a store can be put back by an attacker who writes to it, so a renewer does not rely on it: it
    /// signs nothing that is older than what this file says. Each command that signs for the same store takes the same
    /// file, one after the other. Only its owner may read it. One renewer signs for an image; another machine
    /// takes over with a copy of the file.
    #[arg(long, value_name = "FILE", requires = "keys")]
    state: Option<PathBuf>,

    /// Create the state from what the store says, which is shown: for the first run alone
    #[arg(long, requires = "state")]
    init: bool,

    #[command(flatten)]
    passphrase: passphrase::Source,

    /// For how long statements are valid, such as 24h [default: 24h, or the policy's max_hours if that is
    /// less]
    #[arg(long, value_name = "SPAN", value_parser = time::span, requires = "keys")]
    valid_for: Option<SignedDuration>,
}

impl Renewing {
    /// Reads and unlocks the keys, and checks that the policy accepts their statements.
    pub(super) fn renewer(
        &self,
        keys: &[PathBuf],
        policy: &Path,
        store: &Store,
    ) -> Result<Renewer, Failure> {
        let Some(state) = &self.state else {
            return Err(Failure::usage(
                "--state FILE is missing: without it, an attacker who writes to the store can have old releases signed again",
            )
            .hint(format!(
                "name a file outside the store; the first time, run `{} --state renewer.json --init`",
                command_line()
            )));
        };
        let signers: Vec<Signer> = keys
            .iter()
            .map(|key| Signer::of(key))
            .collect::<Result<_, _>>()?;
        for signer in &signers {
            signer.check_askable(&self.passphrase)?;
        }
        let unlock = |signer: Signer| -> Result<Box<dyn sealboot_store::Signer>, Failure> {
            Ok(Box::new(signer.unlock(&self.passphrase)?))
        };
        let signers = signers.into_iter().map(unlock).collect::<Result<_, _>>()?;
        let renewal = Renewal::new(signers, self.valid_for);
        let start = if self.init {
            Start::Init
        } else {
            Start::Existing
        };
        Ok(Renewer::new(renewal, policy, store.clone(), state, start)?)
    }
}

/// Explains why a renewer cannot begin; where it has no state, by the command that creates it.
pub(super) fn explained(error: StoreError) -> Failure {
    let is_missing = matches!(&error, StoreError::State(StateError::Missing { .. }));
    let failure = Failure::from(error);
    if !is_missing {
        return failure;
    }
    failure.hint(format!(
        "if this renewer had a state, bring it back; if it is new, run `{} --init` once, which takes what the store says",
        command_line()
    ))
}

/// Returns the command line of this process, as one would type it.
fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| as_typed(&word)).collect();
    format!("sealboot {}", words.join(" "))
}

fn as_typed(word: &std::ffi::OsStr) -> String {
    // `quoted` makes a path of what looks like an option.
    match word.to_str() {
        Some(option) if option.starts_with('-') => option.to_owned(),
        _ => quoted(Path::new(word)),
    }
}
