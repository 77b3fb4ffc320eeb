//! What a later version may add, before readers of today: unknown fields, critical words, words of closed lists, types of
//! keys and of payloads, and what is left of them once a mirror has taken them away.

use sealboot_core::failure::FailureCode::{
    ConfigureHostMachine, ConfigureHostThreshold, ConfigureHostUpgrade, FreshnessInvalid,
    FreshnessThreshold, FreshnessUpgrade, ManifestNotCurrent, ManifestPayloadType,
    ManifestThreshold, ManifestUpgrade, TrustThreshold, TrustUpgrade,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::{Arch, Attachment, Manifest};
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::policy::{AcceptedImage, Fields, Group, Signer};
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};

use support::world::trust::{group, versioned};

use super::{
    CHANNEL, Case, edited, fresh, freshness, freshness_of, good, keys, manifest, policy, put_keys,
    sealed, sealed_freshness, sealed_policy, shown,
};
use support::world;

const HOST: &str = r#"{
  "created": "2026-01-10T12:00:00Z",
  "image": "relay",
  "mirrors": ["https://boot.example/"],
  "network": {"mode": "dhcp"}
}
"#;

/// The payload type of a manifest that a later version may have.
const FUTURE: &str = "application/vnd.sealboot.manifest.v2+json";

vectors! {
    /// A field of a later version beside the releases of a channel.
    unknown_field_beside_the_releases => Ok(()), {
        let channel = world::channel(&good(), None);
        let channel = edited(&channel, "{\"releases\"", "{\"mirrors\": [{\"url\": null}], \"releases\"");
        Case::of(&policy()).shows(CHANNEL, channel).archive()
    };

    /// A field of a later version in the manifest's archive.
    unknown_field_in_an_archive => Ok(()),
        signed("{\"encoding\"", "{\"delta_of\":[\"0\"],\"encoding\"").archive();

    /// A field of a later version in an attachment.
    unknown_field_in_an_attachment => Ok(()), {
        let mut attached = manifest(42);
        attached.attachments = vec![Attachment {
            name: "sbom.cdx.json".parse().unwrap(),
            media_type: "application/vnd.cyclonedx+json".parse().unwrap(),
            size: 9,
            sha256: attached.files[0].sha256,
        }];
        let field = "{\"language\":\"en\",\"name\":\"sbom";
        shown(&signed_bytes(edited(&attached.encode(), "{\"name\":\"sbom", field))).archive()
    };

    /// A field of a later version in a release of a freshness statement.
    unknown_field_in_a_current_release => Ok(()),
        said("{\"version\":42", "{\"rollout\":{\"percent\":5},\"version\":42").archive();

    /// A field of a later version beside a key of the next trust policy.
    unknown_field_beside_a_key => Ok(()),
        next("\"name\": \"alice\"", "\"team\": \"a\", \"name\": \"alice\"").archive();

    /// A role of a later version in the next trust policy.
    unknown_role => Ok(()),
        next("\"root\": [", "\"timestamp\": [{\"keys\": [], \"threshold\": 0}], \"root\": [").archive();

    /// A field of a later version in a group of keys.
    unknown_field_in_a_group => Ok(()),
        next("\"threshold\": 2", "\"note\": \"two people\", \"threshold\": 2").archive();

    /// A field of a later version in a rule of the next trust policy.
    unknown_field_in_a_rule => Ok(()),
        next("\"max_hours\"", "\"grace_hours\": 1, \"max_hours\"").archive();

    /// A field of a later version in the failure policy.
    unknown_field_in_the_failure_policy => Ok(()),
        next("\"max_attempts\"", "\"beep\": true, \"max_attempts\"").archive();

    /// A field of a later version in a signed host config.
    unknown_field_in_a_signed_host_config => Ok(()),
        host("\"image\"", "\"proxy\": {\"url\": \"\"}, \"image\"").archive();

    /// A field of a later version in the network of a signed host config.
    unknown_field_in_a_network => Ok(()),
        host("{\"mode\"", "{\"wifi\": {\"ssid\": \"x\"}, \"mode\"").archive();

    /// A field of a later version in a plain host config: the loader prints it and goes on, the tool refuses it, for a
    /// person may have misspelt another.
    unknown_field_in_a_plain_host_config => Ok(()),
        plain_host("\"image\"", "\"proxy\": {\"url\": null}, \"image\"").archive().refused_by_the_tool();

    /// A proof that a log has the statement, beside each signature of the image.
    proof_beside_a_signature => Ok(()), shown(&with_proofs(&good())).archive();

    /// The same after a mirror has taken one of the proofs away: nothing that this reader knows depends on it.
    proof_stripped_by_a_mirror => Ok(()),
        shown(&edited(&with_proofs(&good()), PROOF, "")).archive();

    /// A proof beside the signatures of the next trust policy.
    proof_beside_a_signature_of_the_next_policy => Ok(()), {
        let envelope = sealed_policy(&second(), &["alice", "bob"]);
        Case::of(&policy()).policy(2, with_proofs(&envelope)).manifest(&good()).archive()
    };

    /// A proof beside the signature of the freshness statement.
    proof_beside_a_signature_of_a_freshness => Ok(()), {
        let statement = sealed_freshness(&freshness(42), &["clockwork"]);
        Case::of(&fresh(policy())).fresh(&good(), &with_proofs(&statement)).archive()
    };

    /// A proof beside the signature of the host config.
    proof_beside_a_signature_of_a_host_config => Ok(()),
        machine(with_proofs(&signed_host(HOST.into()))).archive();

    /// A proof stands in place of a signature that is missing: what is not known counts for nothing.
    proof_for_a_signature => Err(ManifestThreshold),
        shown(&with_proofs(&sealed(&manifest(42), &["bob"])));

    /// A critical feature of the baked-in trust policy that this reader does not know.
    unknown_critical_word_in_the_baked_in_policy => Err(TrustUpgrade),
        baked_in("{\n  \"version\"", "{\n  \"critical\": [\"logs\"],\n  \"version\"");

    /// A critical feature of a signed host config that this reader does not know.
    unknown_critical_word_in_a_signed_host_config => Err(ConfigureHostUpgrade),
        host("{\n  \"created\"", "{\n  \"critical\": [\"proxies\"],\n  \"created\"");

    /// A critical feature of a plain host config that this reader does not know.
    unknown_critical_word_in_a_plain_host_config => Err(ConfigureHostUpgrade),
        plain_host("{\n  \"created\"", "{\n  \"critical\": [\"proxies\"],\n  \"created\"");

    /// Every other field of the next trust policy has a value that v1 does not have, beside a critical word: what the
    /// word means is not known, so nothing else is judged.
    unknown_critical_word_beside_values_of_a_later_version => Err(TrustUpgrade),
        next("\"version\": 2", "\"critical\": [\"logs\"],\n  \"version\": \"2.1\"");

    /// The policy's expiry has a meaning that this reader does not know.
    unknown_word_for_the_expiry => Err(TrustUpgrade), next("\"warn\"", "\"ask\"");

    /// The final action is one that this reader does not know.
    unknown_final_action => Err(TrustUpgrade), next("\"reboot\"", "\"halt\"");

    /// What a disk means is a word that this reader does not know.
    unknown_word_for_disks => Err(TrustUpgrade), next("\"disks\": \"allow\"", "\"disks\": \"wipe\"");

    /// What a disk means in the baked-in policy is a word that this reader does not know.
    unknown_word_for_disks_in_the_baked_in_policy => Err(TrustUpgrade),
        baked_in("\"disks\": \"allow\"", "\"disks\": \"wipe\"");

    /// The network's mode is one that this reader does not know.
    unknown_network_mode => Err(ConfigureHostUpgrade), host("\"dhcp\"", "\"wireguard\"");

    /// The network's mode in a plain host config is one that this reader does not know.
    unknown_network_mode_in_a_plain_host_config => Err(ConfigureHostUpgrade),
        plain_host("\"dhcp\"", "\"wireguard\"");

    /// The mode of one interface of several is one that this reader does not know.
    unknown_mode_of_an_interface => Err(ConfigureHostUpgrade),
        host("{\"mode\": \"dhcp\"}", r#"{"interfaces": [{"mode": "dhcp"}, {"mode": "wireguard", "interface": "wg0"}]}"#);

    /// A bond's mode is one that this reader does not know.
    unknown_mode_of_a_bond => Err(ConfigureHostUpgrade),
        host("{\"mode\": \"dhcp\"}", r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": ["eth0"], "mode": "multipath"}]}"#);

    /// A bond's hash policy is one that this reader does not know.
    unknown_hash_policy_of_a_bond => Err(ConfigureHostUpgrade), {
        let bonds = r#"{"mode": "dhcp", "bonds": [{"name": "bond0", "ports": ["eth0"], "mode": "802.3ad",
            "xmit_hash_policy": "vlan+srcmac"}]}"#;
        host("{\"mode\": \"dhcp\"}", bonds)
    };

    /// The host config is for machines by an identity of a kind that this reader does not know, and by this one's serial
    /// number: the kind is for another reader.
    machine_of_an_unknown_kind_beside_this_one => Ok(()),
        host("\"image\"", r#""for": ["tpm:sha256:00", "serial:CZ1234"], "image""#).on_machine("CZ1234").archive();

    /// The host config is for machines by identities of kinds that this reader does not know: no machine is one of them.
    machine_of_an_unknown_kind_alone => Err(ConfigureHostMachine),
        host("\"image\"", r#""for": ["tpm:sha256:00", "rack:CZ1234"], "image""#).on_machine("CZ1234");

    /// A release for an architecture that this reader does not know is offered and current beside this machine's.
    release_of_an_unknown_architecture_beside_this_ones => Ok(()), {
        let mut other = manifest(42);
        other.arch = "riscv64".parse::<Arch>().unwrap();
        let releases = [sealed(&other, &["alice", "bob"]), good()];
        channel(&releases, &freshness_of(&[&other, &manifest(42)])).archive()
    };

    /// A key of a type that this reader does not know is in every role, beside enough known ones: it counts for nothing
    /// and stops nothing.
    key_of_an_unknown_type_in_every_role => Ok(()), {
        let policy = with_keys(everything(), |fields| {
            // A key of freshness or host configs has no other role.
            let names = ["later", "later", "later2", "later3"];
            for (groups, name) in roles(fields).into_iter().zip(names) {
                groups[0].keys.push(name.parse().unwrap());
            }
        });
        Case::of(&policy)
            .host(signed_host(HOST.into()))
            .policy(2, sealed_policy(&versioned(&policy, 2), &["alice", "bob"]))
            .fresh(&good(), &sealed_freshness(&second_freshness(), &["clockwork"]))
            .archive()
    };

    /// The root of the baked-in trust policy cannot be met by keys of known types: no later policy could be followed.
    root_of_unknown_key_types => Err(TrustUpgrade),
        Case::of(&with_keys(policy(), |fields| fields.roles.root = of_later())).manifest(&good());

    /// The root of the next trust policy cannot be met by keys of known types.
    next_root_of_unknown_key_types => Err(TrustUpgrade), {
        let next = with_keys(second(), |fields| fields.roles.root = of_later());
        Case::of(&policy()).policy(2, sealed_policy(&next, &["alice", "bob"])).manifest(&good())
    };

    /// One group of two of the next trust policy's root cannot be met by keys of known types.
    next_root_with_a_group_of_unknown_key_types => Err(TrustUpgrade), {
        let next = with_keys(second(), |fields| fields.roles.root.extend(of_later()));
        Case::of(&policy()).policy(2, sealed_policy(&next, &["alice", "bob"])).manifest(&good())
    };

    /// Alice and a key of an unknown type are to sign the next trust policy, and a junk signature stands under that one's
    /// name.
    next_policy_signed_by_a_key_of_an_unknown_type => Err(TrustThreshold), {
        let first = with_keys(policy(), |fields| {
            fields.roles.root[0].keys.push("later".parse().unwrap());
        });
        let next = versioned(&first, 2);
        Case::of(&first).policy(2, junk_by_later(&sealed_policy(&next, &["alice"]))).manifest(&good())
    };

    /// Releases are signed by keys of types that this reader does not know.
    release_role_of_unknown_key_types => Err(ManifestUpgrade),
        Case::of(&with_keys(policy(), |fields| fields.roles.release = of_later())).manifest(&good());

    /// One of two has signed, and a junk signature stands under the name of a key of an unknown type.
    image_signed_by_a_key_of_an_unknown_type => Err(ManifestThreshold), {
        let policy = with_keys(policy(), |fields| {
            fields.roles.release[0].keys.push("later".parse().unwrap());
        });
        Case::of(&policy).manifest(&junk_by_later(&sealed(&manifest(42), &["alice"])))
    };

    /// The image's own release role needs keys of types that this reader does not know.
    own_release_role_of_unknown_key_types => Err(ManifestUpgrade), {
        let policy = with_keys(policy(), |fields| fields.images[0].release = Some(of_later()));
        Case::of(&policy).manifest(&good())
    };

    /// Another image's roles need keys of types that this reader does not know, which stops nothing of this one's.
    roles_of_another_image_of_unknown_key_types => Ok(()), {
        let policy = with_keys(fresh(policy()), |fields| {
            let mut exit = AcceptedImage::new("exit".parse().unwrap(), 1.try_into().unwrap());
            (exit.release, exit.freshness) = (Some(of_later()), Some(of_later()));
            // A key of a freshness role has no other.
            exit.freshness.as_mut().unwrap()[0].keys = vec!["later2".parse().unwrap()];
            fields.images.push(exit);
        });
        Case::of(&policy).fresh(&good(), &sealed_freshness(&freshness(42), &["clockwork"])).archive()
    };

    /// Freshness statements are signed by keys of types that this reader does not know, and one is required.
    freshness_role_of_unknown_key_types => Err(FreshnessUpgrade), {
        let policy = with_keys(fresh(policy()), |fields| fields.roles.freshness = Some(of_later()));
        Case::of(&policy).fresh(&good(), &sealed_freshness(&freshness(42), &["clockwork"]))
    };

    /// The same, where no statement is required: the role stops only what it signs.
    freshness_role_of_unknown_key_types_where_none_is_required => Ok(()), {
        let policy = with_keys(fresh(policy()), |fields| {
            fields.roles.freshness = Some(of_later());
            fields.freshness.required = false;
        });
        Case::of(&policy).fresh(&good(), &sealed_freshness(&freshness(42), &["clockwork"])).archive()
    };

    /// The image's own freshness role needs keys of types that this reader does not know.
    own_freshness_role_of_unknown_key_types => Err(FreshnessUpgrade), {
        let policy = with_keys(fresh(policy()), |fields| fields.images[0].freshness = Some(of_later()));
        Case::of(&policy).fresh(&good(), &sealed_freshness(&freshness(42), &["clockwork"]))
    };

    /// A junk signature under the name of a key of an unknown type is all that the freshness statement has.
    freshness_signed_by_a_key_of_an_unknown_type => Err(FreshnessThreshold), {
        let policy = with_keys(fresh(policy()), |fields| {
            let role = fields.roles.freshness.as_mut().unwrap();
            role[0].keys.push("later".parse().unwrap());
        });
        Case::of(&policy).fresh(&good(), &junk_by_later(&sealed_freshness(&freshness(42), &[])))
    };

    /// Host configs are signed by keys of types that this reader does not know.
    host_config_role_of_unknown_key_types => Err(ConfigureHostUpgrade),
        Case::of(&of_later_hosts()).host(signed_host(HOST.into())).manifest(&good());

    /// The same, where a plain host config will do: the role stops only what it signs.
    plain_host_config_beside_a_role_of_unknown_key_types => Ok(()),
        Case::of(&of_later_hosts()).host(HOST).manifest(&good()).archive();

    /// A junk signature under the name of a key of an unknown type is all that the host config has.
    host_config_signed_by_a_key_of_an_unknown_type => Err(ConfigureHostThreshold), {
        let policy = with_keys(everything(), |fields| {
            let role = fields.roles.host_config.as_mut().unwrap();
            role[0].keys.push("later".parse().unwrap());
        });
        let unsigned = world::seal(HostConfig::PAYLOAD_TYPE, HOST.into(), &[]);
        Case::of(&policy).host(junk_by_later(&unsigned)).manifest(&good())
    };

    /// A manifest of a later format stands before today's in the channel: it is for newer loaders.
    manifest_of_a_future_type_beside_todays => Ok(()),
        Case::of(&policy()).shows(CHANNEL, channel_of(&[future(), good()], &[])).archive();

    /// The same after a mirror has taken the later format away.
    manifest_of_a_future_type_stripped_by_a_mirror => Ok(()), channel(&[good()], &both_types()).archive();

    /// A mirror has taken today's manifest away, and left the later format alone.
    manifest_of_todays_type_stripped_by_a_mirror => Err(ManifestPayloadType),
        channel(&[future()], &both_types());

    /// Channel and freshness statement have a release in a later format beside the same in today's.
    current_release_of_both_types => Ok(()), channel(&[future(), good()], &both_types()).archive();

    /// The statement lists version 43 in a later format alone: of that version there is nothing for this reader, though
    /// the mirror shows a manifest of today's format.
    newer_release_of_a_future_type_alone => Err(ManifestNotCurrent),
        channel(&[sealed(&manifest(43), &["alice", "bob"])], &newer_of_future_type());

    /// The same, and version 42 is current in today's format: that one boots.
    older_release_beside_a_newer_one_of_a_future_type => Ok(()),
        channel(&[sealed(&manifest(43), &["alice", "bob"]), good()], &newer_of_future_type()).archive();

    /// A freshness statement of a later format stands before today's.
    freshness_of_a_future_type_beside_todays => Ok(()), {
        let statements = [future_freshness(), sealed_freshness(&freshness(42), &["clockwork"])];
        Case::of(&fresh(policy())).shows(CHANNEL, channel_of(&[good()], &statements)).archive()
    };

    /// A mirror has taken today's freshness statement away, and left the later format alone.
    freshness_of_todays_type_stripped_by_a_mirror => Err(FreshnessInvalid),
        Case::of(&fresh(policy())).shows(CHANNEL, channel_of(&[good()], &[future_freshness()]));
}

/// The proof that [`with_proofs`] adds to the first signature.
const PROOF: &str = "\"proof\": {\"log\": \"log.example\", \"path\": [null, 1.5]}, ";

/// An envelope with a proof beside its first signature, of a spelling that no payload may have.
fn with_proofs(envelope: &[u8]) -> Vec<u8> {
    edited(envelope, "\"keyid\"", &format!("{PROOF}\"keyid\""))
}

/// A manifest with one text replaced, validly signed and shown.
fn signed(from: &str, to: &str) -> Case {
    shown(&signed_bytes(edited(&manifest(42).encode(), from, to)))
}

fn signed_bytes(payload: Vec<u8>) -> Vec<u8> {
    world::seal(Manifest::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"]))
}

fn second() -> TrustPolicy {
    versioned(&policy(), 2)
}

/// The next trust policy with one text replaced, validly signed.
fn next(from: &str, to: &str) -> Case {
    let payload = edited(&second().encode(), from, to);
    let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"]));
    Case::of(&policy()).policy(2, envelope).manifest(&good())
}

/// The baked-in trust policy with one text replaced.
fn baked_in(from: &str, to: &str) -> Case {
    Case::of_bytes(edited(&policy().encode(), from, to)).manifest(&good())
}

/// What clockwork says with one text replaced, validly signed.
fn said(from: &str, to: &str) -> Case {
    let payload = edited(&freshness(42).encode(), from, to);
    let envelope = world::seal(Freshness::PAYLOAD_TYPE, payload, &keys(&["clockwork"]));
    Case::of(&fresh(policy())).fresh(&good(), &envelope)
}

/// The policy, with dora who signs host configs.
fn of_hosts(policy: TrustPolicy) -> TrustPolicy {
    let changed = policy.with(|fields| {
        put_keys(fields, &["dora"]);
        fields.roles.host_config = Some(group(1, &["dora"]));
    });
    changed.unwrap()
}

fn signed_host(json: Vec<u8>) -> Vec<u8> {
    world::seal(HostConfig::PAYLOAD_TYPE, json, &keys(&["dora"]))
}

/// A machine that finds this host config.
fn machine(stored: Vec<u8>) -> Case {
    Case::of(&of_hosts(policy())).host(stored).manifest(&good())
}

/// The host config with one text replaced, signed by dora.
fn host(from: &str, to: &str) -> Case {
    machine(signed_host(edited(HOST.as_bytes(), from, to)))
}

/// The host config with one text replaced, as a person has written it.
fn plain_host(from: &str, to: &str) -> Case {
    machine(edited(HOST.as_bytes(), from, to))
}

/// The policy with every role.
fn everything() -> TrustPolicy {
    of_hosts(fresh(policy()))
}

/// Every role of the policy.
fn roles(fields: &mut Fields) -> Vec<&mut Vec<Group>> {
    let roles = &mut fields.roles;
    let all = [
        Some(&mut roles.root),
        Some(&mut roles.release),
        roles.freshness.as_mut(),
        roles.host_config.as_mut(),
    ];
    all.into_iter().flatten().collect()
}

/// The policy after a change, with keys of a type that no reader of v1 knows in its table.
fn with_keys(policy: TrustPolicy, change: impl FnOnce(&mut Fields)) -> TrustPolicy {
    let changed = policy.with(|fields| {
        for (name, key) in [
            ("later", "ml-dsa-65:bGF0ZXI="),
            ("later2", "x-1:00"),
            ("later3", "x-1:01"),
        ] {
            fields.keys.push(Signer {
                name: name.parse().unwrap(),
                key: key.parse().unwrap(),
            });
        }
        change(fields);
    });
    changed.unwrap()
}

/// A role of the key of an unknown type alone.
fn of_later() -> Vec<Group> {
    group(1, &["later"])
}

fn of_later_hosts() -> TrustPolicy {
    with_keys(policy(), |fields| {
        fields.roles.host_config = Some(of_later())
    })
}

/// The envelope with 64 bytes under the name of the key of an unknown type.
fn junk_by_later(envelope: &[u8]) -> Vec<u8> {
    let mut envelope = Envelope::parse(envelope).unwrap();
    envelope.join(EnvelopeSignature::new("later", [7; 64]));
    envelope.encode()
}

/// What clockwork says under the second policy.
fn second_freshness() -> Freshness {
    Freshness {
        trust: 2.try_into().unwrap(),
        ..freshness(42)
    }
}

/// Version 42 in a later format, signed by those who sign today's.
fn future() -> Vec<u8> {
    world::seal(
        FUTURE,
        b"\x01a format of which nothing is known".to_vec(),
        &keys(&["alice", "bob"]),
    )
}

/// A freshness statement in a later format, signed by the one who signs today's.
fn future_freshness() -> Vec<u8> {
    world::seal(
        "application/vnd.sealboot.freshness.v2+json",
        freshness(42).encode(),
        &keys(&["clockwork"]),
    )
}

fn of_future_type(mut freshness: Freshness, at: usize) -> Freshness {
    freshness.releases[at].payload_type = FUTURE.parse().unwrap();
    freshness
}

/// The statement that version 42 is current in both formats.
fn both_types() -> Freshness {
    let mut both = freshness(42);
    both.releases.insert(0, both.releases[0].clone());
    of_future_type(both, 0)
}

/// The statement that version 43 is current in the later format, and 42 in today's.
fn newer_of_future_type() -> Freshness {
    of_future_type(freshness_of(&[&manifest(43), &manifest(42)]), 0)
}

/// A machine that lets two versions be current, and a channel of these releases with one statement.
fn channel(releases: &[Vec<u8>], freshness: &Freshness) -> Case {
    let of_two = fresh(policy()).with(|fields| fields.freshness.max_releases = 2);
    let statement = sealed_freshness(freshness, &["clockwork"]);
    Case::of(&of_two.unwrap()).shows(CHANNEL, channel_of(releases, &[statement]))
}

fn channel_of(releases: &[Vec<u8>], statements: &[Vec<u8>]) -> Vec<u8> {
    let parse = |bytes: &Vec<u8>| Envelope::parse(bytes).unwrap();
    let channel = Channel::new(releases.iter().map(parse), statements.iter().map(parse));
    channel.encode()
}
