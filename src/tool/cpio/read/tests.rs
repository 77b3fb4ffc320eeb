//! Archives of our own writer, of others, and of nobody.

use super::super::Tree;
use super::*;

fn entries(bytes: &[u8]) -> Result<Vec<Entry>, ReadError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn archive() -> Vec<u8> {
    let mut tree = Tree::new();
    tree.file("init", 0o755, 5, &b"hello"[..]).unwrap();
    tree.char_device("dev/console", 0o600, 5, 1).unwrap();
    tree.symlink("bin/sh", "busybox").unwrap();
    tree.file("empty", 0o644, 0, io::empty()).unwrap();
    tree.write(Vec::new(), 7).unwrap()
}

#[test]
fn what_was_written_is_read() {
    let entries = entries(&archive()).unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| (entry.name.as_slice(), entry.permissions, entry.size))
        .collect();
    assert_eq!(
        shown,
        [
            (&b"bin"[..], 0o755, 0),
            (b"bin/sh", 0o777, 7),
            (b"dev", 0o755, 0),
            (b"dev/console", 0o600, 0),
            (b"empty", 0o644, 0),
            (b"init", 0o755, 5),
        ]
    );
    assert_eq!(
        entries[1].kind,
        Kind::Symlink {
            target: b"busybox".to_vec()
        }
    );
    assert_eq!(entries[3].kind, Kind::CharDevice { major: 5, minor: 1 });
    assert!(
        entries
            .iter()
            .all(|entry| (entry.uid, entry.gid, entry.mtime) == (0, 0, 7))
    );
}

#[test]
fn what_follows_the_archive_stays_in_the_input() {
    let mut bytes = archive();
    bytes.extend_from_slice(b"next");
    let mut reader = Reader::new(bytes.as_slice());
    while reader.next_entry().unwrap().is_some() {}
    assert_eq!(reader.into_inner(), b"next");
}

#[test]
fn content_is_read_up_to_a_limit() {
    let bytes = archive();
    let mut reader = Reader::new(bytes.as_slice());
    while reader.next_entry().unwrap().unwrap().name != b"init" {}
    assert_eq!(reader.content(4).unwrap(), None);
    assert_eq!(reader.content(5).unwrap().unwrap(), b"hello");
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn every_shorter_archive_is_refused() {
    let bytes = archive();
    for len in 0..bytes.len() {
        assert!(
            matches!(entries(&bytes[..len]), Err(ReadError::Truncated { .. })),
            "{len} bytes"
        );
    }
}

#[test]
fn every_changed_byte_is_survived() {
    let bytes = archive();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let _ = entries(&bytes);
        }
    }
}

#[test]
fn a_name_of_4_gib_is_refused_without_waiting_for_it() {
    for size in ["00000000", "ffffffff", "00001001"] {
        let mut bytes = archive();
        bytes[94..102].copy_from_slice(size.as_bytes());
        let endless = bytes.as_slice().chain(io::repeat(b'a'));
        let error = Reader::new(endless).next_entry().unwrap_err();
        assert!(
            matches!(error, ReadError::Name { at: 0 }),
            "{size}: {error}"
        );
    }
}

// Found by fuzzing `cpio`: the name was looked at before it was cut at its first NUL.
#[test]
fn a_name_or_target_that_is_empty_for_the_kernel_is_refused() {
    let name = archive().windows(4).position(|bytes| bytes == b"bin\0");
    let target = archive().windows(7).position(|bytes| bytes == b"busybox");
    for (start, len) in [(name.unwrap(), 3), (target.unwrap(), 7)] {
        let mut bytes = archive();
        bytes[start..start + len].fill(0);
        let error = entries(&bytes).unwrap_err();
        assert!(matches!(error, ReadError::Name { .. }), "{error}");
    }
}

#[test]
fn a_target_ends_where_it_does_for_the_kernel() {
    let mut bytes = archive();
    let start = bytes.windows(7).position(|bytes| bytes == b"busybox");
    bytes[start.unwrap() + 4] = 0;
    let target = b"busy".to_vec();
    assert_eq!(entries(&bytes).unwrap()[1].kind, Kind::Symlink { target });
}

