//! What an archive holds: the names of its members, their order, and the exact size they make.
//!
//! An archive is a ustar of regular files in one order: `boot/vmlinuz`, then `boot/initrd` or
//! `boot/initrd.0`, `boot/initrd.1`, … Nothing else. Because names, order and sizes are all signed, the length of the unpacked tar is known to the byte before the
//! first byte arrives, and that length bounds what a decompressor may put out.
//!
//! A member's header has one spelling too ([`header`]): the packer writes it, and the loader compares
//! what it finds with it, byte for byte. Links, devices, modes, owners, sparse files, extension headers
//! and two readings of one name have no place to hide in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Invalid;

/// A tar header, and the unit to which every member is padded (POSIX.1-2017, pax, "ustar Interchange Format").
pub const BLOCK: u64 = 512;

/// The two zero blocks that end a tar.
pub const END_OF_ARCHIVE: u64 = 2 * BLOCK;

/// The path of a member, relative, in at most the 100 bytes that a ustar name field holds.
///
/// Refuses every path that is not one of the few that an archive may hold, so that a member path
/// joined to a directory never leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberPath(String);

/// What a member is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `boot/vmlinuz`: the kernel.
    Kernel,
    /// `boot/initrd`: the only initrd.
    Initrd,
    /// `boot/initrd.N`: one of several that are concatenated in order.
    InitrdPart(usize),
}

impl MemberPath {
    /// The path of the kernel.
    pub const KERNEL: &'static str = "boot/vmlinuz";
    /// The path of the only initrd.
    pub const INITRD: &'static str = "boot/initrd";

    /// The path as it stands in the tar header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the member is for.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.0.as_str() {
            Self::KERNEL => Role::Kernel,
            Self::INITRD => Role::Initrd,
            path => Role::InitrdPart(initrd_part(path).unwrap_or_else(|| {
                unreachable!("a member path is a kernel's or an initrd's: {path}")
            })),
        }
    }
}

/// The number in `boot/initrd.N`, where it is written without leading zeros.
fn initrd_part(path: &str) -> Option<usize> {
    let digits = path.strip_prefix(MemberPath::INITRD)?.strip_prefix('.')?;
    let part: usize = digits.parse().ok()?;
    (part.to_string() == digits).then_some(part)
}

impl FromStr for MemberPath {
    type Err = Invalid;

