//! The host config: how this machine reaches its image.
//!
//! JSON, usually baked in at `/etc/sealboot/host.json`; single settings can be overridden on the
//! kernel command line in dracut's syntax (dracut.cmdline(7)). Nothing here is trusted for more than
//! reaching bytes: whatever it names, the image that comes back must satisfy the trust policy.

mod machine;
mod mirror;
mod template;
mod time_server;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Invalid;
use super::cmdline::Parameters;
use super::digest::Sha256Digest;
use super::json::Read;
use super::limits::LIMITS;
use super::manifest::ImageName;
use super::network::{self, Network, Overrides};
use super::payload::{self, Payload, PayloadError};
use super::time;
use crate::failure::{Diagnose, FailureCode};

pub use self::machine::{KnownAs, MachineId, is_placeholder};
pub use self::mirror::MirrorUrl;
pub use self::template::{KnownBy, MirrorTemplate};
pub use self::time_server::TimeServer;

/// How this machine reaches its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfig {
    /// When it was made. A signed one always says so.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub created: Option<Timestamp>,
    /// When it ends, if ever.
    #[serde(
        with = "time::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<Timestamp>,
    /// The machines that it is for, by any of these; empty for every machine.
    #[serde(
        rename = "for",
        default,
        deserialize_with = "machine::one_at_least",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub machines: Vec<MachineId>,
    /// The image that this machine boots.
    pub image: ImageName,
    /// Where the same store can be read, in order of preference.
    pub mirrors: Vec<MirrorTemplate>,
    /// SHA-256 digests of the SubjectPublicKeyInfo of mirrors' certificates. Where there are any, they alone identify
    /// every mirror, whatever authorities and clocks say; the command line neither adds nor removes one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirror_keys: Vec<Sha256Digest>,
    /// How the machine reaches a network.
    pub network: Network,
    /// Who is asked for the time, in place of those that the network names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<TimeServer>,
}

impl Payload for HostConfig {
    const TYPE: &'static str = Self::PAYLOAD_TYPE;
    const NAME: &'static str = "host config";
    const LIMIT: u64 = LIMITS.payload_bytes;

    fn check(&self) -> Result<(), Invalid> {
        check_dates(self.created, self.expires)?;
        check_machines(&self.machines)?;
        check_mirrors(&self.mirrors)?;
        check_mirror_keys(&self.mirror_keys)?;
        check_pinned(&self.mirrors, &self.mirror_keys)?;
        check_servers(&self.ntp)
    }
}

/// The host config, or a setting that overrides it, is invalid.
#[derive(Debug, thiserror::Error)]
pub enum HostConfigError {
    /// It is not the JSON of a host config, or a value cannot work.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A kernel command-line setting cannot be used.
    #[error("the kernel command line has an unusable setting: {0}")]
    Cmdline(Invalid),
    /// There is no host config, and the command line alone does not make one.
    #[error("there is no host config, and the kernel command line has no {missing}=")]
    Incomplete {
        /// The first setting that is missing.
        missing: &'static str,
    },
}

impl HostConfigError {
    /// Returns `true` if a newer version of sealboot may be able to use the host config.
    #[must_use]
    pub const fn needs_upgrade(&self) -> bool {
        matches!(self, Self::Payload(error) if error.needs_upgrade())
    }
}

impl Diagnose for HostConfigError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Cmdline(_) => FailureCode::ConfigureCmdline,
            Self::Payload(error) if error.needs_upgrade() => FailureCode::ConfigureHostUpgrade,
            Self::Payload(_) | Self::Incomplete { .. } => FailureCode::ConfigureHost,
        }
    }
}

impl HostConfig {
    /// The DSSE payload type of a host config that is signed.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.sealboot.host-config.v1+json";

    /// Reads a host config out of a signed statement.
    ///
    /// # Errors
    ///
    /// [`HostConfigError::Payload`], for the first rule that it breaks.
    pub fn parse(json: &[u8]) -> Result<Self, HostConfigError> {
        Ok(payload::parse(json)?)
    }

