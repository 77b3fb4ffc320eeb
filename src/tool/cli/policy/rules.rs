//! What the command line says of a policy besides its keys, and what becomes of it and the old policy.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::cli::support::{Failure, time};
use sealboot_core::format::Invalid;
use sealboot_core::format::digest::Sha256Digest;
use sealboot_core::format::manifest::{ImageName, ImageVersion};
use sealboot_core::format::version::PolicyVersion;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::{
    AcceptedImage, Disks, ExpiryRule, FailurePolicy, FreshnessRule, GiveUp, HostConfigRule,
    PolicyError, Signer,
};

/// What a policy says besides its keys, as far as the command line does.
#[derive(Debug, Default, Args)]
pub(super) struct Rules {
    /// How many of the signers must sign an image
    #[arg(long, value_name = "N", required_unless_present = "from")]
    threshold: Option<usize>,

    /// An image that may boot, and the oldest version of it; give one for each image
    ///
    /// Without a version, every version may boot: name the oldest good one, for a stale or hostile
    /// mirror can serve any that was ever signed. With --from, the old policy's oldest version stays.
    #[arg(
        long = "name",
        value_name = "IMAGE[=MIN_VERSION]",
        required_unless_present = "from"
    )]
    images: Vec<ImageArgument>,

    /// Refuse this version of an image whatever it is signed by: a bad release
    #[arg(long = "deny-version", value_name = "IMAGE=VERSION", value_parser = denied_version)]
    denied_versions: Vec<(ImageName, ImageVersion)>,

    /// Refuse what has this SHA-256, be it a manifest or an archive
    #[arg(long = "deny-digest", value_name = "HEX")]
    denied_digests: Vec<Sha256Digest>,

    /// Refuse images that have no expiry
    #[arg(long)]
    require_expiry: bool,

    /// The longest time from creation to expiry that an image may grant itself, such as 90d
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    max_life: Option<u32>,

    /// How many of the keys of freshness must sign a statement [default: 1]
    #[arg(long, value_name = "N")]
    freshness_threshold: Option<usize>,

    /// Refuse an image of which no statement says that it is the newest
    #[arg(long)]
    require_freshness: bool,

    /// The longest that such a statement may count for, such as 72h or 3d [default: 72h]
    #[arg(long, value_name = "SPAN", value_parser = time::hours)]
    max_freshness: Option<u32>,

    /// How many of the keys of host configs must sign one [default: 1]
    #[arg(long, value_name = "N")]
    host_config_threshold: Option<usize>,

    /// Refuse a host config that is not signed, and what the kernel command line says in its place
    #[arg(long)]
    require_signed_host_config: bool,

    /// Let mirrors be plain http
    ///
    /// Signatures protect the image all the same, but everybody on the way sees which image is fetched.
    #[arg(long)]
    allow_http: bool,

    /// Let mirrors be https only again, where the old policy allowed plain http
    #[arg(long, requires = "from", conflicts_with = "allow_http")]
    https_only: bool,

    /// Take mirrors by this key alone, whatever authorities and clocks say; can be given several times
    ///
    /// A PEM file with the mirror's certificate, or SHA-256 of its SubjectPublicKeyInfo in hexadecimal digits. No
    /// certificate is then checked: no authority, no name, no date. A mirror's next key needs a policy that names it
    /// before it is used.
    #[arg(long = "mirror-key", value_name = "PEM|SHA256", value_parser = mirror_key)]
    mirror_keys: Vec<Sha256Digest>,

    /// Check certificates again, where the old policy took mirrors by their keys
    #[arg(long, requires = "from", conflicts_with = "mirror_keys")]
    no_mirror_keys: bool,

    /// How long the loader waits after its first failure, such as 2s; the wait then doubles [default: 2s]
    ///
    /// A real pause is half to all of it, at random, so that many machines do not come back together.
    #[arg(long, value_name = "SPAN", value_parser = time::first_wait)]
    first_wait: Option<u32>,

    /// The longest that the loader waits between two tries, such as 60s or 5m [default: 60s]
    ///
    /// A real pause is half to all of it, at random; a mirror may ask for a longer one.
    #[arg(long, value_name = "SPAN", value_parser = time::longest_wait)]
    longest_wait: Option<u32>,

    /// Give up after this many failures, which is a reboot unless --give-up says otherwise; 0 is never [default: 20]
    #[arg(long, value_name = "FAILURES")]
    reboot_after: Option<u32>,

    /// What to do instead of a reboot: enter the kernel that is baked into the initramfs as its fallback, or power
    /// the machine off [default: reboot]
    #[arg(long, value_name = "WHAT", value_enum)]
    give_up: Option<GiveUpArg>,

    /// Reset a machine whose loader hangs, after this long without any progress, such as 10m; at least 6m
    /// [default: 15m]
    #[arg(long, value_name = "SPAN", value_parser = time::stall)]
    stall: Option<u32>,

    /// Let whoever stands at a console have a shell after a failure, where the initramfs has one (--shell)
    ///
    /// A shell runs with all rights before an image boots: it is for machines whose consoles nobody else reaches.
    #[arg(long)]
    allow_shell: bool,

    /// Refuse a shell again, where the old policy allowed one
    #[arg(long, requires = "from", conflicts_with = "allow_shell")]
    no_shell: bool,

    /// Whether a boot goes on where the kernel has found a disk [default: allow]
    ///
    /// The loader opens no disk either way. A kernel that has a disk's driver built in has read its partition table before
    /// the loader runs; `sealboot initramfs build` prints the words that disable such drivers.
    #[arg(long, value_name = "WHAT", value_enum)]
    disks: Option<DisksArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DisksArg {
    Allow,
    Refuse,
}

