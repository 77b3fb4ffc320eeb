//! The machines that a host config is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::KnownBy;
use crate::format::Invalid;

/// Characters of an identity, with its kind.
const LENGTH: usize = 128;

/// An identity of a machine, `KIND:VALUE`: `uuid:`, `serial:`, `asset:` or `mac:`.
///
/// A kind that this version does not know is for another loader, and matches no machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId {
    text: String,
    kind: Option<KnownBy>,
}

impl MachineId {
    /// Returns the kind, if this version knows it.
    #[must_use]
    pub const fn kind(&self) -> Option<KnownBy> {
        self.kind
    }

    /// Returns the value, in the spelling in which it is compared: UUIDs and addresses in lower case.
    #[must_use]
    pub fn value(&self) -> &str {
        self.text.split_once(':').map_or("", |(_, value)| value)
    }

    /// Returns `true` if the value is what vendors leave in the firmware of many machines; it matches none.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        self.kind.is_some() && is_placeholder(self.value())
    }
}

/// What a machine is known by, as far as its firmware and its links say. What vendors leave where they set nothing is not
/// in it: it would name a thousand machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownAs {
    /// The UUID of SMBIOS, in lower case.
    pub uuid: Option<String>,
    /// The serial number.
    pub serial: Option<String>,
    /// The asset tag.
    pub asset_tag: Option<String>,
    /// The addresses of all Ethernet links, `aa:bb:cc:dd:ee:ff` in lower case.
    pub macs: Vec<String>,
}

impl KnownAs {
    /// Returns `true` if one of these identities is this machine's.
    #[must_use]
    pub fn is_one_of(&self, machines: &[MachineId]) -> bool {
        machines.iter().any(|machine| match machine.kind {
            Some(KnownBy::Uuid) => self.uuid.as_deref() == Some(machine.value()),
            Some(KnownBy::Serial) => self.serial.as_deref() == Some(machine.value()),
            Some(KnownBy::AssetTag) => self.asset_tag.as_deref() == Some(machine.value()),
            Some(KnownBy::Mac) => self.macs.iter().any(|mac| mac == machine.value()),
            None => false,
        })
    }
}

/// As a technician compares it with the label on the machine.
impl fmt::Display for KnownAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = [
            ("uuid", &self.uuid),
            ("serial", &self.serial),
            ("asset", &self.asset_tag),
        ];
        let own = own
            .into_iter()
            .filter_map(|(kind, value)| Some(format!("{kind}:{}", value.as_ref()?)));
        let macs = self.macs.iter().map(|mac| format!("mac:{mac}"));
        let all: Vec<String> = own.chain(macs).collect();
        match all[..] {
            [] => f.write_str("nothing"),
            _ => f.write_str(&crate::format::shown(&all.join(", "), 256)),
        }
    }
}

impl FromStr for MachineId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const TAKES: &str = "uuid:, serial:, asset: or mac: and a value, such as uuid:4c4c4544-0042-3510-8054-b7c04f4a3132";
        let invalid = || Invalid::new("for", text, TAKES);
        let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let (kind, value) = text.split_once(':').ok_or_else(invalid)?;
        let is_kind =
            (1..=16).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        let is_value = !value.is_empty() && value.trim() == value && value.bytes().all(plain);
        if !is_kind || !is_value || text.len() > LENGTH {
            return Err(invalid());
        }
        let (kind, value) = match kind {
            "uuid" if is_uuid(value) => (Some(KnownBy::Uuid), value.to_ascii_lowercase()),
            "mac" if is_mac(value) => (Some(KnownBy::Mac), value.to_ascii_lowercase()),
            "uuid" | "mac" => return Err(invalid()),
            "serial" => (Some(KnownBy::Serial), value.to_owned()),
            "asset" => (Some(KnownBy::AssetTag), value.to_owned()),
            _ => (None, value.to_owned()),
        };
        let name = text.split(':').next().unwrap_or_default();
        Ok(Self {
            text: format!("{name}:{value}"),
            kind,
        })
    }
}

/// Reads the list `for`. An empty one is refused: a template that fills in nothing must not be for every machine.
pub(super) fn one_at_least<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<MachineId>, D::Error> {
    let machines = Vec::<MachineId>::deserialize(deserializer)?;
    match machines.is_empty() {
        true => Err(de::Error::custom(Invalid::new(
            "for",
            "[]",
            "a list of 1 to 64 identities",
        ))),
        false => Ok(machines),
    }
}