    /// Reads a plain host config, which a person may have written: any JSON will do, tabs and escapes included.
    ///
    /// # Errors
    ///
    /// As [`HostConfig::parse`].
    pub fn parse_plain(json: &[u8]) -> Result<Read<Self>, HostConfigError> {
        Ok(payload::parse_plain(json)?)
    }

    /// Encodes the host config as indented JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        payload::encode_pretty(self)
    }

    /// Applies the settings of the kernel command line over `file`, the host config found, if any.
    ///
    /// | setting | overrides |
    /// |---|---|
    /// | `sealboot.image=NAME` | `image` |
    /// | `sealboot.mirror=URL`, repeatable | `mirrors`, all of them |
    /// | `sealboot.ntp=SERVER`, repeatable | `ntp`, all of them |
    /// | `ip=`, `bond=`, `vlan=`, `rd.route=`, `nameserver=`, each repeatable | that part of [`Network`], all of it |
    /// | `ifname=`, `bootdev=`, `BOOTIF=` | which card is meant |
    ///
    /// # Errors
    ///
    /// [`HostConfigError::Cmdline`] for a setting that cannot be used, known settings of dracut that
    /// this version does not carry out (`bridge=`, `team=`) included: ignored, they would leave the
    /// machine on a network that nobody chose. [`HostConfigError::Incomplete`] where `file` is `None`
    /// and the settings do not make a whole.
    pub fn with_cmdline(
        file: Option<Self>,
        parameters: &Parameters,
    ) -> Result<Self, HostConfigError> {
        const KNOWN: [&str; 5] = [
            "sealboot.config",
            "sealboot.image",
            "sealboot.log",
            "sealboot.mirror",
            "sealboot.ntp",
        ];
        if let Some(name) = parameters
            .names_with("sealboot.")
            .find(|name| !KNOWN.contains(name))
        {
            let takes = "sealboot.config, .image, .log, .mirror or .ntp";
            let invalid = Invalid::new("kernel command line", name, takes);
            return Err(HostConfigError::Cmdline(invalid));
        }
        let invalid = HostConfigError::Cmdline;
        let given: Result<Vec<MirrorTemplate>, _> =
            parameters.all("sealboot.mirror").map(str::parse).collect();
        let given = given.map_err(invalid)?;
        let image = parameters.last("sealboot.image").map(str::parse);
        let image = image.transpose().map_err(invalid)?;
        let ntp: Result<Vec<TimeServer>, _> =
            parameters.all("sealboot.ntp").map(str::parse).collect();
        let ntp = ntp.map_err(invalid)?;
        let (created, expires, machines) = match &file {
            Some(file) => (file.created, file.expires, file.machines.clone()),
            None => (None, None, Vec::new()),
        };
        let (of_file, mirrors, mirror_keys, network, servers) = match file {
            Some(file) => (
                Some(file.image),
                file.mirrors,
                file.mirror_keys,
                Some(file.network),
                file.ntp,
            ),
            None => (None, Vec::new(), Vec::new(), None, Vec::new()),
        };
        let mirrors = if given.is_empty() { mirrors } else { given };
        let missing = |missing| HostConfigError::Incomplete { missing };
        if mirrors.is_empty() {
            return Err(missing("sealboot.mirror"));
        }
        let network = Overrides::read(parameters).and_then(|overrides| overrides.over(network));
        let network = network.map_err(invalid)?.ok_or_else(|| missing("ip"))?;
        let config = Self {
            created,
            expires,
            machines,
            image: (image.or(of_file)).ok_or_else(|| missing("sealboot.image"))?,
            mirrors,
            mirror_keys,
            network,
            ntp: if ntp.is_empty() { servers } else { ntp },
        };
        check_mirrors(&config.mirrors).map_err(invalid)?;
        check_pinned(&config.mirrors, &config.mirror_keys).map_err(invalid)?;
        check_servers(&config.ntp).map_err(invalid)?;
        Ok(config)
    }

    /// The first parameter of a kernel command line that could say something in a host config's place, whether or
    /// not it would change anything there.
    ///
    /// Of what is named `sealboot.…` it is everything but what says where a host config stands and what goes to the
    /// log: a setting that a later version knows is one too.
    #[must_use]
    pub fn setting(parameters: &Parameters) -> Option<&str> {
        const OTHERS: [&str; 2] = ["sealboot.config", "sealboot.log"];
        let mut names = parameters.names_with("");
        names.find(|name| {
            let own = name.starts_with("sealboot.") && !OTHERS.contains(name);
            own || network::is_setting(name, parameters)
        })
    }
}

