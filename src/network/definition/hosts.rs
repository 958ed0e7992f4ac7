//! `hosts`: the machines of a network that have a name or a reservation.

use crate::name::{HostName, Mac};
use crate::network::model::Origin;
use crate::yaml::{At, Fault, Fields, Key, Node, Place, Report, Value};
use std::net::IpAddr;

/// One of `hosts`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// `name`
    pub name: At<HostName>,
    /// `mac`, one or several
    pub macs: Vec<At<Mac>>,
    /// `ip`, one or several
    pub ips: Vec<At<IpAddr>>,
    /// Where `ip: auto` stands, if it does; its address is put into `ips` by `network::auto`
    pub auto: Option<Place>,
    /// The file that it stands in
    pub origin: Origin,
}

const HOST: &[Key] = &[
    Key::Known("name"),
    Key::Known("mac"),
    Key::Known("ip"),
    Key::Instead("hwaddr", "write `mac`"),
    Key::Instead("address", "write `ip`"),
];

pub(in crate::network) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<HostEntry> {
    let fields = Fields::read(node, "this host entry", HOST, report)?;
    let name = fields
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let mac = fields.need("mac", report).and_then(|n| read_mac(n, report));
    let ip = fields.need("ip", report).and_then(|n| read_ip(n, report));
    let (ips, auto) = ip?;
    Some(HostEntry {
        name: name?,
        macs: vec![mac?],
        ips,
        auto,
        origin: Origin::Definition,
    })
}

/// The addresses of `ip`, and where `auto` stands for one.
fn read_ip(node: &Node<'_>, report: &mut Report<'_>) -> Option<(Vec<At<IpAddr>>, Option<Place>)> {
    if node.is_word("auto") {
        return Some((Vec::new(), Some(node.place)));
    }
    let ip = node.ipv4("`ip`", report)?;
    Some((vec![At::new(IpAddr::V4(ip.value), ip.place)], None))
}

fn read_mac(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<Mac>> {
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
