//! Each bound of the formats, twice: what has exactly as much as is read, and what has one more.

use sealboot_core::failure::FailureCode::{
    ConfigureHost, ConfigurePolicy, FetchTruncated, FreshnessInvalid, ManifestEnvelope,
    ManifestInvalid, ManifestThreshold, ManifestUpgrade, TrustInvalid,
};
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::{Arch, Attachment, Encoding, Manifest};
use sealboot_core::trust::envelope::EnvelopeSignature;
use sealboot_core::trust::{Channel, Envelope, TrustPolicy};
use serde_json::{Value, json};

use support::world::trust::versioned;

use super::{
    CHANNEL, Case, describing, edited, files, fresh, freshness, good, key, keys, manifest, policy,
    put_keys, sealed_freshness, shown, signer,
};
use support::world;

vectors! {
    /// The manifest has as many bytes as one may.
    manifest_of_the_largest_size => Ok(()), of_size(LIMITS.payload_bytes).archive();

    /// The manifest has one byte more than one may.
    manifest_one_byte_too_large => Err(ManifestInvalid), of_size(LIMITS.payload_bytes + 1);

    /// The manifest has one byte more than one may, and nobody has signed it: its signatures are not even looked at.
    unsigned_manifest_one_byte_too_large => Err(ManifestInvalid), {
        let payload = padded(manifest(42).encode(), LIMITS.payload_bytes + 1);
        let envelope = world::seal(Manifest::PAYLOAD_TYPE, payload, &[]);
        shown(&envelope).generated(STORED_CHANNEL)
    };

    /// The freshness statement has as many bytes as one may.
    freshness_of_the_largest_size => Ok(()),
        said(padded(freshness(42).encode(), LIMITS.payload_bytes)).generated(STORED_CHANNEL).archive();

    /// The freshness statement has one byte more than one may.
    freshness_one_byte_too_large => Err(FreshnessInvalid),
        said(padded(freshness(42).encode(), LIMITS.payload_bytes + 1)).generated(STORED_CHANNEL);

    /// The next trust policy has as many bytes as one may, before it is in base64.
    next_policy_payload_of_the_largest_size => Ok(()), next_of_size(LIMITS.policy_bytes).archive();

    /// The next trust policy has one byte more than one may, before it is in base64.
    next_policy_payload_one_byte_too_large => Err(TrustInvalid), next_of_size(LIMITS.policy_bytes + 1);

    /// A plain host config has as many bytes as one may.
    host_config_of_the_largest_size => Ok(()),
        with_host(|_| ()).padded("host.json", size(LIMITS.host_config_bytes)).archive();

    /// A plain host config has one byte more than one may.
    host_config_one_byte_too_large => Err(ConfigureHost),
        with_host(|_| ()).padded("host.json", size(LIMITS.host_config_bytes) + 1);

    /// A third signature stands under a key id that is as long as one may be.
    key_id_of_the_longest_length => Ok(()), with_signature(&"k".repeat(256), &[7; 64]).archive();

    /// A third signature stands under a key id that is one byte longer than one may be.
    key_id_one_byte_too_long => Err(ManifestEnvelope), with_signature(&"k".repeat(257), &[7; 64]);

    /// A third signature is as large as one may be, as those of later types of keys are.
    signature_of_the_largest_size => Ok(()),
        with_signature("later", &[7; 8192]).generated(STORED_CHANNEL).archive();

    /// A third signature is one byte larger than one may be.
    signature_one_byte_too_large => Err(ManifestEnvelope),
        with_signature("later", &[7; 8193]).generated(STORED_CHANNEL);

    /// A third signature is no base64, and as long as a text that is none may be.
    text_for_a_signature_of_the_largest_size => Ok(()), with_text_for_a_signature(8192).archive();

    /// A third signature is no base64, and one character longer than a text that is none may be.
    text_for_a_signature_one_byte_too_long => Err(ManifestEnvelope), with_text_for_a_signature(8193);

    /// The last signature that is needed takes the last verification that a channel is worth: releases that nobody has
    /// signed stand before it.
    last_verification_of_a_channel => Ok(()), behind_junk(false).archive();

    /// One verification more is needed than a channel is worth.
    one_verification_too_many => Err(ManifestThreshold), behind_junk(true);

    /// A channel offers as many releases as one may, the good one last.
    channel_of_32_releases => Ok(()), offering(32).archive();

    /// A channel offers one release more than one may.
    channel_of_33_releases => Err(ManifestEnvelope), offering(33);

    /// A channel has as many freshness statements as one may, the good one last.
    channel_of_4_statements => Ok(()), stating(4).archive();

    /// A channel has one freshness statement more than one may.
    channel_of_5_statements => Err(ManifestEnvelope), stating(5);

    /// The freshness statement lists as many releases as one may, this machine's last.
    freshness_of_32_releases => Ok(()), listing(32).archive();

    /// The freshness statement lists one release more than one may.
    freshness_of_33_releases => Err(FreshnessInvalid), listing(33);

    /// The freshness statement has withdrawn as many versions as one may.
    freshness_of_64_withdrawn_versions => Ok(()), withdrawing(64).archive();

    /// The freshness statement has withdrawn one version more than one may.
    freshness_of_65_withdrawn_versions => Err(FreshnessInvalid), withdrawing(65);

    /// The baked-in trust policy has as many keys as one may.
    policy_of_64_keys => Ok(()), with_keys(64).archive();

    /// The baked-in trust policy has one key more than one may.
    policy_of_65_keys => Err(ConfigurePolicy), with_keys(65);

    /// A key of a later type is as long as one may be.
    key_of_the_longest_length => Ok(()), with_key_of(8192).archive();

    /// A key of a later type is one character longer than one may be.
    key_one_character_too_long => Err(ConfigurePolicy), with_key_of(8193);

    /// The root has as many groups as a role may.
    root_of_4_groups => Ok(()), with_groups(&["alice", "bob", "carol", "dora"]).archive();

    /// The root has one group more than a role may.
    root_of_5_groups => Err(ConfigurePolicy), with_groups(&["alice", "bob", "carol", "dora", "mallory"]);

    /// The baked-in trust policy accepts as many images as one may, this machine's last.
    policy_of_256_images => Ok(()), with_images(256).archive();

    /// The baked-in trust policy accepts one image more than one may.
    policy_of_257_images => Err(ConfigurePolicy), with_images(257);

    /// The baked-in trust policy denies as many versions of an image as one may.
    image_of_256_denied_versions => Ok(()), with_denied_versions(256).archive();

    /// The baked-in trust policy denies one version of an image more than one may.
    image_of_257_denied_versions => Err(ConfigurePolicy), with_denied_versions(257);

    /// The baked-in trust policy denies as many digests as one may.
    policy_of_1024_denied_digests => Ok(()), with_denied_digests(1024).archive();

    /// The baked-in trust policy denies one digest more than one may.
    policy_of_1025_denied_digests => Err(ConfigurePolicy), with_denied_digests(1025);

    /// The image has as many files as one may.
    image_of_128_files => Ok(()), of_files(128);

    /// The image has one file more than one may.
    image_of_129_files => Err(ManifestInvalid), of_files(129);

    /// The image has as many attachments as one may.
    image_of_16_attachments => Ok(()), attached(16, 9).archive();

    /// The image has one attachment more than one may.
    image_of_17_attachments => Err(ManifestInvalid), attached(17, 9);

    /// An attachment is as large as one may be.
    attachment_of_the_largest_size => Ok(()), attached(1, LIMITS.attachment_bytes).archive();

    /// An attachment is one byte larger than one may be.
    attachment_one_byte_too_large => Err(ManifestInvalid), attached(1, LIMITS.attachment_bytes + 1);

    /// Chunks are as large as they may be.
    chunks_of_the_largest_size => Ok(()), in_chunks_of(LIMITS.chunk_size_max).archive();

    /// Chunks are twice as large as they may be.
    chunks_past_the_largest_size => Err(ManifestInvalid), in_chunks_of(2 * LIMITS.chunk_size_max);

    /// Chunks are as small as they may be.
    chunks_of_the_smallest_size => Ok(()), in_chunks_of(LIMITS.chunk_size_min).archive();

    /// Chunks are half as large as they must be.
    chunks_below_the_smallest_size => Err(ManifestInvalid), in_chunks_of(LIMITS.chunk_size_min / 2);

    /// The archive is as large as one may be: it is asked for, with a chunk list of its own length, and the mirror ends early.
    archive_of_the_largest_size => Err(FetchTruncated), stored_in(LIMITS.archive_bytes);

    /// The archive is one byte larger than one may be.
    archive_one_byte_too_large => Err(ManifestInvalid), stored_in(LIMITS.archive_bytes + 1);

    /// The kernel's command line is as long as one may be.
    cmdline_of_the_longest_length => Ok(()), with_cmdline_of(2047).archive();

    /// The kernel's command line is one character longer than one may be.
    cmdline_one_character_too_long => Err(ManifestInvalid), with_cmdline_of(2048);

    /// One boot of the image may run for as long as one may.
    longest_uptime => Ok(()), running_for(720).archive();

    /// One boot of the image may run for one hour more than one may.
    uptime_one_hour_too_long => Err(ManifestInvalid), running_for(721);

    /// One boot of the image may run for the shortest time.
    shortest_uptime => Ok(()), running_for(1).archive();

    /// One boot of the image may run for no time.
    uptime_of_no_hour => Err(ManifestInvalid), running_for(0);

    /// As many critical words as there may be, the first of which is not known.
    critical_words_16 => Err(ManifestUpgrade), critical(&words(16));

    /// One critical word more than there may be.
    critical_words_17 => Err(ManifestInvalid), critical(&words(17));

    /// A critical word that is as long as one may be.
    critical_word_of_the_longest_length => Err(ManifestUpgrade), critical(&["w".repeat(32)]);

    /// A critical word that is one character longer than one may be.
    critical_word_one_character_too_long => Err(ManifestInvalid), critical(&["w".repeat(33)]);

    /// The host config is for as many machines as one may be, this one last.
    host_config_for_64_machines => Ok(()), for_machines(64).on_machine("CZ1234").archive();

    /// The host config is for one machine more than one may be.
    host_config_for_65_machines => Err(ConfigureHost), for_machines(65).on_machine("CZ1234");

    /// The host config names as many mirrors as one may.
    host_config_of_16_mirrors => Ok(()), with_mirrors(16).archive();

    /// The host config names one mirror more than one may.
    host_config_of_17_mirrors => Err(ConfigureHost), with_mirrors(17);

    /// The host config has as many keys of mirrors as one may.
    host_config_of_32_mirror_keys => Ok(()), with_mirror_keys(32).archive();

    /// The host config has one key of a mirror more than one may.
    host_config_of_33_mirror_keys => Err(ConfigureHost), with_mirror_keys(33);

    /// The host config names as many name servers as one may.
    host_config_of_16_name_servers => Ok(()), with_name_servers(16).archive();

    /// The host config names one name server more than one may.
    host_config_of_17_name_servers => Err(ConfigureHost), with_name_servers(17);

    /// The host config names as many time servers as one may.
    host_config_of_16_time_servers => Ok(()), with_time_servers(16).archive();

    /// The host config names one time server more than one may.
    host_config_of_17_time_servers => Err(ConfigureHost), with_time_servers(17);
}