fn check_dates(created: Option<Timestamp>, expires: Option<Timestamp>) -> Result<(), Invalid> {
    match (created, expires) {
        (Some(created), Some(expires)) if expires <= created => {
            Err(Invalid::new("expires", expires, "after `created`"))
        }
        _ => Ok(()),
    }
}

fn check_machines(machines: &[MachineId]) -> Result<(), Invalid> {
    if machines.len() > LIMITS.machines {
        let takes = "a list of 1 to 64 identities";
        return Err(Invalid::new("for", machines.len(), takes));
    }
    let is_repeated = |(at, one): &(usize, &MachineId)| machines[..*at].contains(one);
    match machines.iter().enumerate().find(is_repeated) {
        Some((_, one)) => Err(Invalid::new("for", one, "given only once")),
        None => Ok(()),
    }
}

fn check_mirrors(mirrors: &[MirrorTemplate]) -> Result<(), Invalid> {
    if (1..=LIMITS.mirrors).contains(&mirrors.len()) {
        return Ok(());
    }
    let takes = "a list of 1 to 16 URLs";
    Err(Invalid::new("mirrors", mirrors.len(), takes))
}

fn check_mirror_keys(keys: &[Sha256Digest]) -> Result<(), Invalid> {
    if keys.len() > LIMITS.mirror_keys {
        let takes = "a list of at most 32 digests";
        return Err(Invalid::new("mirror_keys", keys.len(), takes));
    }
    let is_repeated = |(at, key): &(usize, &Sha256Digest)| keys[..*at].contains(key);
    match keys.iter().enumerate().find(is_repeated) {
        Some((_, key)) => Err(Invalid::new("mirror_keys", key, "given only once")),
        None => Ok(()),
    }
}

/// Checks that keys identify every mirror: over plain http a mirror shows none.
fn check_pinned(mirrors: &[MirrorTemplate], keys: &[Sha256Digest]) -> Result<(), Invalid> {
    match mirrors.iter().find(|mirror| !mirror.is_https()) {
        Some(mirror) if !keys.is_empty() => {
            let takes = "an https mirror, and mirror_keys identify no other";
            Err(Invalid::new("mirrors", mirror, takes))
        }
        _ => Ok(()),
    }
}

