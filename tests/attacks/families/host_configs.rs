//! Host configs, where the policy has a role for them: whether what a machine goes by is what somebody signed.

use sealboot_core::failure::FailureCode::{
    ConfigureHost, ConfigureHostEnvelope, ConfigureHostExpired, ConfigureHostRevoked,
    ConfigureHostRole, ConfigureHostThreshold, ConfigureHostUnsigned, ManifestPayloadType,
    ManifestThreshold,
};
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::{Envelope, TrustPolicy};

use support::world::trust::group;

use super::{
    Case, edited, fresh, freshness, good, key, keys, manifest, policy, put_keys, sealed,
    sealed_freshness,
};
use support::world;

const TYPE: &str = HostConfig::PAYLOAD_TYPE;

const HOST: &str = r#"{
  "created": "2026-01-10T12:00:00Z",
  "image": "relay",
  "mirrors": ["https://boot.example/"],
  "network": {"mode": "dhcp"}
}
"#;

vectors! {
    /// The policy requires a signed host config, and dora, who may, has signed this one.
    signed_host_config => Ok(()), machine(signed(&["dora"])).manifest(&good()).archive();

    /// The policy has somebody who signs host configs, and does not require it: a plain one is taken.
    plain_host_config_where_none_is_required => Ok(()),
        asking(false, &["dora"], 1).host(HOST).manifest(&good()).archive();

    /// The policy requires a signed host config, and this one is plain: anybody may have written it.
    plain_host_config => Err(ConfigureHostUnsigned), machine(HOST).manifest(&good());

    /// Nobody has signed the host config.
    host_config_without_a_signature => Err(ConfigureHostThreshold),
        machine(signed(&[])).manifest(&good());

    /// A stranger has signed the host config.
    host_config_signed_by_a_stranger => Err(ConfigureHostThreshold),
        machine(signed(&["mallory"])).manifest(&good());

    /// Those who sign images have signed the host config: they are not of this role.
    host_config_signed_by_image_keys_alone => Err(ConfigureHostThreshold),
        machine(signed(&["alice", "bob", "carol"])).manifest(&good());

    /// The key that renews has signed the host config: a machine's key says nothing but what is newest.
    host_config_signed_by_the_freshness_key => Err(ConfigureHostThreshold), {
        Case::of(&configured(fresh(policy()), true, &["dora"], 1))
            .host(signed(&["clockwork"]))
            .fresh(&good(), &sealed_freshness(&freshness(42), &["clockwork"]))
    };

    /// One of two has signed the host config.
    host_config_one_signature_short => Err(ConfigureHostThreshold),
        asking(true, &["dora", "mallory"], 2).host(signed(&["dora"])).manifest(&good());

    /// Of two keys that must sign the host config, one has signed twice, once under the other's id.
    host_config_of_one_key_twice => Err(ConfigureHostThreshold), {
        let mut envelope = Envelope::parse(&signed(&["dora"])).unwrap();
        let signature = key("dora").sign(&envelope.signed_bytes());
        envelope.add_signature(key("mallory").public().id(), signature);
        asking(true, &["dora", "mallory"], 2).host(envelope.encode()).manifest(&good())
    };

    /// One byte of the signed host config is flipped.
    host_config_with_a_flipped_byte => Err(ConfigureHostThreshold), {
        let mut json = HOST.as_bytes().to_vec();
        let at = HOST.find("boot.example").unwrap();
        json[at] ^= 1;
        let signed = Envelope::parse(&signed(&["dora"])).unwrap();
        let mut flipped = Envelope::unsigned(TYPE, json);
        flipped.join(signed.signatures()[0].clone());
        machine(flipped.encode()).manifest(&good())
    };

    /// The host config is signed, and the policy has nobody for it: it is not taken as if it were plain.
    signed_host_config_that_nobody_can_check => Err(ConfigureHostRole),
        Case::of(&policy()).host(signed(&["dora"])).manifest(&good());

    /// A manifest stands where the host config should, signed by the key of host configs.
    manifest_for_a_host_config => Err(ConfigureHostEnvelope), {
        let payload = manifest(42).encode();
        let sealed = world::seal(Manifest::PAYLOAD_TYPE, payload, &keys(&["dora"]));
        machine(sealed).manifest(&good())
    };

    /// The signature was made for the host config as a manifest; only the type beside it is changed.
    type_of_a_host_config_put_over_a_manifest => Err(ConfigureHostThreshold), {
        let sealed = world::seal(Manifest::PAYLOAD_TYPE, HOST.into(), &keys(&["dora"]));
        machine(edited(&sealed, Manifest::PAYLOAD_TYPE, TYPE)).manifest(&good())
    };

    /// The payload of a manifest, signed as a host config.
    payload_of_a_manifest_as_a_host_config => Err(ConfigureHost),
        machine(world::seal(TYPE, manifest(42).encode(), &keys(&["dora"]))).manifest(&good());

    /// The envelope of a host config, signed as a host config.
    host_config_in_two_envelopes => Err(ConfigureHost),
        machine(world::seal(TYPE, signed(&["dora"]), &keys(&["dora"]))).manifest(&good());

    /// A plain host config that has a payload type: it is an envelope by that, and none that can be read.
    host_config_that_is_both => Err(ConfigureHostEnvelope), {
        let both = edited(HOST.as_bytes(), "{", &format!("{{\"payloadType\": \"{TYPE}\", "));
        machine(both).manifest(&good())
    };

    /// The signed envelope stands in a list: an object is written as an object, and this is nothing that is signed.
    host_config_in_a_list => Err(ConfigureHostUnsigned),
        machine([b"[", &signed(&["dora"])[..], b"]"].concat()).manifest(&good());

    /// A host config stands where the manifest should, signed by two who may sign manifests.
    host_config_for_a_manifest => Err(ManifestPayloadType),
        machine(signed(&["dora"])).manifest(&signed(&["alice", "bob"]));

    /// The key of host configs and alice have signed the image: who installs machines releases nothing.
    image_signed_by_the_host_config_key => Err(ManifestThreshold),
        machine(signed(&["dora"])).manifest(&sealed(&manifest(42), &["alice", "dora"]));

    /// The host config was signed for another time: it ended yesterday.
    expired_host_config => Err(ConfigureHostExpired),
        machine(signed_with("\"image\"", "\"expires\": \"2026-01-14T00:00:00Z\", \"image\""));

    /// The signed host config does not say when it was created, so that no policy could refuse it for its age.
    undated_host_config => Err(ConfigureHost),
        machine(signed_with("\"created\": \"2026-01-10T12:00:00Z\",", ""));

    /// The host config is of last week, and the policy takes none that is older than two days: dora's laptop was stolen.
    host_config_from_before_the_policy_takes_any => Err(ConfigureHostRevoked), {
        let policy = configured(policy(), true, &["dora"], 1).with(|fields| {
            fields.host_config.not_before = Some("2026-01-13T00:00:00Z".parse().unwrap());
        });
        Case::of(&policy.unwrap()).host(signed(&["dora"]))
    };

    /// The host config is signed, and the kernel command line names another mirror.
    mirror_on_the_command_line => Err(ConfigureHostUnsigned),
        machine(signed(&["dora"])).with_cmdline("quiet sealboot.mirror=https://evil.example/");

    /// The host config is signed, and the kernel command line gives the machine another name server.
    name_server_on_the_command_line => Err(ConfigureHostUnsigned),
        machine(signed(&["dora"])).with_cmdline("nameserver=192.0.2.66");

    /// There is no host config, and the kernel command line makes one up.
    host_config_made_up_by_the_command_line => Err(ConfigureHostUnsigned),
        asking(true, &["dora"], 1)
            .with_cmdline("ip=dhcp sealboot.image=relay sealboot.mirror=https://evil.example/");

    /// What the kernel command line says is of the kernel, the log, and the card that firmware booted from, which is to be
    /// passed over: nothing of it is in a host config's place.
    command_line_beside_a_signed_host_config => Ok(()),
        machine(signed(&["dora"]))
            .with_cmdline("console=ttyS0 sealboot.log=debug BOOTIF=01-00-00-5e-00-53-01 rd.bootif=0")
            .manifest(&good())
            .archive();
}

/// A machine that takes what dora has signed, and nothing else, and that has this host config.
fn machine(host: impl Into<Vec<u8>>) -> Case {
    asking(true, &["dora"], 1).host(host)
}

/// A machine whose policy has so many of these sign host configs.
fn asking(required: bool, names: &[&str], threshold: usize) -> Case {
    Case::of(&configured(policy(), required, names, threshold))
}

fn configured(
    policy: TrustPolicy,
    required: bool,
    names: &[&str],
    threshold: usize,
) -> TrustPolicy {
    let changed = policy.with(|fields| {
        put_keys(fields, names);
        fields.roles.host_config = Some(group(threshold, names));
        fields.host_config.required = required;
    });
    changed.unwrap()
}

/// [`HOST`] with one text replaced, signed by dora.
fn signed_with(from: &str, to: &str) -> Vec<u8> {
    world::seal(TYPE, edited(HOST.as_bytes(), from, to), &keys(&["dora"]))
}

fn signed(signers: &[&str]) -> Vec<u8> {
    world::seal(TYPE, HOST.into(), &keys(signers))
}