/// The channel, as a folder's path.
const STORED_CHANNEL: &str = "store/images/relay.json";

fn size(bytes: u64) -> usize {
    bytes.try_into().unwrap()
}

/// A statement with spaces behind it, up to so many bytes: white space is free.
fn padded(mut statement: Vec<u8>, bytes: u64) -> Vec<u8> {
    assert!(statement.len() <= size(bytes));
    statement.resize(size(bytes), b' ');
    statement
}

/// A manifest of so many bytes, validly signed.
fn of_size(bytes: u64) -> Case {
    signed(padded(manifest(42).encode(), bytes)).generated(STORED_CHANNEL)
}

fn signed(payload: Vec<u8>) -> Case {
    let both = keys(&["alice", "bob"]);
    shown(&world::seal(Manifest::PAYLOAD_TYPE, payload, &both))
}

/// A manifest after a change, validly signed.
fn changed(change: impl FnOnce(&mut Manifest)) -> Case {
    let mut manifest = manifest(42);
    change(&mut manifest);
    signed(manifest.encode())
}

/// The policy requires freshness, and clockwork has signed this.
fn said(payload: Vec<u8>) -> Case {
    let clockwork = keys(&["clockwork"]);
    let envelope = world::seal(Freshness::PAYLOAD_TYPE, payload, &clockwork);
    Case::of(&fresh(policy())).fresh(&good(), &envelope)
}

