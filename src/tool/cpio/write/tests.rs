//! The bytes of an archive, and what cannot stand in one.

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
