//! How much of anything from outside is read before it is refused.
//!
//! One struct, so that one page shows every bound. Where the signed manifest states a size, that size
//! is the bound and these only cap it.

/// The bounds on outside bytes. Each field says what it stops.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a stored envelope. Room for a payload and 32 signatures of post-quantum keys.
    pub envelope_bytes: u64,
    /// Bytes of a channel file. Stops a mirror that answers a request with an endless body.
    pub channel_bytes: u64,
    /// Signatures in one envelope; see `verifications`.
    pub signatures: usize,
    /// Bytes of a key id. It is a hint that is printed, and must not flood a console.
    pub key_id_bytes: usize,
    /// Bytes of one signature. Room for those of post-quantum keys.
    pub signature_bytes: usize,
    /// Bytes of a manifest or a freshness statement.
    pub payload_bytes: u64,
    /// Bytes of a trust policy. Stops a mistake, such as an image given for a policy.
    pub policy_bytes: u64,
    /// Bytes of an envelope that holds a trust policy: the policy in base64, and its signatures.
    pub policy_envelope_bytes: u64,
    /// Keys in a trust policy; see `verifications`.
    pub policy_keys: usize,
    /// Bytes of a key in a trust policy, with its type. Room for post-quantum keys.
    pub policy_key_bytes: usize,
    /// Groups of keys in a role.
    pub policy_groups: usize,
    /// Denied versions of an image in a trust policy.
    pub policy_denied_versions: usize,
    /// Denied digests in a trust policy.
    pub policy_denied_digests: usize,
    /// Signatures that are verified for one file. Stops a file of junk signatures that keeps a machine busy: each
    /// may have to be tried with every key.
    pub verifications: usize,
    /// Policies that are walked from the baked-in one. Stops a chain that keeps a boot busy for ever;
    /// a fleet that has had more should have newer initramfs.
    pub policy_chain: usize,
    /// Image names in a trust policy.
    pub policy_images: usize,
    /// Bytes of a host config.
    pub host_config_bytes: u64,
    /// Bytes of an EFI variable's value. Firmware takes less, most of it 32 KiB.
    pub efi_variable_bytes: u64,
    /// Bytes of an SMBIOS table. One of SMBIOS 2 has 64 KiB at most, those of large servers are 30 KiB; what is
    /// behind this is cut.
    pub smbios_bytes: u64,
    /// Machines in a host config.
    pub machines: usize,
    /// Mirrors in a host config.
    pub mirrors: usize,
    /// Keys of mirrors in a host config.
    pub mirror_keys: usize,
    /// Bytes of the baked-in TLS roots: about 400 certificate authorities.
    pub tls_roots_bytes: u64,
    /// Bytes of a PEM key file.
    pub key_file_bytes: u64,
    /// Bytes of a kernel command line without its NUL: x86 and arm64 kernels take 2048 with it
    /// (`COMMAND_LINE_SIZE`), and kexec_file_load refuses more.
    pub cmdline_bytes: usize,
    /// Bytes of an archive as stored. Caps what a signer's mistake can ask of memory.
    pub archive_bytes: u64,
    /// The smallest chunk: below it, the hashes outweigh what they protect.
    pub chunk_size_min: u64,
    /// The largest chunk: one is held in memory while it is checked.
    pub chunk_size_max: u64,
    /// The window that a zstd archive may ask for. Stops a frame that makes a decoder hold gigabytes: it
    /// holds as much of what it has unpacked, beside the chunks that are on their way. 4 MiB are what zstd's level 12
    /// takes, by which `image pack` compresses.
    pub zstd_window: u64,
    /// Interfaces, bonds, VLANs, routes, addresses and name servers of a host config, each. A machine has one or
    /// two; each interface costs a task while the machine connects.
    pub network_items: usize,
    /// Members of an archive.
    pub archive_members: usize,
    /// Releases in a channel, and in a freshness statement.
    pub current_releases: usize,
    /// Freshness statements in a channel.
    pub channel_statements: usize,
    /// Withdrawn versions in a freshness statement.
    pub withdrawn_versions: usize,
    /// Attachments of an image.
    pub attachments: usize,
    /// Bytes of an attachment.
    pub attachment_bytes: u64,
    /// The largest number in a signed statement: 2^53 - 1, beyond which JSON readers disagree
    /// (RFC 8259, section 6).
    pub number_max: u64,
}

/// The bounds in force, everywhere.
pub const LIMITS: Limits = Limits {
    envelope_bytes: 512 << 10,
    channel_bytes: 1 << 20,
    signatures: 32,
    key_id_bytes: 256,
    signature_bytes: 8 << 10,
    payload_bytes: 64 << 10,
    policy_bytes: 128 << 10,
    policy_envelope_bytes: 512 << 10,
    policy_keys: 64,
    policy_key_bytes: 8192,
    policy_groups: 4,
    policy_denied_versions: 256,
    policy_denied_digests: 1024,
    verifications: 1024,
    policy_chain: 64,
    policy_images: 256,
    host_config_bytes: 64 << 10,
    efi_variable_bytes: 128 << 10,
    smbios_bytes: 1 << 20,
    machines: 64,
    mirrors: 16,
    mirror_keys: 32,
    tls_roots_bytes: 1 << 20,
    key_file_bytes: 16 << 10,
    cmdline_bytes: 2047,
    archive_bytes: 64 << 30,
    chunk_size_min: 64 << 10,
    chunk_size_max: 16 << 20,
    zstd_window: 4 << 20,
    network_items: 16,
    archive_members: 128,
    current_releases: 32,
    channel_statements: 4,
    withdrawn_versions: 64,
    attachments: 16,
    attachment_bytes: 256 << 20,
    number_max: (1 << 53) - 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_that_the_documents_give() {
        for (bound, documented) in [
            (LIMITS.envelope_bytes, 524_288),
            (LIMITS.channel_bytes, 1_048_576),
            (LIMITS.payload_bytes, 65_536),
            (LIMITS.policy_bytes, 131_072),
            (LIMITS.policy_envelope_bytes, 524_288),
            (LIMITS.host_config_bytes, 65_536),
            (LIMITS.tls_roots_bytes, 1_048_576),
            (LIMITS.key_file_bytes, 16_384),
            (LIMITS.archive_bytes, 68_719_476_736),
            (LIMITS.attachment_bytes, 268_435_456),
            (LIMITS.chunk_size_min, 65_536),
            (LIMITS.chunk_size_max, 16_777_216),
            (LIMITS.zstd_window, 4_194_304),
            (LIMITS.number_max, 9_007_199_254_740_991),
        ] {
            assert_eq!(bound, documented);
        }
    }

    #[test]
    fn what_may_stand_in_a_file_fits_into_it() {
        let base64 = |bytes: u64| bytes.div_ceil(3) * 4;
        // Of the policy as it is spelled, and 32 signatures under the longest key ids.
        let signatures = LIMITS.signatures as u64 * (LIMITS.key_id_bytes as u64 + 88 + 64);
        assert!(LIMITS.policy_envelope_bytes > base64(LIMITS.policy_bytes) + signatures);
        // The same of keys whose signatures take all that one may.
        let large = LIMITS.signatures as u64
            * (LIMITS.key_id_bytes as u64 + base64(LIMITS.signature_bytes as u64) + 64);
        assert!(LIMITS.envelope_bytes > base64(LIMITS.payload_bytes) + large);
        assert!(
            LIMITS.channel_bytes
                > LIMITS.envelope_bytes + base64(LIMITS.payload_bytes) + signatures
        );
    }
}
