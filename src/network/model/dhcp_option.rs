//! DHCP options (RFC 2132 and its successors): which there are by name, what each may hold, and typed values.

use super::LeaseTime;
use crate::name::{DnsName, PlainText};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// An option with its value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DhcpOption {
    /// Its number, 1 to 254.
    pub code: u8,
    /// dnsmasq's name for it, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// What it says.
    pub value: OptionValue,
}

/// What an option says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionValue {
    /// Nothing: it is not sent, though it would be by default.
    Nothing,
    /// IPv4 addresses, at least one.
    Addresses(Vec<Ipv4Addr>),
    /// A whole number of 1, 2 or 4 octets, in range for them.
    Integer {
        /// The number.
        value: i64,
        /// Its octets.
        octets: u8,
    },
    /// Text.
    Text(PlainText),
    /// Domains, at least one.
    Domains(Vec<DnsName>),
    /// Routes: a destination and the router to it; at least one.
    Routes(Vec<(Ipv4Net, Ipv4Addr)>),
    /// A span of time.
    Time(LeaseTime),
    /// Octets as they are, at least one.
    Octets(Vec<u8>),
}

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) enum OptionKind {
    /// [`OptionValue::Addresses`]
    Addresses,
    /// [`OptionValue::Integer`] of so many octets, without a sign.
    Unsigned(u8),
    /// [`OptionValue::Integer`] of four octets, with a sign.
    Signed,
    /// [`OptionValue::Integer`] of one octet, 0 or 1.
    Flag,
    /// [`OptionValue::Text`], and dnsmasq knows that it is.
    Name,
    /// [`OptionValue::Text`], of which dnsmasq would have to guess.
    Text,
    /// [`OptionValue::Domains`]
    Domains,
    /// [`OptionValue::Routes`]
    Routes,
    /// [`OptionValue::Time`]
    Time,
    /// [`OptionValue::Octets`]
    Octets,
    /// One that is not for definitions, with what to do instead.
    Reserved(&'static str),
}

use OptionKind::{Addresses, Domains, Flag, Name, Octets, Reserved, Routes, Signed, Text, Time, Unsigned};

const BY_CLIENT: &str = "clients send it, servers do not";
const BY_DNSMASQ: &str = "dnsmasq sets it by itself";
const BY_BOOT: &str = "it belongs to booting over the network: write `boot` in `dhcp`";

/// The options that are known, by number, with dnsmasq's names (`dnsmasq --help dhcp`, 2.90, and those that it keeps
/// to itself).
const KNOWN: &[(u8, &str, OptionKind)] = &[
    (1, "netmask", Reserved("it follows from the subnet")),
    (2, "time-offset", Signed),
    (3, "router", Addresses),
    (6, "dns-server", Addresses),
    (7, "log-server", Addresses),
    (9, "lpr-server", Addresses),
    (
        12,
        "hostname",
        Reserved("a machine's name is the `name` of its entry in `hosts`"),
    ),
    (13, "boot-file-size", Unsigned(2)),
    (15, "domain-name", Name),
    (16, "swap-server", Addresses),
    (17, "root-path", Name),
    (18, "extension-path", Name),
    (19, "ip-forward-enable", Flag),
    (20, "non-local-source-routing", Flag),
    (21, "policy-filter", Addresses),
    (22, "max-datagram-reassembly", Unsigned(2)),
    (23, "default-ttl", Unsigned(1)),
    (26, "mtu", Unsigned(2)),
    (27, "all-subnets-local", Flag),
    (28, "broadcast", Reserved("it follows from the subnet")),
    (31, "router-discovery", Flag),
    (32, "router-solicitation", Addresses),
    (33, "static-route", Addresses),
    (34, "trailer-encapsulation", Flag),
    (35, "arp-timeout", Unsigned(4)),
    (36, "ethernet-encap", Flag),
    (37, "tcp-ttl", Unsigned(1)),
    (38, "tcp-keepalive", Unsigned(4)),
    (40, "nis-domain", Name),
    (41, "nis-server", Addresses),
    (42, "ntp-server", Addresses),
    (43, "vendor-encap", Octets),
    (44, "netbios-ns", Addresses),
    (45, "netbios-dd", Addresses),
    (46, "netbios-nodetype", Unsigned(1)),
    (47, "netbios-scope", Text),
    (48, "x-windows-fs", Addresses),
    (49, "x-windows-dm", Addresses),
    (50, "requested-address", Reserved(BY_CLIENT)),
    (51, "lease-time", Reserved("write `lease_time`")),
    (52, "option-overload", Reserved(BY_DNSMASQ)),
    (53, "message-type", Reserved(BY_DNSMASQ)),
    (54, "server-identifier", Reserved(BY_DNSMASQ)),
    (55, "parameter-request", Reserved(BY_CLIENT)),
    (56, "message", Reserved(BY_DNSMASQ)),
    (57, "max-message-size", Reserved(BY_CLIENT)),
    (58, "T1", Time),
    (59, "T2", Time),
    (60, "vendor-class", Text),
    (
        61,
        "client-id",
        Reserved("write `client_id` with a machine in `hosts`"),
    ),
    (64, "nis+-domain", Name),
    (65, "nis+-server", Addresses),
    (66, "tftp-server", Name),
    (67, "bootfile-name", Name),
    (68, "mobile-ip-home", Addresses),
    (69, "smtp-server", Addresses),
    (70, "pop3-server", Addresses),
    (71, "nntp-server", Addresses),
    (74, "irc-server", Addresses),
    (77, "user-class", Reserved(BY_CLIENT)),
    (80, "rapid-commit", Reserved(BY_CLIENT)),
    (81, "FQDN", Reserved(BY_DNSMASQ)),
    (82, "agent-info", Reserved(BY_DNSMASQ)),
    (93, "client-arch", Reserved(BY_CLIENT)),
    (94, "client-interface-id", Reserved(BY_CLIENT)),
    (97, "client-machine-id", Reserved(BY_CLIENT)),
    (100, "posix-timezone", Name),
    (101, "tzdb-timezone", Name),
    (108, "ipv6-only", Unsigned(4)),
    (118, "subnet-select", Reserved(BY_DNSMASQ)),
    (119, "domain-search", Domains),
    (120, "sip-server", Addresses),
    (121, "classless-static-route", Routes),
    (125, "vendor-id-encap", Octets),
    (150, "tftp-server-address", Addresses),
    (175, "ipxe-encap", Reserved(BY_BOOT)),
    (255, "server-ip-address", Reserved(BY_BOOT)),
];

/// dnsmasq's names that it does not take in a configuration, though the number is fine.
const BY_NUMBER_ONLY: [u8; 1] = [43];

/// The option of that number: its name and the kind of its values.
pub(in crate::network) fn by_code(code: u8) -> Option<(&'static str, OptionKind)> {
    let known = KNOWN.iter().find(|(known, ..)| *known == code);
    known.map(|(_, name, kind)| (*name, *kind))
}

/// The option of that name: its number and the kind of its values.
pub(in crate::network) fn by_name(name: &str) -> Option<(u8, &'static str, OptionKind)> {
    KNOWN.iter().find(|(_, known, _)| *known == name).copied()
}

/// The names of all options that a definition can set.
pub(in crate::network) fn names() -> impl Iterator<Item = &'static str> {
    let free = |kind: &OptionKind| !matches!(kind, Reserved(_));
    KNOWN
        .iter()
        .filter(move |(.., kind)| free(kind))
        .map(|(_, name, _)| *name)
}

