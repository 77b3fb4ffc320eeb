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
mod tests;
