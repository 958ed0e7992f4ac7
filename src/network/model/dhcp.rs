//! What a network hands out by DHCP.

use super::{Boot, DhcpOption, LeaseTime, Range};
use crate::name::{Mac, Tag, TagMatch};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is handed out by DHCP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dhcp {
    /// Pools for machines without a reservation, in ascending order, apart from each other. Empty: only machines
    /// with a reservation get an address.
    pub ranges: Vec<Pool>,
    /// The same for IPv6. Empty: only machines with a reservation get an address, if DHCPv6 gives any out.
    pub ranges6: Vec<Pool<Ipv6Addr>>,
    /// How long a lease lasts where nothing else is said.
    pub lease_time: LeaseTime,
    /// Options for everyone, or for whom their tags choose.
    pub options: Vec<TaggedOption>,
    /// Machines that get no answer.
    pub ignore: Vec<Mac>,
    /// True if only machines with a reservation get an answer.
    pub known_only: bool,
    /// What machines are told that boot over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

impl Dhcp {
    /// True if a machine without a reservation can get an address.
    pub fn has_ranges(&self) -> bool {
        !self.ranges.is_empty() || !self.ranges6.is_empty()
    }
}

/// A range of addresses, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Pool<A = Ipv4Addr> {
    /// The addresses.
    #[serde(flatten)]
    pub range: Range<A>,
    /// Only for clients of which all of these hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagMatch>,
    /// What its clients are labelled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Tag>,
    /// How long its leases last; `None`: as everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<LeaseTime>,
}

/// An option, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaggedOption {
    /// The option.
    #[serde(flatten)]
    pub option: DhcpOption,
    /// Only for clients of which all of these hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagMatch>,
}
