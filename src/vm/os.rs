//! The small OS that the demo and the VM tests put into an image: BusyBox, and an `/init` that says who
//! it is and what it sees, and powers the machine off.

use std::io;

use cpio::newc::{Builder, trailer};

/// The last line that the OS writes before it powers off.
pub const LAST_WORDS: &str = "the OS in your image runs";

const INIT: &[u8] = include_bytes!("os/init");

/// File types of `st_mode`.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// The initrd of the OS: an uncompressed newc cpio, the same bytes for the same arguments.
///
/// `name` becomes PRETTY_NAME in `/etc/os-release`.
///
/// # Errors
///
/// Where `busybox` is larger than a cpio member can be, 4 GiB.
pub fn initrd(busybox: &[u8], name: &str) -> io::Result<Vec<u8>> {
    let os_release = os_release(name);
    let members: [(&str, u32, &[u8]); 8] = [
        ("bin", DIRECTORY | 0o755, b""),
        ("bin/busybox", REGULAR | 0o755, busybox),
        ("dev", DIRECTORY | 0o755, b""),
        ("etc", DIRECTORY | 0o755, b""),
        ("etc/os-release", REGULAR | 0o644, os_release.as_bytes()),
        ("init", REGULAR | 0o755, INIT),
        ("proc", DIRECTORY | 0o555, b""),
        ("sys", DIRECTORY | 0o555, b""),
    ];
    let mut archive = Vec::new();
    for (inode, (path, mode, bytes)) in (1..).zip(members) {
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut member = Builder::new(path)
            .ino(inode)
            .mode(mode)
            .nlink(1)
            .write(&mut archive, size);
        io::Write::write_all(&mut member, bytes)?;
        member.finish()?;
    }
    trailer(&mut archive)?;
    Ok(archive)
}

/// An os-release(5) file, which a shell reads as well.
fn os_release(name: &str) -> String {
    let plain: String = name
        .chars()
        .filter(|character| character.is_ascii_graphic() || *character == ' ')
        .filter(|character| !r#""$`\"#.contains(*character))
        .collect();
    format!("ID=sealboot-small\nNAME=\"Small OS\"\nPRETTY_NAME=\"{plain}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_arguments_give_the_same_bytes() {
        let once = initrd(b"a program", "Small OS").unwrap();
        assert_eq!(once, initrd(b"a program", "Small OS").unwrap());
        assert_ne!(once, initrd(b"b program", "Small OS").unwrap());
    }

    #[test]
    fn init_ends_with_the_line_that_is_waited_for() {
        let init = std::str::from_utf8(INIT).unwrap();
        assert!(init.ends_with(&format!("echo \"{LAST_WORDS}\"\npoweroff -f\n")));
    }

    #[test]
    fn a_name_cannot_run_a_command() {
        let text = os_release("a\"; poweroff; `id` $(id) \\ \n b");
        assert_eq!(
            text.lines().last(),
            Some("PRETTY_NAME=\"a; poweroff; id (id)   b\"")
        );
    }
}
