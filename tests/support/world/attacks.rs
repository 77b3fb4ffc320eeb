//! Stores that a loader must refuse, named after the attack or the mistake.

use std::path::Path;

use sealboot_core::format::archive::{self, MemberPath};
use sealboot_core::format::manifest::{Archive, Encoding, Manifest};
use sealboot_core::trust::{Envelope, KeyId};

use super::zstd::{Frame, LARGEST_WINDOW, skippable};
use super::{
    alice, bob, carol, channel, chunk_list, files, gzip, mallory, manifest, put, seal,
    seal_manifest, stored, tar,
};

/// Writes every attack as a store of its own, `DIR/<name>/images/relay.json` with its archive.
pub fn build(directory: &Path) {
    let good = tar(&files());
    let both = || [alice(), bob()];
    let signed = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest(42);
        change(&mut manifest);
        seal_manifest(&manifest, &both())
    };
    let write = |name: &str, envelope: &[u8], blob: Option<(&Archive, &[u8], &[u8])>| {
        let store = directory.join(name);
        // A server's page of an error stands where a channel would.
        let newest = if envelope.starts_with(b"{") {
            channel(envelope, None)
        } else {
            envelope.to_vec()
        };
        put(&store.join("images/relay.json"), &newest);
        if let Some((archive, list, bytes)) = blob {
            put(&store.join(archive.chunk_list_path()), list);
            put(&store.join(archive.blob_path()), bytes);
        }
    };

    // Envelopes. The archive stays away: nobody may ask for it.
    write("no-signature", &seal_manifest(&manifest(42), &[]), None);
    write("one-short", &seal_manifest(&manifest(42), &[bob()]), None);
    write(
        "stranger",
        &seal_manifest(&manifest(42), &[alice(), mallory()]),
        None,
    );
    write(
        "and-a-stranger",
        &seal_manifest(&manifest(42), &[mallory(), alice(), bob()]),
        None,
    );
    write("same-key-twice", &same_key_twice(), None);
    write(
        "other-type",
        &seal("application/vnd.example+json", b"{}".to_vec(), &both()),
        None,
    );
    write(
        "type-that-draws",
        &seal("\x1b[2J\u{202e}", b"{}".to_vec(), &both()),
        None,
    );
    write("no-envelope", b"<html>404</html>", None);
    write("key-id-that-draws", &key_id_that_draws(), None);
    write("not-base64", &not_base64(), None);
    write("many-signatures", &signatures(33), None);
    write(
        "no-manifest",
        &seal(Manifest::PAYLOAD_TYPE, b"[]".to_vec(), &both()),
        None,
    );
    write(
        "unknown-field",
        &seal(
            Manifest::PAYLOAD_TYPE,
            edited(&manifest(42), "{\"name\"", "{\"extra\":1,\"name\""),
            &both(),
        ),
        None,
    );
    write(
        "contradiction",
        &seal(
            Manifest::PAYLOAD_TYPE,
            edited(
                &manifest(42),
                "\"chunk_size\":65536",
                "\"chunk_size\":65537",
            ),
            &both(),
        ),
        None,
    );
    write(
        "other-image",
        &signed(&|manifest| manifest.name = "exit".parse().unwrap()),
        None,
    );
    write(
        "rollback",
        &seal_manifest(&super::manifest(40), &both()),
        None,
    );
    write(
        "from-the-future",
        &signed(&|manifest| manifest.created = "2100-01-01T12:00:00Z".parse().unwrap()),
        None,
    );
    write(
        "short-lived",
        &signed(&|manifest| manifest.expires = Some("2026-01-31T12:00:00Z".parse().unwrap())),
        None,
    );
    write(
        "long-lived",
        &signed(&|manifest| manifest.expires = Some("2026-06-30T12:00:00Z".parse().unwrap())),
        None,
    );
    write(
        "name-not-accepted",
        &signed(&|manifest| manifest.name = "other".parse().unwrap()),
        None,
    );

    // Archives that are not what was signed.
    let archive = manifest(42).archive;
    let of_good = signed(&|_| {});
    let list = chunk_list(&good);
    let write_blob =
        |name: &str, bytes: &[u8]| write(name, &of_good, Some((&archive, &list, bytes)));
    write("no-archive", &of_good, None);
    write_blob("flipped-first-chunk", &flipped(&good, 0));
    write_blob("flipped-middle-chunk", &flipped(&good, good.len() / 2));
    write_blob("flipped-last-chunk", &flipped(&good, good.len() - 1));
    write_blob("cut", &good[..good.len() - 1]);
    write_blob("empty", &[]);
    write_blob("goes-on", &[good.as_slice(), b"x"].concat());

    // Archives that were signed, but are not what their manifest describes.
    let write_signed = |name: &str, bytes: &[u8], encoding: Encoding| {
        let archive = stored(bytes, encoding);
        let envelope = signed(&|manifest| manifest.archive = archive.clone());
        write(name, &envelope, Some((&archive, &chunk_list(bytes), bytes)));
    };
    let initrd_header = 512 + 40_000_usize.next_multiple_of(512);
    let mut link = good.clone();
    let mut header = archive::header(&MemberPath::INITRD.parse().unwrap(), 100_000);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_cksum();
    link[initrd_header..initrd_header + 512].copy_from_slice(header.as_bytes());
    write_signed("link-for-initrd", &link, Encoding::None);
    write_signed("other-kernel", &flipped(&good, 512), Encoding::None);
    write_signed(
        "data-in-padding",
        &flipped(&good, 512 + 40_000),
        Encoding::None,
    );
    write_signed(
        "data-in-end",
        &flipped(&good, good.len() - 1),
        Encoding::None,
    );
    write_signed(
        "gzip-bomb",
        &gzip(&[good.as_slice(), &[0; 100_000]].concat()),
        Encoding::Gzip,
    );
    let short = gzip(&good);
    write_signed("broken-gzip", &short[..short.len() - 9], Encoding::Gzip);
    write_signed(
        "two-gzips",
        &[gzip(&good), gzip(b"x")].concat(),
        Encoding::Gzip,
    );

    let frame = || Frame::raw(&good);
    let compressed = frame().encode();
    let (checksum, size) = (frame().checksum.unwrap(), frame().content_size.unwrap());
    for (name, bytes) in [
        ("no-zstd", good.clone()),
        (
            "skippable-first",
            [skippable(), compressed.clone()].concat(),
        ),
        ("cut-header", compressed[..8].to_vec()),
        ("broken-zstd", compressed[..compressed.len() / 2].to_vec()),
        (
            "two-zstds",
            [&compressed[..], &Frame::raw(b"x").encode()].concat(),
        ),
        (
            "reserved-bit",
            [&compressed[..4], &[compressed[4] | 8], &compressed[5..]].concat(),
        ),
        (
            "dictionary",
            Frame {
                dictionary: Some(7),
                ..frame()
            }
            .encode(),
        ),
        (
            "no-checksum",
            Frame {
                checksum: None,
                ..frame()
            }
            .encode(),
        ),
        (
            "wrong-checksum",
            Frame {
                checksum: Some(checksum ^ 1),
                ..frame()
            }
            .encode(),
        ),
        (
            "no-content-size",
            Frame {
                content_size: None,
                window: Some(LARGEST_WINDOW),
                ..frame()
            }
            .encode(),
        ),
        (
            "wrong-content-size",
            Frame {
                content_size: Some(size + 1),
                ..frame()
            }
            .encode(),
        ),
        (
            "wide-window",
            Frame {
                window: Some(LARGEST_WINDOW + 1),
                ..frame()
            }
            .encode(),
        ),
    ] {
        write_signed(name, &bytes, Encoding::Zstd);
    }

    let other = chunk_list(b"another archive");
    write(
        "other-chunk-list",
        &of_good,
        Some((&archive, &other, &good)),
    );
}

