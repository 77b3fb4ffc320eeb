//! Manifests whose fields agree, and each way in which they do not.

use super::*;

const MANIFEST: &str = concat!(
    r#"{"name":"relay","version":42,"label":"a label","arch":"x86_64","created":"2026-11-21T12:00:00Z","#,
    r#""expires":"2026-12-21T12:00:00Z","cmdline":"quiet","archive":{"encoding":"none","size":3072,"#,
    r#""chunk_size":65536,"chunks_sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
    r#""files":[{"path":"boot/vmlinuz","size":1,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
    r#"{"path":"boot/initrd","size":2,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","#,
    r#""unpacked_size":5}],"max_uptime_hours":24,"#,
    r#""attachments":[{"name":"sbom.json","media_type":"application/vnd.cyclonedx+json","size":2,"#,
    r#""sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}"#,
);

#[test]
fn a_manifest_is_read_and_written() {
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    assert_eq!(manifest.encode(), MANIFEST.as_bytes());
}

#[test]
fn order_and_white_space_are_free() {
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    for (from, to) in [
        (",", ", "),
        ("{", "\n{"),
        (
            r#""name":"relay","version":42"#,
            r#""version":42,"name":"relay""#,
        ),
        (r#""version":42"#, r#""version":42,"new":{"field":[1]}"#),
    ] {
        assert!(MANIFEST.contains(from), "{from}");
        let json = MANIFEST.replacen(from, to, 1);
        assert_eq!(Manifest::parse(json.as_bytes()).expect(&json), manifest);
    }
}

#[test]
fn a_second_reading_of_a_value_is_refused() {
    for (from, to) in [
        ("relay", r"\u0072elay"),
        (r#""version":42"#, r#""version":42,"version":43"#),
        (r#""version":42"#, r#""version":42.0"#),
        ("12:00:00Z\",\"expires", "13:00:00+01:00\",\"expires"),
        ("12:00:00Z\",\"expires", "12:00:00.0Z\",\"expires"),
        (r#""expires":"2026-12-21T12:00:00Z","#, r#""expires":null,"#),
    ] {
        assert!(MANIFEST.contains(from), "{from}");
        let json = MANIFEST.replacen(from, to, 1);
        Manifest::parse(json.as_bytes()).expect_err(&json);
    }
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    for (from, to) in [
        (":3072", ":3073"),
        (":3072", ":0"),
        (":3072", ":68719476737"),
        (":65536", ":65535"),
        (":65536", ":32768"),
        (":65536", ":33554432"),
        ("\"size\":1,", "\"size\":0,"),
        ("\"size\":2,", "\"size\":0,"),
        ("\"size\":2,", "\"size\":9007199254740991,"),
        ("2026-12-21", "2026-11-21"),
        ("2026-12-21", "2025-12-21"),
        ("boot/initrd", "boot/initrd.1"),
    ] {
        assert!(MANIFEST.contains(from), "{from}");
        let json = MANIFEST.replacen(from, to, 1);
        let error = Manifest::parse(json.as_bytes()).expect_err(&json);
        assert!(
            matches!(error, PayloadError::Contradiction(_)),
            "{json}: {error:?}"
        );
    }
}

fn checked(change: impl FnOnce(&mut Manifest)) -> Result<(), &'static str> {
    let mut manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    change(&mut manifest);
    manifest.check().map_err(|invalid| invalid.field)
}

/// Of so many bytes as stored, in gzip, so that its size says nothing about its files'.
fn stored(archive: &mut Archive, size: u64, chunk_size: u64) {
    archive.encoding = Encoding::Gzip;
    archive.size = size;
    archive.chunk_size = chunk_size;
}

#[test]
fn an_archive_has_1_byte_to_64_gib() {
    for (size, expected) in [
        (0, Err("archive.size")),
        (1, Ok(())),
        (64 << 30, Ok(())),
        ((64 << 30) + 1, Err("archive.size")),
    ] {
        let check = checked(|manifest| stored(&mut manifest.archive, size, 16 << 20));
        assert_eq!(check, expected, "{size}");
    }
}

#[test]
fn a_chunk_is_a_power_of_two_from_64_kib_to_16_mib() {
    for bits in 10..30 {
        let check = |size| checked(|manifest| stored(&mut manifest.archive, 3, size));
        let expected = (16..=24)
            .contains(&bits)
            .then_some(())
            .ok_or("archive.chunk_size");
        assert_eq!(check(1 << bits), expected, "2^{bits}");
        assert_eq!(check((1 << bits) + 512), Err("archive.chunk_size"));
    }
}

#[test]
fn each_chunk_has_one_hash() {
    let mut archive = Manifest::parse(MANIFEST.as_bytes()).unwrap().archive;
    for (size, chunk_size, chunks) in [
        (1, 65_536, 1),
        (65_536, 65_536, 1),
        (65_537, 65_536, 2),
        (64 << 30, 65_536, 1 << 20),
    ] {
        stored(&mut archive, size, chunk_size);
        assert_eq!(archive.chunk_count(), chunks, "{size}");
        assert_eq!(archive.chunk_list_len(), 32 * chunks, "{size}");
    }
}

#[test]
fn a_chunk_ends_with_the_archive() {
    let mut archive = Manifest::parse(MANIFEST.as_bytes()).unwrap().archive;
    stored(&mut archive, 2 * 65_536 + 3, 65_536);
    let lengths = [0, 1, 2, 3, usize::MAX].map(|index| archive.chunk_len(index));
    assert_eq!(lengths, [Some(65_536), Some(65_536), Some(3), None, None]);
    stored(&mut archive, 2 * 65_536, 65_536);
    let lengths = [0, 1, 2].map(|index| archive.chunk_len(index));
    assert_eq!(lengths, [Some(65_536), Some(65_536), None]);
}

#[test]
fn an_image_has_at_most_128_files_and_64_gib_unpacked() {
    let with = |count: usize, size: u64| {
        checked(|manifest| {
            stored(&mut manifest.archive, 1, 65_536);
            manifest.files[1].size = size;
            let initrd = manifest.files.pop().unwrap();
            manifest.files.extend((1..count).map(|number| ImageFile {
                path: format!("boot/initrd.{}", number - 1).parse().unwrap(),
                ..initrd.clone()
            }));
        })
    };
    assert_eq!(with(128, 1), Ok(()));
    assert_eq!(with(129, 1), Err("files"));
    // Two headers, the kernel's block and the two of the end.
    let largest = (64 << 30) - 5 * 512;
    assert_eq!(with(2, largest), Ok(()));
    assert_eq!(with(2, largest + 1), Err("files.size"));
    assert_eq!(with(2, u64::MAX), Err("files.size"));
}

#[test]
fn kernel_and_initrd_are_not_empty() {
    let empty = |at: usize| {
        let mut manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
        stored(&mut manifest.archive, 1, 65_536);
        manifest.files[at].size = 0;
        manifest.check().map_err(|invalid| invalid.takes)
    };
    assert_eq!(empty(0), Err("the size of a kernel"));
    assert_eq!(empty(1), Err("the size of an initrd"));
}

#[test]
fn what_a_boot_keeps_and_what_it_unpacks_follow_from_the_files() {
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    assert_eq!(manifest.unpacked_size(), manifest.archive.size);
    assert_eq!(manifest.boot_size(), 3);
}

#[test]
fn an_image_has_at_most_16_attachments_of_256_mib() {
    let with = |count: usize, size: u64| {
        checked(|manifest| {
            let one = Attachment {
                size,
                ..manifest.attachments[0].clone()
            };
            manifest.attachments = (0..count)
                .map(|number| Attachment {
                    name: format!("{number}.json").parse().unwrap(),
                    ..one.clone()
                })
                .collect();
        })
    };
    assert_eq!(with(16, 256 << 20), Ok(()));
    assert_eq!(with(16, 0), Ok(()));
    assert_eq!(with(17, 1), Err("attachments"));
    assert_eq!(with(1, (256 << 20) + 1), Err("attachments.size"));
    let twice = checked(|manifest| manifest.attachments.push(manifest.attachments[0].clone()));
    assert_eq!(twice, Err("attachments.name"));
}

#[test]
fn an_attachment_has_a_plain_name_and_a_media_type() {
    let long = "a".repeat(64);
    for good in ["a", "0", "sbom.cdx.json", "a-b_c.", &long] {
        good.parse::<AttachmentName>().expect(good);
    }
    for bad in [
        "",
        ".a",
        "-a",
        "A",
        "a/b",
        "a b",
        "..",
        "é",
        &format!("{long}a"),
    ] {
        assert!(bad.parse::<AttachmentName>().is_err(), "{bad:?}");
    }
    let long = format!("{0}/{0}", "a".repeat(127));
    for good in ["text/plain", "application/vnd.cyclonedx+json", &long] {
        good.parse::<MediaType>().expect(good);
    }
    for bad in [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain; charset=utf-8",
        "Text/plain",
        "a/b/c",
        "a b/c",
        "+a/b",
        &format!("{long}a"),
    ] {
        assert!(bad.parse::<MediaType>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_boot_may_run_for_1_to_720_hours() {
    for hours in [1, 24, 720] {
        let parsed = MaxUptimeHours::try_from(hours).unwrap();
        assert_eq!(u64::from(parsed.get()), hours);
    }
    for hours in [0, 721, 65_537, u64::MAX] {
        assert!(MaxUptimeHours::try_from(hours).is_err(), "{hours}");
    }
}

#[test]
fn an_expiry_comes_after_the_making() {
    let life = |seconds| {
        checked(|manifest| {
            let span = jiff::SignedDuration::from_secs(seconds);
            manifest.expires = Some(manifest.created + span);
        })
    };
    assert_eq!(life(1), Ok(()));
    assert_eq!(life(0), Err("expires"));
    assert_eq!(life(-1), Err("expires"));
    assert_eq!(checked(|manifest| manifest.expires = None), Ok(()));
}

#[test]
fn a_blob_is_named_after_the_chunk_list_and_its_encoding() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut archive = Manifest::parse(MANIFEST.as_bytes()).unwrap().archive;
    assert_eq!(archive.chunk_list_path(), format!("blobs/{hex}.chunks"));
    for (encoding, path, name) in [
        (Encoding::None, format!("blobs/{hex}.tar"), "none"),
        (Encoding::Gzip, format!("blobs/{hex}.tar.gz"), "gzip"),
        (Encoding::Zstd, format!("blobs/{hex}.tar.zst"), "zstd"),
    ] {
        archive.encoding = encoding;
        assert_eq!(archive.blob_path(), path);
        assert_eq!(encoding.to_string(), name);
        assert_eq!(
            serde_json::to_string(&encoding).unwrap(),
            format!("\"{name}\"")
        );
    }
    let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
    let path = manifest.attachments[0].blob_path();
    assert_eq!(path, format!("blobs/sha256-{hex}"));
}

#[test]
fn an_architecture_has_the_kernels_name() {
    for (arch, name) in [
        (Arch::X86_64, "x86_64"),
        (Arch::Aarch64, "aarch64"),
        ("riscv64".parse().unwrap(), "riscv64"),
    ] {
        assert_eq!(arch.to_string(), name);
        assert_eq!(name.parse(), Ok(arch.clone()));
        assert_eq!(serde_json::to_string(&arch).unwrap(), format!("\"{name}\""));
    }
    for bad in [
        "",
        "X86_64",
        "64",
        "_x",
        "x86-64",
        "x86_64 ",
        &"a".repeat(33),
    ] {
        assert!(bad.parse::<Arch>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_name_is_plain_and_a_label_is_visible() {
    let (name, label) = ("a".repeat(64), "~".repeat(128));
    for good in ["a", "0", "relay", "a-b_c-", &name] {
        let parsed: ImageName = good.parse().unwrap();
        assert_eq!((parsed.as_str(), parsed.to_string().as_str()), (good, good));
    }
    for bad in [
        "",
        "-a",
        "_a",
        "A",
        "aB",
        "a.b",
        "a/b",
        "a b",
        "a\0",
        "é",
        &format!("{name}a"),
    ] {
        assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        let json = serde_json::to_string(bad).unwrap();
        assert!(serde_json::from_str::<ImageName>(&json).is_err());
    }
    for good in ["a", " ", "2026.01 (relay) ~!", &label] {
        let parsed: Label = good.parse().unwrap();
        assert_eq!((parsed.as_str(), parsed.to_string().as_str()), (good, good));
    }
    for bad in ["", "a\nb", "a\x1b[m", "\x7f", "é", &format!("{label}~")] {
        assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        let json = serde_json::to_string(bad).unwrap();
        assert!(serde_json::from_str::<Label>(&json).is_err());
    }
}
