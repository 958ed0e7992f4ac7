//! A checked network: values of which every rule of `network::check` holds.

use crate::name::{DnsName, HostName, InterfaceName, Mac, NetworkName};
use ipnet::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// How a network is connected to the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Guests reach the outside with the host's address.
    Nat,
    /// Guests reach each other and the host.
    Isolated,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nat => "nat",
            Self::Isolated => "isolated",
        })
    }
}

/// A line of free text for people: 1 to 128 characters, none of them a control or invisible one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Title(String);

/// The text cannot be a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a title is one line of 1 to 128 visible characters")]
pub struct TitleError;

impl Title {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Title {
    type Err = TitleError;

    fn from_str(text: &str) -> Result<Self, TitleError> {
        let visible = crate::name::printable(text, 128) == text;
        // XML 1.0 (section 2.2) has no way to write these two.
        let writable = !text.contains(['\u{fffe}', '\u{ffff}']);
        if text.trim().is_empty() || !visible || !writable {
            return Err(TitleError);
        }
        Ok(Self(text.trim().to_owned()))
    }
}

/// How long a lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseTime {
    /// A number of seconds, at least [`LeaseTime::MIN`].
    Seconds(u32),
    /// For ever.
    Infinite,
}

/// The text is not a lease time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a lease time: write a number with s, m, h, d or w, from 2m to 3000w, or `infinite`")]
pub struct LeaseTimeError(String);

impl LeaseTime {
    /// The shortest lease that dnsmasq gives, in seconds (dnsmasq(8), `--dhcp-range`).
    pub const MIN: u32 = 120;
    /// The longest lease that can be asked for, in seconds: 3000 weeks, well below the number that means infinite.
    pub const MAX: u32 = 3000 * 7 * 86400;
    /// One hour, dnsmasq's own default.
    pub const DEFAULT: Self = Self::Seconds(3600);
}

impl FromStr for LeaseTime {
    type Err = LeaseTimeError;

    fn from_str(text: &str) -> Result<Self, LeaseTimeError> {
        let bad = || LeaseTimeError(crate::name::printable(text, 40));
        if text == "infinite" {
            return Ok(Self::Infinite);
        }
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            Some((at, 'd')) => (&text[..at], 86400),
            Some((at, 'w')) => (&text[..at], 7 * 86400),
            _ => (text, 1),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        digits
            .parse::<u32>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|seconds| (Self::MIN..=Self::MAX).contains(seconds))
            .map(Self::Seconds)
            .ok_or_else(bad)
    }
}

impl fmt::Display for LeaseTime {
    /// The form that dnsmasq reads, in the largest unit without a remainder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Seconds(seconds) = *self else {
            return f.pad("infinite");
        };
        let (number, unit) = [(86400, "d"), (3600, "h"), (60, "m")]
            .into_iter()
            .find(|(size, _)| seconds % size == 0)
            .map_or((seconds, ""), |(size, unit)| (seconds / size, unit));
        f.pad(&format!("{number}{unit}"))
    }
}

impl serde::Serialize for LeaseTime {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// The IPv4 side of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Ipv4 {
    /// The subnet, host bits zero, prefix length 8 to 30.
    pub subnet: Ipv4Net,
    /// The host's own address in it.
    pub gateway: Ipv4Addr,
}

/// Addresses from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Range {
    /// The first address.
    pub start: Ipv4Addr,
    /// The last address, not below `start`.
    pub end: Ipv4Addr,
}

impl Range {
    /// True if `address` lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&address)
    }
}

/// What is handed out by DHCP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dhcp {
    /// Ranges for machines without a reservation, in ascending order, apart from each other. Empty: only machines
    /// with a reservation get an address.
    pub ranges: Vec<Range>,
    /// How long a lease lasts.
    pub lease_time: LeaseTime,
}

/// A reservation: the machine with this MAC address gets this name and address.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Its name in the network's domain.
    pub name: HostName,
    /// Its MAC address.
    pub mac: Mac,
    /// Its address.
    #[serde(rename = "ip")]
    pub address: Ipv4Addr,
}

/// A network of which all rules hold; made by `network::check`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Network {
    pub(super) name: NetworkName,
    pub(super) title: Option<Title>,
    pub(super) mode: Mode,
    pub(super) bridge: InterfaceName,
    pub(super) domain: Option<DnsName>,
    pub(super) ipv4: Ipv4,
    pub(super) dns_serve: bool,
    pub(super) dns_forward: bool,
    pub(super) dhcp: Option<Dhcp>,
    pub(super) hosts: Vec<Host>,
}

impl Network {
    /// The network's name.
    pub const fn name(&self) -> &NetworkName {
        &self.name
    }

    /// A line for people.
    pub const fn title(&self) -> Option<&Title> {
        self.title.as_ref()
    }

    /// How it is connected.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The bridge on the host.
    pub const fn bridge(&self) -> &InterfaceName {
        &self.bridge
    }

    /// The DNS domain of its machines; always there when [`Self::serves_dns`].
    pub const fn domain(&self) -> Option<&DnsName> {
        self.domain.as_ref()
    }

    /// Subnet and gateway.
    pub const fn ipv4(&self) -> Ipv4 {
        self.ipv4
    }

    /// The subnet.
    pub const fn subnet(&self) -> Ipv4Net {
        self.ipv4.subnet
    }

    /// The host's address in the network.
    pub const fn gateway(&self) -> Ipv4Addr {
        self.ipv4.gateway
    }

    /// True if the network's dnsmasq answers DNS.
    pub const fn serves_dns(&self) -> bool {
        self.dns_serve
    }

    /// True if names outside the domain are looked up with the host's name servers.
    pub const fn forwards_dns(&self) -> bool {
        self.dns_forward
    }

    /// What DHCP hands out; `None` when there is no DHCP.
    pub const fn dhcp(&self) -> Option<&Dhcp> {
        self.dhcp.as_ref()
    }

    /// The reservations, in the order of their addresses.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The reservation for `mac`.
    pub fn host_by_mac(&self, mac: Mac) -> Option<&Host> {
        self.hosts.iter().find(|host| host.mac == mac)
    }

    /// False when neither DNS nor DHCP is served, so that no dnsmasq runs.
    pub const fn needs_dnsmasq(&self) -> bool {
        self.dns_serve || self.dhcp.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_times() {
        let shown = |text: &str| text.parse::<LeaseTime>().unwrap().to_string();
        assert_eq!(
            ["120", "2m", "12h", "90m", "1w", "infinite", "3601s"].map(shown),
            ["2m", "2m", "12h", "90m", "7d", "infinite", "3601"]
        );
        for bad in [
            "",
            "h",
            "1",
            "119s",
            "-2m",
            "+2m",
            "2 m",
            "1y",
            "3001w",
            "99999999999",
            "2µ",
            "12h,x",
        ] {
            assert!(bad.parse::<LeaseTime>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn titles() {
        assert_eq!(" Lab <1> ".parse::<Title>().unwrap().as_str(), "Lab <1>");
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\u{1b}b",
            "\u{202e}",
            "\u{ffff}",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<Title>().is_err(), "{bad:?}");
        }
    }
}
