//! Bonds: links of several cards (Linux `Documentation/networking/bonding.rst`, whose names the options have).
//!
//! Three modes are carried out. Options belong to modes: one that a bond's mode does not have is refused, as the
//! kernel would do, or ignore.

use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::names::{InterfaceName, LinkRef, Mtu};
use crate::format::limits::LIMITS;
use crate::format::{Invalid, json};

/// A link of several cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// Its name.
    pub name: InterfaceName,
    /// Its cards, at least one.
    pub ports: Vec<LinkRef>,
    /// What it does with them.
    pub mode: BondMode,
    /// How it finds out that one is dead.
    pub monitor: Monitor,
    /// The largest packet, of the bond and its cards.
    pub mtu: Option<Mtu>,
}

/// What a bond does with its cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BondMode {
    /// Sends over each in turn; the switch's ports must be a static group.
    BalanceRr {
        /// Packets over one before it is the next one's turn; 0 is at random.
        packets_per_slave: Option<u16>,
    },
    /// Uses one; the next takes over where it dies. The switch has to know nothing of it.
    ActiveBackup {
        /// The one to use whenever it is alive.
        primary: Option<LinkRef>,
        /// When to go back to it.
        primary_reselect: Option<PrimaryReselect>,
        /// Whose address the bond has.
        fail_over_mac: Option<FailOverMac>,
    },
    /// Agrees with the switch by LACP on which to use (IEEE 802.1AX, once 802.3ad).
    Lacp {
        /// How often the switch is asked to send.
        lacp_rate: Option<LacpRate>,
        /// Which of several groups is used.
        ad_select: Option<AdSelect>,
        /// So many ports must be up before the bond has a carrier.
        min_links: Option<u16>,
        /// What decides over which port a packet goes.
        xmit_hash_policy: Option<XmitHashPolicy>,
    },
}

/// How a bond finds out that a card is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Monitor {
    /// By the card's carrier.
    Mii {
        /// Milliseconds between two looks.
        interval: u32,
        /// Milliseconds for which a card must be up before it is used.
        updelay: Option<u32>,
        /// Milliseconds for which a card must be down before it is left.
        downdelay: Option<u32>,
    },
    /// By whether somebody answers ARP. Not with LACP.
    Arp {
        /// Milliseconds between two questions.
        interval: u32,
        /// Who is asked, 1 to 16.
        targets: Vec<Ipv4Addr>,
    },
}

impl Monitor {
    /// The carrier, every 100 ms: what the kernel's documentation calls a good starting point, and what it takes
    /// by itself for 802.3ad. Its own default is not to look at all.
    const DEFAULT_MII_MS: u32 = 100;
}

/// Milliseconds that an interval or a delay may have: a minute, by which a boot has long been given up.
const LONGEST_MS: u32 = 60_000;

macro_rules! words {
    ($(#[$about:meta])* $vis:vis $name:ident $field:literal { $($(#[$doc:meta])* $variant:ident $number:literal $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        $vis enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                match word.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let takes = concat!("one of" $(, " ", $word)+);
                        Err(json::unknown_word(Invalid::new($field, &word, takes)))
                    }
                }
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            /// By the word, or by the number that the kernel's module takes for it.
            fn from_str(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word | $number => Ok(Self::$variant),)+
                    _ => Err(Invalid::new($field, text, concat!("one of" $(, " ", $word)+))),
                }
            }
        }
    };
}

words! {
    /// The name of a bond's mode.
    pub(super) ModeName "network.bonds.mode" {
        /// `balance-rr`.
        BalanceRr "0" "balance-rr",
        /// `active-backup`.
        ActiveBackup "1" "active-backup",
        /// `802.3ad`.
        Lacp "4" "802.3ad",
    }
}

words! {
    /// When an active-backup bond goes back to its primary card.
    pub PrimaryReselect "network.bonds.primary_reselect" {
        /// Whenever it is alive.
        Always "0" "always",
        /// When it is the faster one.
        Better "1" "better",
        /// When the one in use dies.
        Failure "2" "failure",
    }
}

words! {
    /// Whose address an active-backup bond has.
    pub FailOverMac "network.bonds.fail_over_mac" {
        /// The first card's, which all are given.
        None "0" "none",
        /// The one's that is in use; the bond's changes with it.
        Active "1" "active",
        /// The first card's; a card has it only while it is in use.
        Follow "2" "follow",
    }
}

words! {
    /// How often the switch is asked to send.
    pub LacpRate "network.bonds.lacp_rate" {
        /// Every 30 s.
        Slow "0" "slow",
        /// Every second.
        Fast "1" "fast",
    }
}

words! {
    /// Which of several groups of ports is used.
    pub AdSelect "network.bonds.ad_select" {
        /// The first that came, until all of it is down.
        Stable "0" "stable",
        /// The one of most bandwidth.
        Bandwidth "1" "bandwidth",
        /// The one of most ports.
        Count "2" "count",
    }
}