/// The next trust policy in so many bytes, validly signed.
fn next_of_size(bytes: u64) -> Case {
    let payload = padded(versioned(&policy(), 2).encode(), bytes);
    let both = keys(&["alice", "bob"]);
    let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, payload, &both);
    let case = Case::of(&policy()).policy(2, envelope).manifest(&good());
    case.generated("store/trust/2.json")
}

/// A plain host config after a change.
fn with_host(change: impl FnOnce(&mut Value)) -> Case {
    let mut config = json!({
        "image": "relay", "mirrors": ["https://boot.example/"], "network": {"mode": "dhcp"},
    });
    change(&mut config);
    Case::of(&policy())
        .host(config.to_string())
        .manifest(&good())
}

/// The good image with one more signature.
fn with_signature(key_id: &str, bytes: &[u8]) -> Case {
    let mut envelope = Envelope::parse(&good()).unwrap();
    envelope.join(EnvelopeSignature::new(key_id, bytes));
    shown(&envelope.encode())
}

/// The good image with a text of this length, which is not base64, for one more signature.
fn with_text_for_a_signature(len: usize) -> Case {
    let more = format!("\"signatures\": [{{\"sig\": \"{}\"}},", "*".repeat(len));
    shown(&edited(&good(), "\"signatures\": [", &more)).generated(STORED_CHANNEL)
}

