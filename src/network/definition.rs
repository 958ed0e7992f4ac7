//! A network definition as it stands in its file: every value typed and with its place.
//!
//! Reading finds what is wrong with single keys and values; rules between values are in `network::check`.

use super::model::{LeaseTime, Mode, Title};
use crate::name::{DnsName, HostName, InterfaceName, Mac, NetworkName, printable};
use crate::yaml::{At, Fault, Fields, Key, Node, Report, Value, parse};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// A definition, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `name`
    pub name: At<NetworkName>,
    /// `title`
    pub title: Option<At<Title>>,
    /// `mode`
    pub mode: At<Mode>,
    /// `bridge`
    pub bridge: Option<At<InterfaceName>>,
    /// `domain`
    pub domain: Option<At<DnsName>>,
    /// `ipv4`
    pub ipv4: Ipv4Section,
    /// `dns`
    pub dns: DnsSection,
    /// `dhcp`
    pub dhcp: Option<At<DhcpSection>>,
    /// `hosts`
    pub hosts: Vec<HostEntry>,
}

/// `ipv4`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Section {
    /// `subnet`
    pub subnet: At<Ipv4Net>,
    /// `gateway`
    pub gateway: Option<At<Ipv4Addr>>,
}

/// `dns`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DnsSection {
    /// `serve`
    pub serve: Option<At<bool>>,
    /// `forward`; by default an isolated network's questions do not leave it, and all others' do
    pub forward: Option<At<bool>>,
}

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

/// One of `hosts`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// `name`
    pub name: At<HostName>,
    /// `mac`
    pub mac: At<Mac>,
    /// `ip`
    pub ip: At<Ipv4Addr>,
}

const NETWORK: &[Key] = &[
    Key::Known("name"),
    Key::Known("title"),
    Key::Known("mode"),
    Key::Known("bridge"),
    Key::Known("domain"),
    Key::Known("ipv4"),
    Key::Known("dns"),
    Key::Known("dhcp"),
    Key::Known("hosts"),
    Key::Later("ipv6"),
    Key::Later("require_interfaces"),
    Key::Later("forbid_interfaces"),
    Key::Instead("forward", "write `mode: nat` or `mode: isolated`"),
    Key::Instead("subnet", "write `ipv4: { subnet: … }`"),
    Key::Instead("gateway", "write `ipv4: { subnet: …, gateway: … }`"),
    Key::Instead(
        "netmask",
        "write the prefix length with the subnet: `ipv4: { subnet: 192.168.151.0/24 }`",
    ),
    Key::Instead("dhcp_start", "write `dhcp: { ranges: [ { start: …, end: … } ] }`"),
    Key::Instead("dhcp_end", "write `dhcp: { ranges: [ { start: …, end: … } ] }`"),
    Key::Instead(
        "libvirt_network_dhcp_enabled",
        "remove it: DHCP is always served beside libvirt",
    ),
];

const IPV4: &[Key] = &[
    Key::Known("subnet"),
    Key::Known("gateway"),
    Key::Instead(
        "netmask",
        "write the prefix length with the subnet, as in 192.168.151.0/24",
    ),
];

const DNS: &[Key] = &[Key::Known("serve"), Key::Known("forward"), Key::Later("records")];

const DHCP: &[Key] = &[
    Key::Known("ranges"),
    Key::Known("lease_time"),
    Key::Later("options"),
    Key::Later("serve"),
];

const RANGE: &[Key] = &[Key::Known("start"), Key::Known("end")];

const HOST: &[Key] = &[
    Key::Known("name"),
    Key::Known("mac"),
    Key::Known("ip"),
    Key::Instead("hwaddr", "write `mac`"),
    Key::Instead("address", "write `ip`"),
];

/// Reads the definition that `report` is about.
///
/// What cannot be read is reported. A definition comes back all the same if the parts that others depend on could be
/// read, so that the check can find more mistakes in the same go; the report says whether it is whole.
pub fn read(report: &mut Report<'_>) -> Option<Definition> {
    let root = parse(report)?;
    let document = Fields::read(&root, "the file", &[Key::Known("network")], report)?;
    let network = Fields::read(document.need("network", report)?, "`network`", NETWORK, report)?;

    let name = network
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let title = optional(network.get("title"), |n| n.parse("`title`", report));
    let mode = network.need("mode", report).and_then(|n| read_mode(n, report));
    let bridge = optional(network.get("bridge"), |n| n.parse("`bridge`", report));
    let domain = optional(network.get("domain"), |n| n.parse("`domain`", report));
    let ipv4 = network.need("ipv4", report).and_then(|n| read_ipv4(n, report));
    let dns = optional(network.get("dns"), |n| read_dns(n, report));
    let dhcp = optional(network.get("dhcp"), |n| read_dhcp(n, report));
    let hosts = optional(network.get("hosts"), |n| n.items("`hosts`", report));
    let hosts = hosts.flatten().unwrap_or_default();
    let hosts = hosts.iter().filter_map(|n| read_host(n, report)).collect();
    Some(Definition {
        name: name?,
        title: title?,
        mode: mode?,
        bridge: bridge?,
        domain: domain?,
        ipv4: ipv4?,
        dns: dns?.unwrap_or_default(),
        dhcp: dhcp?,
        hosts,
    })
}

/// The value of a key that may be absent: `None` only when it is there and cannot be read.
#[expect(clippy::option_option, reason = "absent and unreadable are different")]
fn optional<'n, 'a, T>(
    node: Option<&'n Node<'a>>,
    read: impl FnOnce(&'n Node<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match node {
        Some(node) => read(node).map(Some),
        None => Some(None),
    }
}

fn read_mode(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<Mode>> {
    let text = node.text("`mode`", report)?;
    let fault = match text.value {
        "nat" => return Some(At::new(Mode::Nat, text.place)),
        "isolated" => return Some(At::new(Mode::Isolated, text.place)),
        later @ ("routed" | "open" | "bridge" | "hostroute") => {
            Fault::new(text.place, format!("mode `{later}` is not supported yet"))
        }
        other => Fault::new(text.place, format!("`{}` is not a mode", printable(other, 40))),
    };
    report.error(fault.help("this version knows `nat` and `isolated`"));
    None
}

fn read_ipv4(node: &Node<'_>, report: &mut Report<'_>) -> Option<Ipv4Section> {
    let fields = Fields::read(node, "`ipv4`", IPV4, report)?;
    let subnet = fields.need("subnet", report).and_then(|n| read_subnet(n, report));
    let gateway = optional(fields.get("gateway"), |n| n.ipv4("`gateway`", report));
    Some(Ipv4Section {
        subnet: subnet?,
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

fn read_dns(node: &Node<'_>, report: &mut Report<'_>) -> Option<DnsSection> {
    let fields = Fields::read(node, "`dns`", DNS, report)?;
    let serve = optional(fields.get("serve"), |n| n.flag("`serve`", report));
    let forward = optional(fields.get("forward"), |n| n.flag("`forward`", report));
    Some(DnsSection {
        serve: serve?,
        forward: forward?,
    })
}

fn read_dhcp(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<DhcpSection>> {
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

fn read_host(node: &Node<'_>, report: &mut Report<'_>) -> Option<HostEntry> {
    let fields = Fields::read(node, "this host entry", HOST, report)?;
    let name = fields
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let mac = fields.need("mac", report).and_then(|n| read_mac(n, report));
    let ip = fields.need("ip", report).and_then(|n| n.ipv4("`ip`", report));
    Some(HostEntry {
        name: name?,
        mac: mac?,
        ip: ip?,
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
