//! Bytes that are no JSON, or JSON that another reader could read otherwise: in what is signed and in
//! what is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealboot_core::failure::FailureCode::{
    ConfigurePolicy, FetchTooLarge, FreshnessInvalid, ManifestArch, ManifestEnvelope,
    ManifestInvalid, ManifestUpgrade, TrustEnvelope, TrustInvalid, TrustUpgrade,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;

use support::world::trust::versioned;

use super::{
    CHANNEL, Case, edited, fresh, freshness, good, key, keys, manifest, policy, sealed,
    sealed_policy, shown,
};
use support::world;

vectors! {
    /// A field that a later version of the channel has: containers grow, and what is not known is ignored.
    unknown_field_in_a_channel => Ok(()),
        channel("{\"manifest\"", "{\"newest\": 43, \"manifest\"").archive();

    /// A field that a later version of the envelope has.
    unknown_field_in_an_envelope => Ok(()),
        channel("\"payload\"", "\"critical\": [], \"payload\"").archive();

    /// A field that a later version of the signature has, such as a proof beside it.
    unknown_field_in_a_signature => Ok(()),
        channel("\"sig\"", "\"proof\": {\"log\": [1, null]}, \"sig\"").archive();

    /// A field that a later version of the manifest has, validly signed. What restricts has a critical word.
    unknown_field_in_a_manifest => Ok(()),
        signed("{\"name\"", "{\"reviewed_by\":\"host-7\",\"name\"").archive();

    /// A field that a file in a later version of the manifest has.
    unknown_field_deep_in_a_manifest => Ok(()),
        signed("{\"path\":\"boot/vmlinuz\"", "{\"mode\":420,\"path\":\"boot/vmlinuz\"").archive();

    /// A field that a later version of the trust policy has.
    unknown_field_in_the_next_policy => Ok(()),
        next("\"version\": 2", "\"contact\": \"\",\n  \"version\": 2").archive();

    /// A field that a later version of the trust policy has, in the baked-in one.
    unknown_field_in_the_baked_in_policy => Ok(()),
        baked_in("\"min_version\"", "\"note\": \"\", \"min_version\"").archive();

    /// A critical feature of the manifest that this loader does not know.
    unknown_critical_word_in_a_manifest => Err(ManifestUpgrade),
        signed("{\"name\"", "{\"critical\":[\"sealed\"],\"name\"");

    /// A critical feature of the next trust policy that this loader does not know.
    unknown_critical_word_in_the_next_policy => Err(TrustUpgrade),
        next("{\n  \"version\"", "{\n  \"critical\": [\"new\"],\n  \"version\"");

    /// An empty list of critical features.
    empty_critical_in_a_manifest => Err(ManifestInvalid),
        signed("{\"name\"", "{\"critical\":[],\"name\"");

    /// A critical feature that is given twice.
    critical_word_twice_in_a_manifest => Err(ManifestInvalid),
        signed("{\"name\"", "{\"critical\":[\"a\",\"a\"],\"name\"");

    /// A field that is not known and whose name is an escape sequence, to clear the console on which a
    /// refusal would be shown.
    unknown_field_that_draws => Ok(()),
        channel("{\"manifest\"", "{\"\\u001b[2J\\u202e\": 1, \"manifest\"").archive();

    /// A field that is not known and whose name is of twenty thousand letters: to show them all on a slow
    /// console would take the machine's time.
    unknown_field_that_floods => Ok(()),
        channel("{\"manifest\"", &format!("{{\"{}\": 1, \"manifest\"", "a".repeat(20_000))).archive();

    /// A string of twenty thousand letters where an envelope should be.
    string_that_floods => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, format!("{{\"manifest\": \"{}\"}}", "a".repeat(20_000)));

    /// An encoding, in a signed manifest, that is not known and whose name is an escape sequence.
    unknown_encoding_that_draws => Err(ManifestInvalid),
        signed("\"encoding\":\"none\"", "\"encoding\":\"\\u001b[2J\"");

    /// A field of the next trust policy whose name is an escape sequence, which no format has.
    unknown_field_of_a_policy_that_draws => Err(TrustInvalid),
        next("\"threshold\"", "\"\\u001b[2J\": 1, \"threshold\"");

    /// A channel with two manifests.
    duplicate_key_in_a_channel => Err(ManifestEnvelope), {
        let field = world::channel(&good(), None);
        let field = field.trim_ascii().strip_prefix(b"{").unwrap().strip_suffix(b"}").unwrap();
        Case::of(&policy()).shows(CHANNEL, [b"{", field, b", ", field, b"}"].concat())
    };

    /// An envelope with two payloads, of which readers take the first or the last.
    duplicate_key_in_an_envelope => Err(ManifestEnvelope), {
        let other = STANDARD.encode(manifest(43).encode());
        channel("\"payload\"", &format!("\"payload\": \"{other}\", \"payload\""))
    };

    /// An envelope with two payloads, the name of the second spelled with an escape.
    duplicate_key_in_another_spelling => Err(ManifestEnvelope), {
        let other = STANDARD.encode(manifest(43).encode());
        channel("\"payload\"", &format!("\"p\\u0061yload\": \"{other}\", \"payload\""))
    };

    /// A signature that is given twice in one object.
    duplicate_key_in_a_signature => Err(ManifestEnvelope),
        channel("\"sig\"", "\"sig\": \"AAAA\", \"sig\"");

    /// A manifest with two versions.
    duplicate_key_in_a_manifest => Err(ManifestInvalid),
        signed("\"version\":42", "\"version\":42,\"version\":43");

    /// The next trust policy with two thresholds.
    duplicate_key_in_the_next_policy => Err(TrustInvalid),
        next("\"threshold\": 2", "\"threshold\": 2,\n  \"threshold\": 1");

    /// The baked-in trust policy with two thresholds.
    duplicate_key_in_the_baked_in_policy => Err(ConfigurePolicy),
        baked_in("\"threshold\": 2", "\"threshold\": 2, \"threshold\": 1");

    /// JSON a hundred deep where a payload should be: a reader that recurses would be led down.
    hundred_deep_in_an_envelope => Err(ManifestEnvelope), deep_envelope(100);

    /// JSON ten thousand deep, where a reader's own stack ends.
    ten_thousand_deep_in_an_envelope => Err(ManifestEnvelope), deep_envelope(10_000);

    /// JSON a thousand deep in a field that is not known, which a reader might skip by recursing.
    thousand_deep_in_an_unknown_field => Err(ManifestEnvelope),
        channel("{\"manifest\"", &format!("{{\"extra\": {}, \"manifest\"", deep(1000)));

    /// Ten thousand arrays that are never closed.
    ten_thousand_deep_and_never_closed => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, vec![b'['; 10_000]);

    /// A thousand channels, each the manifest of the one around it.
    thousand_channels_in_each_other => Err(ManifestEnvelope), {
        let nested = [b"{\"manifest\":".repeat(1000), b"}".repeat(1000)].concat();
        Case::of(&policy()).shows(CHANNEL, nested)
    };

    /// JSON a hundred deep in a manifest, validly signed.
    hundred_deep_in_a_manifest => Err(ManifestInvalid),
        signed("\"console=ttyS0 quiet\"", &deep(100));

    /// JSON a thousand deep in a manifest, validly signed.
    thousand_deep_in_a_manifest => Err(ManifestInvalid),
        signed("\"console=ttyS0 quiet\"", &deep(1000));

    /// JSON a hundred deep in the next trust policy, validly signed.
    hundred_deep_in_the_next_policy => Err(TrustInvalid),
        next("\"threshold\": 2", &format!("\"threshold\": {}", deep(100)));

    /// JSON a hundred deep in a freshness statement, validly signed.
    hundred_deep_in_a_freshness => Err(FreshnessInvalid), {
        let payload = edited(&freshness(42).encode(), "\"relay\"", &deep(100));
        let envelope = world::seal(Freshness::PAYLOAD_TYPE, payload, &keys(&["clockwork"]));
        Case::of(&fresh(policy())).fresh(&good(), &envelope)
    };

    /// JSON a hundred deep in the baked-in trust policy.
    hundred_deep_in_the_baked_in_policy => Err(ConfigurePolicy),
        baked_in("\"threshold\": 2", &format!("\"threshold\": {}", deep(100)));

    /// A channel of as many bytes as are read.
    channel_of_the_largest_size => Ok(()),
        shown(&good()).archive().padded("store/images/relay.json", limit());

    /// A channel of one byte more than is read.
    channel_one_byte_too_large => Err(FetchTooLarge),
        shown(&good()).padded("store/images/relay.json", limit() + 1);

    /// The baked-in trust policy has as many bytes as are read.
    baked_in_policy_of_the_largest_size => Ok(()),
        shown(&good()).archive().padded("trust.json", LIMITS.policy_bytes.try_into().unwrap());

    /// The baked-in trust policy has one byte more than is read.
    baked_in_policy_one_byte_too_large => Err(ConfigurePolicy),
        shown(&good()).padded("trust.json", usize::try_from(LIMITS.policy_bytes).unwrap() + 1);

    /// The manifest with white space in it, validly signed: spelling is free within the profile.
    manifest_spelled_with_white_space => Ok(()), signed("{\"name\"", "{ \"name\"").archive();

    /// The manifest with a line break after it.
    manifest_with_a_line_break => Ok(()),
        signed_bytes([manifest(42).encode(), b"\n".to_vec()].concat()).archive();

    /// The manifest with a tab in it, which the profile does not have.
    manifest_with_a_tab => Err(ManifestInvalid), signed("{\"name\"", "{\t\"name\"");

    /// The manifest with a carriage return after it.
    manifest_with_a_carriage_return => Err(ManifestInvalid),
        signed_bytes([manifest(42).encode(), b"\r\n".to_vec()].concat());

    /// The manifest with its fields in another order.
    manifest_in_another_order => Ok(()),
        signed("\"name\":\"relay\",\"version\":42", "\"version\":42,\"name\":\"relay\"").archive();

    /// The manifest with a letter of its name as an escape.
    manifest_with_an_escape => Err(ManifestInvalid), signed("\"relay\"", "\"\\u0072elay\"");

    /// The manifest with a letter of a field's name as an escape.
    manifest_with_an_escape_in_a_field_name => Err(ManifestInvalid),
        signed("\"name\"", "\"n\\u0061me\"");

    /// The manifest with its slashes escaped, as some writers of JSON do.
    manifest_with_escaped_slashes => Err(ManifestInvalid), signed("boot/vmlinuz", "boot\\/vmlinuz");

    /// The manifest with the expiry that it does not have as null.
    manifest_with_a_null => Err(ManifestInvalid),
        signed("\"cmdline\"", "\"expires\":null,\"cmdline\"");

    /// The manifest with its time in another zone.
    manifest_in_another_time_zone => Err(ManifestInvalid),
        signed("2026-01-01T12:00:00Z", "2026-01-01T13:00:00+01:00");

    /// The manifest with a fraction of a second that is zero.
    manifest_with_a_zero_fraction => Err(ManifestInvalid),
        signed("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000Z");

    /// The manifest with a leap second, which readers of time count in two ways.
    manifest_with_a_leap_second => Err(ManifestInvalid), signed("12:00:00Z", "12:00:60Z");

    /// The manifest with the name of a time zone after its time.
    manifest_with_a_named_time_zone => Err(ManifestInvalid), signed("12:00:00Z", "12:00:00Z[UTC]");

    /// The manifest with a small letter for the zone.
    manifest_with_a_small_z => Err(ManifestInvalid), signed("12:00:00Z", "12:00:00z");

    /// The manifest with a hash in capitals.
    manifest_with_a_hash_in_capitals => Err(ManifestInvalid), {
        let hash = manifest(42).archive.chunks_sha256.to_string();
        signed(&hash, &hash.to_uppercase())
    };

    /// The manifest's files as lists of their fields, without the names.
    manifest_with_arrays_for_objects => Err(ManifestInvalid), {
        let file = &manifest(42).files[0];
        let object = serde_json::to_string(file).unwrap();
        signed(&object, &format!("[\"{}\",{},\"{}\"]", file.path, file.size, file.sha256))
    };

    /// The next trust policy in one line.
    next_policy_without_white_space => Ok(()), {
        let policy: String = String::from_utf8(second().encode()).unwrap().split_whitespace().collect();
        next_bytes(policy.into_bytes()).archive()
    };

    /// The next trust policy with a key in capitals.
    next_policy_with_a_key_in_capitals => Err(TrustInvalid), {
        let alice = key("alice").public().to_string();
        next(&alice, &alice.to_uppercase().replace("ED25519", "ed25519"))
    };

    /// The next trust policy without the fields that have defaults.
    next_policy_with_defaults_left_out => Ok(()), next(",\n  \"allow_http\": false", "").archive();

    /// The next trust policy with a letter of a name as an escape.
    next_policy_with_an_escape => Err(TrustInvalid), next("\"alice\"", "\"\\u0061lice\"");

    /// The channel as a list of its fields: a struct is no array, whatever a library makes of it.
    channel_as_an_array => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, [b"[", good().trim_ascii_end(), b"]"].concat());

    /// The envelope as a list of its fields.
    envelope_as_an_array => Err(ManifestEnvelope), {
        shown(&without_names(&good()))
    };

    /// Each signature as a list of its fields.
    signatures_as_arrays => Err(ManifestEnvelope), {
        let mut envelope: serde_json::Value = serde_json::from_slice(&good()).unwrap();
        for signature in envelope["signatures"].as_array_mut().unwrap() {
            *signature = serde_json::json!([signature["keyid"], signature["sig"]]);
        }
        shown(envelope.to_string().as_bytes())
    };

    /// The next trust policy's envelope as a list of its fields.
    envelope_of_the_next_policy_as_an_array => Err(TrustEnvelope), {
        let envelope = sealed_policy(&second(), &["alice", "bob"]);
        Case::of(&policy()).policy(2, without_names(&envelope)).manifest(&good())
    };

    /// A signer in the baked-in trust policy as a list of name and key.
    signer_as_an_array => Err(ConfigurePolicy), {
        let alice = key("alice").public();
        baked_in(
            &format!("{{\n      \"name\": \"alice\",\n      \"key\": \"{alice}\"\n    }}"),
            &format!("[\"alice\", \"{alice}\"]"),
        )
    };

    /// A byte in the payload's type that is no UTF-8.
    invalid_utf8_in_an_envelope => Err(ManifestEnvelope), {
        let mut channel = world::channel(&good(), None);
        let at = channel.windows(4).position(|bytes| bytes == b"json").unwrap();
        channel[at] = 0xff;
        Case::of(&policy()).shows(CHANNEL, channel)
    };

    /// A byte in the signed manifest that is no UTF-8.
    invalid_utf8_in_a_manifest => Err(ManifestInvalid), {
        let mut payload = manifest(42).encode();
        let at = payload.windows(5).position(|bytes| bytes == b"quiet").unwrap();
        payload[at] = 0xff;
        signed_bytes(payload)
    };

    /// Half of a surrogate pair in the signed manifest's label.
    lone_surrogate_in_a_manifest => Err(ManifestInvalid), signed("-debian12", "\\ud800");

    /// A byte order mark before the channel.
    byte_order_mark_before_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, [b"\xef\xbb\xbf", &world::channel(&good(), None)[..]].concat());

    /// A byte order mark before the signed manifest.
    byte_order_mark_before_a_manifest => Err(ManifestInvalid),
        signed_bytes([b"\xef\xbb\xbf", &manifest(42).encode()[..]].concat());

    /// A byte order mark before the baked-in trust policy.
    byte_order_mark_before_the_baked_in_policy => Err(ConfigurePolicy),
        Case::of_bytes([b"\xef\xbb\xbf", &policy().encode()[..]].concat()).manifest(&good());

    /// The channel in UTF-16.
    channel_in_utf16 => Err(ManifestEnvelope), {
        let text = String::from_utf8(world::channel(&good(), None)).unwrap();
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        Case::of(&policy()).shows(CHANNEL, utf16)
    };

    /// A NUL after the channel, where a reader in C would stop.
    nul_after_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, [&world::channel(&good(), None)[..], b"\0"].concat());

    /// A NUL in the signed manifest's name.
    nul_in_a_manifest => Err(ManifestInvalid), signed("\"relay\"", "\"relay\\u0000\"");

    /// A raw NUL in the payload's base64.
    nul_in_base64 => Err(ManifestEnvelope), channel("\"payload\": \"", "\"payload\": \"\0");

    /// A second channel after the channel.
    channel_after_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, world::channel(&good(), None).repeat(2));

    /// A second manifest after the signed one, in one payload.
    manifest_after_a_manifest => Err(ManifestInvalid),
        signed_bytes([manifest(42).encode(), manifest(43).encode()].concat());

    /// A comment in the channel, as lenient readers of JSON allow.
    comment_in_a_channel => Err(ManifestEnvelope),
        channel("{\"manifest\"", "{/* newest */ \"manifest\"");

    /// A comma after the last field, as lenient readers of JSON allow.
    trailing_comma_in_a_manifest => Err(ManifestInvalid),
        signed_bytes([manifest(42).encode().strip_suffix(b"}").unwrap(), b",}"].concat());

    /// The payload's base64 with a line break in it.
    line_break_in_base64 => Err(ManifestEnvelope), channel("\"payload\": \"", "\"payload\": \"\\n");

    /// The payload's base64 with bits after its last byte, which decoders drop: another text for the same
    /// payload.
    bits_after_base64 => Err(ManifestEnvelope), {
        // As many bytes as leave four bits over: a label of another length makes it so.
        let manifest = (1..4).map(|more| {
            let mut manifest = manifest(42);
            manifest.label = "a".repeat(more).parse().unwrap();
            manifest
        }).find(|manifest| manifest.encode().len() % 3 == 1).unwrap();
        let envelope = sealed(&manifest, &["alice", "bob"]);
        let text = STANDARD.encode(manifest.encode());
        let last = text.trim_end_matches('=').len() - 1;
        let mut other = text.clone().into_bytes();
        other[last] += 1;
        shown(&edited(&envelope, &text, std::str::from_utf8(&other).unwrap()))
    };

    /// An empty file where the channel should be.
    empty_channel => Err(ManifestEnvelope), Case::of(&policy()).shows(CHANNEL, b"");

    /// What stands where the channel should is the mirror's own page for what it does not have.
    html_for_a_channel => Err(ManifestEnvelope),
        Case::of(&policy()).shows(CHANNEL, b"<html>404</html>\n");

    /// The channel is cut in the middle.
    channel_cut_short => Err(ManifestEnvelope), {
        let channel = world::channel(&good(), None);
        Case::of(&policy()).shows(CHANNEL, &channel[..channel.len() / 2])
    };

    /// The signed payload is empty.
    empty_payload => Err(ManifestInvalid), signed_bytes(Vec::new());

    /// The name of an image that leads out of the store.
    image_name_that_climbs => Err(ManifestInvalid), signed("\"relay\"", "\"../relay\"");

    /// A line break in the kernel's command line.
    line_break_in_the_cmdline => Err(ManifestInvalid),
        signed("ttyS0 quiet", "ttyS0\\ninit=/bin/sh");

    /// An escape sequence in the label, to clear the console that prints it.
    label_that_draws => Err(ManifestInvalid), signed("-debian12", "\\u001b[2J");

    /// A label in letters that look like others.
    label_in_look_alike_letters => Err(ManifestInvalid), signed("-debian12", "-d\u{435}bian12");

    /// A manifest that leaves out its version.
    manifest_without_a_version => Err(ManifestInvalid), signed("\"version\":42,", "");

    /// A time that does not say in which zone it is.
    manifest_with_a_time_of_no_zone => Err(ManifestInvalid),
        signed("2026-01-01T12:00:00Z", "2026-01-01T12:00:00");

    /// A file that is not to be booted.
    manifest_with_a_file_elsewhere => Err(ManifestInvalid), signed("boot/initrd", "etc/shadow");

    /// The name of the image in capitals, which some file systems take for the same.
    image_name_in_capitals => Err(ManifestInvalid), signed("\"relay\"", "\"Relay\"");

    /// An encoding that this reader does not know.
    unknown_encoding => Err(ManifestUpgrade),
        signed("\"encoding\":\"none\"", "\"encoding\":\"xz\"");

    /// An architecture that this reader does not know: the image is for another machine.
    unknown_architecture => Err(ManifestArch), signed("\"x86_64\"", "\"riscv64\"").archive();

    /// An architecture whose name could not be one.
    architecture_that_draws => Err(ManifestInvalid), signed("\"x86_64\"", "\"x86-64 \"");
}

