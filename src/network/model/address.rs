//! The addresses of a network: its subnets, the host's own address in them, and ranges.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

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
