//! Names and addresses that a host config may hold.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::Invalid;

/// The root of a store, as a URL that ends in `/`, without credentials, query or fragment, of at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorUrl(Url);

impl MirrorUrl {
    /// The URL of a file in the store; `path` is relative, as the formats have it.
    #[must_use]
    pub fn file(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }

    /// The root itself.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Whether bytes from this mirror come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for MirrorUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "mirror",
                text,
                "an https://HOST/ or http://HOST/ URL without user, query or fragment",
            )
        };
        if text.len() > 1024 {
            return Err(invalid());
        }
        let mut url: Url = text.parse().map_err(|_| invalid())?;
        let plain = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(invalid());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        // As it is written from here on: what is not ASCII has become longer.
        if url.as_str().len() > 1024 {
            return Err(invalid());
        }
        Ok(Self(url))
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A network interface's name by the kernel's rule (`dev_valid_name`): 1 to 15 bytes, no `/`, `:` or white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let fits = (1..=15).contains(&name.len())
            && name != "."
            && name != ".."
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::new(
                "interface",
                name,
                "a network interface's name of 1 to 15 characters",
            ))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An IPv4 address of a host with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Prefix {
    address: Ipv4Addr,
    len: u8,
}

impl Ipv4Prefix {
    /// `None` for a length over 32 and for addresses that no host can have.
    #[must_use]
    pub fn new(address: Ipv4Addr, len: u8) -> Option<Self> {
        let host = !address.is_unspecified()
            && !address.is_multicast()
            && !address.is_broadcast()
            && !address.is_loopback();
        (host && (1..=32).contains(&len)).then_some(Self { address, len })
    }

    /// The host's address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The length of the network's prefix in bits.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.len
    }

    /// Whether `other` is on the same network.
    #[must_use]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.len)
    }
}

impl FromStr for Ipv4Prefix {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.split_once('/')
            .and_then(|(address, len)| Self::new(address.parse().ok()?, len.parse().ok()?))
            .ok_or_else(|| {
                Invalid::new(
                    "address",
                    text,
                    "a host's IPv4 address with a prefix length, such as 192.0.2.10/24",
                )
            })
    }
}

impl fmt::Display for Ipv4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

