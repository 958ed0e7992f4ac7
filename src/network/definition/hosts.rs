//! `hosts`: the machines of a network that have a name or a reservation.

use crate::name::{HostName, Mac};
use crate::network::model::Origin;
use crate::yaml::{At, Fault, Fields, Key, Node, Report, Value};
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
    let ip = fields.need("ip", report).and_then(|n| n.ipv4("`ip`", report));
    Some(HostEntry {
        name: name?,
        macs: vec![mac?],
        ips: vec![ip.map(|ip| At::new(IpAddr::V4(ip.value), ip.place))?],
        origin: Origin::Definition,
    })
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