/// The good image behind releases that nobody has signed: each of their signatures is verified with all three keys.
///
/// 340 of them take 1,020 verifications of 1,024. Alice's signature takes one, another that nobody has made two, as she
/// has signed, and bob's the last. Where alice's stands under bob's id, his key is tried first, which is one too many.
fn behind_junk(is_one_more: bool) -> Case {
    let junk = |number: usize| {
        let bytes = [u8::try_from(number).unwrap(); 64];
        EnvelopeSignature::new("", bytes)
    };
    let junk_release = |signatures: usize| {
        let mut envelope = Envelope::unsigned(Manifest::PAYLOAD_TYPE, b"{}".to_vec());
        (0..signatures).for_each(|number| envelope.join(junk(number)));
        envelope
    };
    let mut last = Envelope::unsigned(Manifest::PAYLOAD_TYPE, manifest(42).encode());
    let [alice, bob] = ["alice", "bob"].map(key);
    let hint = if is_one_more { &bob } else { &alice };
    last.add_signature(hint.public().id(), alice.sign(&last.signed_bytes()));
    last.join(junk(0));
    last.add_signature(bob.public().id(), bob.sign(&last.signed_bytes()));
    let junk = [32; 10].into_iter().chain([20]).map(junk_release);
    let channel = Channel::new(junk.chain([last]), []);
    Case::of(&policy())
        .shows(CHANNEL, channel.encode())
        .generated(STORED_CHANNEL)
}

