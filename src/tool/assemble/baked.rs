//! What is baked into an initramfs, read back out of it.

use std::io::BufRead;

use super::initrd::{Archive, InitrdError, archives_with};
use sealboot_core::format::layout;
use sealboot_core::format::limits::LIMITS;

/// The files of an initramfs that decide what its machine trusts and reaches; `None` for what it does not have.
#[derive(Debug, Default)]
pub struct Baked {
    /// The trust policy.
    pub policy: Option<Vec<u8>>,
    /// The host config, plain or signed.
    pub host_config: Option<Vec<u8>>,
    /// The certificate authorities of the mirrors, in PEM.
    pub tls_roots: Option<Vec<u8>>,
}

impl Baked {
    /// Reads an initramfs; returns all of its archives too.
    ///
    /// # Errors
    ///
    /// As for [`archives`](super::initrd::archives).
    pub fn read(input: impl BufRead) -> Result<(Vec<Archive>, Self), InitrdError> {
        let wanted = [
            (layout::POLICY_FILE, LIMITS.policy_bytes),
            (layout::HOST_CONFIG_FILE, LIMITS.host_config_bytes),
            (layout::TLS_ROOTS_FILE, LIMITS.tls_roots_bytes),
        ];
        let (archives, mut contents) = archives_with(input, &wanted)?;
        let baked = Self {
            policy: contents.remove(layout::POLICY_FILE),
            host_config: contents.remove(layout::HOST_CONFIG_FILE),
            tls_roots: contents.remove(layout::TLS_ROOTS_FILE),
        };
        Ok((archives, baked))
    }
}