    fn from_str(path: &str) -> Result<Self, Invalid> {
        let known = path == Self::KERNEL || path == Self::INITRD || initrd_part(path).is_some();
        if known {
            Ok(Self(path.to_owned()))
        } else {
            Err(Invalid::new(
                "path",
                path,
                "boot/vmlinuz, boot/initrd or boot/initrd.N",
            ))
        }
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for MemberPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MemberPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// The one header that a member of this path and size has: ustar, a regular file, mode 0644, owner 0,
/// time 0.
#[must_use]
pub fn header(path: &MemberPath, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header
        .set_path(path.as_str())
        .unwrap_or_else(|error| unreachable!("a member path fits a ustar header: {error}"));
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// Checks that members stand in the one order that an archive has, each once.
///
/// # Errors
///
/// Names the first member that is out of place.
pub fn check_order<'a>(members: impl Iterator<Item = &'a MemberPath>) -> Result<(), Invalid> {
    let mut seen: Vec<&MemberPath> = Vec::new();
    for path in members {
        let expected = match (seen.len(), path.role()) {
            (0, Role::Kernel) | (1, Role::Initrd | Role::InitrdPart(0)) => true,
            (at, Role::InitrdPart(part)) => {
                // A path may hold any number, the largest too.
                let before = seen.last().map(|path| path.role());
                part.checked_add(1) == Some(at) && matches!(before, Some(Role::InitrdPart(_)))
            }
            _ => false,
        };
        if !expected {
            return Err(Invalid::new(
                "files.path",
                path,
                "in its place: boot/vmlinuz, then boot/initrd or boot/initrd.0, .1, …, each once",
            ));
        }
        seen.push(path);
    }
    if seen.len() < 2 {
        return Err(Invalid::new(
            "files",
            seen.len(),
            "at least a kernel and an initrd",
        ));
    }
    Ok(())
}

/// The length of the plain tar that holds members of these sizes, or `None` past `u64`.
#[must_use]
pub fn tar_size(sizes: impl Iterator<Item = u64>) -> Option<u64> {
    sizes.into_iter().try_fold(END_OF_ARCHIVE, |total, size| {
        total
            .checked_add(BLOCK)?
            .checked_add(size.checked_next_multiple_of(BLOCK)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(paths: &[&str]) -> Result<(), Invalid> {
        let paths: Vec<MemberPath> = paths.iter().map(|path| path.parse().expect(path)).collect();
        check_order(paths.iter())
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        for bad in [
            "",
            "/boot/vmlinuz",
            "boot",
            "boot/",
            "boot/../vmlinuz",
            "boot/vmlinuz/",
            "./boot/vmlinuz",
            "boot//vmlinuz",
            "boot/initrd.",
            "boot/initrd.01",
            "boot/initrd.-1",
            "boot/initrd.+1",
            "boot/initrd.0/x",
            "boot/other",
            "boot/initrd.18446744073709551616",
            "meta/os-release",
            "etc/passwd",
        ] {
            assert!(bad.parse::<MemberPath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn members_stand_in_one_order() {
        for good in [
            &["boot/vmlinuz", "boot/initrd"][..],
            &["boot/vmlinuz", "boot/initrd.0"],
            &["boot/vmlinuz", "boot/initrd.0", "boot/initrd.1"],
        ] {
            assert_eq!(order(good), Ok(()), "{good:?}");
        }
        for bad in [
            &[][..],
            &["boot/vmlinuz"],
            &["boot/initrd", "boot/vmlinuz"],
            &["boot/vmlinuz", "boot/vmlinuz"],
            &["boot/vmlinuz", "boot/initrd", "boot/initrd"],
            &["boot/vmlinuz", "boot/initrd", "boot/initrd.1"],
            &["boot/vmlinuz", "boot/initrd.1"],
            &["boot/vmlinuz", "boot/initrd.0", "boot/initrd.2"],
            &["boot/vmlinuz", "boot/initrd.0", "boot/initrd.0"],
            &["boot/vmlinuz", "boot/initrd.0", "boot/initrd"],
            &["boot/vmlinuz", "boot/initrd", "boot/initrd.0"],
            &["boot/initrd.18446744073709551615"],
            &["boot/vmlinuz", "boot/initrd.18446744073709551615"],
        ] {
            assert!(order(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_path_and_size_has_a_header() {
        for path in [
            "boot/vmlinuz",
            "boot/initrd.15",
            "boot/initrd.18446744073709551615",
        ] {
            let path: MemberPath = path.parse().expect(path);
            // 8 GiB is where octal digits run out and base-256 begins.
            for size in [0, 1, (8 << 30) - 1, 8 << 30, 64 << 30] {
                let header = header(&path, size);
                assert_eq!(header.entry_size().expect("a size"), size);
                assert_eq!(header.path().expect("a path").to_str(), Some(path.as_str()));
                assert!(header.as_ustar().is_some());
            }
        }
    }

    #[test]
    fn the_size_of_a_tar_is_known_to_the_byte() {
        assert_eq!(tar_size([].into_iter()), Some(1024));
        assert_eq!(
            tar_size([0, 1, 512, 513].into_iter()),
            Some(1024 + 4 * 512 + 512 + 512 + 1024)
        );
        assert_eq!(tar_size([u64::MAX].into_iter()), None);
    }

    #[test]
    fn a_path_is_shown_as_it_stands_in_the_tar() {
        let path: MemberPath = "boot/initrd.0".parse().expect("valid");
        assert_eq!(path.as_str(), "boot/initrd.0");
        assert_eq!(path.to_string(), "boot/initrd.0");
        assert_eq!(
            &header(&path, 0).as_bytes()[..14],
            b"boot/initrd.0\0",
            "the name field"
        );
    }

    #[test]
    fn a_header_says_a_plain_file_of_root() {
        let path: MemberPath = MemberPath::KERNEL.parse().expect("valid");
        let bytes = *header(&path, 0o1234).as_bytes();
        assert_eq!(&bytes[100..108], b"0000644\0", "mode");
        assert_eq!(&bytes[108..124], b"0000000\x000000000\0", "owner and group");
        assert_eq!(&bytes[124..136], b"00000001234\0", "size");
        assert_eq!(&bytes[136..148], b"00000000000\0", "time");
        assert_eq!(bytes[156], b'0', "type");
        assert_eq!(bytes[157..257], [0; 100], "link target");
        assert_eq!(&bytes[257..265], b"ustar\x0000", "magic and version");
        assert_eq!(bytes[265..512], [0; 247], "names, device, prefix");
    }

    #[test]
    fn each_member_has_its_role() {
        for (path, role) in [
            ("boot/vmlinuz", Role::Kernel),
            ("boot/initrd", Role::Initrd),
            ("boot/initrd.0", Role::InitrdPart(0)),
            ("boot/initrd.12", Role::InitrdPart(12)),
        ] {
            assert_eq!(path.parse::<MemberPath>().expect(path).role(), role);
        }
    }

    #[test]
    fn a_member_out_of_place_is_named() {
        for (paths, named) in [
            (&["boot/initrd"][..], "boot/initrd"),
            (&["boot/vmlinuz", "boot/initrd.1"], "boot/initrd.1"),
            (
                &["boot/vmlinuz", "boot/initrd.0", "boot/initrd.2"],
                "boot/initrd.2",
            ),
        ] {
            assert_eq!(order(paths).expect_err(named).found, named, "{paths:?}");
        }
    }
}
