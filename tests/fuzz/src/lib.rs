//! What is fuzzed: one function for each parser that meets bytes from outside.
//!
//! A target gives its bytes to the very functions that a boot, or the server, gives them to, and then
//! asserts what must hold whatever came in: what is read is written again as it was, a bound is a
//! bound, a signature that is missing is missed. Not to panic is the least of it.
//!
//! | target | the bytes of | who may have made them |
//! |---|---|---|
//! | [`archive`] | an image's archive, after its chunks were checked | a signer's broken packer |
//! | [`cmdline`] | `/proc/cmdline` | the boot menu, the firmware, the iPXE script |
//! | `cpio` (operator) | the initrd that an operator packs | any build system |
//! | [`dhcp`] | answers to the machine's questions | everyone on the link |
//! | [`envelope`] | `images/NAME.json` | every mirror, and who stands on the way |
//! | [`freshness`] | the statement of what is newest | every mirror, or one stolen key |
//! | [`host_config`] | `host.json`, and what overrides it | whoever prepares the machine |
//! | [`ipv6`] | router advertisements, and answers to DHCPv6 questions | everyone on the link |
//! | [`manifest`] | the statement about an image | every mirror, or stolen keys |
//! | [`policy`] | `trust.json`, `trust/N.json` | whoever builds the initramfs; every mirror |
//! | [`profile`] | the payload of every signed statement | every mirror, or stolen keys |
//! | `range` (operator) | a request's path and its `Range` header | every client |
//! | [`smbios`] | the firmware's SMBIOS table | the hypervisor, the vendor, root on the machine |
//!
//! The functions are plain Rust. `fuzz_targets/` hands them to libFuzzer; `tests/fuzz/main.rs` of the main
//! package runs them, with a stable compiler, over every seed and over mutations of it.

pub mod archive;
pub mod cmdline;
pub mod cpio;
pub mod dhcp;
pub mod envelope;
pub mod freshness;
pub mod host_config;
pub mod input;
pub mod ipv6;
pub mod manifest;
pub mod policy;
pub mod profile;
pub mod range;
pub mod signed;
pub mod smbios;
pub mod spoken;

/// How far the input came. Seeds say in their names what becomes of them, so that a seed which a change
/// of a format has left behind is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was read to its end and found good.
    Taken,
    /// It was refused.
    Refused,
}

/// A target.
pub type Target = fn(&[u8]) -> Verdict;

/// The targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive::run),
    ("cmdline", cmdline::run),
    ("cpio", cpio::run),
    ("dhcp", dhcp::run),
    ("envelope", envelope::run),
    ("freshness", freshness::run),
    ("host_config", host_config::run),
    ("ipv6", ipv6::run),
    ("manifest", manifest::run),
    ("policy", policy::run),
    ("profile", profile::run),
    ("range", range::run),
    ("smbios", smbios::run),
];