/// Writes envelopes that each hold one mistake, for the commands that change or show them.
pub fn build_odd_envelopes(directory: &Path) {
    let both = || [alice(), bob()];
    let changed = |change: &dyn Fn(&mut Manifest), version| {
        let mut manifest = manifest(version);
        change(&mut manifest);
        seal_manifest(&manifest, &both())
    };
    let of_type = |payload_type: &str, payload: &[u8]| seal(payload_type, payload.to_vec(), &[]);
    let chunk_size = ("\"chunk_size\":65536", "\"chunk_size\":65537");
    for (name, envelope) in [
        ("other-type", of_type("application/vnd.example+json", b"{}")),
        ("type-that-draws", of_type("\x1b[2J\u{202e}", b"{}")),
        ("no-manifest", of_type(Manifest::PAYLOAD_TYPE, b"[]")),
        (
            "contradiction",
            of_type(
                Manifest::PAYLOAD_TYPE,
                &edited(&manifest(42), chunk_size.0, chunk_size.1),
            ),
        ),
        ("key-id-that-draws", key_id_that_draws()),
        ("full", signatures(32)),
        (
            "another-42",
            changed(&|manifest| manifest.cmdline = "quiet".parse().unwrap(), 42),
        ),
        (
            "another-41",
            changed(&|manifest| manifest.cmdline = "quiet".parse().unwrap(), 41),
        ),
        (
            "no-archive",
            changed(
                &|manifest| manifest.archive = stored(b"elsewhere", Encoding::Gzip),
                50,
            ),
        ),
        (
            "exit",
            changed(&|manifest| manifest.name = "exit".parse().unwrap(), 1),
        ),
    ] {
        put(&directory.join(format!("{name}.json")), &envelope);
    }
}

/// `bytes` with one bit of the byte at `at` flipped.
pub fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// A manifest's JSON with a text replaced that is in it.
pub fn edited(manifest: &Manifest, from: &str, to: &str) -> Vec<u8> {
    let json = String::from_utf8(manifest.encode()).unwrap();
    assert!(json.contains(from), "{from}");
    json.replacen(from, to, 1).into_bytes()
}

/// Bob's signature under his key id and under carol's.
pub fn same_key_twice() -> Vec<u8> {
    let mut envelope = Envelope::parse(&seal_manifest(&manifest(42), &[bob()])).unwrap();
    let signature: [u8; 64] = envelope.signatures()[0].bytes.clone().try_into().unwrap();
    let carols: KeyId = carol().public().id();
    envelope.add_signature(carols, signature);
    envelope.encode()
}

/// A signature whose key id would clear the screen and turn the text round.
fn key_id_that_draws() -> Vec<u8> {
    let envelope = seal_manifest(&manifest(42), &[mallory()]);
    let json = String::from_utf8(envelope).unwrap();
    let id = mallory().public().id().to_string();
    json.replace(&id, "\\u001b[2J\u{202e}alice").into_bytes()
}

fn not_base64() -> Vec<u8> {
    let envelope = seal_manifest(&manifest(42), &[alice(), bob()]);
    let json = String::from_utf8(envelope).unwrap();
    json.replace("\"payload\": \"", "\"payload\": \"*")
        .into_bytes()
}

/// As many signatures, all of them wrong; 32 are read, and no more.
fn signatures(count: u8) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
    for number in 0..count {
        envelope.add_signature(mallory().public().id(), [number; 64]);
    }
    envelope.encode()
}
