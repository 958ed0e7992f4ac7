//! `dhcp`: what is handed out to the network's machines.

use super::optional;
use crate::network::model::LeaseTime;
use crate::yaml::{At, Fields, Key, Node, Report};
use std::net::Ipv4Addr;

/// `dhcp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpSection {
    /// `ranges`
    pub ranges: Vec<RangeEntry>,
    /// `lease_time`
    pub lease_time: Option<At<LeaseTime>>,
}

/// One of `dhcp.ranges`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeEntry {
    /// `start`
    pub start: At<Ipv4Addr>,
    /// `end`
    pub end: At<Ipv4Addr>,
}

const DHCP: &[Key] = &[
    Key::Known("ranges"),
    Key::Known("lease_time"),
    Key::Later("options"),
    Key::Later("serve"),
];

const RANGE: &[Key] = &[Key::Known("start"), Key::Known("end")];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<DhcpSection>> {
    let fields = Fields::read(node, "`dhcp`", DHCP, report)?;
    let ranges = optional(fields.get("ranges"), |n| n.items("`ranges`", report));
    let ranges = ranges.flatten().unwrap_or_default();
    let ranges = ranges.iter().filter_map(|n| read_range(n, report)).collect();
    let lease_time = optional(fields.get("lease_time"), |n| n.parse("`lease_time`", report));
    let lease_time = lease_time?;
    Some(At::new(DhcpSection { ranges, lease_time }, node.place))
}

fn read_range(node: &Node<'_>, report: &mut Report<'_>) -> Option<RangeEntry> {
    let fields = Fields::read(node, "this range", RANGE, report)?;
    let start = fields
        .need("start", report)
        .and_then(|n| n.ipv4("`start`", report));
    let end = fields.need("end", report).and_then(|n| n.ipv4("`end`", report));
    Some(RangeEntry {
        start: start?,
        end: end?,
    })
}
