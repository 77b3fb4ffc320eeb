//! Which machine this is, by what its firmware says (SMBIOS types 1 and 3, as the kernel shows them) and by its link.
//!
//! Vendors that have not set a field leave words in it. Those would be the identity of a thousand machines, so they count as
//! nothing; what was said is kept, for the error that follows where it was asked for.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::host_config::{
    KnownAs, KnownBy, MirrorTemplate, MirrorUrl, is_placeholder,
};
use sealboot_core::format::{Invalid, shown};

/// Bytes of a value that are read. SMBIOS 2 has 64 at most.
const LIMIT: u64 = 256;

/// What the machine is known by.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    serial: Said,
    uuid: Said,
    asset_tag: Said,
    mac: Said,
}

/// What is said of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Said {
    /// It.
    Value(String),
    /// A word that is on many machines.
    Placeholder(String),
    /// Nothing.
    #[default]
    Nothing,
}

/// A mirror's URL asks for what this machine has not.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It is not known.
    #[error("the mirror {mirror} asks for this machine's {name}, and {said}", said = of(*name, said))]
    Absent {
        /// The mirror, as the host config has it.
        mirror: String,
        /// What it asks for.
        name: KnownBy,
        /// What the machine says.
        said: Said,
    },
    /// The URL becomes too long, or is none.
    #[error("the mirror {mirror} makes no URL for this machine")]
    Url {
        /// The mirror, as the host config has it.
        mirror: String,
        /// Why.
        #[source]
        source: Invalid,
    },
}

impl Diagnose for IdentityError {
    fn code(&self) -> FailureCode {
        FailureCode::ConfigureIdentity
    }

    fn hint(&self) -> String {
        match self {
            Self::Absent {
                name: KnownBy::Mac, ..
            } => "take $mac out of the mirror's URL, or use an Ethernet link".to_owned(),
            Self::Absent { name, .. } => format!(
                "set the {name} in the firmware's setup, with the vendor's tool or in the hypervisor, or take ${} out of the mirror's URL",
                name.word()
            ),
            Self::Url { .. } => self.code().remedy().to_owned(),
        }
    }
}

fn of(name: KnownBy, said: &Said) -> String {
    match (said, name) {
        // Never an error.
        (Said::Value(value), _) => format!("it says \"{}\"", shown(value, 64)),
        (Said::Placeholder(word), _) => format!(
            "its firmware says \"{}\", as on many machines",
            shown(word, 64)
        ),
        (Said::Nothing, KnownBy::Mac) => "its link has no Ethernet address".to_owned(),
        (Said::Nothing, _) => "its firmware says none".to_owned(),
    }
}

impl Identity {
    /// Reads what the firmware of the machine whose files are under `root` says.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let said = |file: &str| judge(&read(&root.join("sys/class/dmi/id").join(file)));
        let uuid = match said("product_uuid") {
            Said::Value(value) => Said::Value(value.to_ascii_lowercase()),
            other => other,
        };
        Self {
            serial: said("product_serial"),
            uuid,
            asset_tag: said("chassis_asset_tag"),
            mac: Said::Nothing,
        }
    }

    /// The same machine, on the link with this name under `root`.
    #[must_use]
    pub fn on_link(self, root: &Path, link: &str) -> Self {
        let address = ethernet_address(&root.join("sys/class/net").join(link));
        let mac = match address {
            Some(address) => Said::Value(address.replace(':', "-")),
            None => Said::Nothing,
        };
        Self { mac, ..self }
    }

    /// Returns what the machine whose files are under `root` is known by to a host config: what its firmware says, and
    /// the addresses of all its Ethernet links.
    #[must_use]
    pub fn known_as(&self, root: &Path) -> KnownAs {
        let value = |name| match self.of(name) {
            Said::Value(value) => Some(value.clone()),
            Said::Placeholder(_) | Said::Nothing => None,
        };
        let links = fs::read_dir(root.join("sys/class/net"))
            .into_iter()
            .flatten();
        let mut macs: Vec<String> = (links.flatten())
            .filter_map(|link| ethernet_address(&link.path()))
            .collect();
        macs.sort();
        macs.dedup();
        KnownAs {
            uuid: value(KnownBy::Uuid),
            serial: value(KnownBy::Serial),
            asset_tag: value(KnownBy::AssetTag),
            macs,
        }
    }

    /// What is said of one thing.
    #[must_use]
    pub const fn of(&self, name: KnownBy) -> &Said {
        match name {
            KnownBy::Serial => &self.serial,
            KnownBy::Uuid => &self.uuid,
            KnownBy::Mac => &self.mac,
            KnownBy::AssetTag => &self.asset_tag,
        }
    }

    /// Whether a mirror asks for nothing of the firmware that it does not say.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Absent`]. The link's address is known later.
    pub fn suits(&self, mirror: &MirrorTemplate) -> Result<(), IdentityError> {
        self.has_all(mirror, mirror.names().filter(|name| *name != KnownBy::Mac))
    }

    /// The URL of a mirror for this machine, on its link.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn url(&self, mirror: &MirrorTemplate) -> Result<MirrorUrl, IdentityError> {
        self.has_all(mirror, mirror.names())?;
        let value = |name| match self.of(name) {
            Said::Value(value) => value.clone(),
            Said::Placeholder(_) | Said::Nothing => String::new(),
        };
        mirror.of(value).map_err(|source| IdentityError::Url {
            mirror: mirror.to_string(),
            source,
        })
    }

    fn has_all(
        &self,
        mirror: &MirrorTemplate,
        mut names: impl Iterator<Item = KnownBy>,
    ) -> Result<(), IdentityError> {
        let absent = names.find(|name| !matches!(self.of(*name), Said::Value(_)));
        absent.map_or(Ok(()), |name| {
            Err(IdentityError::Absent {
                mirror: mirror.to_string(),
                name,
                said: self.of(name).clone(),
            })
        })
    }
}

