//! Whether a file is a kernel that `kexec_file_load` takes, found out when it is packed rather than
//! when a fleet boots it. Pure.
//!
//! x86: the "Linux/x86 Boot Protocol" (`Documentation/arch/x86/boot.rst`), with the demands of the
//! kernel's own `bzImage64_probe` (`arch/x86/kernel/kexec-bzimage64.c`). arm64: the 64-byte header of
//! `Documentation/arch/arm64/booting.rst`.

use sealboot_core::format::manifest::Arch;

/// How many bytes from the start of a file [`probe`] wants to see.
pub(super) const HEAD: u64 = 4096;

/// What a kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    /// The processor architecture it runs on.
    pub(super) arch: Arch,
    /// The longest command line that it takes in bytes without the NUL, where it says so.
    pub(super) cmdline_max: Option<u32>,
    /// Whether it unpacks itself, so that nothing is gained by compressing it again.
    pub(super) is_compressed: bool,
}

/// The file is no kernel that can be booted with kexec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Another kind of file.
    #[error("it is neither an x86 bzImage nor an arm64 Image")]
    NotKernel,
    /// An arm64 kernel inside of gzip or of an EFI program.
    #[error("it is a compressed arm64 kernel ({0}), which kexec_file_load does not take")]
    Wrapped(&'static str),
    /// An x86 kernel that is too old or built for something else.
    #[error("it is an x86 kernel that kexec_file_load does not take: {0}")]
    Unsuitable(&'static str),
    /// An arm64 kernel of the other byte order.
    #[error("it is a big-endian arm64 kernel")]
    BigEndian,
    /// Shorter than its header says.
    #[error("it is cut off: its header announces {announced} bytes, and {found} are there")]
    Truncated {
        /// What the header says.
        announced: u64,
        /// The length of the file.
        found: u64,
    },
}

/// Looks at the first bytes of a file of `len` bytes.
pub(super) fn probe(head: &[u8], len: u64) -> Result<Kernel, KernelError> {
    if array(head, 0x202) == Some(*b"HdrS") {
        return probe_x86(head, len).unwrap_or(Err(KernelError::NotKernel));
    }
    if array(head, 56) == Some(*b"ARM\x64") {
        return probe_arm64(head, len).unwrap_or(Err(KernelError::NotKernel));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return Err(KernelError::Wrapped("gzip"));
    }
    if head.starts_with(b"MZ") && array(head, 4) == Some(*b"zimg") {
        return Err(KernelError::Wrapped("EFI zboot"));
    }
    Err(KernelError::NotKernel)
}

/// `None` where the file ends within the header.
fn probe_x86(head: &[u8], len: u64) -> Option<Result<Kernel, KernelError>> {
    let boot_flag = u16::from_le_bytes(array(head, 0x1fe)?);
    let version = u16::from_le_bytes(array(head, 0x206)?);
    let [load_flags] = array(head, 0x211)?;
    let xload_flags = u16::from_le_bytes(array(head, 0x236)?);
    let unsuitable = if boot_flag != 0xaa55 {
        Some("its boot flag is missing")
    } else if version < 0x020c {
        Some("its boot protocol is older than 2.12 (Linux 3.8)")
    } else if load_flags & 1 == 0 {
        Some("it is a zImage, not a bzImage")
    } else if xload_flags & 1 == 0 {
        Some("it has no 64-bit entry point (CONFIG_X86_64)")
    } else if xload_flags & 2 == 0 {
        Some("it cannot be loaded above 4 GiB (CONFIG_RELOCATABLE)")
    } else {
        None
    };
    if let Some(reason) = unsuitable {
        return Some(Err(KernelError::Unsuitable(reason)));
    }
    let [setup_sectors] = array(head, 0x1f1)?;
    // 0 means 4, for the sake of very old kernels.
    let setup_sectors = if setup_sectors == 0 { 4 } else { setup_sectors };
    let paragraphs = u32::from_le_bytes(array(head, 0x1f4)?);
    let announced = (u64::from(setup_sectors) + 1) * 512 + u64::from(paragraphs) * 16;
    if len < announced {
        return Some(Err(KernelError::Truncated {
            announced,
            found: len,
        }));
    }
    Some(Ok(Kernel {
        arch: Arch::X86_64,
        cmdline_max: Some(u32::from_le_bytes(array(head, 0x238)?)),
        is_compressed: true,
    }))
}

/// `None` where the file ends within the header.
fn probe_arm64(head: &[u8], len: u64) -> Option<Result<Kernel, KernelError>> {
    let flags = u64::from_le_bytes(array(head, 24)?);
    if flags & 1 != 0 {
        return Some(Err(KernelError::BigEndian));
    }
    // The header's image_size counts memory that the file does not hold (BSS): it bounds nothing.
    if len < 64 {
        return Some(Err(KernelError::Truncated {
            announced: 64,
            found: len,
        }));
    }
    Some(Ok(Kernel {
        arch: Arch::Aarch64,
        cmdline_max: None,
        is_compressed: false,
    }))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An x86 kernel of `len` bytes that says what a current one says.
    pub(in crate::assemble) fn bzimage(len: usize) -> Vec<u8> {
        let mut kernel = vec![0x90; len.max(1024)];
        kernel[0x1f1] = 1;
        kernel[0x1f4..0x1f8].copy_from_slice(&0_u32.to_le_bytes());
        kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        kernel[0x211] = 1;
        kernel[0x236..0x238].copy_from_slice(&0x7f_u16.to_le_bytes());
        kernel[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
        kernel
    }

    pub(in crate::assemble) fn arm64_image(len: usize) -> Vec<u8> {
        let mut kernel = vec![0; len.max(64)];
        kernel[56..60].copy_from_slice(b"ARM\x64");
        kernel
    }

    fn probe_whole(kernel: &[u8]) -> Result<Kernel, KernelError> {
        probe(kernel, kernel.len() as u64)
    }

    #[test]
    fn kernels_say_what_they_run_on() {
        assert_eq!(
            probe_whole(&bzimage(4096)),
            Ok(Kernel {
                arch: Arch::X86_64,
                cmdline_max: Some(2047),
                is_compressed: true
            })
        );
        assert_eq!(
            probe_whole(&arm64_image(4096)).map(|kernel| kernel.arch),
            Ok(Arch::Aarch64)
        );
    }

    #[test]
    fn an_unsuitable_x86_kernel_is_refused() {
        for (at, value, word) in [
            (0x1fe, 0, "boot flag"),
            (0x206, 0x0b, "2.12"),
            (0x211, 0, "zImage"),
            (0x236, 0x7e, "64-bit"),
            (0x236, 0x7d, "RELOCATABLE"),
        ] {
            let mut kernel = bzimage(4096);
            kernel[at] = value;
            let error = probe_whole(&kernel).unwrap_err();
            assert!(matches!(error, KernelError::Unsuitable(_)), "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_cut_off_kernel_is_refused() {
        let mut kernel = bzimage(4096);
        kernel[0x1f4..0x1f8].copy_from_slice(&192_u32.to_le_bytes());
        assert!(probe_whole(&kernel).is_ok());
        assert_eq!(
            probe_whole(&kernel[..4095]),
            Err(KernelError::Truncated {
                announced: 4096,
                found: 4095
            })
        );
        for kernel in [bzimage(1024), arm64_image(64)] {
            for len in 0..kernel.len().min(0x23c) {
                if len < 64 || kernel.len() > 64 {
                    assert!(probe_whole(&kernel[..len]).is_err(), "{len} bytes");
                }
            }
        }
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let mut big_endian = arm64_image(64);
        big_endian[24] = 1;
        for (bytes, expected) in [
            (&b""[..], KernelError::NotKernel),
            (b"070701", KernelError::NotKernel),
            (b"\x1f\x8b\x08", KernelError::Wrapped("gzip")),
            (b"MZ\0\0zimg", KernelError::Wrapped("EFI zboot")),
            (&big_endian, KernelError::BigEndian),
        ] {
            assert_eq!(probe_whole(bytes), Err(expected));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, at in 0_usize..0x240, value: u8) {
            let _ = probe_whole(&bytes);
            let mut kernel = bzimage(4096);
            kernel[at] = value;
            let _ = probe_whole(&kernel);
        }
    }
}