macro_rules! json_by_display {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
json_by_display!(MirrorUrl, InterfaceName, Ipv4Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_root_to_which_paths_are_joined() {
        for (text, root) in [
            ("https://boot.example", "https://boot.example/"),
            ("https://boot.example/", "https://boot.example/"),
            (
                "https://boot.example:8443/a/b",
                "https://boot.example:8443/a/b/",
            ),
            ("http://[2001:db8::1]/a/", "http://[2001:db8::1]/a/"),
        ] {
            let mirror: MirrorUrl = text.parse().expect(text);
            assert_eq!(mirror.to_string(), root);
            assert_eq!(mirror.url().as_str(), root);
            assert_eq!(
                mirror.file("images/relay.json").as_str(),
                format!("{root}images/relay.json")
            );
        }
    }

    #[test]
    fn only_https_comes_over_tls() {
        let is_https = |text: &str| text.parse::<MirrorUrl>().expect(text).is_https();
        assert!(is_https("https://boot.example/"));
        assert!(is_https("HTTPS://boot.example/"));
        assert!(!is_https("http://https/"));
    }

    #[test]
    fn what_is_no_root_of_a_store_is_no_mirror() {
        for bad in [
            "",
            "boot.example",
            "//boot.example/",
            "https://",
            "file:///srv/store/",
            "ftp://boot.example/",
            "data:,x",
            "https://user@boot.example/",
            "https://:secret@boot.example/",
            "https://boot.example/?",
            "https://boot.example/?a=b",
            "https://boot.example/#",
            "https://boot.example:65536/",
        ] {
            let error = bad.parse::<MirrorUrl>().expect_err(bad);
            assert_eq!(error.field, "mirror");
        }
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        for good in ["e", "eth0", "enp0s31f6", "a.5", "...", "fifteen-charact"] {
            let name: InterfaceName = good.parse().expect(good);
            assert_eq!(name.as_str(), good);
            assert_eq!(name.to_string(), good);
        }
        // The kernel would take "é"; a console could not show it.
        for bad in [
            "",
            ".",
            "..",
            "sixteen-characte",
            "a/b",
            "eth0:1",
            "a b",
            "a\tb",
            "a\0",
            "é",
        ] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_one_that_a_host_can_have() {
        let prefix: Ipv4Prefix = "192.0.2.10/24".parse().expect("valid");
        assert_eq!(prefix.address(), Ipv4Addr::new(192, 0, 2, 10));
        assert_eq!(prefix.prefix_len(), 24);
        assert_eq!(prefix.to_string(), "192.0.2.10/24");
        for good in ["10.0.0.1/1", "10.0.0.1/32"] {
            assert!(good.parse::<Ipv4Prefix>().is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0/24",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "255.255.255.255/32",
            "10.0.0.1/0",
            "10.0.0.1/33",
            "10.0.0.1/",
            "10.0.0.1",
            "/24",
            "10.0.0.1/24/24",
            "2001:db8::1/64",
        ] {
            let error = bad.parse::<Ipv4Prefix>().expect_err(bad);
            assert_eq!(error.field, "address");
        }
    }

    #[test]
    fn a_network_ends_where_its_prefix_says() {
        let contains = |prefix: &str, other: [u8; 4]| {
            let prefix: Ipv4Prefix = prefix.parse().expect(prefix);
            prefix.contains(Ipv4Addr::from(other))
        };
        assert!(contains("192.0.2.10/24", [192, 0, 2, 255]));
        assert!(!contains("192.0.2.10/24", [192, 0, 3, 10]));
        assert!(contains("192.0.2.10/23", [192, 0, 3, 10]));
        assert!(contains("192.0.2.10/32", [192, 0, 2, 10]));
        assert!(!contains("192.0.2.10/32", [192, 0, 2, 11]));
        assert!(contains("10.0.0.1/1", [127, 255, 255, 255]));
        assert!(!contains("10.0.0.1/1", [128, 0, 0, 1]));
    }

    #[test]
    fn each_is_written_as_a_string_and_read_by_its_rule() {
        fn there_and_back<T: Serialize + de::DeserializeOwned + PartialEq + fmt::Debug>(
            json: &str,
            bad: &str,
        ) {
            let value: T = serde_json::from_str(json).expect(json);
            assert_eq!(serde_json::to_string(&value).expect("a string"), json);
            assert!(serde_json::from_str::<T>(bad).is_err(), "{bad}");
        }
        there_and_back::<MirrorUrl>(r#""https://boot.example/""#, r#""ftp://boot.example/""#);
        there_and_back::<InterfaceName>(r#""eth0""#, r#""eth0:1""#);
        there_and_back::<Ipv4Prefix>(r#""192.0.2.10/24""#, r#""192.0.2.10/240""#);
    }

    fn with_path(path: &str) -> Result<MirrorUrl, Invalid> {
        format!("https://boot.example/{path}").parse()
    }

    // Found by fuzzing `host_config`: the bound was that of the text, and the URL written of it was not read again.
    #[test]
    fn a_mirror_that_outgrows_its_bound_by_being_encoded_is_refused() {
        let room = 1024 - "https://boot.example//".len();
        assert!(with_path(&"x".repeat(room)).is_ok());
        assert!(with_path(&"x".repeat(room + 1)).is_err());
        assert!(with_path(&"é".repeat(room / 6)).is_ok());
        assert!(with_path(&"é".repeat(room / 6 + 1)).is_err());
    }

    #[test]
    fn a_mirror_is_read_as_it_is_written() {
        for path in ["", "a b/", "%2e%2e/é", "x\\y", "../z"] {
            let mirror = with_path(path).unwrap();
            assert_eq!(mirror.to_string().parse(), Ok(mirror));
        }
    }

    #[test]
    fn a_mirror_is_bounded_as_it_is_given_too() {
        let room = 1024 - "https://boot.example//".len();
        assert!(with_path(&format!("{}/", "x".repeat(room))).is_ok());
        // It would be short once it is read.
        assert!(with_path(&"./".repeat(501)).is_ok());
        assert!(with_path(&"./".repeat(502)).is_err());
    }
}