words! {
    /// What decides over which port a packet goes.
    pub XmitHashPolicy "network.bonds.xmit_hash_policy" {
        /// Ethernet addresses.
        Layer2 "0" "layer2",
        /// IP addresses and ports.
        Layer34 "1" "layer3+4",
        /// Ethernet and IP addresses.
        Layer23 "2" "layer2+3",
        /// As `layer2+3`, within tunnels.
        Encap23 "3" "encap2+3",
        /// As `layer3+4`, within tunnels.
        Encap34 "4" "encap3+4",
    }
}

/// A bond as it is written: every option of every mode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) name: InterfaceName,
    pub(super) ports: Vec<LinkRef>,
    mode: ModeName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    miimon: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updelay: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    downdelay: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arp_interval: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    arp_ip_target: Vec<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packets_per_slave: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary: Option<LinkRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary_reselect: Option<PrimaryReselect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fail_over_mac: Option<FailOverMac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lacp_rate: Option<LacpRate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ad_select: Option<AdSelect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_links: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xmit_hash_policy: Option<XmitHashPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<Mtu>,
}

impl Written {
    /// A bond without any option, in the mode that is the kernel's default, and dracut's.
    pub(super) const fn new(name: InterfaceName, ports: Vec<LinkRef>) -> Self {
        Self {
            name,
            ports,
            mode: ModeName::BalanceRr,
            miimon: None,
            updelay: None,
            downdelay: None,
            arp_interval: None,
            arp_ip_target: Vec::new(),
            packets_per_slave: None,
            primary: None,
            primary_reselect: None,
            fail_over_mac: None,
            lacp_rate: None,
            ad_select: None,
            min_links: None,
            xmit_hash_policy: None,
            mtu: None,
        }
    }

    /// Sets an option as the kernel's module takes it, `miimon=100`.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &str,
        link: impl Fn(&str) -> Result<LinkRef, Invalid>,
    ) -> Result<(), Invalid> {
        fn number<T: FromStr>(name: &str, value: &str) -> Result<Option<T>, Invalid> {
            let invalid = || {
                let found = format!("{name}={value}");
                Invalid::new("bond", found, "an option with a number")
            };
            value.parse().map(Some).map_err(|_| invalid())
        }
        match name {
            "mode" => self.mode = value.parse()?,
            "miimon" => self.miimon = number(name, value)?,
            "updelay" => self.updelay = number(name, value)?,
            "downdelay" => self.downdelay = number(name, value)?,
            "arp_interval" => self.arp_interval = number(name, value)?,
            // A comma ends an option, so dracut separates addresses by semicolons.
            "arp_ip_target" => {
                let target = |text: &str| {
                    let invalid = |_| Invalid::new("bond", text, "an IPv4 address");
                    text.parse().map_err(invalid)
                };
                self.arp_ip_target = value.split(';').map(target).collect::<Result<_, _>>()?;
            }
            "packets_per_slave" => self.packets_per_slave = number(name, value)?,
            "primary" => self.primary = Some(link(value)?),
            "primary_reselect" => self.primary_reselect = Some(value.parse()?),
            "fail_over_mac" => self.fail_over_mac = Some(value.parse()?),
            "lacp_rate" => self.lacp_rate = Some(value.parse()?),
            "ad_select" => self.ad_select = Some(value.parse()?),
            "min_links" => self.min_links = number(name, value)?,
            "xmit_hash_policy" => self.xmit_hash_policy = Some(value.parse()?),
            _ => {
                return Err(Invalid::new(
                    "bond",
                    format!("{name}={value}"),
                    "an option of a bond that is carried out",
                ));
            }
        }
        Ok(())
    }
}

impl TryFrom<Written> for Bond {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        if written.ports.is_empty() || written.ports.len() > LIMITS.network_items {
            return Err(Invalid::new(
                "network.bonds.ports",
                written.ports.len(),
                "a list of 1 to 16",
            ));
        }
        written.options_fit_the_mode()?;
        let monitor = written.monitor()?;
        if let Some(primary) = &written.primary
            && !written.ports.contains(primary)
        {
            return Err(Invalid::new(
                "network.bonds.primary",
                primary,
                "one of the bond's ports",
            ));
        }
        let mode = match written.mode {
            ModeName::BalanceRr => BondMode::BalanceRr {
                packets_per_slave: written.packets_per_slave,
            },
            ModeName::ActiveBackup => BondMode::ActiveBackup {
                primary: written.primary,
                primary_reselect: written.primary_reselect,
                fail_over_mac: written.fail_over_mac,
            },
            ModeName::Lacp => BondMode::Lacp {
                lacp_rate: written.lacp_rate,
                ad_select: written.ad_select,
                min_links: written.min_links,
                xmit_hash_policy: written.xmit_hash_policy,
            },
        };
        Ok(Self {
            name: written.name,
            ports: written.ports,
            mode,
            monitor,
            mtu: written.mtu,
        })
    }
}

