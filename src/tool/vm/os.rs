//! The small OS that the demo and the VM tests put into an image: BusyBox, and an `/init` that says who
//! it is and what it sees, and powers the machine off.

use crate::cpio::{Tree, WriteError};

/// The last line that the OS writes before it powers off.
pub const LAST_WORDS: &str = "the OS in your image runs";

const INIT: &[u8] = include_bytes!("os/init");

/// The initrd of the OS: an uncompressed newc cpio, the same bytes for the same arguments.
///
/// `name` becomes PRETTY_NAME in `/etc/os-release`.
///
/// # Errors
///
/// Where `busybox` is larger than a cpio member can be, 4 GiB.
pub fn initrd(busybox: &[u8], name: &str) -> Result<Vec<u8>, WriteError> {
    let os_release = os_release(name);
    let mut tree = Tree::new();
    for empty in ["dev", "proc", "sys"] {
        tree.directory(empty, 0o755)?;
    }
    let files = [
        ("bin/busybox", 0o755, busybox),
        ("etc/os-release", 0o644, os_release.as_bytes()),
        ("init", 0o755, INIT),
    ];
    for (path, permissions, bytes) in files {
        tree.file(path, permissions, bytes.len() as u64, bytes)?;
    }
    tree.write(Vec::new(), 0)
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
