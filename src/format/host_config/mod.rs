//! The host config: how this machine reaches its image.
//!
//! JSON, usually baked in at `/etc/sealboot/host.json`; single settings can be overridden on the
//! kernel command line in dracut's syntax (dracut.cmdline(7)). Nothing here is trusted for more than
//! reaching bytes: whatever it names, the image that comes back must satisfy the trust policy.

mod address;
mod dracut;

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use self::dracut::Overrides;
use super::Invalid;
use super::cmdline::Parameters;
use super::json;
use super::limits::LIMITS;
use super::manifest::ImageName;
use crate::failure::{Diagnose, FailureCode};

pub use self::address::{InterfaceName, Ipv4Prefix, MirrorUrl};

/// How this machine reaches its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// The image that this machine boots.
    pub image: ImageName,
    /// Where the same store can be read, in order of preference.
    pub mirrors: Vec<MirrorUrl>,
    /// How the machine gets its address.
    #[serde(deserialize_with = "json::object")]
    pub network: Network,
}

/// How the machine gets its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Network {
    /// By DHCPv4.
    Dhcp {
        /// The interface's name; without it, the first one that gets a lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// Name servers to use instead of those in the lease.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nameservers: Vec<IpAddr>,
    },
    /// A fixed IPv4 address.
    Static {
        /// The interface's name; without it, the first one that has a carrier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<InterfaceName>,
        /// The address with its prefix length, `192.0.2.10/24`.
        address: Ipv4Prefix,
        /// The default router, where mirrors or name servers are off the link.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv4Addr>,
        /// Name servers; none are needed where mirrors are named by address.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        nameservers: Vec<IpAddr>,
    },
}

/// The host config, or a setting that overrides it, is invalid.
#[derive(Debug, thiserror::Error)]
pub enum HostConfigError {
    /// Not JSON, or JSON of another shape; serde's message names line and column.
    #[error("the host config is not the JSON it should be")]
    Json(#[source] serde_json::Error),
    /// Longer than [`LIMITS`] allows.
    #[error("the host config is larger than {} bytes", LIMITS.host_config_bytes)]
    TooLarge,
    /// A field's value cannot be used.
    #[error("the host config has an unusable value: {0}")]
    Value(Invalid),
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

impl Diagnose for HostConfigError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Cmdline(_) => FailureCode::ConfigureCmdline,
            Self::Json(_) | Self::TooLarge | Self::Value(_) | Self::Incomplete { .. } => {
                FailureCode::ConfigureHost
            }
        }
    }
}

impl HostConfig {
    /// Reads a host config.
    ///
    /// # Errors
    ///
    /// Refuses unknown and repeated fields, an empty list of mirrors, and values that cannot work.
    pub fn parse(json: &[u8]) -> Result<Self, HostConfigError> {
        if !u64::try_from(json.len()).is_ok_and(|len| len <= LIMITS.host_config_bytes) {
            return Err(HostConfigError::TooLarge);
        }
        let config: Self = json::from_slice(json).map_err(HostConfigError::Json)?;
        config.check().map_err(HostConfigError::Value)?;
        Ok(config)
    }

    /// Writes the host config as indented JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_else(|error| {
            unreachable!("a host config holds no map and no float: {error}")
        });
        json.push(b'\n');
        json
    }

    /// Applies the settings of the kernel command line over `file`, the host config found, if any.
    ///
    /// | setting | overrides |
    /// |---|---|
    /// | `sealboot.image=NAME` | `image` |
    /// | `sealboot.mirror=URL`, repeatable | `mirrors`, all of them |
    /// | `ip=dhcp`, `ip=IFACE:dhcp`, `ip=ADDRESS::GATEWAY:NETMASK:HOSTNAME:IFACE:none` | `network` |
    /// | `nameserver=ADDRESS`, repeatable | `network.nameservers`, all of them |
    ///
    /// # Errors
    ///
    /// [`HostConfigError::Cmdline`] for a setting that cannot be used, known settings of dracut that
    /// this version does not carry out (`bond=`, `vlan=`, …) included: ignored, they would leave the
    /// machine on a network that nobody chose. [`HostConfigError::Incomplete`] where `file` is `None`
    /// and the settings do not make a whole.
    pub fn with_cmdline(
        file: Option<Self>,
        parameters: &Parameters,
    ) -> Result<Self, HostConfigError> {
        let overrides = Overrides::read(parameters).map_err(HostConfigError::Cmdline)?;
        let (image, mirrors, network) = match file {
            Some(file) => (Some(file.image), file.mirrors, Some(file.network)),
            None => (None, Vec::new(), None),
        };
        let mirrors = if overrides.mirrors.is_empty() {
            mirrors
        } else {
            overrides.mirrors
        };
        if mirrors.is_empty() {
            return Err(HostConfigError::Incomplete {
                missing: "sealboot.mirror",
            });
        }
        let mut network = overrides
            .network
            .or(network)
            .ok_or(HostConfigError::Incomplete { missing: "ip" })?;
        if !overrides.nameservers.is_empty() {
            *network.nameservers_mut() = overrides.nameservers;
        }
        let image = overrides
            .image
            .or(image)
            .ok_or(HostConfigError::Incomplete {
                missing: "sealboot.image",
            })?;
        let config = Self {
            image,
            mirrors,
            network,
        };
        config.check().map_err(HostConfigError::Cmdline)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Invalid> {
        if self.mirrors.is_empty() || self.mirrors.len() > LIMITS.mirrors {
            return Err(Invalid::new(
                "mirrors",
                self.mirrors.len(),
                "a list of 1 to 16 URLs",
            ));
        }
        if let Network::Static {
            address,
            gateway: Some(gateway),
            ..
        } = &self.network
            && !address.contains(*gateway)
        {
            return Err(Invalid::new(
                "network.gateway",
                gateway,
                "inside the prefix of network.address",
            ));
        }
        Ok(())
    }
}