impl DhcpOption {
    /// How many octets the value has on the wire, without the compression of domains.
    pub fn length(&self) -> usize {
        match &self.value {
            OptionValue::Nothing => 0,
            OptionValue::Addresses(all) => 4 * all.len(),
            OptionValue::Integer { octets, .. } => usize::from(*octets),
            OptionValue::Text(text) => text.as_str().len(),
            OptionValue::Domains(all) => all.iter().map(|domain| domain.as_str().len() + 2).sum(),
            OptionValue::Routes(all) => all
                .iter()
                .map(|(to, _)| 5 + usize::from(to.prefix_len().div_ceil(8)))
                .sum(),
            OptionValue::Time(_) => 4,
            OptionValue::Octets(octets) => octets.len(),
        }
    }

    /// True if dnsmasq takes every value of it for text.
    pub fn takes_text(&self) -> bool {
        matches!(by_code(self.code), Some((_, Name)))
    }

    /// dnsmasq's name for it, where its configuration takes that name.
    pub fn written_name(&self) -> Option<&'static str> {
        self.name.filter(|_| !BY_NUMBER_ONLY.contains(&self.code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::command::Program;

    #[test]
    fn the_table_agrees_with_dnsmasq() {
        let dnsmasq = Program::find("dnsmasq", "dnsmasq-base").unwrap();
        let help = dnsmasq.run().args(["--help", "dhcp"]).output().unwrap().text();
        let mut seen = 0;
        for line in help.lines().skip(1) {
            let (code, name) = line.trim().split_once(' ').unwrap();
            // Names that later versions have learned are known here by number only.
            if let Ok(code) = code.parse::<u8>()
                && let Some((known, _)) = by_code(code)
            {
                assert_eq!(known, name);
                seen += 1;
            }
        }
        assert!(seen >= 60, "{seen}: {help}");
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
