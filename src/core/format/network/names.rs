//! Names of links, and the small numbers and words that belong to one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::format::Invalid;

/// A network interface's name by the kernel's rule (`dev_valid_name`): 1 to 15 bytes, no `/`, `:` or white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

/// An Ethernet address of one card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address as it stands on the wire.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl FromStr for MacAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let octets = hex_octets(text, &[':', '-']);
        let one = octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok());
        // A multicast address is no card's, and all zeros is what one without an address has.
        one.filter(|octets| octets[0] & 1 == 0 && *octets != [0; 6])
            .map(Self)
            .ok_or_else(|| {
                Invalid::new(
                    "interface",
                    text,
                    "a card's Ethernet address, such as 00:00:5e:00:53:01",
                )
            })
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_octets(f, &self.0)
    }
}

/// Two hexadecimal digits an octet, with one of `separators` between them, the same throughout.
fn hex_octets(text: &str, separators: &[char]) -> Option<Vec<u8>> {
    let separator = *separators.iter().find(|found| text.contains(**found))?;
    let octet = |part: &str| {
        let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        two.then(|| u8::from_str_radix(part, 16).ok())?
    };
    text.split(separator).map(octet).collect()
}

fn write_octets(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    for (at, octet) in octets.iter().enumerate() {
        let separator = if at == 0 { "" } else { ":" };
        write!(f, "{separator}{octet:02x}")?;
    }
    Ok(())
}

/// A link, by its name or by its card's address.
///
/// Names that the kernel gives (`eth0`) go by the order in which drivers find their cards; an address does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkRef {
    /// The link of this name.
    Name(InterfaceName),
    /// The card with this address.
    Mac(MacAddress),
}

impl FromStr for LinkRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // No name has a colon.
        if text.contains(':') {
            text.parse().map(Self::Mac)
        } else {
            text.parse().map(Self::Name)
        }
    }
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

/// The largest packet that a link carries, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtu(u16);

impl Mtu {
    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for Mtu {
    type Error = Invalid;

    fn try_from(bytes: u64) -> Result<Self, Invalid> {
        // 576 bytes are what every IPv4 host takes (RFC 791); below, nothing that we send would fit.
        (u16::try_from(bytes).ok())
            .filter(|bytes| *bytes >= 576)
            .map(Self)
            .ok_or_else(|| Invalid::new("network.mtu", bytes, "a number of bytes, 576 to 65535"))
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The tag of a VLAN, 1 to 4094 (IEEE 802.1Q).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanId(u16);

impl VlanId {
    /// The tag as a number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for VlanId {
    type Error = Invalid;

    fn try_from(number: u64) -> Result<Self, Invalid> {
        (u16::try_from(number).ok())
            .filter(|number| (1..=4094).contains(number))
            .map(Self)
            .ok_or_else(|| Invalid::new("network.vlans.id", number, "a VLAN's id, 1 to 4094"))
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A domain name of letters, digits, hyphens and dots, in lower case and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainName(String);

impl DomainName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            Ok(Self(name.to_ascii_lowercase()))
        } else {
            Err(Invalid::new("domain", text, "a domain name"))
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A DHCP client identifier (RFC 2132, section 9.14): a type, and what it stands before.
///
/// Written as hexadecimal octets, `01:00:00:5e:00:53:01`, it is sent as it is; as other text, with the type 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientId(Vec<u8>);

impl ClientId {
    /// The identifier as it is sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        let bytes = match hex_octets(text, &[':']) {
            Some(octets) if octets.len() >= 2 => octets,
            // What looks like octets and is not would be taken for text by mistake.
            _ if text.contains(':') => Vec::new(),
            _ => [&[0], text.as_bytes()].concat(),
        };
        if graphic && (2..=255).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(Invalid::new(
                "network.dhcp.client_id",
                text,
                "octets such as 01:00:00:5e:00:53:01, or up to 254 printable characters without a colon",
            ))
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first() {
            Some((0, text))
                if text
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b':') =>
            {
                f.write_str(str::from_utf8(text).unwrap_or_default())
            }
            _ => write_octets(f, &self.0),
        }
    }
}

/// What a DHCP server is told of the kind of machine (RFC 2132, section 9.13): 1 to 200 printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorClass(String);

impl VendorClass {
    /// The class as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VendorClass {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let printable = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if printable && (1..=200).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new(
                "network.dhcp.vendor_class",
                text,
                "1 to 200 printable ASCII characters",
            ))
        }
    }
}