impl Network {
    /// The interface that the config names, if it names one.
    #[must_use]
    pub fn interface(&self) -> Option<&InterfaceName> {
        match self {
            Self::Dhcp { interface, .. } | Self::Static { interface, .. } => interface.as_ref(),
        }
    }

    /// The name servers that the config names.
    #[must_use]
    pub fn nameservers(&self) -> &[IpAddr] {
        match self {
            Self::Dhcp { nameservers, .. } | Self::Static { nameservers, .. } => nameservers,
        }
    }

    fn nameservers_mut(&mut self) -> &mut Vec<IpAddr> {
        match self {
            Self::Dhcp { nameservers, .. } | Self::Static { nameservers, .. } => nameservers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{
        "image": "relay",
        "mirrors": ["https://boot.example/", "https://boot2.example/store"],
        "network": {"mode": "static", "address": "192.0.2.10/24", "gateway": "192.0.2.1", "nameservers": ["192.0.2.53"]}
    }"#;

    fn merged(file: Option<&str>, line: &str) -> Result<HostConfig, HostConfigError> {
        let file = file.map(|json| HostConfig::parse(json.as_bytes()).expect("the file is valid"));
        HostConfig::with_cmdline(file, &Parameters::parse(line))
    }

    #[test]
    fn a_host_config_is_read_and_written() {
        let config = HostConfig::parse(WHOLE.as_bytes()).expect("valid");
        assert_eq!(
            config.mirrors[1].file("images/relay.json").as_str(),
            "https://boot2.example/store/images/relay.json"
        );
        assert_eq!(HostConfig::parse(&config.encode()).expect("valid"), config);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (from, to) in [
            ("\"image\": \"relay\",", ""),
            ("\"relay\"", "\"../relay\""),
            ("\"image\"", "\"extra\": 1, \"image\""),
            (
                "\"image\": \"relay\"",
                "\"image\": \"relay\", \"image\": \"relay\"",
            ),
            ("\"mode\": \"static\"", "\"mode\": \"auto\""),
            (
                "\"mode\": \"static\"",
                "\"mode\": \"static\", \"mtu\": 9000",
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
        assert_eq!(
            config.network,
            Network::Dhcp {
                interface: Some("eth1".parse().expect("valid")),
                nameservers: vec![IpAddr::from([192, 0, 2, 54])],
            }
        );
    }

    #[test]
    fn the_command_line_alone_makes_a_host_config() {
        let config = merged(None, "sealboot.image=relay sealboot.mirror=https://m.example/ ip=192.0.2.9::192.0.2.1:255.255.255.0::eth0:none")
            .expect("valid");
        assert_eq!(
            config.network,
            Network::Static {
                interface: Some("eth0".parse().expect("valid")),
                address: "192.0.2.9/24".parse().expect("valid"),
                gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
                nameservers: Vec::new(),
            }
        );
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
            "bond=bond0:eth0,eth1",
            "vlan=eth0.5:eth0",
            "rd.route=10.0.0.0/8:192.0.2.1",
            "ip=auto6",
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
    fn what_the_config_says_can_be_asked_for() {
        let [dhcp, fixed] = [
            r#""mode": "dhcp""#,
            r#""mode": "static", "address": "192.0.2.10/24""#,
        ]
        .map(|mode| {
            let network =
                format!(r#"{{{mode}, "interface": "eth0", "nameservers": ["192.0.2.53"]}}"#);
            serde_json::from_str::<Network>(&network).expect("valid")
        });
        for network in [&dhcp, &fixed] {
            assert_eq!(network.interface().expect("named").as_str(), "eth0");
            assert_eq!(network.nameservers(), [IpAddr::from([192, 0, 2, 53])]);
        }
        let bare: Network = serde_json::from_str(r#"{"mode": "dhcp"}"#).expect("valid");
        assert_eq!(bare.interface(), None);
        assert!(bare.nameservers().is_empty());
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
                matches!(&error, HostConfigError::Value(invalid) if invalid.field == "mirrors"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_host_config_of_64_kib_is_read_and_no_larger_one() {
        let mut json = WHOLE.as_bytes().to_vec();
        json.resize(65_536, b' ');
        HostConfig::parse(&json).expect("valid");
        json.push(b' ');
        let error = HostConfig::parse(&json).expect_err("too large");
        assert!(matches!(error, HostConfigError::TooLarge), "{error:?}");
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
        // Each by itself is right; together they leave the gateway off the link.
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
            config.network.nameservers(),
            ["2001:db8::53", "192.0.2.54"].map(|address| address.parse::<IpAddr>().expect("valid"))
        );
        assert_eq!((config.image, config.mirrors), (file.image, file.mirrors));
    }
}
