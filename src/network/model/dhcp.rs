//! What a network hands out by DHCP.

use super::{LeaseTime, Range};
use std::net::Ipv6Addr;

/// What is handed out by DHCP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dhcp {
    /// Ranges for machines without a reservation, in ascending order, apart from each other. Empty: only machines
    /// with a reservation get an address.
    pub ranges: Vec<Range>,
    /// The same for IPv6. Empty: only machines with a reservation get an address, if DHCPv6 gives any out.
    pub ranges6: Vec<Range<Ipv6Addr>>,
    /// How long a lease lasts.
    pub lease_time: LeaseTime,
}