/// A channel around [`good`] with one text replaced.
fn channel(from: &str, to: &str) -> Case {
    let channel = world::channel(&good(), None);
    Case::of(&policy()).shows(CHANNEL, edited(&channel, from, to))
}

/// A manifest with one text replaced, validly signed.
fn signed(from: &str, to: &str) -> Case {
    signed_bytes(edited(&manifest(42).encode(), from, to))
}

fn signed_bytes(payload: Vec<u8>) -> Case {
    shown(&world::seal(
        Manifest::PAYLOAD_TYPE,
        payload,
        &keys(&["alice", "bob"]),
    ))
}

fn second() -> TrustPolicy {
    versioned(&policy(), 2)
}

/// A next trust policy with one text replaced, validly signed.
fn next(from: &str, to: &str) -> Case {
    next_bytes(edited(&second().encode(), from, to))
}

fn next_bytes(payload: Vec<u8>) -> Case {
    let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"]));
    Case::of(&policy()).policy(2, envelope).manifest(&good())
}

/// The baked-in trust policy with one text replaced.
fn baked_in(from: &str, to: &str) -> Case {
    Case::of_bytes(edited(&policy().encode(), from, to)).manifest(&good())
}

/// An envelope as a list of its fields.
fn without_names(envelope: &[u8]) -> Vec<u8> {
    let envelope: serde_json::Value = serde_json::from_slice(envelope).unwrap();
    let fields = ["payload", "payloadType", "signatures"].map(|name| envelope[name].clone());
    serde_json::to_vec(&fields).unwrap()
}

/// A valid JSON value that is so deep.
fn deep(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

fn deep_envelope(levels: usize) -> Case {
    channel(
        "\"payload\": \"",
        &format!("\"payload\": {}, \"payload\": \"", deep(levels)),
    )
}

fn limit() -> usize {
    LIMITS.channel_bytes.try_into().unwrap()
}
