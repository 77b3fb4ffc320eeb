//! A running ssh-agent, and whatever speaks its protocol: gpg-agent, and agents of hardware tokens.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use crate::keys::ssh_agent::{self, AnswerError, MESSAGE_BYTES};
use sealboot_core::trust::{KeyId, PublicKey};
use sealboot_store::SignError;

/// An agent that says it holds a key.
#[derive(Debug)]
pub(in crate::cli) struct Agent {
    stream: UnixStream,
    socket: PathBuf,
    key: PublicKey,
}

/// Listing keys needs nobody; gpg-agent may have to wake a card reader first.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// Signing may need a PIN to be typed, or a token to be found and touched.
const SIGN_LIMIT: Duration = Duration::from_secs(300);

impl Agent {
    /// Finds the agent at `SSH_AUTH_SOCK`, and asks it for the key that `file` holds the public half of.
    pub(in crate::cli) fn holding(key: PublicKey, file: &Path) -> Result<Self, Failure> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let socket = PathBuf::from(socket.ok_or_else(|| no_agent(file))?);
        let mut stream = UnixStream::connect(&socket).map_err(|error| {
            Failure::new(format!("no ssh-agent answers at {}", socket.display()))
                .because(&error)
                .hint("start one, or correct SSH_AUTH_SOCK, which says where it is")
        })?;
        let answer = ask(&mut stream, &ssh_agent::identities_request(), LIST_LIMIT)
            .map_err(gone(&socket))
            .map_err(|error| {
                let hint = "does it still run? `ssh-add -L` asks it for its keys";
                Failure::from_error(&error, Some(hint.to_owned()))
            })?;
        let held = ssh_agent::holds(&answer, &key)
            .map_err(confused(&socket))
            .map_err(|error| Failure::from_error(&error, Some(NOT_AN_AGENT.to_owned())))?;
        if !held {
            return Err(Failure::new(format!(
                "the ssh-agent does not hold key {} of {}",
                key.id(),
                file.display()
            ))
            .hint(
                "add the private key with `ssh-add FILE`; `ssh-add -L` lists what the agent holds",
            ));
        }
        Ok(Self {
            stream,
            socket,
            key,
        })
    }

    /// The key that the agent holds.
    pub(in crate::cli) const fn public(&self) -> PublicKey {
        self.key
    }

    /// Has the agent sign. What it answers is a signature of the key, or an error.
    pub(in crate::cli) fn sign(&mut self, bytes: &[u8]) -> Result<[u8; 64], SignError> {
        self.signature(bytes).map_err(|error| {
            let hint = match &error {
                AgentError::TooLong { .. } => "sign with a key file".to_owned(),
                AgentError::Gone { .. } => "does it still run?".to_owned(),
                AgentError::Declined { .. } => "was the token taken out, the confirmation declined, or the agent locked?".to_owned(),
                AgentError::Confused { .. } => NOT_AN_AGENT.to_owned(),
                AgentError::OtherKey { .. } => "it was not added; remove the key from the agent, add it again, and do not trust an agent that you did not start".to_owned(),
            };
            SignError::new(error, Some(hint))
        })
    }

    fn signature(&mut self, bytes: &[u8]) -> Result<[u8; 64], AgentError> {
        let key = self.key.id();
        let request = ssh_agent::sign_request(&self.key, bytes)
            .ok_or(AgentError::TooLong { bytes: bytes.len() })?;
        let answer = ask(&mut self.stream, &request, SIGN_LIMIT).map_err(gone(&self.socket))?;
        let signature = ssh_agent::signature(&answer).map_err(|error| match error {
            AnswerError::No => AgentError::Declined { key },
            error => confused(&self.socket)(error),
        })?;
        // A card that was swapped, an agent that is broken or hostile: found out here, not by a fleet.
        if !self.key.has_signed(bytes, &signature) {
            return Err(AgentError::OtherKey { key });
        }
        Ok(signature)
    }
}

/// Why an agent did not sign, or did not say what it holds.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("{bytes} bytes are to be signed; an ssh-agent takes {} KiB", MESSAGE_BYTES >> 10)]
    TooLong { bytes: usize },
    #[error("the ssh-agent at {} gave no answer", socket.display())]
    Gone { socket: PathBuf, source: io::Error },
    #[error("the ssh-agent refused to sign with key {key}")]
    Declined { key: KeyId },
    #[error("what answers at {} does not speak as an ssh-agent does", socket.display())]
    Confused {
        socket: PathBuf,
        source: AnswerError,
    },
    #[error("the ssh-agent's signature is not one by key {key}")]
    OtherKey { key: KeyId },
}

const NOT_AN_AGENT: &str = "SSH_AUTH_SOCK must name the socket of an ssh-agent";

/// Sends a message and reads the answer, without its length, in this time at most between two bytes.
fn ask(stream: &mut UnixStream, message: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    exchange(stream, message, limit).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it said nothing for {} seconds", limit.as_secs()),
        ),
        _ => error,
    })
}

fn exchange(stream: &mut UnixStream, message: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(LIST_LIMIT))?;
    stream.write_all(message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if usize::try_from(length).map_or(true, |length| length > MESSAGE_BYTES) {
        return Err(io::Error::other(format!(
            "its answer claims {length} bytes"
        )));
    }
    let mut answer = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut answer)?;
    if answer.len() as u64 == u64::from(length) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn no_agent(file: &Path) -> Failure {
    Failure::new(format!(
        "{} is a public key, and there is no ssh-agent to sign with it",
        file.display()
    ))
    .hint("give the private key, or start an ssh-agent and add the key with `ssh-add`: SSH_AUTH_SOCK is not set")
}

fn gone(socket: &Path) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError::Gone {
        socket: socket.to_owned(),
        source,
    }
}

fn confused(socket: &Path) -> impl FnOnce(AnswerError) -> AgentError {
    move |source| AgentError::Confused {
        socket: socket.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_stays_silent_is_not_waited_for_for_ever() {
        let (mut own, _silent) = UnixStream::pair().unwrap();
        let error = ask(&mut own, b"request", Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "it said nothing for 0 seconds");
    }
}
