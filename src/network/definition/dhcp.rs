//! `dhcp`: what is handed out to the network's machines.

use super::optional;
use crate::network::model::LeaseTime;
use crate::yaml::{At, Fields, Key, Node, Report};
use std::net::IpAddr;

/// `dhcp`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpSection {
    /// `serve`
    pub serve: Option<At<bool>>,
    /// `ranges`
    pub ranges: Vec<RangeEntry>,
    /// `lease_time`
    pub lease_time: Option<At<LeaseTime>>,
}

/// One of `dhcp.ranges`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeEntry {
    /// `start`
    pub start: At<IpAddr>,
    /// `end`
    pub end: At<IpAddr>,
}

const DHCP: &[Key] = &[
    Key::Known("ranges"),
    Key::Known("lease_time"),
    Key::Later("options"),
    Key::Known("serve"),
];

const RANGE: &[Key] = &[Key::Known("start"), Key::Known("end")];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<DhcpSection>> {
    let fields = Fields::read(node, "`dhcp`", DHCP, report)?;
    let serve = optional(fields.get("serve"), |n| n.flag("`serve`", report));
    let ranges = optional(fields.get("ranges"), |n| n.items("`ranges`", report));
    let ranges = ranges.flatten().unwrap_or_default();
    let ranges = ranges.iter().filter_map(|n| read_range(n, report)).collect();
    let lease_time = optional(fields.get("lease_time"), |n| n.parse("`lease_time`", report));
    let section = DhcpSection {
        serve: serve?,
        ranges,
        lease_time: lease_time?,
    };
    Some(At::new(section, node.place))
}

fn read_range(node: &Node<'_>, report: &mut Report<'_>) -> Option<RangeEntry> {
    let fields = Fields::read(node, "this range", RANGE, report)?;
    let start = fields.need("start", report).and_then(|n| n.ip("`start`", report));
    let end = fields.need("end", report).and_then(|n| n.ip("`end`", report));
    Some(RangeEntry {
        start: start?,
        end: end?,
    })
}