impl fmt::Display for Identity {
    /// What a technician compares with the label on the machine.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut known = Vec::new();
        for name in [KnownBy::Serial, KnownBy::Uuid, KnownBy::AssetTag] {
            if let Said::Value(value) = self.of(name) {
                known.push(format!("{name} {}", shown(value, 64)));
            }
        }
        match known[..] {
            [] => f.write_str("its firmware tells neither serial number, UUID nor asset tag"),
            _ => f.write_str(&known.join(", ")),
        }
    }
}

/// The address of a link, in lower case; nothing where it has none of Ethernet.
fn ethernet_address(link: &Path) -> Option<String> {
    let address = read(&link.join("address")).trim().to_ascii_lowercase();
    let octets: Vec<&str> = address.split(':').collect();
    let is_octet =
        |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_ethernet = octets.len() == 6 && octets.iter().all(is_octet);
    (is_ethernet && address != "00:00:00:00:00:00").then_some(address)
}

/// What a file says; nothing where it is not there, as on a machine without SMBIOS.
fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

fn judge(text: &str) -> Said {
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
    match text {
        "" => Said::Nothing,
        text if is_placeholder(text) => Said::Placeholder(text.to_owned()),
        text => Said::Value(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine whose firmware says this, with a link of this address.
    fn machine(serial: &str, uuid: &str, asset_tag: &str, address: &str) -> Identity {
        let root = tempfile::tempdir().unwrap();
        let (dmi, link) = ("sys/class/dmi/id", "sys/class/net/eth0");
        for (directory, file, text) in [
            (dmi, "product_serial", serial),
            (dmi, "product_uuid", uuid),
            (dmi, "chassis_asset_tag", asset_tag),
            (link, "address", address),
        ] {
            let directory = root.path().join(directory);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(file), format!("{text}\n")).unwrap();
        }
        Identity::read(root.path()).on_link(root.path(), "eth0")
    }

    fn url(identity: &Identity, path: &str) -> Result<String, IdentityError> {
        let mirror = format!("https://boot.example/{path}").parse().unwrap();
        identity.url(&mirror).map(|url| url.to_string())
    }

    #[test]
    fn what_vendors_leave_counts_as_nothing() {
        for word in [
            "To be filled by O.E.M.",
            "To Be Filled By O.E.M.",
            "Default string",
            "Not Specified",
            "Not Available",
            "None",
            "N/A",
            "0",
            "00000000",
            "0123456789",
            "1234567890",
            "123",
            "System Serial Number",
            "No Asset Tag",
            "Asset-1234567890",
            "XXXXXXXX",
            "........",
            "..",
            ".",
            "-",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
        ] {
            let identity = machine(word, word, word, "");
            for name in [KnownBy::Serial, KnownBy::Uuid, KnownBy::AssetTag] {
                let said = identity.of(name);
                assert_eq!(*said, Said::Placeholder(word.to_owned()), "{name}");
            }
        }
        for nothing in ["", "   ", "\t"] {
            assert_eq!(
                *machine(nothing, "", "", "").of(KnownBy::Serial),
                Said::Nothing
            );
        }
    }

    #[test]
    fn what_a_machine_may_be_called_is_kept_and_trimmed() {
        for serial in [
            "CZ1234",
            "VMware-56 4d",
            "12",
            "0012",
            "1235",
            "f00",
            "序列",
            "none-7",
        ] {
            let identity = machine(&format!("  {serial} "), "", "", "");
            assert_eq!(
                *identity.of(KnownBy::Serial),
                Said::Value(serial.to_owned())
            );
        }
    }

    #[test]
    fn an_identity_that_a_url_asks_for_and_the_machine_has_not_is_an_error_with_its_own_code() {
        let identity = machine("Default string", "", "7", "");
        let error = |path: &str| {
            let error = url(&identity, path).unwrap_err();
            assert_eq!(error.code(), FailureCode::ConfigureIdentity);
            assert!(!error.hint().is_empty());
            error.to_string()
        };
        assert_eq!(
            error("a/$serial/"),
            "the mirror https://boot.example/a/$serial/ asks for this machine's serial number, and its firmware says \"Default string\", as on many machines"
        );
        assert_eq!(
            error("$asset_tag/$uuid"),
            "the mirror https://boot.example/$asset_tag/$uuid/ asks for this machine's UUID, and its firmware says none"
        );
        assert_eq!(
            error("$mac"),
            "the mirror https://boot.example/$mac/ asks for this machine's link address, and its link has no Ethernet address"
        );
    }

    #[test]
    fn a_word_of_the_firmware_cannot_draw_on_a_console() {
        let identity = machine("a\u{1b}[2J", "a\u{1b}[2J", &"x\u{1b}".repeat(100), "");
        assert!(!identity.to_string().contains('\u{1b}'));
        assert_eq!(
            url(&identity, "$serial").unwrap(),
            "https://boot.example/a%1B%5B2J/"
        );
        let identity = machine("..\u{1b}", "", "", "");
        let error = url(&identity, "$serial").unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    #[test]
    fn a_machine_is_known_by_all_four() {
        let uuid = "DF55C348-5613-44BD-BE79-B44FA251BCE8";
        let identity = machine("CZ 1234/5", uuid, "rack 7", "52:54:00:AB:CD:0E");
        assert_eq!(
            url(&identity, "$serial/$uuid/$asset_tag/${mac}").unwrap(),
            "https://boot.example/CZ%201234%2F5/df55c348-5613-44bd-be79-b44fa251bce8/rack%207/52-54-00-ab-cd-0e/"
        );
        assert_eq!(
            identity.to_string(),
            "serial number CZ 1234/5, UUID df55c348-5613-44bd-be79-b44fa251bce8, asset tag rack 7"
        );
    }

    #[test]
    fn a_link_without_an_ethernet_address_has_none() {
        for address in [
            "",
            "00:00:00:00:00:00",
            "52:54:00:ab:cd",
            "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:00:01",
            "192.0.2.1",
            "zz:54:00:ab:cd:0e",
        ] {
            assert_eq!(
                *machine("", "", "", address).of(KnownBy::Mac),
                Said::Nothing
            );
        }
    }

    #[test]
    fn what_the_firmware_says_is_asked_for_before_there_is_a_link() {
        let suits = |path: &str| {
            let mirror = format!("https://boot.example/{path}").parse().unwrap();
            machine("CZ1234", "", "", "").suits(&mirror)
        };
        assert!(suits("$serial/$mac").is_ok());
        assert!(suits("$uuid").is_err());
    }

    #[test]
    fn a_machine_without_smbios_is_known_by_nothing() {
        let root = tempfile::tempdir().unwrap();
        let identity = Identity::read(root.path());
        for name in KnownBy::ALL {
            assert_eq!(*identity.of(name), Said::Nothing);
        }
        assert_eq!(
            identity.to_string(),
            "its firmware tells neither serial number, UUID nor asset tag"
        );
        assert!(url(&identity, "plain").is_ok());
    }
}