impl From<DisksArg> for Disks {
    fn from(arg: DisksArg) -> Self {
        match arg {
            DisksArg::Allow => Self::Allow,
            DisksArg::Refuse => Self::Refuse,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GiveUpArg {
    Reboot,
    Fallback,
    PowerOff,
}

impl From<GiveUpArg> for GiveUp {
    fn from(arg: GiveUpArg) -> Self {
        match arg {
            GiveUpArg::Reboot => Self::Reboot,
            GiveUpArg::Fallback => Self::Fallback,
            GiveUpArg::PowerOff => Self::PowerOff,
        }
    }
}

/// The keys that the command line names, by role.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) signing: Vec<Signer>,
    pub(super) freshness: Vec<Signer>,
    pub(super) host_config: Vec<Signer>,
}

/// As long as a freshness statement counts at most if nobody says otherwise: a long weekend in which
/// nobody sees that renewing has stopped.
const USUAL_FRESHNESS_HOURS: u32 = 72;

impl Rules {
    /// The policy over these keys. Where it follows `old`, an empty list is the old one.
    pub(super) fn policy(
        self,
        keys: Keys,
        old: Option<&TrustPolicy>,
    ) -> Result<TrustPolicy, Failure> {
        let freshness = self.freshness(keys.freshness, old)?;
        let host_config = self.host_config(keys.host_config, old)?;
        let mut images = self.images(old.map_or(&[], TrustPolicy::images));
        for (name, version) in &self.denied_versions {
            let image = images
                .iter_mut()
                .find(|image| image.name == *name)
                .ok_or_else(|| {
                    Failure::new(format!("the trust policy accepts no image \"{name}\", so none of its versions need be denied"))
                        .hint("an image that is not named boots in no version; deny those of the images that are")
                })?;
            add(&mut image.denied_versions, *version);
        }
        let policy = match old {
            None => TrustPolicy::new(keys.signing, self.threshold.unwrap_or_default(), images),
            Some(old) => self.following(old, next_version(old)?, keys.signing, images),
        };
        policy
            .and_then(|policy| self.with_rules(policy))
            .and_then(|policy| policy.with_freshness(freshness))
            .and_then(|policy| policy.with_host_config(host_config))
            // What is written must load, and could be larger than a policy may be.
            .and_then(|policy| TrustPolicy::parse_signed(&policy.encode()))
            .map_err(|error| contradiction(&error))
    }

    /// The old policy in this version, over these keys and images. Without its other roles: a key may go
    /// from one to another.
    fn following(
        &self,
        old: &TrustPolicy,
        version: PolicyVersion,
        keys: Vec<Signer>,
        images: Vec<AcceptedImage>,
    ) -> Result<TrustPolicy, PolicyError> {
        let keys = if keys.is_empty() {
            old.keys().to_vec()
        } else {
            keys
        };
        let threshold = self.threshold.unwrap_or(old.threshold());
        old.clone()
            .with_version(version)
            .with_freshness(None)?
            .with_host_config(None)?
            .with_signers(keys, threshold)?
            .with_images(images)
    }

    fn with_rules(&self, policy: TrustPolicy) -> Result<TrustPolicy, PolicyError> {
        let expiry = ExpiryRule {
            required: self.require_expiry || policy.expiry().required,
            max_days: self.max_life.or(policy.expiry().max_days),
        };
        let old = policy.on_failure();
        let on_failure = FailurePolicy {
            first_wait_seconds: self.first_wait.unwrap_or(old.first_wait_seconds),
            longest_wait_seconds: self.longest_wait.unwrap_or(old.longest_wait_seconds),
            reboot_after: self.reboot_after.unwrap_or(old.reboot_after),
            give_up: self.give_up.map_or(old.give_up, GiveUp::from),
            stall_seconds: self.stall.unwrap_or(old.stall_seconds),
            shell: (old.shell || self.allow_shell) && !self.no_shell,
        };
        let mut denied = policy.denied_digests().to_vec();
        for digest in &self.denied_digests {
            add(&mut denied, *digest);
        }
        let mut mirror_keys = policy.mirror_keys().to_vec();
        if self.no_mirror_keys {
            mirror_keys.clear();
        }
        for key in &self.mirror_keys {
            add(&mut mirror_keys, *key);
        }
        let policy = policy
            .with_expiry(expiry)?
            .with_on_failure(on_failure)?
            .with_denied_digests(denied)?
            .with_mirror_keys(mirror_keys)?;
        let disks = self.disks.map_or(policy.disks(), Disks::from);
        let policy = policy.with_disks(disks);
        Ok(if self.allow_http {
            policy.with_plain_http()
        } else if self.https_only {
            policy.with_https_only()
        } else {
            policy
        })
    }

    /// The images that are named, with the denials of the old policy; where none is, the old ones.
    fn images(&self, old: &[AcceptedImage]) -> Vec<AcceptedImage> {
        if self.images.is_empty() {
            return old.to_vec();
        }
        let named = self.images.iter().map(|named| {
            let old = old.iter().find(|image| image.name == named.name);
            AcceptedImage {
                name: named.name.clone(),
                min_version: named
                    .min_version
                    .or(old.map(|image| image.min_version))
                    .unwrap_or(ImageVersion::FIRST),
                denied_versions: old.map_or(Vec::new(), |image| image.denied_versions.clone()),
            }
        });
        named.collect()
    }

    fn freshness(
        &self,
        keys: Vec<Signer>,
        old: Option<&TrustPolicy>,
    ) -> Result<Option<FreshnessRule>, Failure> {
        let old = old.and_then(TrustPolicy::freshness);
        let keys = match old {
            Some(old) if keys.is_empty() => old.keys.clone(),
            _ => keys,
        };
        if !keys.is_empty() {
            let threshold = old.map_or(1, |old| old.threshold);
            let max_hours = old.map_or(USUAL_FRESHNESS_HOURS, |old| old.max_hours);
            return Ok(Some(FreshnessRule {
                keys,
                threshold: self.freshness_threshold.unwrap_or(threshold),
                required: self.require_freshness || old.is_some_and(|old| old.required),
                max_hours: self.max_freshness.unwrap_or(max_hours),
            }));
        }
        let asked = [
            (self.require_freshness, "--require-freshness"),
            (self.max_freshness.is_some(), "--max-freshness"),
            (self.freshness_threshold.is_some(), "--freshness-threshold"),
        ];
        match asked.iter().find(|(asked, _)| *asked) {
            None => Ok(None),
            Some((_, option)) => Err(Failure::new(format!(
                "{option} is given, but there is no key for freshness"
            ))
            .hint("say whose statements count: --freshness-key FILE.pub")),
        }
    }

    fn host_config(
        &self,
        keys: Vec<Signer>,
        old: Option<&TrustPolicy>,
    ) -> Result<Option<HostConfigRule>, Failure> {
        let old = old.and_then(TrustPolicy::host_config);
        let keys = match old {
            Some(old) if keys.is_empty() => old.keys.clone(),
            _ => keys,
        };
        if !keys.is_empty() {
            let threshold = old.map_or(1, |old| old.threshold);
            return Ok(Some(HostConfigRule {
                keys,
                threshold: self.host_config_threshold.unwrap_or(threshold),
                required: self.require_signed_host_config || old.is_some_and(|old| old.required),
            }));
        }
        let asked = [
            (
                self.require_signed_host_config,
                "--require-signed-host-config",
            ),
            (
                self.host_config_threshold.is_some(),
                "--host-config-threshold",
            ),
        ];
        match asked.iter().find(|(asked, _)| *asked) {
            None => Ok(None),
            Some((_, option)) => Err(Failure::new(format!(
                "{option} is given, but there is no key for host configs"
            ))
            .hint("say who signs them: --host-config-key FILE.pub")),
        }
    }
}

fn next_version(old: &TrustPolicy) -> Result<PolicyVersion, Failure> {
    old.version().next().ok_or_else(|| {
        Failure::new("the old trust policy has the last version that there is")
            .hint("bake a first version into new initramfs")
    })
}

/// Adds what is not there yet: what is denied twice is denied once.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// `IMAGE[=MIN_VERSION]`.
#[derive(Debug, Clone)]
struct ImageArgument {
    name: ImageName,
    min_version: Option<ImageVersion>,
}

impl FromStr for ImageArgument {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (name, min_version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse()?,
            min_version,
        })
    }
}