impl Written {
    fn options_fit_the_mode(&self) -> Result<(), Invalid> {
        use ModeName::{ActiveBackup, BalanceRr, Lacp};

        let given = [
            (
                "packets_per_slave",
                self.packets_per_slave.is_some(),
                BalanceRr,
            ),
            ("primary", self.primary.is_some(), ActiveBackup),
            (
                "primary_reselect",
                self.primary_reselect.is_some(),
                ActiveBackup,
            ),
            ("fail_over_mac", self.fail_over_mac.is_some(), ActiveBackup),
            ("lacp_rate", self.lacp_rate.is_some(), Lacp),
            ("ad_select", self.ad_select.is_some(), Lacp),
            ("min_links", self.min_links.is_some(), Lacp),
            ("xmit_hash_policy", self.xmit_hash_policy.is_some(), Lacp),
        ];
        for (name, is_given, mode) in given {
            if is_given && mode != self.mode {
                let takes = match self.mode {
                    BalanceRr => "an option of the mode balance-rr",
                    ActiveBackup => "an option of the mode active-backup",
                    Lacp => "an option of the mode 802.3ad",
                };
                return Err(Invalid::new("network.bonds", name, takes));
            }
        }
        Ok(())
    }

    fn monitor(&self) -> Result<Monitor, Invalid> {
        let times = [
            ("network.bonds.miimon", self.miimon),
            ("network.bonds.updelay", self.updelay),
            ("network.bonds.downdelay", self.downdelay),
            ("network.bonds.arp_interval", self.arp_interval),
        ];
        for (field, time) in times {
            if let Some(time) = time.filter(|time| *time > LONGEST_MS) {
                return Err(Invalid::new(field, time, "at most 60000 milliseconds"));
            }
        }
        let Some(interval) = self.arp_interval else {
            if !self.arp_ip_target.is_empty() {
                return Err(Invalid::new(
                    "network.bonds.arp_ip_target",
                    self.arp_ip_target.len(),
                    "given without arp_interval",
                ));
            }
            // What the kernel takes for "never": no card's death would be noticed.
            if self.miimon == Some(0) {
                return Err(Invalid::new("network.bonds.miimon", 0, "at least 1"));
            }
            return Ok(Monitor::Mii {
                interval: self.miimon.unwrap_or(Monitor::DEFAULT_MII_MS),
                updelay: self.updelay,
                downdelay: self.downdelay,
            });
        };
        let by_carrier = [self.miimon, self.updelay, self.downdelay];
        if self.mode == ModeName::Lacp || by_carrier.iter().any(Option::is_some) {
            return Err(Invalid::new(
                "network.bonds.arp_interval",
                interval,
                "given beside miimon, updelay or downdelay, or in the mode 802.3ad",
            ));
        }
        if interval == 0 || !(1..=16).contains(&self.arp_ip_target.len()) {
            return Err(Invalid::new(
                "network.bonds.arp_interval",
                interval,
                "at least 1, with 1 to 16 addresses in arp_ip_target",
            ));
        }
        Ok(Monitor::Arp {
            interval,
            targets: self.arp_ip_target.clone(),
        })
    }
}

impl From<Bond> for Written {
    fn from(bond: Bond) -> Self {
        let mut written = Self::new(bond.name, bond.ports);
        written.mtu = bond.mtu;
        match bond.mode {
            BondMode::BalanceRr { packets_per_slave } => {
                written.packets_per_slave = packets_per_slave;
            }
            BondMode::ActiveBackup {
                primary,
                primary_reselect,
                fail_over_mac,
            } => {
                written.mode = ModeName::ActiveBackup;
                written.primary = primary;
                written.primary_reselect = primary_reselect;
                written.fail_over_mac = fail_over_mac;
            }
            BondMode::Lacp {
                lacp_rate,
                ad_select,
                min_links,
                xmit_hash_policy,
            } => {
                written.mode = ModeName::Lacp;
                written.lacp_rate = lacp_rate;
                written.ad_select = ad_select;
                written.min_links = min_links;
                written.xmit_hash_policy = xmit_hash_policy;
            }
        }
        match bond.monitor {
            Monitor::Mii {
                interval,
                updelay,
                downdelay,
            } => {
                written.miimon = Some(interval);
                written.updelay = updelay;
                written.downdelay = downdelay;
            }
            Monitor::Arp { interval, targets } => {
                written.arp_interval = Some(interval);
                written.arp_ip_target = targets;
            }
        }
        written
    }
}