fn check_servers(servers: &[TimeServer]) -> Result<(), Invalid> {
    if servers.len() <= LIMITS.network_items {
        return Ok(());
    }
    Err(Invalid::new("ntp", servers.len(), "a list of at most 16"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const WHOLE: &str = r#"{
        "image": "relay",
        "mirrors": ["https://boot.example/", "https://boot2.example/store"],
        "network": {"mode": "static", "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.1"], "nameservers": ["192.0.2.53"]}
    }"#;

    fn network(json: &str) -> Network {
        serde_json::from_str(json).expect(json)
    }

    fn merged(file: Option<&str>, line: &str) -> Result<HostConfig, HostConfigError> {
        let file = file.map(|json| HostConfig::parse(json.as_bytes()).expect("the file is valid"));
        HostConfig::with_cmdline(file, &Parameters::parse(line))
    }

    #[test]
    fn a_host_config_is_read_and_written() {
        let config = HostConfig::parse(WHOLE.as_bytes()).expect("valid");
        assert_eq!(
            config.mirrors[1].to_string(),
            "https://boot2.example/store/"
        );
        assert_eq!(HostConfig::parse(&config.encode()).expect("valid"), config);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (from, to) in [
            ("\"image\": \"relay\",", ""),
            ("\"relay\"", "\"../relay\""),
            (
                "\"image\": \"relay\"",
                "\"image\": \"relay\", \"image\": \"relay\"",
            ),
            ("\"mode\": \"static\"", "\"mode\": \"auto\""),
            (
                "\"mode\": \"static\"",
                "\"mode\": \"static\", \"mtu\": 90000",
            ),
            ("192.0.2.10/24", "192.0.2.10"),
            ("192.0.2.10/24", "192.0.2.10/33"),
            ("192.0.2.10/24", "192.0.2.10/0"),
            ("192.0.2.10/24", "224.0.0.1/24"),
            ("192.0.2.1\"", "198.51.100.1\""),
            ("192.0.2.53", "dns.example"),
            ("https://boot.example/", "ftp://boot.example/"),
            ("https://boot.example/", "https://user:secret@boot.example/"),
            ("https://boot.example/", "https://boot.example/?q"),
            ("https://boot.example/", "boot.example"),
            (
                "[\"https://boot.example/\", \"https://boot2.example/store\"]",
                "[]",
            ),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let json = WHOLE.replace(from, to);
            assert!(HostConfig::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn the_command_line_overrides_the_file() {
        let config = merged(Some(WHOLE), "sealboot.image=other sealboot.mirror=https://m.example ip=eth1:dhcp nameserver=192.0.2.54")
            .expect("valid");
        assert_eq!(config.image.as_str(), "other");
        assert_eq!(
            config.mirrors,
            ["https://m.example/".parse().expect("valid")]
        );
        let expected = r#"{"mode": "dhcp", "interface": "eth1", "nameservers": ["192.0.2.54"]}"#;
        assert_eq!(config.network, network(expected));
    }

    #[test]
    fn the_command_line_alone_makes_a_host_config() {
        let config = merged(None, "sealboot.image=relay sealboot.mirror=https://m.example/ ip=192.0.2.9::192.0.2.1:255.255.255.0::eth0:none")
            .expect("valid");
        let expected = r#"{"mode": "static", "interface": "eth0", "addresses": ["192.0.2.9/24"], "gateways": ["192.0.2.1"]}"#;
        assert_eq!(config.network, network(expected));
        for (line, expected) in [
            ("sealboot.image=relay ip=dhcp", "sealboot.mirror"),
            (
                "sealboot.mirror=https://m.example/ ip=dhcp",
                "sealboot.image",
            ),
            (
                "sealboot.image=relay sealboot.mirror=https://m.example/",
                "ip",
            ),
        ] {
            let error = merged(None, line).expect_err(line);
            assert!(
                matches!(error, HostConfigError::Incomplete { missing } if missing == expected),
                "{line}: {error:?}"
            );
        }
    }

    #[test]
    fn a_setting_that_is_not_carried_out_is_refused_not_ignored() {
        for line in [
            "bridge=br0:eth0",
            "team=team0:eth0",
            "ip=ibft",
            "ip=192.0.2.9",
            "ip=192.0.2.9:198.51.100.1::24::eth0:none",
            "ip=192.0.2.9:::255.0.255.0::eth0:none",
            "ip=dhcp ip=dhcp",
            "nameserver=dns.example",
            "sealboot.mirror=x",
            "sealboot.image=A",
            "sealboot.mirorr=https://m.example/",
        ] {
            let error = merged(Some(WHOLE), line).expect_err(line);
            assert!(
                matches!(error, HostConfigError::Cmdline(_)),
                "{line}: {error:?}"
            );
        }
    }

    #[test]
    fn no_setting_says_something_in_a_host_configs_place_unnoticed() {
        let plain = merged(Some(WHOLE), "").expect("valid");
        for line in [
            "sealboot.image=other",
            "sealboot.mirror=https://m.example/",
            "sealboot.ntp=192.0.2.1",
            "ip=dhcp",
            "ip=eth1:dhcp",
            "bond=bond0:eth0",
            "vlan=eth0.7:eth0",
            "rd.route=198.51.100.0/24:192.0.2.1",
            "nameserver=192.0.2.54",
            "rd.net.dhcp.vendor-class=x",
            "rd.net.dhcp.vendor_class=x",
            "BOOTIF=01-00-00-5e-00-53-01",
            "BOOTIF=01-00-00-5e-00-53-01 rd.bootif=1",
            "bootdev=eth0",
            "ifname=lan:x",
            "rd.peerdns=0",
            "bridge=br0:eth0",
            "team=team0:eth0",
            "rd.znet=x",
            "rd.znet_ifname=x",
            "sealboot.mirorr=https://m.example/",
            "sealboot.=",
        ] {
            // Each of them does something, or is refused.
            let changed = merged(Some(WHOLE), line).map_or(true, |config| config != plain);
            assert!(changed, "{line}");
            let line = format!("console=ttyS0 {line} quiet");
            let parameters = Parameters::parse(&line);
            let name = HostConfig::setting(&parameters).expect(&line);
            assert!(parameters.last(name).is_some(), "{line}: {name}");
            assert_ne!(name, "console", "{line}");
        }
        for line in [
            "",
            "console=ttyS0 quiet panic=30 xip=dhcp ip6=x sealboot",
            "sealboot.config=/etc/other.json sealboot.log=debug",
            "rd.bootif=0 BOOTIF=01-00-00-5e-00-53-01",
            "-- ip=dhcp",
        ] {
            assert_eq!(
                HostConfig::setting(&Parameters::parse(line)),
                None,
                "{line}"
            );
            assert_eq!(merged(Some(WHOLE), line).expect(line), plain, "{line}");
        }
    }

    #[test]
    fn the_first_setting_is_named() {
        for (line, name) in [
            ("quiet sealboot.mirror=x ip=dhcp", "sealboot.mirror"),
            ("ip=dhcp sealboot.mirror=x", "ip"),
            ("rd.route=x", "rd.route"),
        ] {
            assert_eq!(HostConfig::setting(&Parameters::parse(line)), Some(name));
        }
    }

    #[test]
    fn sixteen_mirrors_are_taken_and_no_more() {
        let mirrors = |count: usize| {
            let list = vec!["\"https://m.example/\""; count].join(",");
            let json = format!(
                r#"{{"image": "relay", "mirrors": [{list}], "network": {{"mode": "dhcp"}}}}"#
            );
            HostConfig::parse(json.as_bytes())
        };
        assert_eq!(mirrors(16).expect("valid").mirrors.len(), 16);
        for count in [0, 17] {
            let error = mirrors(count).expect_err("out of range");
            assert!(
                matches!(&error, HostConfigError::Payload(PayloadError::Contradiction(invalid)) if invalid.field == "mirrors"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn mirror_keys_are_bounded_and_given_once() {
        let with = |keys: &[String]| {
            let list = format!("\"mirror_keys\": {keys:?}, \"network\"");
            HostConfig::parse(WHOLE.replace("\"network\"", &list).as_bytes())
        };
        let key = |number: u64| Sha256Digest::of(&number.to_le_bytes()).to_string();
        let keys: Vec<String> = (0..33).map(key).collect();
        let config = with(&keys[..32]).expect("valid");
        assert_eq!(config.mirror_keys.len(), 32);
        assert_eq!(HostConfig::parse(&config.encode()).expect("valid"), config);
        for bad in [&keys[..], &[key(1), key(2), key(1)], &[String::new()]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mirror_keys_and_plain_http_do_not_go_together() {
        let key = Sha256Digest::of(b"key");
        let pinned = WHOLE.replace(
            "\"network\"",
            &format!("\"mirror_keys\": [\"{key}\"], \"network\""),
        );
        let one = pinned.replace("https://boot2.example", "http://boot2.example");
        for read in [
            HostConfig::parse(one.as_bytes()).err(),
            HostConfig::parse_plain(one.as_bytes()).err(),
        ] {
            let error = read.expect("refused");
            assert_eq!(error.code(), FailureCode::ConfigureHost, "{error:?}");
        }
        let error =
            merged(Some(&pinned), "sealboot.mirror=http://m.example/").expect_err("refused");
        assert_eq!(error.code(), FailureCode::ConfigureCmdline, "{error:?}");
        assert!(merged(Some(&pinned), "sealboot.mirror=https://m.example/").is_ok());
    }

    #[test]
    fn the_command_line_neither_adds_nor_removes_a_mirror_key() {
        let key = Sha256Digest::of(b"key");
        let list = format!("\"mirror_keys\": [\"{key}\"], \"network\"");
        let pinned = WHOLE.replace("\"network\"", &list);
        let line = "sealboot.mirror=https://other.example/ ip=dhcp sealboot.image=other";
        let config = merged(Some(&pinned), line).expect("valid");
        assert_eq!(config.mirror_keys, [key]);
        assert!(merged(Some(&pinned), "sealboot.mirror_keys=").is_err());
        assert!(merged(Some(&pinned), "sealboot.mirror-key=x").is_err());
    }

    #[test]
    fn what_is_refused_is_named_by_field_line_and_column() {
        for (from, to, fact, cause) in [
            (
                "https://boot2.example/store",
                "boot2.example",
                "field mirrors[1] is not what it should be",
                r#"mirror: "boot2.example" is not an https://HOST/ or http://HOST/ URL without user, query or fragment at line 3 column 61"#,
            ),
            (
                "\"192.0.2.1\"",
                "\"198.51.100.1\"",
                "field network is not what it should be",
                r#"network.gateways: "198.51.100.1" is not inside the prefix of one of network.addresses at line 5 column 5"#,
            ),
            (
                "\"relay\"",
                "7",
                "field image is not what it should be",
                "invalid type: integer `7`, expected a string at line 2 column 18",
            ),
            (
                "\"image\": \"relay\",",
                "",
                "it is not the JSON that it should be",
                "missing field `image` at line 5 column 5",
            ),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            let error = HostConfig::parse(WHOLE.replace(from, to).as_bytes()).expect_err(to);
            assert_eq!(error.to_string(), fact);
            let causes = crate::failure::causes(std::error::Error::source(&error));
            assert_eq!(causes, [cause]);
        }
    }

    #[test]
    fn a_host_config_of_64_kib_is_read_and_no_larger_one() {
        let mut json = WHOLE.as_bytes().to_vec();
        json.resize(65_536, b' ');
        HostConfig::parse(&json).expect("valid");
        json.push(b' ');
        let error = HostConfig::parse(&json).expect_err("too large");
        assert!(
            matches!(
                error,
                HostConfigError::Payload(PayloadError::TooLarge { .. })
            ),
            "{error:?}"
        );
    }

    #[test]
    fn whether_the_file_or_the_command_line_is_wrong_shows_in_the_code() {
        let code = |json: &str, line: &str| {
            HostConfig::parse(json.as_bytes())
                .and_then(|file| HostConfig::with_cmdline(Some(file), &Parameters::parse(line)))
                .expect_err("wrong")
                .code()
        };
        assert_eq!(code(WHOLE, "ip=x"), FailureCode::ConfigureCmdline);
        assert_eq!(code("{}", ""), FailureCode::ConfigureHost);
        assert_eq!(
            merged(None, "").expect_err("nothing").code(),
            FailureCode::ConfigureHost
        );
        let off_link = "ip=192.0.2.9::198.51.100.1:24::eth0:none";
        assert_eq!(code(WHOLE, off_link), FailureCode::ConfigureCmdline);
    }

    #[test]
    fn what_the_command_line_leaves_out_the_file_says() {
        let file = HostConfig::parse(WHOLE.as_bytes()).expect("valid");
        assert_eq!(merged(Some(WHOLE), "quiet").expect("valid"), file);
        let config = merged(
            Some(WHOLE),
            "nameserver=[2001:db8::53] nameserver=192.0.2.54",
        )
        .expect("valid");
        assert_eq!(
            config.network.nameservers,
            ["2001:db8::53", "192.0.2.54"].map(|address| address.parse::<IpAddr>().expect("valid"))
        );
        assert_eq!((config.image, config.mirrors), (file.image, file.mirrors));
    }
}
