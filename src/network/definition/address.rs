//! `ipv4`: the subnet of a network and the host's own address in it.

use super::optional;
use crate::name::printable;
use crate::yaml::{At, Fault, Fields, Key, Node, Report};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

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

const IPV4: &[Key] = &[
    Key::Known("subnet"),
    Key::Known("gateway"),
    Key::Instead(
        "netmask",
        "write the prefix length with the subnet, as in 192.168.151.0/24",
    ),
];

pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Ipv4Section> {
    let fields = Fields::read(node, "`ipv4`", IPV4, report)?;
    let subnet = fields.need("subnet", report).and_then(|n| {
        if n.is_word("auto") {
            return Some((At::new(Ipv4Net::default(), n.place), true));
        }
        Some((read_subnet(n, report)?, false))
    });
    let gateway = optional(fields.get("gateway"), |n| n.ipv4("`gateway`", report));
    let (subnet, auto) = subnet?;
    Some(Ipv4Section {
        subnet,
        auto,
        gateway: gateway?,
    })
}

fn read_subnet(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<Ipv4Net>> {
    let text = node.text("`subnet`", report)?;
    if let Ok(subnet) = text.value.parse() {
        return Some(At::new(subnet, text.place));
    }
    let shown = printable(text.value, 60);
    report.error(
        Fault::new(text.place, format!("`{shown}` is not an IPv4 subnet"))
            .help("write its first address, a slash and the prefix length, as in 192.168.151.0/24"),
    );
    None
}