fn denied_version(text: &str) -> Result<(ImageName, ImageVersion), Invalid> {
    let (name, version) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new("denied version", text, "IMAGE=VERSION, such as relay=43"))?;
    Ok((name.parse()?, version.parse()?))
}

const FEWER_DENIALS: &str = "deny less: raise the oldest version that may boot, --name IMAGE=MIN_VERSION, and take out of the old policy's file what is below it";

fn contradiction(error: &PolicyError) -> Failure {
    let failure = Failure::new("these make no trust policy").because(error);
    let invalid = match error {
        PolicyError::Contradiction(invalid) => invalid,
        PolicyError::TooLarge => return failure.hint(FEWER_DENIALS),
        _ => return failure,
    };
    match invalid.field {
        "keys.key" => failure.hint("two of the key files hold the same key; each signer needs one of their own"),
        "keys.name" => failure.hint("tell the signers apart: --key NAME=FILE.pub"),
        "threshold" => failure.hint("with fewer signers than the threshold nothing could ever boot, and with a threshold of 0 anything would"),
        "images.name" => failure.hint("give each --name once, with the oldest version that may boot"),
        "freshness.keys.key" => failure.hint("freshness needs keys of its own, each given once: they often live on a server, and must not count where people sign"),
        "freshness.keys.name" => failure.hint("tell them apart: --freshness-key NAME=FILE.pub"),
        "freshness.threshold" => failure.hint("give as many --freshness-key as must sign, or another --freshness-threshold"),
        "host_config.keys.key" => failure.hint("host configs need keys of their own, each given once: who installs machines must not count where images are released"),
        "host_config.keys.name" => failure.hint("tell them apart: --host-config-key NAME=FILE.pub"),
        "host_config.threshold" => failure.hint("give as many --host-config-key as must sign, or another --host-config-threshold"),
        "on_failure.longest_wait_seconds" => failure.hint("make --longest-wait at least as long as --first-wait"),
        "images.denied_versions" | "denied_digests" => failure.hint(FEWER_DENIALS),
        _ => failure,
    }
}

