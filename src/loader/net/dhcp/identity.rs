//! What a client says of itself, so that a server can know it again and choose what to give it.

use std::path::Path;

use dhcproto::v4::{Architecture, DhcpOption};

use sealboot_core::format::network::DhcpOptions;
use sealboot_core::format::network::MacAddress;

/// Lets a DHCP server tell a machine that boots from the operating system that runs there later.
pub(in crate::net) const VENDOR_CLASS: &str = "sealboot";

/// A client, as its messages describe it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) mac: MacAddress,
    options: Vec<DhcpOption>,
}

impl From<[u8; 6]> for Identity {
    fn from(mac: [u8; 6]) -> Self {
        let mac = MacAddress::from(mac);
        Self::new(mac, &DhcpOptions::default())
    }
}

impl Identity {
    /// The client with the Ethernet address `mac`, and what a host config has it say.
    pub(in crate::net) fn new(mac: MacAddress, says: &DhcpOptions) -> Self {
        // RFC 2132, section 9.14: the hardware type, 1 for Ethernet, and the address.
        let client_id = says.client_id.as_ref().map_or_else(
            || [&[1], mac.octets().as_slice()].concat(),
            |client_id| client_id.bytes().to_vec(),
        );
        let vendor_class = says.vendor_class.as_ref();
        let vendor_class = vendor_class.map_or(VENDOR_CLASS, |class| class.as_str());
        let mut options = vec![
            DhcpOption::ClientIdentifier(client_id),
            DhcpOption::ClassIdentifier(vendor_class.as_bytes().to_vec()),
            DhcpOption::ClientSystemArchitecture(architecture()),
        ];
        if let Some(hostname) = &says.hostname {
            options.push(DhcpOption::Hostname(hostname.as_str().to_owned()));
        }
        Self { mac, options }
    }

    pub(super) fn options(&self) -> impl Iterator<Item = &DhcpOption> {
        self.options.iter()
    }
}

/// What the machine's firmware can boot, as network boot programs say it (RFC 4578, section 2.1, with the numbers
/// that firmware sends: IANA's registry of processor architectures).
fn architecture() -> Architecture {
    let is_efi = Path::new("/sys/firmware/efi").exists();
    match (std::env::consts::ARCH, is_efi) {
        ("x86_64", true) => Architecture(7),
        ("aarch64", true) => Architecture(11),
        ("aarch64", false) => Architecture(22),
        _ => Architecture(0),
    }
}
