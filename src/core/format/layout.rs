//! The layout of a loader's initramfs: the paths and markers that its builder and the loader share.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::digest::Sha256Digest;

/// Stands in every loader's binary, so that the builder of an initramfs can tell one from another program.
pub const LOADER_MARKER: &str = "the sealboot loader runs as PID 1 of an initramfs only";

/// The trust policy.
pub const POLICY_FILE: &str = "/etc/sealboot/trust.json";
/// The host config, if one is baked in.
pub const HOST_CONFIG_FILE: &str = "/etc/sealboot/host.json";
/// The roots of the mirrors' certificates, in PEM.
pub const TLS_ROOTS_FILE: &str = "/etc/sealboot/tls-roots.pem";
/// The time of the build, in seconds since 1970: the loader's clock is never earlier.
pub const BUILD_TIME_FILE: &str = "/etc/sealboot/build-time";
/// The modules that every machine loads, whatever its devices; one name a line.
pub const ALWAYS_FILE: &str = "/etc/sealboot/modules";
/// The directory of the kernel modules, below which one is named after the kernel's version.
pub const MODULES_DIR: &str = "/lib/modules";
/// The shell, if one is baked in.
pub const SHELL_FILE: &str = "/bin/sh";
/// The fallback's kernel, if a fallback is baked in.
pub const FALLBACK_KERNEL_FILE: &str = "/etc/sealboot/fallback/vmlinuz";
/// The fallback's initrd.
pub const FALLBACK_INITRD_FILE: &str = "/etc/sealboot/fallback/initrd";
/// The fallback's command line.
pub const FALLBACK_CMDLINE_FILE: &str = "/etc/sealboot/fallback/cmdline";
/// The digests of the fallback's three files, see [`FallbackSums`].
pub const FALLBACK_SUMS_FILE: &str = "/etc/sealboot/fallback/SHA256SUMS";

/// Returns the name by which a cpio archive holds this file: a path without its leading slash.
#[must_use]
pub fn member(file: &str) -> &str {
    file.trim_start_matches('/')
}

/// Returns the path of this file below `root`, which is `/` in a boot.
#[must_use]
pub fn under(root: &Path, file: &str) -> PathBuf {
    root.join(member(file))
}

/// The digests of a fallback's files, in a file that sha256sum(1) checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FallbackSums {
    /// The kernel's.
    pub kernel: Sha256Digest,
    /// The initrd's.
    pub initrd: Sha256Digest,
    /// The command line's, with the line feed that ends it.
    pub cmdline: Sha256Digest,
}

impl FallbackSums {
    /// Names of the files, in their order.
    const NAMES: [&str; 3] = ["vmlinuz", "initrd", "cmdline"];

    /// Bytes of the file: each line has a digest, two spaces, a name and a line feed.
    pub const BYTES: u64 = 3 * (64 + 2 + 1) + 7 + 6 + 7;

    /// Encodes the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (name, sum) in Self::NAMES
            .iter()
            .zip([self.kernel, self.initrd, self.cmdline])
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sum}  {name}");
        }
        text
    }

    /// Parses what [`encode`](Self::encode) wrote, and nothing else: one line for each file, in this order.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let mut lines = text.split('\n');
        let mut sum = |name: &str| -> Option<Sha256Digest> {
            let line = lines.next()?.strip_suffix(name)?;
            line.strip_suffix("  ")?.parse().ok()
        };
        let [kernel, initrd, cmdline] = Self::NAMES;
        let sums = Self {
            kernel: sum(kernel)?,
            initrd: sum(initrd)?,
            cmdline: sum(cmdline)?,
        };
        lines.next().is_none().then_some(sums)
    }
}
