//! `dhcp`: what is handed out to the network's machines.

use super::boot::{self, BootSection};
use super::options::{self, OptionEntry};
use super::{hosts, optional, several};
use crate::name::{Mac, Tag, TagMatch, printable};
use crate::network::model::LeaseTime;
use crate::yaml::{At, Fault, Fields, Key, Node, Report};
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
    /// `options`
    pub options: Vec<OptionEntry>,
    /// `ignore`
    pub ignore: Vec<At<Mac>>,
    /// `unknown`: true for `ignore`
    pub known_only: Option<At<bool>>,
    /// `boot`
    pub boot: Option<At<BootSection>>,
}

/// One of `dhcp.ranges`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeEntry {
    /// `start`
    pub start: At<IpAddr>,
    /// `end`
    pub end: At<IpAddr>,
    /// `tag`, one or several
    pub tags: Vec<At<TagMatch>>,
    /// `set`
    pub set: Option<At<Tag>>,
    /// `lease_time`
    pub lease_time: Option<At<LeaseTime>>,
}

const DHCP: &[Key] = &[
    Key::Known("ranges"),
    Key::Known("lease_time"),
    Key::Known("options"),
    Key::Known("ignore"),
    Key::Known("unknown"),
    Key::Known("boot"),
    Key::Known("serve"),
];

const RANGE: &[Key] = &[
    Key::Known("start"),
    Key::Known("end"),
    Key::Known("tag"),
    Key::Known("set"),
    Key::Known("lease_time"),
];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<DhcpSection>> {
    let fields = Fields::read(node, "`dhcp`", DHCP, report)?;
    let serve = optional(fields.get("serve"), |n| n.flag("`serve`", report));
    let ranges = optional(fields.get("ranges"), |n| n.items("`ranges`", report));
    let ranges = ranges.flatten().unwrap_or_default();
    let ranges = ranges.iter().filter_map(|n| read_range(n, report)).collect();
    let lease_time = optional(fields.get("lease_time"), |n| n.parse("`lease_time`", report));
    let options = optional(fields.get("options"), |n| options::read(n, report));
    let ignore = optional(fields.get("ignore"), |n| {
        several(n, "`ignore`", report, hosts::read_mac)
    });
    let known_only = optional(fields.get("unknown"), |n| read_unknown(n, report));
    let boot = optional(fields.get("boot"), |n| boot::read(n, report));
    let section = DhcpSection {
        serve: serve?,
        ranges,
        lease_time: lease_time?,
        options: options?.unwrap_or_default(),
        ignore: ignore?.unwrap_or_default(),
        known_only: known_only?,
        boot: boot?,
    };
    Some(At::new(section, node.place))
}

fn read_range(node: &Node<'_>, report: &mut Report<'_>) -> Option<RangeEntry> {
    let fields = Fields::read(node, "this range", RANGE, report)?;
    let start = fields.need("start", report).and_then(|n| n.ip("`start`", report));
    let end = fields.need("end", report).and_then(|n| n.ip("`end`", report));
    let tags = optional(fields.get("tag"), |n| {
        several(n, "`tag`", report, |n, report| n.parse("`tag`", report))
    });
    let set = optional(fields.get("set"), |n| n.parse("`set`", report));
    let lease_time = optional(fields.get("lease_time"), |n| n.parse("`lease_time`", report));
    Some(RangeEntry {
        start: start?,
        end: end?,
        tags: tags?.unwrap_or_default(),
        set: set?,
        lease_time: lease_time?,
    })
}

/// `unknown`: what happens to machines without a reservation.
fn read_unknown(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<bool>> {
    let text = node.text("`unknown`", report)?.value;
    let known_only = match text {
        "serve" => false,
        "ignore" => true,
        other => {
            let shown = printable(other, 40);
            report.error(
                Fault::new(node.place, format!("`unknown` cannot be `{shown}`"))
                    .help("write `serve`, or `ignore` to answer only machines with a reservation"),
            );
            return None;
        }
    };
    Some(At::new(known_only, node.place))
}