impl fmt::Display for VendorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
json_by_display!(
    InterfaceName,
    MacAddress,
    LinkRef,
    DomainName,
    ClientId,
    VendorClass
);

macro_rules! json_by_number {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u16(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u64::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                // A number that is none fails as the largest one, under its own name.
                let number = text.parse::<u64>().unwrap_or(u64::MAX);
                Self::try_from(number).map_err(|invalid| Invalid::new(invalid.field, text, invalid.takes))
            }
        }
    )*};
}
json_by_number!(Mtu, VlanId);

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_card_has_an_address_of_one_machine() {
        for good in ["00:00:5e:00:53:01", "00-00-5E-00-53-01"] {
            let mac: MacAddress = good.parse().unwrap();
            assert_eq!(mac.octets(), [0, 0, 0x5e, 0, 0x53, 1]);
            assert_eq!(mac.to_string(), "00:00:5e:00:53:01");
        }
        for bad in [
            "",
            "00:00:5e:00:53",
            "00:00:5e:00:53:01:02",
            "00:00:5e:00:53:1",
            "00:00:5e:00:53:0g",
            "00:00-5e:00:53:01",
            "00005e005301",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "+0:00:5e:00:53:01",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_link_is_named_or_has_an_address() {
        let mac: LinkRef = "00:00:5e:00:53:01".parse().unwrap();
        assert!(matches!(mac, LinkRef::Mac(_)));
        let name: LinkRef = "eth0".parse().unwrap();
        assert!(matches!(name, LinkRef::Name(_)));
        assert_eq!((mac.to_string(), name.to_string()).1, "eth0");
        assert!("eth0:1".parse::<LinkRef>().is_err());
    }

    #[test]
    fn numbers_have_their_ends() {
        for (good, bad) in [(576, 575), (65_535, 65_536)] {
            assert_eq!(u64::from(Mtu::try_from(good).unwrap().bytes()), good);
            assert!(Mtu::try_from(bad).is_err());
        }
        for (good, bad) in [(1, 0), (4094, 4095)] {
            assert_eq!(u64::from(VlanId::try_from(good).unwrap().number()), good);
            assert!(VlanId::try_from(bad).is_err());
        }
        assert_eq!("x".parse::<VlanId>().unwrap_err().found, "x");
        assert_eq!("1500".parse::<Mtu>().unwrap().bytes(), 1500);
    }

    #[test]
    fn a_domain_has_one_spelling() {
        let name: DomainName = "Rack-7.Example.".parse().unwrap();
        assert_eq!(name.as_str(), "rack-7.example");
        for bad in ["", ".", "a..b", "a_b", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad:?}");
        }
        assert!("x.".repeat(127).parse::<DomainName>().is_ok());
        assert!("x.".repeat(128).parse::<DomainName>().is_err());
    }

    #[test]
    fn a_client_id_is_octets_or_text() {
        for (text, bytes) in [
            ("01:00:00:5e:00:53:01", &[1, 0, 0, 0x5e, 0, 0x53, 1][..]),
            ("rack7-04", b"\0rack7-04"),
        ] {
            let id: ClientId = text.parse().unwrap();
            assert_eq!(id.bytes(), bytes);
            assert_eq!(id.to_string(), text);
        }
        // Type 0 and what text cannot be stays octets.
        assert_eq!("00:ff".parse::<ClientId>().unwrap().to_string(), "00:ff");
        for bad in ["", ":", "01:", "01:xx", "a b", "é", &"x".repeat(255)] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_is_written_in_json_and_read_by_its_rule() {
        fn there_and_back<T: Serialize + de::DeserializeOwned + PartialEq + fmt::Debug>(
            json: &str,
            bad: &str,
        ) {
            let value: T = serde_json::from_str(json).expect(json);
            assert_eq!(serde_json::to_string(&value).expect("a value"), json);
            assert!(serde_json::from_str::<T>(bad).is_err(), "{bad}");
        }
        there_and_back::<InterfaceName>(r#""eth0""#, r#""eth0:1""#);
        there_and_back::<LinkRef>(r#""00:00:5e:00:53:01""#, r#""00:00:5e""#);
        there_and_back::<DomainName>(r#""a.example""#, r#""a_b""#);
        there_and_back::<ClientId>(r#""rack""#, r#""""#);
        there_and_back::<Mtu>("9000", "90000");
        there_and_back::<VlanId>("7", "\"7\"");
    }
}
