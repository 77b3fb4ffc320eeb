//! Writing an archive whose bytes follow from its entries alone.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::{KIND_CHAR, KIND_DIRECTORY, KIND_REGULAR, KIND_SYMLINK, NAME_MAX, TRAILER};

/// What an archive will hold, by path.
///
/// Order of insertion does not matter. Directories above an entry are made with mode 0755 where they
/// were not given. Everything belongs to root.
#[derive(Default)]
pub struct Tree<'a> {
    nodes: BTreeMap<String, Node<'a>>,
}

struct Node<'a> {
    /// Kind and permissions.
    mode: u32,
    /// Major and minor number of a device.
    device: (u32, u32),
    size: u32,
    content: Box<dyn Read + 'a>,
}

/// The archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not a relative path that stays below the root.
    #[error("\"{}\" is no path for an entry of a cpio archive", .0.escape_default())]
    Path(String),
    /// The path is there already.
    #[error("\"{0}\" would stand in the cpio archive twice")]
    Duplicate(String),
    /// An entry's parent is something else than a directory.
    #[error("\"{path}\" would stand below \"{parent}\", which is no directory")]
    ParentIsNoDirectory {
        /// The entry.
        path: String,
        /// What stands in its way.
        parent: String,
    },
    /// The format counts a file's bytes in 32 bits.
    #[error("\"{path}\" has {size} bytes; a cpio archive holds files below 4 GiB")]
    TooLarge {
        /// The entry.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A file's content could not be read.
    #[error("the content of \"{path}\" could not be read")]
    Content {
        /// The entry.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("\"{path}\" is not as long as the {announced} bytes that it was announced with")]
    LengthChanged {
        /// The entry.
        path: String,
        /// The size that its header states.
        announced: u32,
    },
    /// The archive's bytes could not be written.
    #[error("the cpio archive could not be written")]
    Output(#[source] io::Error),
}

impl<'a> Tree<'a> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with these permissions.
    ///
    /// # Errors
    ///
    /// For a path that is unusable or taken, as everywhere below.
    pub fn directory(&mut self, path: &str, permissions: u32) -> Result<(), WriteError> {
        self.insert(path, Node::empty(KIND_DIRECTORY | permissions))
    }

    /// Adds a regular file of exactly `size` bytes, which are read when the archive is written.
    ///
    /// # Errors
    ///
    /// Also for a file of 4 GiB or more.
    pub fn file(
        &mut self,
        path: &str,
        permissions: u32,
        size: u64,
        content: impl Read + 'a,
    ) -> Result<(), WriteError> {
        let too_large = |_| WriteError::TooLarge {
            path: path.to_owned(),
            size,
        };
        self.insert(
            path,
            Node {
                size: size.try_into().map_err(too_large)?,
                content: Box::new(content),
                ..Node::empty(KIND_REGULAR | permissions)
            },
        )
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    ///
    /// Also for a target that is empty, holds a NUL or is longer than the kernel takes.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), WriteError> {
        let size = u32::try_from(target.len())
            .ok()
            .filter(|size| (1..NAME_MAX).contains(&u64::from(*size)) && !target.contains('\0'))
            .ok_or_else(|| WriteError::Path(target.to_owned()))?;
        self.insert(
            path,
            Node {
                size,
                content: Box::new(io::Cursor::new(target.to_owned())),
                ..Node::empty(KIND_SYMLINK | 0o777)
            },
        )
    }

    /// Adds a character device.
    ///
    /// # Errors
    ///
    /// For a path that is unusable or taken.
    pub fn char_device(
        &mut self,
        path: &str,
        permissions: u32,
        major: u32,
        minor: u32,
    ) -> Result<(), WriteError> {
        self.insert(
            path,
            Node {
                device: (major, minor),
                ..Node::empty(KIND_CHAR | permissions)
            },
        )
    }

    /// Writes the archive, its trailer included, with this modification time (Unix seconds) everywhere.
    ///
    /// # Errors
    ///
    /// When a content cannot be read or has another length than announced, or the output fails. What
    /// has been written by then is no whole archive.
    pub fn write<W: Write>(mut self, mut out: W, mtime: u32) -> Result<W, WriteError> {
        self.add_parents()?;
        // Byte order of paths puts every directory before what is in it.
        for (inode, (path, node)) in (1_u32..).zip(self.nodes) {
            let (major, minor) = node.device;
            let is_directory = node.mode & super::KIND_MASK == KIND_DIRECTORY;
            let header = cpio::newc::Builder::new(&path)
                .ino(inode)
                .mode(node.mode)
                .nlink(if is_directory { 2 } else { 1 })
                .mtime(mtime)
                .rdev_major(major)
                .rdev_minor(minor);
            let mut entry = header.write(&mut out, node.size);
            copy_exactly(node.content, &mut entry, node.size, &path)?;
            entry.finish().map_err(WriteError::Output)?;
        }
        cpio::newc::trailer(&mut out).map_err(WriteError::Output)?;
        Ok(out)
    }

    fn insert(&mut self, path: &str, node: Node<'a>) -> Result<(), WriteError> {
        if !is_plain(path) {
            return Err(WriteError::Path(path.to_owned()));
        }
        if self.nodes.contains_key(path) {
            return Err(WriteError::Duplicate(path.to_owned()));
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn add_parents(&mut self) -> Result<(), WriteError> {
        let paths: Vec<String> = self.nodes.keys().cloned().collect();
        for path in paths {
            for (end, _) in path.match_indices('/') {
                let parent = self
                    .nodes
                    .entry(path[..end].to_owned())
                    .or_insert_with(|| Node::empty(KIND_DIRECTORY | 0o755));
                if parent.mode & super::KIND_MASK != KIND_DIRECTORY {
                    return Err(WriteError::ParentIsNoDirectory {
                        parent: path[..end].to_owned(),
                        path,
                    });
                }
            }
        }
        Ok(())
    }
}

impl Node<'_> {
    fn empty(mode: u32) -> Self {
        Self {
            mode,
            device: (0, 0),
            size: 0,
            content: Box::new(io::empty()),
        }
    }
}

impl std::fmt::Debug for Tree<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.nodes.keys()).finish()
    }
}

