//! `ipv4` and `ipv6`: the subnets of a network and the host's own addresses in them.

use super::optional;
use crate::name::printable;
use crate::network::model::Ra;
use crate::yaml::{At, Fault, Fields, Key, Node, Report, Shape};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `ipv4`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Section {
    /// `subnet`
    pub subnet: At<Ipv4Net>,
    /// True if it says `auto`; `network::auto` then chooses, before the check, what `subnet` is to be
    pub auto: bool,
    /// `gateway`
    pub gateway: Option<At<Ipv4Addr>>,
}

/// `ipv6`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Section {
    /// `subnet`
    pub subnet: At<Ipv6Net>,
    /// `gateway`
    pub gateway: Option<At<Ipv6Addr>>,
    /// `ra`
    pub ra: Option<At<Ra>>,
}

pub(super) const IPV4: &[Key] = &[
    Key::must(
        "subnet",
        Shape::Any(&[Shape::SUBNET4, Shape::Words(&["auto"])]),
        "first address and prefix length, 8 to 30; or `auto`, a free one",
    ),
    Key::may(
        "gateway",
        Shape::IPV4,
        "the host's own address, by default the first of the subnet; in `bridge`, where it is needed, the address of that \
         network's router",
    ),
    Key::Instead(
        "netmask",
        "write the prefix length with the subnet, as in 192.168.151.0/24",
    ),
];

pub(super) const IPV6: &[Key] = &[
    Key::must(
        "subnet",
        Shape::SUBNET6,
        "first address and prefix length, 32 to 126",
    ),
    Key::may(
        "gateway",
        Shape::IPV6,
        "the host's own address, by default the second of the subnet (`::1`)",
    ),
    Key::may(
        "ra",
        Shape::Words(&["none", "slaac", "stateless", "stateful"]),
        "what router advertisements say; by default `slaac` where the bridge is ours and DNS is served, else `none`",
    ),
    Key::Instead(
        "prefix",
        "write the prefix length with the subnet, as in fd00:151::/64",
    ),
];

pub(super) fn read_ipv4(node: &Node<'_>, report: &mut Report<'_>) -> Option<Ipv4Section> {
    let fields = Fields::read(node, "`ipv4`", IPV4, report)?;
    let subnet = fields.need("subnet", report).and_then(|n| {
        if n.is_word("auto") {
            return Some((At::new(Ipv4Net::default(), n.place), true));
        }
        Some((read_subnet(n, "IPv4", "192.168.151.0/24", report)?, false))
    });
    let gateway = optional(fields.get("gateway"), |n| n.ipv4("`gateway`", report));
    let (subnet, auto) = subnet?;
    Some(Ipv4Section {
        subnet,
        auto,
        gateway: gateway?,
    })
}

pub(super) fn read_ipv6(node: &Node<'_>, report: &mut Report<'_>) -> Option<Ipv6Section> {
    let fields = Fields::read(node, "`ipv6`", IPV6, report)?;
    let subnet = fields
        .need("subnet", report)
        .and_then(|n| read_subnet(n, "IPv6", "fd00:151::/64", report));
    let gateway = optional(fields.get("gateway"), |n| n.ipv6("`gateway`", report));
    let ra = optional(fields.get("ra"), |n| n.parse("`ra`", report));
    Some(Ipv6Section {
        subnet: subnet?,
        gateway: gateway?,
        ra: ra?,
    })
}

fn read_subnet<N: FromStr>(
    node: &Node<'_>,
    family: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<At<N>> {
    let text = node.text("`subnet`", report)?;
    if let Ok(subnet) = text.value.parse() {
        return Some(At::new(subnet, text.place));
    }
    let shown = printable(text.value, 60);
    report.error(
        Fault::new(text.place, format!("`{shown}` is not an {family} subnet")).help(format!(
            "write its first address, a slash and the prefix length, as in {example}"
        )),
    );
    None
}
