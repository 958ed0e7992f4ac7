//! What a network hands out by DHCP.

use super::{LeaseTime, Range};

/// What is handed out by DHCP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dhcp {
    /// Ranges for machines without a reservation, in ascending order, apart from each other. Empty: only machines
    /// with a reservation get an address.
    pub ranges: Vec<Range>,
    /// How long a lease lasts.
    pub lease_time: LeaseTime,
}