/// Whether a path is relative, stays below the root and has one spelling.
fn is_plain(path: &str) -> bool {
    u64::try_from(path.len()).is_ok_and(|len| len < NAME_MAX)
        && path != TRAILER
        && !path.contains('\0')
        && path
            .split('/')
            .all(|name| !name.is_empty() && name != "." && name != "..")
}

fn copy_exactly(
    mut content: impl Read,
    mut out: impl Write,
    announced: u32,
    path: &str,
) -> Result<(), WriteError> {
    let length_changed = || WriteError::LengthChanged {
        path: path.to_owned(),
        announced,
    };
    let unreadable = |source| WriteError::Content {
        path: path.to_owned(),
        source,
    };
    let mut left = announced as usize;
    let mut buffer = vec![0; left.clamp(1, 64 << 10)];
    loop {
        let n = match content.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        if n == 0 {
            return if left == 0 {
                Ok(())
            } else {
                Err(length_changed())
            };
        }
        left = left.checked_sub(n).ok_or_else(length_changed)?;
        out.write_all(&buffer[..n]).map_err(WriteError::Output)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree<'static> {
        let mut tree = Tree::new();
        tree.file("init", 0o755, 5, &b"hello"[..]).unwrap();
        tree.char_device("dev/console", 0o600, 5, 1).unwrap();
        tree.symlink("bin/sh", "busybox").unwrap();
        tree.directory("proc", 0o555).unwrap();
        tree
    }

    #[test]
    fn the_order_of_insertion_does_not_show() {
        let mut other = Tree::new();
        other.directory("proc", 0o555).unwrap();
        other.directory("dev", 0o755).unwrap();
        other.symlink("bin/sh", "busybox").unwrap();
        other.char_device("dev/console", 0o600, 5, 1).unwrap();
        other.file("init", 0o755, 5, &b"hello"[..]).unwrap();
        assert_eq!(
            tree().write(Vec::new(), 7).unwrap(),
            other.write(Vec::new(), 7).unwrap()
        );
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused() {
        for bad in [
            "",
            "/",
            "/init",
            "..",
            "../init",
            "a/../b",
            "a/..",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "a\0b",
            "TRAILER!!!",
            &"a".repeat(4096),
        ] {
            let error = Tree::new().directory(bad, 0o755).expect_err(bad);
            assert!(matches!(error, WriteError::Path(_)), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_path_is_taken_once() {
        let error = tree().directory("init", 0o755).unwrap_err();
        assert!(matches!(error, WriteError::Duplicate(path) if path == "init"));
    }

    #[test]
    fn nothing_stands_below_a_file() {
        let mut tree = tree();
        tree.directory("init/sub/deeper", 0o755).unwrap();
        let error = tree.write(Vec::new(), 0).unwrap_err();
        assert!(
            matches!(&error, WriteError::ParentIsNoDirectory { parent, .. } if parent == "init"),
            "{error}"
        );
    }

    #[test]
    fn a_file_of_4_gib_is_refused_before_it_is_read() {
        let mut tree = Tree::new();
        let error = tree.file("big", 0o644, 1 << 32, io::empty()).unwrap_err();
        assert!(matches!(error, WriteError::TooLarge { size, .. } if size == 1 << 32));
        tree.file("big", 0o644, (1 << 32) - 1, io::empty()).unwrap();
    }

    #[test]
    fn a_file_that_shrank_or_grew_is_refused() {
        for content in [&b"four"[..], b"sixsix"] {
            let mut tree = Tree::new();
            tree.file("f", 0o644, 5, content).unwrap();
            let error = tree.write(Vec::new(), 0).unwrap_err();
            assert!(matches!(error, WriteError::LengthChanged { .. }), "{error}");
        }
    }

    #[test]
    fn a_link_without_a_target_is_refused() {
        for target in ["", "a\0b", &"x".repeat(4096)] {
            assert!(Tree::new().symlink("l", target).is_err());
        }
    }

    #[test]
    fn the_bytes_of_an_archive_are_these() {
        let mut tree = Tree::new();
        tree.file("d/f", 0o644, 5, &b"hello"[..]).unwrap();
        tree.char_device("d/null", 0o666, 1, 3).unwrap();
        tree.symlink("l", "d/f").unwrap();
        // Inode, mode, owner, group, links, time, size, device of the file system (twice 0), device, name's
        // size, checksum.
        let header = |fields: [u32; 8]| {
            let [inode, mode, links, time, size, major, minor, name] = fields;
            [
                inode, mode, 0, 0, links, time, size, 0, 0, major, minor, name, 0,
            ]
            .map(|field| format!("{field:08x}"))
            .concat()
        };
        let expected = [
            "070701",
            &header([1, 0o040_755, 2, 7, 0, 0, 0, 2]),
            "d\0",
            "070701",
            &header([2, 0o100_644, 1, 7, 5, 0, 0, 4]),
            "d/f\0\0\0hello\0\0\0",
            "070701",
            &header([3, 0o020_666, 1, 7, 0, 1, 3, 7]),
            "d/null\0\0\0\0",
            "070701",
            &header([4, 0o120_777, 1, 7, 3, 0, 0, 2]),
            "l\0d/f\0",
            "070701",
            &header([0, 0, 1, 0, 0, 0, 0, 11]),
            "TRAILER!!!\0\0\0\0",
        ]
        .concat();
        let written = tree.write(Vec::new(), 7).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_directory_that_was_given_keeps_its_mode() {
        let mut tree = Tree::new();
        tree.file("d/f", 0o644, 0, io::empty()).unwrap();
        tree.directory("d", 0o1700).unwrap();
        let written = tree.write(Vec::new(), 0).unwrap();
        let mode = std::str::from_utf8(&written[14..22]).unwrap();
        assert_eq!(u32::from_str_radix(mode, 16).unwrap(), 0o041_700);
    }

    #[test]
    fn the_longest_names_and_targets_are_taken() {
        let longest = "a".repeat(4095);
        assert!(Tree::new().directory(&longest, 0o755).is_ok());
        assert!(Tree::new().symlink("l", &longest).is_ok());
        for good in [
            "a",
            ".a",
            "a.",
            "...",
            "a/..b",
            "trailer!!!",
            "d/TRAILER!!!",
        ] {
            assert!(Tree::new().directory(good, 0o755).is_ok(), "{good}");
        }
    }

    #[test]
    fn nothing_stands_below_a_link_or_a_device() {
        for (parent, add) in [
            (
                "l",
                (|tree| tree.symlink("l", "/etc")) as fn(&mut Tree<'_>) -> _,
            ),
            ("c", |tree| tree.char_device("c", 0o600, 5, 1)),
            ("f", |tree| tree.file("f", 0o644, 0, io::empty())),
        ] {
            let mut tree = Tree::new();
            add(&mut tree).unwrap();
            tree.directory(&format!("{parent}/d"), 0o755).unwrap();
            let error = tree.write(Vec::new(), 0).unwrap_err();
            assert!(
                matches!(&error, WriteError::ParentIsNoDirectory { parent: found, .. } if found == parent),
                "{error}"
            );
        }
    }

    /// Gives each of these in turn, an error for `None`, and then nothing more.
    struct Pieces(std::vec::IntoIter<Result<Vec<u8>, io::ErrorKind>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.next().unwrap_or_else(|| Ok(Vec::new()))?;
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn written(pieces: Vec<Result<Vec<u8>, io::ErrorKind>>) -> Result<Vec<u8>, WriteError> {
        let mut tree = Tree::new();
        tree.file("f", 0o644, 5, Pieces(pieces.into_iter()))
            .unwrap();
        tree.write(Vec::new(), 0)
    }

    #[test]
    fn content_that_comes_in_pieces_is_put_together() {
        let interrupted = || Err(io::ErrorKind::Interrupted);
        let pieces = vec![
            Ok(b"he".to_vec()),
            interrupted(),
            Ok(b"llo".to_vec()),
            interrupted(),
        ];
        assert_eq!(written(pieces).unwrap()[112..117], *b"hello");
    }

    #[test]
    fn content_that_cannot_be_read_is_no_shorter_content() {
        let error = written(vec![Ok(b"he".to_vec()), Err(io::ErrorKind::TimedOut)]).unwrap_err();
        assert!(
            matches!(&error, WriteError::Content { path, source } if path == "f" && source.kind() == io::ErrorKind::TimedOut),
            "{error}"
        );
        let error = written(vec![Ok(b"he".to_vec())]).unwrap_err();
        assert!(
            matches!(&error, WriteError::LengthChanged { path, announced: 5 } if path == "f"),
            "{error}"
        );
    }

    #[test]
    fn an_output_that_is_full_is_an_error() {
        for room in [0, 50, 111, 113, 120, 240] {
            let mut space = vec![0; room];
            let mut tree = Tree::new();
            tree.file("f", 0o644, 5, &b"hello"[..]).unwrap();
            let error = tree.write(space.as_mut_slice(), 0).err().unwrap();
            assert!(matches!(error, WriteError::Output(_)), "{room}: {error}");
        }
    }

    #[test]
    fn debug_shows_the_paths() {
        let shown = format!("{:?}", tree());
        assert_eq!(shown, r#"{"bin/sh", "dev/console", "init", "proc"}"#);
    }
}
