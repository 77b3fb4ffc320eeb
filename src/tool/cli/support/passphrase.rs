//! Passphrases: asked for on the terminal without echo, or read from a descriptor. Never from the command
//! line or the environment, which other processes can read.

use std::io::{IsTerminal as _, Read as _};
use std::os::fd::RawFd;
use std::path::Path;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use zeroize::Zeroizing;

use super::{Failure, output, secrecy};
use crate::keys::locked::{LockedKey, UnlockError};
use crate::keys::pem::PrivateKey;

/// Where a passphrase comes from.
#[derive(Debug, Args)]
pub(in crate::cli) struct Source {
    /// Read the passphrase of an encrypted key from this open file descriptor
    ///
    /// One line, as in `--passphrase-fd 3 3< <(pass show sealboot)`. Without it, the passphrase is
    /// asked for on the terminal.
    #[arg(long = "passphrase-fd", value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    fd: Option<RawFd>,
}

/// As many as `sudo` and `ssh` give: mistyping is common, and guessing is slow anyway.
const TRIES: u32 = 3;

/// Longer ones come of a wrong descriptor.
const LONGEST: u64 = 1024;

/// Whether somebody sits before this process, who sees what it says and can answer.
pub(in crate::cli) fn interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

impl Source {
    /// Whether the command line names one.
    pub(in crate::cli) const fn is_given(&self) -> bool {
        self.fd.is_some()
    }

    /// Fails where nobody can be asked for the passphrase of the key at `path`.
    pub(in crate::cli) fn check_askable(&self, path: &Path) -> Result<(), Failure> {
        if self.fd.is_some() || interactive() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} is encrypted, and there is no terminal to ask for its passphrase on",
            path.display()
        ))
        .hint("run this on a terminal, hand the passphrase over with --passphrase-fd N, or add the key to an ssh-agent and give its public key"))
    }

    /// Unlocks the key of the file at `path`.
    pub(in crate::cli) fn unlock(
        &self,
        path: &Path,
        key: &LockedKey,
    ) -> Result<PrivateKey, Failure> {
        secrecy::protect()?;
        self.check_askable(path)?;
        let path = path.display();
        if let Some(fd) = self.fd {
            return key
                .unlock(read(fd)?.as_bytes())
                .map_err(|error| locked(&path, &error));
        }
        let mut tried = 0;
        loop {
            tried += 1;
            match key.unlock(ask(&format!("Passphrase of {path}: "))?.as_bytes()) {
                Err(UnlockError::WrongPassphrase) if tried < TRIES => {
                    output::talk("that is not its passphrase; try again");
                }
                result => return result.map_err(|error| locked(&path, &error)),
            }
        }
    }

    /// The passphrase of a key that is about to be made.
    pub(in crate::cli) fn of_new_key(&self, path: &Path) -> Result<Zeroizing<String>, Failure> {
        secrecy::protect()?;
        let passphrase = match self.fd {
            Some(fd) => read(fd)?,
            None if interactive() => {
                let first = ask(&format!("New passphrase of {}: ", path.display()))?;
                if *first != *ask("The same again: ")? {
                    return Err(Failure::new("the two passphrases differ")
                        .hint("nothing was made; try again"));
                }
                first
            }
            None => {
                return Err(Failure::new(
                    "there is no terminal to ask for the new key's passphrase on",
                )
                .hint(
                    "run this on a terminal, or hand the passphrase over with --passphrase-fd N",
                ));
            }
        };
        if passphrase.is_empty() {
            return Err(
                Failure::new("the passphrase is empty").hint("choose one, or leave --encrypt away")
            );
        }
        Ok(passphrase)
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    // At ^C, rpassword raises SIGINT before it lets the terminal echo again. Held back until it has
    // returned, the signal ends this process on a terminal that is as it was.
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        Failure::new("cannot read a passphrase from the terminal").because(error)
    };
    interrupt.thread_block().map_err(|error| unusable(&error))?;
    let answer = rpassword::prompt_password(prompt).map(Zeroizing::new);
    interrupt
        .thread_unblock()
        .map_err(|error| unusable(&error))?;
    answer.map_err(|error| unusable(&error))
}

/// The first line of what stands under `fd`.
fn read(fd: RawFd) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |error: &std::io::Error| {
        Failure::new(format!("cannot read a passphrase from descriptor {fd}"))
            .because(error)
            .hint("open it for this command, as in `--passphrase-fd 3 3< FILE`")
    };
    // Room for all from the start: what grows leaves copies of the secret behind.
    let room = usize::try_from(LONGEST).map_or(0, |longest| longest + 64);
    let mut text = Zeroizing::new(String::with_capacity(room));
    sealboot_sys::fd::duplicate(fd)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(&error))?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::new(format!(
            "descriptor {fd} holds more than a passphrase of {LONGEST} bytes"
        ))
        .hint("open it for this command, as in `--passphrase-fd 3 3< FILE`"));
    }
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}

fn locked(path: &impl std::fmt::Display, error: &UnlockError) -> Failure {
    let failure = Failure::new(format!("cannot unlock {path}")).because(error);
    match error {
        UnlockError::WrongPassphrase => {
            failure.hint("nothing was signed; look the passphrase up and run the command again")
        }
        UnlockError::Unsupported(_) => failure.hint(
            "encrypt it anew: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW`, or `ssh-keygen -p -f FILE`",
        ),
        UnlockError::Key(_) => failure.hint(super::key_file::OTHER_KIND_HINT),
    }
}