/// An envelope that is for another reader.
fn of_later(kind: &str, number: usize) -> Envelope {
    let payload_type = format!("application/vnd.sealboot.{kind}.v2+json");
    Envelope::unsigned(payload_type, number.to_string().into_bytes())
}

/// A channel of so many releases, all but the last of a later format.
fn offering(count: usize) -> Case {
    let later = (1..count).map(|number| of_later("manifest", number));
    let good = Envelope::parse(&good()).unwrap();
    let channel = Channel::new(later.chain([good]), []);
    Case::of(&policy()).shows(CHANNEL, channel.encode())
}

/// A channel of so many freshness statements, all but the last of a later format.
fn stating(count: usize) -> Case {
    let later = (1..count).map(|number| of_later("freshness", number));
    let stated = Envelope::parse(&sealed_freshness(&freshness(42), &["clockwork"])).unwrap();
    let good = Envelope::parse(&good()).unwrap();
    let channel = Channel::new([good], later.chain([stated]));
    Case::of(&fresh(policy())).shows(CHANNEL, channel.encode())
}

/// A statement of so many releases, all but the last for other machines.
fn listing(count: usize) -> Case {
    let mut freshness = freshness(42);
    let this = freshness.releases[0].clone();
    let other = |number| {
        let mut other = this.clone();
        other.arch = format!("arch{number}").parse::<Arch>().unwrap();
        other
    };
    freshness.releases.splice(0..0, (1..count).map(other));
    said(freshness.encode())
}

fn withdrawing(count: u64) -> Case {
    let mut freshness = freshness(42);
    freshness.withdrawn = (100..100 + count)
        .map(|version| version.try_into().unwrap())
        .collect();
    said(freshness.encode())
}

/// The baked-in trust policy after a change of its JSON, which nothing has checked.
fn baked_in(change: impl FnOnce(&mut Value)) -> Case {
    let mut json: Value = serde_json::from_slice(&policy().encode()).unwrap();
    change(&mut json);
    Case::of_bytes(json.to_string().into_bytes()).manifest(&good())
}

/// Adds so many of these to a list of the JSON.
fn extend(list: &mut Value, items: impl IntoIterator<Item = Value>) {
    list.as_array_mut().unwrap().splice(0..0, items);
}

/// So many keys, the first of which are of a later type.
fn with_keys(count: usize) -> Case {
    baked_in(|json| {
        let later =
            |number| json!({"name": format!("later{number}"), "key": format!("x-1:{number}")});
        extend(&mut json["keys"], (3..count).map(later));
    })
}

fn with_key_of(len: usize) -> Case {
    baked_in(|json| {
        let key = format!("x-1:{}", "k".repeat(len - 4));
        extend(&mut json["keys"], [json!({"name": "later", "key": key})]);
    })
}

/// A root of one group for each of these.
fn with_groups(names: &[&str]) -> Case {
    let all = policy().with(|fields| put_keys(fields, names)).unwrap();
    let mut json: Value = serde_json::from_slice(&all.encode()).unwrap();
    assert_eq!(json["keys"].as_array().unwrap().len(), names.len().max(3));
    let group = |name| json!({"keys": [signer(name).name.as_str()], "threshold": 1});
    json["roles"]["root"] = names.iter().map(|name| group(name)).collect();
    Case::of_bytes(json.to_string().into_bytes()).manifest(&good())
}

fn with_images(count: usize) -> Case {
    let image = |number| json!({"name": format!("image{number}")});
    baked_in(|json| extend(&mut json["images"], (1..count).map(image)))
}

fn with_denied_versions(count: usize) -> Case {
    baked_in(|json| json["images"][0]["denied_versions"] = (100..100 + count).collect())
}

fn with_denied_digests(count: usize) -> Case {
    let digest = |number: usize| Sha256Digest::of(&number.to_le_bytes()).to_string();
    let case = baked_in(|json| json["denied_digests"] = (0..count).map(digest).collect());
    case.generated("trust.json")
}

