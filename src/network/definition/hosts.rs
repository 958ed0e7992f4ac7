//! `hosts`: the machines of a network that have a name or a reservation.

use super::dhcp::{LEASE_TIME, TAG};
use super::{optional, options, several};
use crate::name::{ClientId, HostName, Mac, Tag};
use crate::network::model::{DhcpOption, LeaseTime, Origin};
use crate::yaml::{At, Fault, Fields, Key, Node, Place, Report, Shape, Value};
use std::net::IpAddr;

/// One of `hosts`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// `name`
    pub name: At<HostName>,
    /// `mac`, none, one or several
    pub macs: Vec<At<Mac>>,
    /// `client_id`
    pub client_id: Option<At<ClientId>>,
    /// `ip`, one or several
    pub ips: Vec<At<IpAddr>>,
    /// `tags`
    pub tags: Vec<At<Tag>>,
    /// `lease_time`
    pub lease_time: Option<At<LeaseTime>>,
    /// `options`
    pub options: Vec<At<DhcpOption>>,
    /// Where `ip: auto` stands, if it does; its address is put into `ips` by `network::auto`
    pub auto: Option<Place>,
    /// The file that it stands in
    pub origin: Origin,
}

pub(in crate::network) const HOST: &[Key] = &[
    Key::must("name", NAME, "the name in the network's domain, unique"),
    Key::must(
        "ip",
        Shape::Several(&Shape::Any(&[Shape::IP, Shape::Words(&["auto"])])),
        "the address, or a list with one of each family, unique; `auto` stands for a free IPv4 address",
    ),
    Key::may(
        "mac",
        Shape::Several(&MAC),
        "one MAC address or several, unique; with several, whichever comes last gets the address",
    ),
    Key::may(
        "client_id",
        Shape::Pattern("identifier", "[A-Za-z0-9_.:-]+"),
        "the machine's DHCP client identifier: hexadecimal groups joined by colons, or a text",
    ),
    Key::may(
        "tags",
        Shape::Several(&TAG),
        "labels, for `tag` in ranges and options",
    ),
    Key::may("lease_time", LEASE_TIME, "its own lease time"),
    Key::may(
        "options",
        Shape::List(&Shape::Map(options::HOST_OPTION)),
        "its own DHCP options",
    ),
    Key::Instead("hwaddr", "write `mac`"),
    Key::Instead("address", "write `ip`"),
];
/// A host's name, one label.
const NAME: Shape = Shape::Pattern("name", "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?");
pub(super) const MAC: Shape = Shape::Pattern("MAC address", "[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){5}");

pub(in crate::network) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<HostEntry> {
    let fields = Fields::read(node, "this host entry", HOST, report)?;
    let name = fields
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let macs = optional(fields.get("mac"), |n| several(n, "`mac`", report, read_mac));
    let ips = fields.need("ip", report).and_then(|n| read_ips(n, report));
    let client_id = optional(fields.get("client_id"), |n| n.parse("`client_id`", report));
    let tags = optional(fields.get("tags"), |n| {
        several(n, "`tags`", report, |n, report| n.parse("a tag", report))
    });
    let lease_time = optional(fields.get("lease_time"), |n| n.parse("`lease_time`", report));
    let options = optional(fields.get("options"), |n| options::read_of_host(n, report));
    let (ips, auto) = ips?;
    Some(HostEntry {
        name: name?,
        macs: macs?.unwrap_or_default(),
        client_id: client_id?,
        ips,
        auto,
        tags: tags?.unwrap_or_default(),
        lease_time: lease_time?,
        options: options?.unwrap_or_default(),
        origin: Origin::Definition,
    })
}

/// The addresses of `ip`, one or a list that is not empty, and where `auto` stands for one.
fn read_ips(node: &Node<'_>, report: &mut Report<'_>) -> Option<(Vec<At<IpAddr>>, Option<Place>)> {
    let items = node.one_or_more();
    if items.is_empty() {
        report.error(Fault::new(node.place, "`ip` is an empty list").help("write an address, or several"));
        return None;
    }
    let auto = items.iter().find(|item| item.is_word("auto"));
    let ips = items.iter().filter(|item| !item.is_word("auto"));
    let ips: Option<Vec<_>> = ips.map(|item| item.ip("`ip`", report)).collect();
    Some((ips?, auto.map(|item| item.place)))
}

pub(super) fn read_mac(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<Mac>> {
    let mac = node.parse("`mac`", report)?;
    if let Value::Scalar { text, plain: true } = &node.value
        && is_base_60(text)
    {
        report.warning(
            Fault::new(
                node.place,
                "other YAML readers take this MAC address for a number",
            )
            .help(format!("put it in quotes: \"{mac}\"", mac = mac.value)),
        );
    }
    Some(mac)
}

/// True for what YAML 1.1 reads as a base-60 integer (yaml.org/type/int.html): digits, then groups up to 59.
fn is_base_60(text: &str) -> bool {
    let mut groups = text.split(':');
    let first = groups.next().unwrap_or_default();
    first.bytes().all(|b| b.is_ascii_digit())
        && !first.starts_with('0')
        && groups.all(|g| g.bytes().all(|b| b.is_ascii_digit()) && g < "60")
}
