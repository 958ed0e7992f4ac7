//! The addresses of a network: its subnets, the host's own address in them, and ranges.

use ipnet::{Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The IPv4 side of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Ipv4 {
    /// The subnet, host bits zero, prefix length 8 to 30.
    pub subnet: Ipv4Net,
    /// The guests' router: the host's own address in the subnet, but in mode `bridge` somebody else's.
    pub gateway: Ipv4Addr,
}

/// The IPv6 side of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Ipv6 {
    /// The subnet, host bits zero, prefix length 32 to 126.
    pub subnet: Ipv6Net,
    /// As that of [`Ipv4`]; `None` only in mode `bridge`, where routers announce themselves.
    pub gateway: Option<Ipv6Addr>,
    /// What our router advertisements say.
    pub ra: Ra,
}

impl Ipv6 {
    /// True for a subnet of unique local addresses (RFC 4193), which nobody outside has a route to.
    pub fn is_local(&self) -> bool {
        self.subnet.network().is_unique_local()
    }
}

/// How guests come to their IPv6 addresses: what the router advertisements (RFC 4861) tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ra {
    /// There are none.
    None,
    /// Guests make their own addresses (RFC 4862).
    Slaac,
    /// Guests make their own addresses and ask DHCPv6 for the rest.
    Stateless,
    /// Guests ask DHCPv6 for addresses.
    Stateful,
}

/// The text does not say what router advertisements are to tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of router advertisement: none, slaac, stateless and stateful are")]
pub struct RaError(String);

impl Ra {
    /// The word for it in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Slaac => "slaac",
            Self::Stateless => "stateless",
            Self::Stateful => "stateful",
        }
    }

    /// True if guests make their own addresses.
    pub const fn autoconfigures(self) -> bool {
        matches!(self, Self::Slaac | Self::Stateless)
    }
}

impl FromStr for Ra {
    type Err = RaError;

    fn from_str(text: &str) -> Result<Self, RaError> {
        [Self::None, Self::Slaac, Self::Stateless, Self::Stateful]
            .into_iter()
            .find(|ra| ra.as_str() == text)
            .ok_or_else(|| RaError(crate::name::printable(text, 40)))
    }
}

impl fmt::Display for Ra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Addresses from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Range<A = Ipv4Addr> {
    /// The first address.
    pub start: A,
    /// The last address, not below `start`.
    pub end: A,
}

impl<A: Ord + Copy> Range<A> {
    /// True if `address` lies in it.
    pub fn contains(&self, address: A) -> bool {
        (self.start..=self.end).contains(&address)
    }
}
