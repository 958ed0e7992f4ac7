//! `dhcp`: what is handed out to the network's machines.

use super::boot::{self, BootSection};
use super::options::{self, OptionEntry};
use super::{hosts, optional, several};
use crate::name::{Mac, Tag, TagMatch, printable};
use crate::network::model::LeaseTime;
use crate::yaml::{At, Fault, Fields, Key, Node, Report, Shape};
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

pub(super) const DHCP: &[Key] = &[
    Key::may(
        "ranges",
        Shape::List(&Shape::Map(RANGE)),
        "addresses for machines without a reservation, of either family, apart from each other and from the gateway; \
         without it only machines with a reservation are served",
    ),
    Key::may(
        "lease_time",
        LEASE_TIME,
        "how long leases last: a number with `s`, `m`, `h`, `d` or `w`, at least `2m`, or `infinite`; by default `1h`",
    ),
    Key::may(
        "options",
        Shape::List(&Shape::Map(options::OPTION)),
        "what machines are told",
    ),
    Key::may(
        "ignore",
        Shape::Several(&hosts::MAC),
        "MAC addresses that get no answer",
    ),
    Key::may(
        "unknown",
        Shape::Words(&["serve", "ignore"]),
        "`serve` (the default), or `ignore`: only machines with a reservation get an answer",
    ),
    Key::may(
        "boot",
        Shape::Map(boot::BOOT),
        "what machines load that boot over the network",
    ),
    Key::may(
        "serve",
        Shape::Flag,
        "by default `true`; on a bridge that is not ours it has to be written; `false` keeps the rest for later",
    ),
];

const RANGE: &[Key] = &[
    Key::must("start", Shape::IP, "the first address"),
    Key::must("end", Shape::IP, "the last address"),
    Key::may(
        "tag",
        Shape::Several(&TAG_MATCH),
        "only for machines of which all of these hold; `!` in front: that do not have the tag",
    ),
    Key::may("set", TAG, "a tag that the range's machines get"),
    Key::may("lease_time", LEASE_TIME, "how long leases of this range last"),
];
pub(super) const TAG: Shape = Shape::Pattern("tag", "[A-Za-z][A-Za-z0-9_-]{0,31}");
pub(super) const TAG_MATCH: Shape = Shape::Pattern("tag", "!?[A-Za-z][A-Za-z0-9_-]{0,31}");
pub(super) const LEASE_TIME: Shape = Shape::Pattern("time", "[0-9]+[smhdw]?|infinite");

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
