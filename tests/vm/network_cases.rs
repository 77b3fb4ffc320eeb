//! The cases of the [network lab](crate::network_lab): networks as they are found, and what the loader makes of each.

const BY_NAME: &[&str] = &["https://mirror.lab.example/"];
const BY_IPV4: &[&str] = &["https://10.77.0.1/"];
const BY_IPV6: &[&str] = &["https://[fd00:77::1]/"];

/// The end of a case that is about the download.
const DOWNLOADED: &str = "sealboot: stage=image status=ok*";

/// A network, and what the loader says in it.
pub(crate) struct Case {
    /// What it shows, in lower case and hyphens.
    pub(crate) name: &'static str,
    pub(crate) cables: usize,
    /// What lays out the other ends of the cables, with the words of `network/functions`.
    pub(crate) scenario: &'static str,
    /// The host config, beside image and mirrors, as the kernel command line would have it.
    pub(crate) cmdline: &'static str,
    pub(crate) mirrors: &'static [&'static str],
    /// A pattern of the shell: a line that ends the case. Any failure does, too.
    pub(crate) until: &'static str,
    /// A shell script beside the loader, in the end.
    pub(crate) look: &'static str,
    pub(crate) expected: Expected,
    /// What is on the loader's console.
    pub(crate) says: &'static [&'static str],
    /// What is not.
    pub(crate) never: &'static [&'static str],
    /// What is in the log of the other side.
    pub(crate) far_says: &'static [&'static str],
    /// What is in the output of `look`.
    pub(crate) shows: &'static [&'static str],
}

/// How a case ends.
pub(crate) enum Expected {
    /// Connected over this link, by addresses that begin like this, and with all stages passed until then.
    Connects(&'static str, &'static str),
    /// In this stage, with this code.
    Fails(&'static str, &'static str),
}
use Expected::{Connects, Fails};

/// What most cases have in common: one cable, DHCP, and an end when the mirror's manifest is verified.
const CASE: Case = Case {
    name: "",
    cables: 1,
    scenario: "v4 eth0; offer $LEASES $NAME4",
    cmdline: "ip=dhcp",
    mirrors: BY_NAME,
    until: "sealboot: stage=manifest status=ok*",
    look: "",
    expected: Connects("eth0", "10.77.0.1"),
    says: &[],
    never: &[],
    far_says: &[],
    shows: &[],
};

