//! What the commands share: failures and their printing, files, keys, passphrases, and words for times.

pub(super) mod failure;
pub(super) mod key_file;
pub(super) mod mirror_key;
pub(super) mod near;
pub(super) mod output;
pub(super) mod passphrase;
pub(super) mod secrecy;
pub(super) mod signals;
pub(super) mod signer;
pub(super) mod ssh_agent;
pub(super) mod time;
pub(super) mod unknown;

pub(super) use failure::Failure;