#[test]
fn numbers_with_signs_and_other_formats_are_refused() {
    let mut signed = archive();
    signed[6..14].copy_from_slice(b"+0000001");
    assert!(matches!(entries(&signed), Err(ReadError::Number { at: 0 })));
    let mut old = archive();
    old[..6].copy_from_slice(b"070707");
    assert!(matches!(entries(&old), Err(ReadError::Magic { at: 0 })));
}

/// An entry as any writer may make it; `fields` as the format orders them, without the name's size.
fn raw(magic: &str, fields: [u32; 12], name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = magic.as_bytes().to_vec();
    let [before @ .., checksum] = fields;
    for field in before {
        bytes.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    bytes.extend_from_slice(format!("{:08x}{checksum:08x}", name.len()).as_bytes());
    for part in [name, content] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn one(mode: u32, name: &[u8], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap();
    raw(
        "070701",
        [1, mode, 0, 0, 1, 7, size, 0, 0, 0, 0, 0],
        name,
        content,
    )
}

fn trailer() -> Vec<u8> {
    one(0, b"TRAILER!!!\0", b"")
}

#[test]
fn every_field_is_read_from_its_place() {
    let fields = [
        1,
        0o104_751,
        0x1000,
        0xdead_beef,
        1,
        0x6543_21f0,
        3,
        8,
        9,
        10,
        11,
        12,
    ];
    for magic in ["070701", "070702"] {
        let bytes = [raw(magic, fields, b"a/b\0", b"abc"), trailer()].concat();
        let expected = Entry {
            name: b"a/b".to_vec(),
            kind: Kind::File,
            permissions: 0o4751,
            uid: 0x1000,
            gid: 0xdead_beef,
            mtime: 0x6543_21f0,
            size: 3,
        };
        assert_eq!(entries(&bytes).unwrap(), [expected]);
    }
}

#[test]
fn every_kind_is_told_from_the_others() {
    let device = |mode| {
        raw(
            "070701",
            [1, mode, 0, 0, 1, 7, 0, 8, 9, 259, 5, 0],
            b"d\0",
            b"",
        )
    };
    let (major, minor) = (259, 5);
    for (bytes, kind) in [
        (device(0o040_755), Kind::Directory),
        (device(0o100_644), Kind::File),
        (device(0o020_600), Kind::CharDevice { major, minor }),
        (device(0o060_600), Kind::BlockDevice { major, minor }),
        (device(0o010_600), Kind::Other(0o010_000)),
        (device(0o140_600), Kind::Other(0o140_000)),
        (device(0o000_600), Kind::Other(0)),
        (
            one(0o120_777, b"l\0", b"to"),
            Kind::Symlink {
                target: b"to".to_vec(),
            },
        ),
    ] {
        let entry = Reader::new(bytes.as_slice()).next_entry().unwrap().unwrap();
        assert_eq!(entry.kind, kind);
    }
}

#[test]
fn a_name_ends_at_its_first_nul_and_must_have_one() {
    let padded = [one(0o100_644, b"abc\0\0\0\0", b"x"), trailer()].concat();
    assert_eq!(entries(&padded).unwrap()[0].name, b"abc");
    for name in [&b"abc"[..], b"\0", b"a\0b"] {
        let error = entries(&one(0o100_644, name, b"")).unwrap_err();
        assert!(
            matches!(error, ReadError::Name { at: 0 }),
            "{name:?}: {error}"
        );
    }
    let longest = [[b'a'; 4095].as_slice(), b"\0"].concat();
    let bytes = [one(0o100_644, &longest, b""), trailer()].concat();
    assert_eq!(entries(&bytes).unwrap()[0].name.len(), 4095);
}

#[test]
fn a_link_without_a_target_or_with_too_long_a_one_is_refused() {
    let link =
        |len: usize| entries(&[one(0o120_777, b"l\0", &vec![b'a'; len]), trailer()].concat());
    assert!(link(1).is_ok());
    assert!(link(4096).is_ok());
    for len in [0, 4097] {
        assert!(matches!(link(len), Err(ReadError::Name { at: 0 })), "{len}");
    }
}

#[test]
fn an_error_says_where_in_the_archive() {
    // 110 bytes, a name of 2, padded to 112; content of 5, padded to 120.
    let first = one(0o100_644, b"f\0", b"hello");
    assert_eq!(first.len(), 120);
    let with = |second: &[u8]| entries(&[first.as_slice(), second].concat()).unwrap_err();
    assert!(matches!(with(b""), ReadError::Truncated { at: 120 }));
    assert!(matches!(
        with(&trailer()[..100]),
        ReadError::Truncated { at: 220 }
    ));
    assert!(matches!(with(&[b'0'; 110]), ReadError::Magic { at: 120 }));
    let no_number = [b"070701".as_slice(), &[b'g'; 104]].concat();
    assert!(matches!(with(&no_number), ReadError::Number { at: 120 }));
    assert!(matches!(
        with(&one(0, b"a", b"")),
        ReadError::Name { at: 120 }
    ));
    let mut reader = Reader::new(&first[..115]);
    reader.next_entry().unwrap();
    assert!(matches!(
        reader.content(5),
        Err(ReadError::Truncated { at: 115 })
    ));
}

#[test]
fn content_that_was_not_asked_for_is_passed_over() {
    let bytes = [
        one(0o100_644, b"f\0", b"hello"),
        one(0o040_755, b"d\0", b"odd"),
        trailer(),
    ]
    .concat();
    let mut reader = Reader::new(bytes.as_slice());
    assert_eq!(reader.next_entry().unwrap().unwrap().name, b"f");
    assert_eq!(reader.next_entry().unwrap().unwrap().name, b"d");
    assert_eq!(reader.content(2).unwrap(), None);
    assert_eq!(reader.content(3).unwrap().unwrap(), b"odd");
    // It is read once.
    assert_eq!(reader.content(0).unwrap().unwrap(), b"");
    assert_eq!(reader.next_entry().unwrap(), None);
}

#[test]
fn what_the_trailer_carries_belongs_to_the_archive() {
    let bytes = [one(0, b"TRAILER!!!\0", b"padding"), b"next".to_vec()].concat();
    let mut reader = Reader::new(bytes.as_slice());
    assert_eq!(reader.next_entry().unwrap(), None);
    assert_eq!(reader.into_inner(), b"next");
}

#[test]
fn input_that_cannot_be_read_is_no_short_archive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is out"))
        }
    }
    for len in [0, 50, 111, 113] {
        let bytes = one(0o100_644, b"f\0", b"hello");
        let mut reader = Reader::new(bytes[..len].chain(Broken));
        let error = std::iter::from_fn(|| reader.next_entry().transpose())
            .find_map(Result::err)
            .unwrap();
        assert!(matches!(error, ReadError::Input(_)), "{len}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = entries(&bytes);
    }

    #[test]
    fn any_header_is_survived(fields in proptest::collection::vec("[0-9a-f]{8}", 13), rest: Vec<u8>) {
        let mut bytes = b"070701".to_vec();
        fields.iter().for_each(|field| bytes.extend_from_slice(field.as_bytes()));
        bytes.extend_from_slice(&rest);
        let _ = entries(&bytes);
    }

    #[test]
    fn any_files_are_read_as_written(files: std::collections::BTreeMap<u16, Vec<u8>>) {
        let mut tree = Tree::new();
        for (name, content) in &files {
            tree.file(&format!("d/{name:05}"), 0o644, content.len() as u64, content.as_slice()).unwrap();
        }
        let bytes = tree.write(Vec::new(), 0).unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        let mut found = std::collections::BTreeMap::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            if entry.kind == Kind::File {
                let name = String::from_utf8(entry.name).unwrap()[2..].parse().unwrap();
                found.insert(name, reader.content(u64::MAX).unwrap().unwrap());
            }
        }
        assert_eq!(found, files);
    }
}
