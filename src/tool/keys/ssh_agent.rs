//! The messages by which an ssh-agent signs (draft-ietf-sshm-ssh-agent): two requests, three answers.
//!
//! A message is its length in four bytes, big-endian, then its number, then its fields; a string is its
//! length in four bytes, then its bytes. ed25519 signs the request's bytes as they are (RFC 8709,
//! section 6), so an agent's signature is what a key file would have made.

use super::ssh::{ED25519, key_blob, put_string};
use sealboot_core::format::key::PublicKey;

/// The longest message that OpenSSH's agent takes (`AGENT_MAX_LEN`), and the longest answer that is read
/// here: without a bound, four bytes could ask for 4 GiB.
pub const MESSAGE_BYTES: usize = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// An answer that is no answer to the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The agent said no, which it does without a reason.
    #[error("the agent said no")]
    No,
    /// A message of another number.
    #[error("the answer is message {found}, not {expected}")]
    Number {
        /// The number that it has.
        found: u8,
        /// The number that it should have.
        expected: u8,
    },
    /// Fields that do not fit into the message, or that go on after its end.
    #[error("the answer ends before, or goes on after, what it says it holds")]
    Length,
    /// A signature of another kind than was asked for.
    #[error("the answer is no ed25519 signature")]
    Signature,
}

/// Asks which keys the agent holds.
#[must_use]
pub fn identities_request() -> Vec<u8> {
    message(&[REQUEST_IDENTITIES])
}

/// Asks for a signature over `bytes`, or `None` where the agent could not take so many.
#[must_use]
pub fn sign_request(key: &PublicKey, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![SIGN_REQUEST];
    put_string(&mut body, &key_blob(key));
    put_string(&mut body, bytes);
    // Flags: they choose between hashes of RSA.
    body.extend(0_u32.to_be_bytes());
    (body.len() <= MESSAGE_BYTES).then(|| message(&body))
}

/// Whether the agent holds `key`; `answer` is the message without its length.
///
/// # Errors
///
/// See [`AnswerError`].
pub fn holds(answer: &[u8], key: &PublicKey) -> Result<bool, AnswerError> {
    let mut fields = fields(answer, IDENTITIES_ANSWER)?;
    let count = fields.number()?;
    let wanted = key_blob(key);
    let mut found = false;
    // Every round takes eight bytes of a bounded message, whatever `count` says.
    for _ in 0..count {
        found |= fields.string()? == wanted;
        let _comment = fields.string()?;
    }
    fields.end()?;
    Ok(found)
}

/// The signature in an answer; `answer` is the message without its length.
///
/// # Errors
///
/// See [`AnswerError`]. Whether the signature is one over the request's bytes, a caller has to check.
pub fn signature(answer: &[u8]) -> Result<[u8; 64], AnswerError> {
    let mut fields = fields(answer, SIGN_RESPONSE)?;
    let mut signature = Fields(fields.string()?);
    fields.end()?;
    let kind = signature.string()?;
    let bytes = signature.string()?;
    signature.end()?;
    if kind != ED25519.as_bytes() {
        return Err(AnswerError::Signature);
    }
    bytes.try_into().map_err(|_| AnswerError::Signature)
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(4 + body.len());
    put_string(&mut message, body);
    message
}

fn fields(answer: &[u8], expected: u8) -> Result<Fields<'_>, AnswerError> {
    match answer.split_first() {
        Some((&number, fields)) if number == expected => Ok(Fields(fields)),
        Some((&FAILURE, _)) => Err(AnswerError::No),
        Some((&found, _)) => Err(AnswerError::Number { found, expected }),
        None => Err(AnswerError::Length),
    }
}

/// What of a message has not been read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u32, AnswerError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(AnswerError::Length)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Result<&'a [u8], AnswerError> {
        let length = usize::try_from(self.number()?).map_err(|_| AnswerError::Length)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(AnswerError::Length)?;
        self.0 = rest;
        Ok(string)
    }

    fn end(&self) -> Result<(), AnswerError> {
        self.0.is_empty().then_some(()).ok_or(AnswerError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
            .parse()
            .unwrap()
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut string = Vec::new();
        put_string(&mut string, bytes);
        string
    }

    fn answer(kind: &str, signature: &[u8]) -> Vec<u8> {
        let inner = [string(kind.as_bytes()), string(signature)].concat();
        [vec![SIGN_RESPONSE], string(&inner)].concat()
    }

    #[test]
    fn a_request_is_what_the_draft_says() {
        let request = sign_request(&key(), b"hello").unwrap();
        assert_eq!(request[..4], 69_u32.to_be_bytes());
        assert_eq!(request[4], 13);
        assert_eq!(request[5..60], string(&key_blob(&key())));
        assert_eq!(
            request[60..],
            [0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o', 0, 0, 0, 0]
        );
        assert_eq!(identities_request(), [0, 0, 0, 1, 11]);
    }

    #[test]
    fn a_request_that_no_agent_takes_is_not_made() {
        let room = MESSAGE_BYTES - 1 - 55 - 4 - 4;
        assert!(sign_request(&key(), &vec![0; room]).is_some());
        assert!(sign_request(&key(), &vec![0; room + 1]).is_none());
    }

    #[test]
    fn a_signature_is_read() {
        assert_eq!(signature(&answer(ED25519, &[7; 64])), Ok([7; 64]));
    }

    #[test]
    fn an_answer_that_is_no_signature_is_refused() {
        let good = answer(ED25519, &[7; 64]);
        for (bad, expected) in [
            (vec![FAILURE], AnswerError::No),
            (vec![], AnswerError::Length),
            (
                vec![6],
                AnswerError::Number {
                    found: 6,
                    expected: 14,
                },
            ),
            (answer("ssh-rsa", &[7; 64]), AnswerError::Signature),
            (answer(ED25519, &[7; 63]), AnswerError::Signature),
            (answer(ED25519, &[7; 65]), AnswerError::Signature),
            ([good.clone(), vec![0]].concat(), AnswerError::Length),
            // What FIDO keys answer with: flags and a counter after the signature.
            (
                [
                    vec![SIGN_RESPONSE],
                    string(
                        &[
                            string(ED25519.as_bytes()),
                            string(&[7; 64]),
                            vec![1, 0, 0, 0, 9],
                        ]
                        .concat(),
                    ),
                ]
                .concat(),
                AnswerError::Length,
            ),
        ] {
            assert_eq!(signature(&bad), Err(expected), "{bad:?}");
        }
        for cut in 0..good.len() {
            assert!(signature(&good[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_key_is_found_among_others() {
        let entry = |blob: &[u8]| [string(blob), string(b"a comment")].concat();
        let listing = |count: u32, entries: &[Vec<u8>]| {
            [
                vec![IDENTITIES_ANSWER],
                count.to_be_bytes().to_vec(),
                entries.concat(),
            ]
            .concat()
        };
        let (own, other) = (entry(&key_blob(&key())), entry(b"something else"));
        let both = [other.clone(), own.clone()];
        assert_eq!(holds(&listing(2, &both), &key()), Ok(true));
        assert_eq!(holds(&listing(1, &[other]), &key()), Ok(false));
        assert_eq!(holds(&listing(0, &[]), &key()), Ok(false));
        for bad in [
            listing(1, &both),
            listing(3, &both),
            listing(u32::MAX, &both),
            listing(1, &[vec![0xff; 8]]),
        ] {
            assert_eq!(holds(&bad, &key()), Err(AnswerError::Length));
        }
    }
}
