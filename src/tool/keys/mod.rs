//! The keys of signers: their files, and the messages by which an ssh-agent signs. Pure.
//!
//! | module | holds |
//! |---|---|
//! | [`pem`] | ed25519 keys as PKCS#8 and SPKI PEM |
//! | [`openssh`] | ed25519 keys as OpenSSH writes them |
//! | [`locked`] | private keys that a passphrase protects, PKCS#8 and OpenSSH |
//! | [`ssh_agent`] | the messages by which an ssh-agent signs |
//! | [`ssh`] | what the last three share |

pub mod locked;
pub mod openssh;
pub mod pem;
pub mod ssh;
pub mod ssh_agent;