/// Returns `true` if vendors leave this text where they set nothing: on boards of ASRock, ASUS, Dell, Gigabyte, Intel, MSI
/// and Supermicro, and in hypervisors. Case, spaces and dots differ, so letters and digits are compared.
#[must_use]
pub fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 31] = [
        "03000200040005000006000700080009",
        "123456781234567890abcddeefaabbcc",
        "assettag",
        "asset1234567890",
        "chassisassettag",
        "chassisserialnumber",
        "default",
        "defaultstring",
        "empty",
        "invalid",
        "na",
        "noassetinformation",
        "noassettag",
        "none",
        "notapplicable",
        "notavailable",
        "notpresent",
        "notprovided",
        "notset",
        "notsettable",
        "notspecified",
        "null",
        "oem",
        "serialnumber",
        "systemproductname",
        "systemserialnumber",
        "tobefilled",
        "tobefilledbyoem",
        "undefined",
        "unknown",
        "unspecified",
    ];
    let plain: String = text
        .chars()
        .filter(|character| character.is_alphanumeric())
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let is_all = |digit: char| plain.chars().all(|found| found == digit);
    // "0123456789", "1234567890" and the first few digits of either.
    let counts = plain.len() > 2
        && ["01234567890123456789", "12345678901234567890"]
            .iter()
            .any(|row| row.starts_with(&plain));
    // What has neither letter nor digit would be all of these, and could be a step up in a path.
    ['0', 'f', 'x'].into_iter().any(is_all) || counts || WORDS.contains(&plain.as_str())
}

/// Returns `true` for 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| is_hex(part))
}

/// Returns `true` for six octets with colons between.
fn is_mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split(':').collect();
    octets.len() == 6 && octets.iter().all(|octet| octet.len() == 2 && is_hex(octet))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for MachineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for MachineId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "4c4c4544-0042-3510-8054-b7c04f4a3132";

    fn ids(texts: &[&str]) -> Vec<MachineId> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn an_identity_is_a_kind_and_a_value() {
        for (text, shown) in [
            ("serial:CZ1234", "serial:CZ1234"),
            ("asset:A 7", "asset:A 7"),
            (
                "uuid:4C4C4544-0042-3510-8054-B7C04F4A3132",
                "uuid:4c4c4544-0042-3510-8054-b7c04f4a3132",
            ),
            ("mac:52:54:00:12:34:AB", "mac:52:54:00:12:34:ab"),
            ("tpm:sha256:00", "tpm:sha256:00"),
        ] {
            assert_eq!(text.parse::<MachineId>().expect(text).to_string(), shown);
        }
        for bad in [
            "",
            ":",
            "serial",
            "serial:",
            "Serial:x",
            "serial: x",
            "serial:x ",
            "uuid:x",
            "mac:x",
            "mac:52-54-00-12-34-56",
            "serial:\n",
            "serial:\u{e9}",
            "a1:x",
            &format!("serial:{}", "x".repeat(122)),
        ] {
            assert!(bad.parse::<MachineId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_identity_that_is_the_machines_is_enough() {
        let machine = KnownAs {
            uuid: Some(UUID.to_owned()),
            serial: Some("CZ1234".to_owned()),
            asset_tag: None,
            macs: vec!["52:54:00:12:34:56".to_owned()],
        };
        for (identities, expected) in [
            (&["serial:CZ1234"][..], true),
            (&["serial:cz1234"], false),
            (&["uuid:4C4C4544-0042-3510-8054-B7C04F4A3132"], true),
            (&["mac:52:54:00:12:34:56"], true),
            (&["mac:52:54:00:12:34:57", "serial:CZ1234"], true),
            (&["asset:CZ1234"], false),
            (&["tpm:CZ1234"], false),
            (&[], false),
        ] {
            assert_eq!(
                machine.is_one_of(&ids(identities)),
                expected,
                "{identities:?}"
            );
        }
        assert!(!KnownAs::default().is_one_of(&ids(&["asset:x", "serial:x"])));
    }

    #[test]
    fn a_list_for_no_machine_is_refused() {
        let with = |list: &str| {
            let json = format!(
                r#"{{"for": {list}, "image": "relay", "mirrors": ["https://boot.example/"], "network": {{"mode": "dhcp"}}}}"#
            );
            super::super::HostConfig::parse(json.as_bytes())
        };
        assert_eq!(
            with(r#"["serial:CZ1234"]"#).expect("valid").machines.len(),
            1
        );
        assert!(with("[]").is_err());
        let many: Vec<String> = (0..65).map(|at| format!("\"serial:{at}\"")).collect();
        assert!(with(&format!("[{}]", many[..64].join(","))).is_ok());
        assert!(with(&format!("[{}]", many.join(","))).is_err());
    }
}