/// Reads a mirror's key: digits, or a PEM file with its certificate, of which the first counts.
fn mirror_key(text: &str) -> Result<Sha256Digest, String> {
    if let Ok(digest) = text.parse() {
        return Ok(digest);
    }
    let certificate = CertificateDer::from_pem_file(text).map_err(|error| {
        format!("it is neither 64 hexadecimal digits nor a PEM file with a certificate: {error}")
    })?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate)
        .map_err(|_| "the certificate in it cannot be read".to_owned())?;
    Ok(Sha256Digest::of(certificate.public_key().raw))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::SubjectPublicKeyInfoDer;

    use super::*;

    #[test]
    fn a_mirrors_key_is_digits_or_in_a_certificate() {
        let digest = "ab".repeat(32);
        assert_eq!(mirror_key(&digest).expect("digits").to_string(), digest);
        let key = rcgen::KeyPair::generate().expect("a key");
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(key.public_key_pem().as_bytes());
        let spki = Sha256Digest::of(&spki.expect("a public key"));
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, pem: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let params = rcgen::CertificateParams::new(["boot.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let file = put("server.pem", certificate.pem());
        assert_eq!(mirror_key(&file), Ok(spki));
        for bad in [
            put("key.pem", key.serialize_pem()),
            put("empty.pem", String::new()),
            "absent.pem".to_owned(),
            digest.to_uppercase(),
        ] {
            assert!(mirror_key(&bad).is_err(), "{bad}");
        }
    }

    const KEYS: [&str; 4] = [
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
    ];

    fn signer(name: &str, key: usize) -> Signer {
        Signer {
            name: name.parse().expect("a name"),
            key: format!("ed25519:{}", KEYS[key]).parse().expect("a key"),
        }
    }

    fn version(version: u64) -> ImageVersion {
        version.try_into().expect("in range")
    }

    fn images(images: &[&str]) -> Vec<ImageArgument> {
        let images = images.iter().map(|image| image.parse());
        images.collect::<Result<_, _>>().expect("images")
    }

    /// Everything that a policy can say, none of it the default.
    fn whole() -> TrustPolicy {
        let json = format!(
            r#"{{
                "version": 4,
                "keys": [{{"name": "alice", "key": "ed25519:{}"}}, {{"name": "bob", "key": "ed25519:{}"}}],
                "threshold": 2,
                "images": [{{"name": "relay", "min_version": 41, "denied_versions": [43, 44]}}, {{"name": "exit", "min_version": 7}}],
                "denied_digests": ["{}"],
                "expiry": {{"required": true, "max_days": 90}},
                "freshness": {{"keys": [{{"name": "clockwork", "key": "ed25519:{}"}}], "threshold": 1, "required": true, "max_hours": 5}},
                "host_config": {{"keys": [{{"name": "dora", "key": "ed25519:{}"}}], "threshold": 1, "required": true}},
                "allow_http": true,
                "clock_tolerance_seconds": 17,
                "on_failure": {{"first_wait_seconds": 3, "longest_wait_seconds": 61, "reboot_after": 21}}
            }}"#,
            KEYS[0], KEYS[1], KEYS[0], KEYS[2], KEYS[3]
        );
        TrustPolicy::parse(json.as_bytes()).expect("agrees with itself")
    }

    fn signing(keys: Vec<Signer>) -> Keys {
        Keys {
            signing: keys,
            ..Keys::default()
        }
    }

    fn next(rules: Rules) -> TrustPolicy {
        let old = whole();
        rules
            .policy(Keys::default(), Some(&old))
            .expect("agrees with itself")
    }

    #[test]
    fn with_nothing_given_only_the_version_changes() {
        let old = whole();
        let next = next(Rules::default());
        assert_eq!(next.version().as_u64(), 5);
        assert_eq!(next.with_version(old.version()), old);
    }

    #[test]
    fn a_raised_floor_keeps_what_is_denied() {
        let rules = Rules {
            images: images(&["relay=50", "new"]),
            denied_versions: vec![("relay".parse().expect("a name"), version(55))],
            ..Rules::default()
        };
        let next = next(rules);
        let [relay, new] = next.images() else {
            panic!("{:?}", next.images());
        };
        assert_eq!(relay.min_version, version(50));
        assert_eq!(relay.denied_versions, [43, 44, 55].map(version));
        assert_eq!(new.name.as_str(), "new", "the list replaces the old one");
        assert_eq!(new.min_version, ImageVersion::FIRST);
    }

    #[test]
    fn an_image_that_is_named_without_a_version_keeps_its_floor() {
        let rules = Rules {
            images: images(&["relay"]),
            ..Rules::default()
        };
        assert_eq!(next(rules).images(), &whole().images()[..1]);
    }

    #[test]
    fn what_is_denied_again_is_denied_once() {
        let digest = whole().denied_digests()[0];
        let rules = Rules {
            denied_versions: vec![("relay".parse().expect("a name"), version(43)); 2],
            denied_digests: vec![digest, digest],
            ..Rules::default()
        };
        let next = next(rules);
        assert_eq!(next.images()[0].denied_versions, [43, 44].map(version));
        assert_eq!(next.denied_digests(), [digest]);
    }

    #[test]
    fn single_values_replace_and_nothing_else_moves() {
        let rules = Rules {
            max_life: Some(30),
            max_freshness: Some(6),
            longest_wait: Some(99),
            ..Rules::default()
        };
        let next = next(rules);
        let old = whole();
        assert_eq!(next.expiry().max_days, Some(30));
        assert!(next.expiry().required);
        let freshness = next.freshness().expect("inherited");
        assert_eq!(freshness.max_hours, 6);
        assert!(freshness.required);
        assert_eq!(next.on_failure().longest_wait_seconds, 99);
        assert_eq!(next.on_failure().first_wait_seconds, 3);
        assert_eq!(next.keys(), old.keys());
        assert_eq!(next.clock_tolerance(), old.clock_tolerance());
        assert!(next.allows_http());
    }

    #[test]
    fn plain_http_is_forbidden_again() {
        let rules = Rules {
            https_only: true,
            ..Rules::default()
        };
        assert!(!next(rules).allows_http());
    }

    #[test]
    fn keys_replace_keys_and_may_change_their_role() {
        let policy = Rules::default()
            .policy(
                Keys {
                    signing: vec![signer("bob", 1), signer("clockwork", 2)],
                    freshness: vec![signer("alice", 0)],
                    ..Keys::default()
                },
                Some(&whole()),
            )
            .expect("agrees with itself");
        assert_eq!(policy.keys(), [signer("bob", 1), signer("clockwork", 2)]);
        let freshness = policy.freshness().expect("given");
        assert_eq!(freshness.keys, [signer("alice", 0)]);
        assert_eq!(freshness.max_hours, 5, "the old role's rules stay");
    }

    #[test]
    fn a_key_that_would_have_both_roles_is_refused() {
        let both = Rules::default().policy(
            signing(vec![signer("bob", 1), signer("clockwork", 2)]),
            Some(&whole()),
        );
        assert_eq!(
            both.expect_err("one key").fact(),
            "these make no trust policy"
        );
    }

    #[test]
    fn an_inherited_threshold_that_fewer_keys_cannot_reach_is_refused() {
        let fewer = Rules::default().policy(signing(vec![signer("bob", 1)]), Some(&whole()));
        assert_eq!(
            fewer.expect_err("one of two").fact(),
            "these make no trust policy"
        );
    }

    #[test]
    fn a_role_for_freshness_starts_with_one_key_and_three_days() {
        let rules = Rules {
            threshold: Some(1),
            images: images(&["relay"]),
            ..Rules::default()
        };
        let policy = rules
            .policy(
                Keys {
                    freshness: vec![signer("clockwork", 2)],
                    ..signing(vec![signer("alice", 0)])
                },
                None,
            )
            .expect("agrees with itself");
        let freshness = policy.freshness().expect("given");
        assert_eq!((freshness.threshold, freshness.max_hours), (1, 72));
        assert!(!freshness.required);
        assert_eq!(policy.version(), PolicyVersion::FIRST);
    }

    #[test]
    fn rules_about_freshness_need_somebody_who_says_it() {
        let old = whole().with_freshness(None).expect("agrees with itself");
        for (rules, option) in [
            (
                Rules {
                    require_freshness: true,
                    ..Rules::default()
                },
                "--require-freshness",
            ),
            (
                Rules {
                    max_freshness: Some(1),
                    ..Rules::default()
                },
                "--max-freshness",
            ),
            (
                Rules {
                    freshness_threshold: Some(1),
                    ..Rules::default()
                },
                "--freshness-threshold",
            ),
        ] {
            let failure = rules.policy(Keys::default(), Some(&old)).expect_err(option);
            assert!(failure.fact().starts_with(option), "{failure}");
        }
    }

    #[test]
    fn a_role_for_host_configs_starts_with_one_key_and_is_carried_on() {
        let rules = Rules {
            threshold: Some(1),
            images: images(&["relay"]),
            ..Rules::default()
        };
        let keys = Keys {
            host_config: vec![signer("dora", 3)],
            ..signing(vec![signer("alice", 0)])
        };
        let policy = rules.policy(keys, None).expect("agrees with itself");
        let rule = policy.host_config().expect("given");
        assert_eq!((rule.threshold, rule.required), (1, false));
        let rules = Rules {
            require_signed_host_config: true,
            host_config_threshold: Some(2),
            ..Rules::default()
        };
        let keys = Keys {
            host_config: vec![signer("bob", 1), signer("dora", 3)],
            ..Keys::default()
        };
        let next = rules.policy(keys, Some(&policy)).expect("agrees");
        let rule = next.host_config().expect("given");
        assert_eq!(
            (rule.keys.len(), rule.threshold, rule.required),
            (2, 2, true)
        );
        let again = Rules::default().policy(Keys::default(), Some(&next));
        assert_eq!(again.expect("agrees").host_config(), Some(rule));
    }

    #[test]
    fn rules_about_host_configs_need_somebody_who_signs_them() {
        let old = whole().with_host_config(None).expect("agrees with itself");
        for (rules, option) in [
            (
                Rules {
                    require_signed_host_config: true,
                    ..Rules::default()
                },
                "--require-signed-host-config",
            ),
            (
                Rules {
                    host_config_threshold: Some(1),
                    ..Rules::default()
                },
                "--host-config-threshold",
            ),
        ] {
            let failure = rules.policy(Keys::default(), Some(&old)).expect_err(option);
            assert!(failure.fact().starts_with(option), "{failure}");
        }
    }

    #[test]
    fn keys_may_change_places_between_all_three_roles() {
        let keys = Keys {
            signing: vec![signer("dora", 3), signer("clockwork", 2)],
            freshness: vec![signer("bob", 1)],
            host_config: vec![signer("alice", 0)],
        };
        let policy = Rules::default().policy(keys, Some(&whole()));
        let policy = policy.expect("agrees with itself");
        assert_eq!(
            policy.host_config().expect("given").keys,
            [signer("alice", 0)]
        );
        let both = Keys {
            host_config: vec![signer("bob", 1)],
            ..Keys::default()
        };
        let failure = Rules::default()
            .policy(both, Some(&whole()))
            .expect_err("bob");
        assert!(
            failure
                .to_string()
                .contains("host configs need keys of their own"),
            "{failure}"
        );
    }

    #[test]
    fn an_image_that_is_not_accepted_cannot_be_denied() {
        let rules = Rules {
            denied_versions: vec![("other".parse().expect("a name"), version(1))],
            ..Rules::default()
        };
        assert!(rules.policy(Keys::default(), Some(&whole())).is_err());
    }

    #[test]
    fn a_policy_that_could_not_be_read_is_not_made() {
        let names: Vec<String> = (0..64).map(|at| format!("image-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let denied = names.iter().flat_map(|name| {
            let name: ImageName = name.parse().expect("a name");
            (1..=120).map(move |number| (name.clone(), version(number)))
        });
        let rules = Rules {
            images: images(&names),
            denied_versions: denied.collect(),
            ..Rules::default()
        };
        let failure = rules
            .policy(Keys::default(), Some(&whole()))
            .expect_err("too large");
        assert!(
            failure.to_string().contains("larger than 65536 bytes"),
            "{failure}"
        );
    }

    #[test]
    fn after_the_last_version_there_is_none() {
        let last = whole().with_version(9_007_199_254_740_991.try_into().expect("in range"));
        let after = Rules::default().policy(Keys::default(), Some(&last));
        assert!(after.is_err());
    }
}
