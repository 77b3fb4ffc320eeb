//! Large images have small manifests: key services sign a few kilobytes at most.

use sealboot_core::format::archive::tar_size;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{Arch, Archive, Attachment, Encoding, Manifest};
use sealboot_core::trust::{Channel, Envelope};
use support::world::{self, clockwork, put, seal_manifest, trust};

use crate::agent::SshAgent;
use crate::attach::{attach, emma, openssl_sign, print};
use crate::gpg_agent::GpgAgent;
use crate::{World, succeeded};

/// The largest message that a cloud's KMS signs with a raw ed25519 key is 4,096 bytes; OpenPGP cards accept 2 to 3 KB.
const SMALL: usize = 2_000;

/// Returns a manifest of an image of 4 GiB, whose list of chunks is generated.
fn four_gib() -> Manifest {
    let mut manifest = world::manifest(43);
    manifest.files[1].size = (4 << 30) - (1 << 20);
    manifest.files[1].unpacked_size = Some(9 << 30);
    let size = tar_size(manifest.files.iter().map(|file| file.size)).unwrap();
    assert!(size < 4 << 30 && size > (4 << 30) - (2 << 20));
    let mut archive = Archive {
        encoding: Encoding::None,
        size,
        chunk_size: 1 << 20,
        chunks_sha256: Sha256Digest::of(b""),
    };
    let list: Vec<u8> = (0..archive.chunk_count())
        .flat_map(|chunk| *Sha256Digest::of(&chunk.to_le_bytes()).as_bytes())
        .collect();
    assert_eq!(list.len(), archive.chunk_list_len());
    archive.chunks_sha256 = Sha256Digest::of(&list);
    manifest.archive = archive;
    manifest.expires = Some("2030-01-01T00:00:00Z".parse().unwrap());
    manifest.max_uptime_hours = Some(720.try_into().unwrap());
    manifest.attachments = ["sbom.spdx.json", "recipe.tar", "packages.lock"]
        .map(|name| Attachment {
            name: name.parse().unwrap(),
            media_type: "application/octet-stream".parse().unwrap(),
            size: 1 << 20,
            sha256: Sha256Digest::of(name.as_bytes()),
        })
        .to_vec();
    manifest
}

#[test]
fn manifest_of_4_gib_is_signed_by_agents_and_raw_bytes() {
    let world = World::new();
    let manifest = four_gib();
    assert!(
        manifest.encode().len() < SMALL,
        "{}",
        manifest.encode().len()
    );
    let envelope = "store/images/relay/43/x86_64.json";
    put(&world.path(envelope), &seal_manifest(&manifest, &[]));

    let gpg = GpgAgent::start(&world);
    gpg.create_key();
    succeeded(gpg.sign(envelope));

    let ssh = SshAgent::start(&world);
    ssh.add(&world, &["test-only-keys/dora-openssh.key"]);
    let sign = ["image", "sign", "--key", "test-only-keys/dora-openssh.pub"];
    let mut sign = world.sealboot(&sign);
    let signed = sign.arg(envelope).env("SSH_AUTH_SOCK", &ssh.socket);
    succeeded(signed.output().unwrap());

    emma(&world);
    let bytes = print(&world, &["image"], envelope);
    assert!(bytes.len() < SMALL, "{}", bytes.len());
    openssl_sign(&world, "emma.key", "bytes", "emma.sig");
    succeeded(attach(&world, "emma.pub", "emma.sig", envelope));

    let policy = [
        "policy",
        "create",
        "--threshold",
        "3",
        "--key",
        "grace=gpg.pub",
        "--key",
        "dora=test-only-keys/dora-openssh.pub",
        "--key",
        "emma=emma.pub",
        "--image",
        "relay",
        "--out",
        "three.json",
    ];
    succeeded(world.sealboot(&policy).output().unwrap());
    let inspect = ["image", "inspect", "--policy", "three.json", envelope];
    let shown = succeeded(world.sealboot(&inspect).output().unwrap());
    assert!(
        shown.contains("signed by  grace, dora, emma (3 required)"),
        "{shown}"
    );
}

#[test]
fn channel_of_eight_versions_of_two_architectures_is_small() {
    let of = |version: u64, arch| Manifest {
        version: version.try_into().unwrap(),
        arch,
        ..four_gib()
    };
    let manifests: Vec<Manifest> = (43..51)
        .rev()
        .flat_map(|version| [of(version, Arch::X86_64), of(version, Arch::Aarch64)])
        .collect();
    let signers = [world::alice(), world::bob(), world::carol()];
    let envelopes = manifests.iter().map(|manifest| {
        let envelope = seal_manifest(manifest, &signers);
        Envelope::parse(&envelope).unwrap()
    });
    let listed: Vec<&Manifest> = manifests.iter().collect();
    let freshness = trust::freshness_of(&listed, 1, manifests[0].created);
    let freshness = trust::seal_freshness(&freshness, &clockwork());
    let channel = Channel::new(envelopes, [Envelope::parse(&freshness).unwrap()]);
    let bytes = channel.encode();
    assert!(bytes.len() < 64_000, "{}", bytes.len());
    assert_eq!(Channel::parse(&bytes).unwrap().releases.len(), 16);
}