/// An image of so many files, with its archive.
fn of_files(count: usize) -> Case {
    let path = |part: usize| -> &'static str {
        // The names of a vector's files live as long as the test.
        format!("boot/initrd.{part}").leak()
    };
    let parts = (0..count - 1).map(|part| (path(part), part.to_le_bytes().to_vec()));
    let files: Vec<_> = files().into_iter().take(1).chain(parts).collect();
    let described = describing(42, &files);
    let tar = world::tar(&files);
    let (list, blob) = (
        described.archive.chunk_list_path(),
        described.archive.blob_path(),
    );
    signed(described.encode())
        .shows(&list, world::chunk_list(&tar))
        .shows(&blob, tar)
        .generated(STORED_CHANNEL)
        .generated(&format!("store/{blob}"))
}

/// An image with so many attachments of this size.
fn attached(count: usize, size: u64) -> Case {
    changed(|manifest| {
        let sha256 = manifest.files[0].sha256;
        let attachment = |number| Attachment {
            name: format!("part{number}").parse().unwrap(),
            media_type: "application/octet-stream".parse().unwrap(),
            size,
            sha256,
        };
        manifest.attachments = (0..count).map(attachment).collect();
    })
}

/// An image whose archive has one chunk at most.
fn in_chunks_of(bytes: u64) -> Case {
    changed(|manifest| manifest.archive.chunk_size = bytes)
}

/// An image in gzip whose archive claims so many bytes, of which the mirror has none.
fn stored_in(bytes: u64) -> Case {
    let list = vec![0; 32 * size(LIMITS.archive_bytes / LIMITS.chunk_size_max)];
    let mut claimed = manifest(42);
    claimed.archive.encoding = Encoding::Gzip;
    claimed.archive.size = bytes;
    claimed.archive.chunk_size = LIMITS.chunk_size_max;
    claimed.archive.chunks_sha256 = Sha256Digest::of(&list);
    let path = claimed.archive.chunk_list_path();
    signed(claimed.encode())
        .shows(&path, list)
        .shows(claimed.archive.blob_path(), "")
        .generated(&format!("store/{path}"))
}

fn with_cmdline_of(len: usize) -> Case {
    let line = "quiet ".repeat(len)[..len].to_owned();
    signed(edited(&manifest(42).encode(), "console=ttyS0 quiet", &line))
}

fn running_for(hours: u64) -> Case {
    let field = format!("{{\"max_uptime_hours\":{hours},\"name\"");
    signed(edited(&manifest(42).encode(), "{\"name\"", &field))
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("word-{number}")).collect()
}

fn critical(words: &[String]) -> Case {
    let field = format!("{{\"critical\":{},\"name\"", json!(words));
    signed(edited(&manifest(42).encode(), "{\"name\"", &field))
}

fn for_machines(count: usize) -> Case {
    let others = (1..count).map(|number| format!("serial:CZ{number}"));
    let all: Vec<String> = others.chain(["serial:CZ1234".to_owned()]).collect();
    with_host(|config| config["for"] = json!(all))
}

fn with_mirrors(count: usize) -> Case {
    let mirror = |number| json!(format!("https://boot{number}.example/"));
    with_host(|config| config["mirrors"] = (0..count).map(mirror).collect())
}

fn with_mirror_keys(count: usize) -> Case {
    let key = |number: usize| json!(Sha256Digest::of(&number.to_le_bytes()));
    with_host(|config| config["mirror_keys"] = (0..count).map(key).collect())
}

fn with_name_servers(count: usize) -> Case {
    let server = |number| json!(format!("192.0.2.{number}"));
    with_host(|config| config["network"]["nameservers"] = (0..count).map(server).collect())
}

fn with_time_servers(count: usize) -> Case {
    let server = |number| json!(format!("192.0.2.{number}"));
    with_host(|config| config["ntp"] = (0..count).map(server).collect())
}