/// Those that wait long, for what never comes or comes late.
pub(crate) const LONG: &[Case] = &[
    Case {
        name: "silence-of-dhcp-fails-in-connect",
        scenario: "v4 eth0; MIRROR=no",
        expected: Fails("connect", "CONNECT-DHCP"),
        says: &["no lease by DHCP"],
        ..CASE
    },
    Case {
        name: "silence-of-routers-fails-in-connect",
        scenario: "v4 eth0; MIRROR=no",
        cmdline: "ip=auto6",
        expected: Fails("connect", "CONNECT-ROUTER"),
        ..CASE
    },
    Case {
        name: "untagged-server-is-not-heard-on-a-vlan",
        cmdline: "vlan=eth0.7:eth0 ip=eth0.7:dhcp",
        expected: Fails("connect", "CONNECT-DHCP"),
        says: &["eth0.7 is made: VLAN 7 over eth0"],
        ..CASE
    },
    Case {
        name: "server-of-another-vlan-is-not-heard",
        scenario: "ip link set eth0 up; ip link add link eth0 name tagged type vlan id 8; v4 tagged
offer $LEASES",
        cmdline: "vlan=eth0.7:eth0 ip=eth0.7:dhcp",
        mirrors: BY_IPV4,
        expected: Fails("connect", "CONNECT-DHCP"),
        ..CASE
    },
    Case {
        name: "offers-to-another-vendor-class-are-not-for-us",
        scenario: "v4 eth0
offer --dhcp-vendorclass=set:ours,relay-boot --dhcp-range=tag:ours,10.77.0.100,10.77.0.150,10m",
        mirrors: BY_IPV4,
        expected: Fails("connect", "CONNECT-DHCP"),
        ..CASE
    },
    Case {
        name: "link-without-carrier-fails-in-connect",
        scenario: "MIRROR=no",
        expected: Fails("connect", "CONNECT-NO-CARRIER"),
        ..CASE
    },
    Case {
        name: "bond-without-carrier-fails-in-connect",
        cables: 2,
        scenario: "MIRROR=no",
        cmdline: "bond=bond0:eth0,eth1:mode=active-backup ip=bond0:dhcp",
        expected: Fails("connect", "CONNECT-NO-CARRIER"),
        ..CASE
    },
    Case {
        name: "link-that-is-not-there-fails-in-connect",
        cmdline: "ip=eth7:dhcp",
        expected: Fails("connect", "CONNECT-NO-LINK"),
        says: &["no network interface eth7 appeared"],
        ..CASE
    },
    Case {
        name: "silence-of-25-s-is-waited-out",
        scenario: "v4 eth0; (asked eth0; sleep 25; offer $LEASES $NAME4) &",
        says: &["waiting for an address on eth0, 2"],
        ..CASE
    },
    Case {
        name: "carrier-that-comes-after-20-s-is-waited-for",
        scenario: "offer $LEASES $NAME4 --bind-dynamic; (sleep 20; v4 eth0) &",
        ..CASE
    },
    Case {
        name: "lease-that-is-lost-is-replaced",
        scenario: "v4 eth0; slow eth0 4mbit; lend eth0 10
(asked eth0 20; kill $(cat \"$AT/udhcpd.pid\"); sleep 15; lend eth0 600; wait) &",
        mirrors: BY_IPV4,
        until: DOWNLOADED,
        says: &[
            "lease 10 s",
            "eth0: lost the DHCP lease on 10.77.0.1",
            "eth0: a new lease: 10.77.0.1",
        ],
        ..CASE
    },
    Case {
        name: "lease-that-is-shorter-than-the-download-is-renewed",
        scenario: "v4 eth0; slow eth0 4mbit; lend eth0 10",
        mirrors: BY_IPV4,
        until: DOWNLOADED,
        says: &["lease 10 s", "renewed the DHCP lease on "],
        never: &["lost the DHCP lease"],
        ..CASE
    },
];

/// The others.
pub(crate) const SHORT: &[Case] = &[
    // DHCPv4.
    Case {
        name: "lease-of-dhcpv4-connects",
        says: &["via 10.77.0.1 dns 10.77.0.1 (dhcp 10.77.0.1, lease 600 s)"],
        ..CASE
    },
    Case {
        name: "vendor-class-of-the-command-line-gets-its-offer",
        scenario: "v4 eth0
offer --dhcp-vendorclass=set:ours,relay-boot --dhcp-range=tag:ours,10.77.0.100,10.77.0.150,10m",
        cmdline: "ip=dhcp rd.net.dhcp.vendor-class=relay-boot",
        mirrors: BY_IPV4,
        ..CASE
    },
    Case {
        name: "host-name-is-told-to-the-server",
        cmdline: "ip=::::relay7:eth0:dhcp",
        far_says: &["client provides name: relay7"],
        ..CASE
    },
    Case {
        name: "offer-after-a-long-way-is-accepted",
        scenario: "v4 eth0; tc qdisc add dev eth0 root netem delay 900ms; offer $LEASES $NAME4",
        ..CASE
    },
    Case {
        name: "lossy-cable-connects",
        scenario: "v4 eth0; tc qdisc add dev eth0 root netem loss 20% seed 7 || tc qdisc add dev eth0 root netem loss 20%
offer $LEASES $NAME4",
        ..CASE
    },
    Case {
        name: "reordered-and-repeated-packets-connect",
        scenario: "v4 eth0; tc qdisc add dev eth0 root netem delay 20ms 15ms duplicate 30%
offer $LEASES $NAME4",
        ..CASE
    },
    Case {
        name: "refused-request-is-begun-again",
        // The offer is on its way while its server changes its mind.
        scenario: "v4 eth0; tc qdisc add dev eth0 root netem delay 2s
offer $LEASES $NAME4; first=$!
(until grep -q DHCPOFFER \"$AT/far\"; do usleep 50000; done; kill $first; rm -f \"$AT/leases\"
tc qdisc change dev eth0 root netem delay 1ms
offer $NAME4 --dhcp-range=10.77.0.200,10.77.0.250,10m; wait) &",
        expected: Connects("eth0", "10.77.0.2"),
        far_says: &["DHCPNAK"],
        ..CASE
    },
    Case {
        name: "network-without-a-default-route-reaches-its-own-mirror",
        scenario: "v4 eth0; offer $LEASES $NAME4 --dhcp-option=option:router",
        look: "ip route",
        shows: &["10.77.0.0/24 dev eth0"],
        ..CASE
    },
    Case {
        name: "classless-route-leads-to-the-mirror",
        scenario: "v4 eth0; ip address add 10.99.0.1/32 dev lo
offer $LEASES --host-record=mirror.lab.example,10.99.0.1 --dhcp-option=option:router \
--dhcp-option=option:classless-static-route,10.99.0.0/24,10.77.0.1",
        look: "ip route",
        shows: &["10.99.0.0/24 via 10.77.0.1 dev eth0"],
        ..CASE
    },
    Case {
        name: "mtu-of-the-lease-is-set",
        scenario: "v4 eth0; offer $LEASES $NAME4 --dhcp-option=option:mtu,1400",
        look: "cat /sys/class/net/eth0/mtu; ip route",
        shows: &["1400"],
        ..CASE
    },
    Case {
        name: "dead-name-server-is-passed-over",
        scenario: "v4 eth0; offer $LEASES $NAME4 --dhcp-option=option:dns-server,10.77.0.9,10.77.0.1",
        says: &["dns 10.77.0.9 dns 10.77.0.1 (dhcp"],
        ..CASE
    },
    Case {
        name: "name-server-of-the-command-line-replaces-that-of-the-network",
        scenario: "v4 eth0; offer $LEASES $NAME4 --dhcp-option=option:dns-server,10.77.0.9",
        cmdline: "ip=dhcp nameserver=10.77.0.1",
        says: &["dns 10.77.0.1 (dhcp"],
        ..CASE
    },
    Case {
        name: "search-domain-completes-a-name",
        scenario: "v4 eth0; offer $LEASES $NAME4 --domain=lab.example",
        mirrors: &["https://mirror/"],
        // The certificate names the whole name, and the name that was asked for is not it.
        expected: Fails("manifest", "FETCH-TLS"),
        ..CASE
    },
    Case {
        name: "unknown-name-fails-in-manifest",
        scenario: "v4 eth0; offer $LEASES; MIRROR=no",
        expected: Fails("manifest", "FETCH-DNS"),
        ..CASE
    },
    Case {
        name: "mirror-that-does-not-listen-fails-in-manifest",
        scenario: "v4 eth0; offer $LEASES $NAME4; MIRROR=no",
        expected: Fails("manifest", "FETCH-CONNECT"),
        ..CASE
    },
    Case {
        name: "second-mirror-replaces-one-that-does-not-listen",
        mirrors: &["https://10.77.0.1:444/", "https://mirror.lab.example/"],
        ..CASE
    },
    // IPv6.
    Case {
        name: "lease-of-dhcpv6-connects",
        // The router's first advertisement comes before the lease, which leads nowhere without its route.
        scenario: "v6 eth0
(asked eth0; sleep 3; offer --enable-ra --dhcp-range=fd00:77::100,fd00:77::1ff,64,10m $NAME6; wait) &",
        cmdline: "ip=dhcp6",
        expected: Connects("eth0", "fd00:77::1"),
        says: &["dns fd00:77::1 (dhcp6, lease 600 s)"],
        ..CASE
    },
    Case {
        name: "router-that-names-a-name-server-connects",
        scenario: "v6 eth0; offer --enable-ra --dhcp-range=fd00:77::,ra-only $NAME6",
        cmdline: "ip=auto",
        // The address that the kernel makes of the card's.
        expected: Connects("eth0", "fd00:77::5054:ff:fe77:100"),
        // dnsmasq names itself by the address that it has on this link alone.
        says: &[" dns fe80::5054:ff:fe77:0 (router fe80::5054:ff:fe77:0)"],
        ..CASE
    },
    Case {
        name: "router-without-a-name-server-connects-by-address",
        scenario: "v6 eth0
offer --port=0 --enable-ra --dhcp-range=fd00:77::,ra-only --dhcp-option=option6:dns-server",
        cmdline: "ip=auto6",
        mirrors: BY_IPV6,
        expected: Connects("eth0", "fd00:77::5054:ff:fe77:100"),
        ..CASE
    },
    Case {
        name: "name-server-of-stateless-dhcpv6-is-asked",
        scenario: "v6 eth0
offer --enable-ra --dhcp-range=fd00:77::,ra-stateless $NAME6 --dhcp-option=option6:dns-server,[fd00:77::1]",
        cmdline: "ip=auto6",
        expected: Connects("eth0", "fd00:77::5054:ff:fe77:100"),
        ..CASE
    },
    Case {
        name: "static-address-of-ipv6-connects",
        scenario: "v6 eth0",
        cmdline: "ip=[fd00:77::50]::[fd00:77::1]:64::eth0:none",
        mirrors: BY_IPV6,
        expected: Connects("eth0", "fd00:77::50"),
        says: &["via fd00:77::1 (static)"],
        ..CASE
    },
    Case {
        name: "address-of-another-machine-fails-in-connect",
        scenario: "v6 eth0; ip address add fd00:77::50/64 dev eth0 nodad",
        cmdline: "ip=[fd00:77::50]::[fd00:77::1]:64::eth0:none",
        mirrors: BY_IPV6,
        expected: Fails("connect", "CONNECT-ADDRESS"),
        says: &["another machine on the link has fd00:77::50"],
        ..CASE
    },
    Case {
        name: "dead-address-of-ipv6-gives-way-to-ipv4",
        scenario: "v4 eth0; v6 eth0
offer $LEASES --enable-ra --dhcp-range=fd00:77::,ra-only $NAME4 --host-record=mirror.lab.example,fd00:77::9",
        cmdline: "ip=auto",
        expected: Connects("eth0", ""),
        ..CASE
    },
    // Fixed addresses of IPv4.
    Case {
        name: "static-address-of-ipv4-connects",
        scenario: "v4 eth0",
        cmdline: "ip=10.77.0.50::10.77.0.1:255.255.255.0::eth0:none",
        mirrors: BY_IPV4,
        expected: Connects("eth0", "10.77.0.50"),
        says: &["via 10.77.0.1 (static)"],
        ..CASE
    },
    Case {
        name: "static-address-with-a-name-server-connects-by-name",
        scenario: "v4 eth0; offer $NAME4",
        cmdline: "ip=10.77.0.50::10.77.0.1:24::eth0:none:10.77.0.1",
        expected: Connects("eth0", "10.77.0.50"),
        ..CASE
    },
    Case {
        name: "route-of-the-command-line-leads-to-the-mirror",
        scenario: "v4 eth0; ip address add 10.99.0.1/32 dev lo
offer --host-record=mirror.lab.example,10.99.0.1",
        cmdline: "ip=10.77.0.50:::24::eth0:none:10.77.0.1 rd.route=10.99.0.0/24:10.77.0.1",
        expected: Connects("eth0", "10.77.0.50"),
        look: "ip route",
        shows: &["10.99.0.0/24 via 10.77.0.1 dev eth0"],
        ..CASE
    },
    Case {
        name: "jumbo-frames-are-set",
        scenario: "ip link set eth0 mtu 9000; v4 eth0",
        cmdline: "ip=10.77.0.50::10.77.0.1:24::eth0:none:9000",
        mirrors: BY_IPV4,
        expected: Connects("eth0", "10.77.0.50"),
        look: "cat /sys/class/net/eth0/mtu",
        shows: &["9000"],
        ..CASE
    },
    // Several links.
    Case {
        name: "card-with-an-offer-is-used",
        cables: 2,
        scenario: "ip link set eth0 up; v4 eth1; offer $LEASES $NAME4",
        expected: Connects("eth1", "10.77.0.1"),
        says: &["link is up interface=eth0"],
        ..CASE
    },
    Case {
        name: "card-with-a-carrier-is-used",
        cables: 2,
        scenario: "v4 eth1; offer $LEASES $NAME4",
        expected: Connects("eth1", "10.77.0.1"),
        ..CASE
    },
    Case {
        name: "card-that-leads-to-a-mirror-is-used",
        cables: 2,
        scenario: "another eth0; v4 eth1; offer $OTHER_LEASES $LEASES --dhcp-option=option:router",
        mirrors: BY_IPV4,
        expected: Connects("eth1", "10.77.0.1"),
        ..CASE
    },
    Case {
        name: "card-is-known-by-its-address",
        cables: 2,
        scenario: "another eth0; v4 eth1; offer $OTHER_LEASES $LEASES $NAME4",
        cmdline: "ifname=uplink:52:54:00:77:01:01 ip=uplink:dhcp",
        expected: Connects("eth1", "10.77.0.1"),
        ..CASE
    },
    Case {
        name: "vlan-connects",
        // Without the tag there is no server.
        scenario: "ip link set eth0 up; ip link add link eth0 name tagged type vlan id 7; v4 tagged
offer $LEASES $NAME4",
        cmdline: "vlan=eth0.7:eth0 ip=eth0.7:dhcp",
        expected: Connects("eth0.7", "10.77.0.1"),
        says: &["eth0.7 is made: VLAN 7 over eth0"],
        ..CASE
    },
    Case {
        name: "bond-connects-over-the-port-that-has-a-carrier",
        cables: 2,
        scenario: "switch; ip link set eth0 down; offer $LEASES $NAME4",
        cmdline: "bond=bond0:eth0,eth1:mode=active-backup,primary=eth0 ip=bond0:dhcp",
        expected: Connects("bond0", "10.77.0.1"),
        look: "cat /proc/net/bonding/bond0",
        shows: &["Currently Active Slave: eth1"],
        ..CASE
    },
    Case {
        name: "bond-that-watches-its-router-by-arp-connects",
        cables: 2,
        scenario: "ip link add lan type bond mode balance-rr miimon 100
for port in eth0 eth1; do ip link set $port master lan; done; v4 lan; offer $LEASES $NAME4",
        cmdline: "bond=bond0:eth0,eth1:arp_interval=500,arp_ip_target=10.77.0.1 ip=bond0:dhcp",
        expected: Connects("bond0", "10.77.0.1"),
        look: "cat /proc/net/bonding/bond0",
        shows: &["load balancing (round-robin)", "ARP Polling Interval (ms): 500"],
        ..CASE
    },
    Case {
        name: "vlan-over-a-bond-connects",
        cables: 2,
        scenario: "switch; ip address flush dev lan; ip link add link lan name tagged type vlan id 42; v4 tagged
offer $LEASES $NAME4",
        cmdline: "bond=bond0:eth0,eth1:mode=active-backup,primary=eth0 vlan=vlan0042:bond0 ip=vlan0042:dhcp",
        expected: Connects("vlan0042", "10.77.0.1"),
        says: &["vlan0042 is made: VLAN 42 over bond0"],
        ..CASE
    },
    Case {
        name: "ports-that-are-bundled-by-lacp-connect",
        cables: 2,
        scenario: "bundle; v4 bundle; offer $LEASES $NAME4",
        cmdline: "bond=bond0:eth0,eth1:mode=802.3ad,lacp_rate=fast ip=bond0:dhcp",
        expected: Connects("bond0", "10.77.0.1"),
        look: "cat /proc/net/bonding/bond0",
        shows: &["IEEE 802.3ad", "Partner Mac Address: 52:54:00:77:00"],
        ..CASE
    },
    Case {
        name: "vlan-over-bundled-ports-with-jumbo-frames-connects",
        cables: 2,
        scenario: "for port in eth0 eth1; do ip link set $port mtu 9000; done; bundle; ip link set bundle mtu 9000
ip link add link bundle name tagged type vlan id 42; v4 tagged; offer $LEASES $NAME4",
        // As docs/host-config.md has it.
        cmdline: "bond=bond0:eth0,eth1:mode=802.3ad,miimon=50,updelay=200,lacp_rate=fast,\
xmit_hash_policy=layer3+4:9000 vlan=vlan0042:bond0 ip=vlan0042:dhcp",
        expected: Connects("vlan0042", "10.77.0.1"),
        look: "cat /sys/class/net/vlan0042/mtu",
        says: &["vlan0042 is made: VLAN 42 over bond0"],
        shows: &["9000"],
        ..CASE
    },
];
