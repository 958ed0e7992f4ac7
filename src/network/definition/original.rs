//! The form that definitions had in miniascape's first releases (2010, Python), read as it stands: addresses and the
//! DHCP range are keys of the network itself, and a host's MAC address is its `hwaddr`.
//!
//! It is put into the native form value by value, each with the place where it stands, and then read as that. What
//! the values may be is therefore said once, by the native readers; here is only what the two forms do not share.

use super::{Definition, address, dhcp, hosts, optional, read_mode};
use crate::name::{Mac, printable};
use crate::yaml::{At, Fault, Fields, Key, Node, Report, Shape, Value};
use ipnet::Ipv4Net;
use std::borrow::Cow;

/// The form of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The present one.
    Native,
    /// The one of the first releases.
    Original,
}

/// Keys of a network that only the original's form has, with what the native form has in their stead.
pub(super) const ONLY_ORIGINAL: [(&str, &str); 6] = [
    ("forward", "write `mode: nat` or `mode: isolated`"),
    ("gateway", "write `ipv4: { subnet: …, gateway: … }`"),
    (
        "netmask",
        "write the prefix length with the subnet: `ipv4: { subnet: 192.168.151.0/24 }`",
    ),
    ("dhcp_start", "write `dhcp: { ranges: [ { start: …, end: … } ] }`"),
    ("dhcp_end", "write `dhcp: { ranges: [ { start: …, end: … } ] }`"),
    (
        "libvirt_network_dhcp_enabled",
        "remove it: DHCP is always served beside libvirt",
    ),
];

/// Keys of a network that only the native form has.
const ONLY_NATIVE: [&str; 8] = [
    "title",
    "mode",
    "ipv4",
    "ipv6",
    "dns",
    "dhcp",
    "require_interfaces",
    "forbid_interfaces",
];

pub(super) const NETWORK: &[Key] = &[
    Key::must("name", Shape::Text("value"), "the same"),
    Key::may(
        "forward",
        Shape::Text("value"),
        "`mode`: `nat`, `route` (routed) or `open`; without a value isolated",
    ),
    Key::may("bridge", Shape::Text("value"), "the same"),
    Key::must("domain", Shape::Text("value"), "the same"),
    Key::must("gateway", Shape::IPV4, "`ipv4.gateway`"),
    Key::must("netmask", Shape::IPV4, "with `gateway`, `ipv4.subnet`"),
    Key::may(
        "libvirt_network_dhcp_enabled",
        Shape::Text("value"),
        "0 or 1. With a range DHCP is served beside libvirt either way; without one, 1 means `dhcp: {}` and 0 no DHCP",
    ),
    Key::may("dhcp_start", Shape::IPV4, "`start` of the one of `dhcp.ranges`"),
    Key::may("dhcp_end", Shape::IPV4, "its `end`"),
    Key::may(
        "hosts",
        Shape::List(&Shape::Map(HOST)),
        "the same, with `hwaddr` for `mac`",
    ),
];

const HOST: &[Key] = &[
    Key::must("hwaddr", Shape::Text("value"), "`mac`"),
    Key::must("ip", Shape::IPV4, "the same"),
    Key::must("name", Shape::Text("value"), "the same"),
];

/// A key that gives a form away.
type Mark<'n, 'a> = &'n At<Cow<'a, str>>;

/// Which form the network `node` is in: the original's if a key of that form is there. Without any sign it is the
/// native one; `None` after reporting keys of both.
pub(super) fn form(node: &Node<'_>, report: &mut Report<'_>) -> Option<Form> {
    let mut original = Vec::new();
    let mut native = None;
    for (key, value) in entries(node) {
        let help = ONLY_ORIGINAL.iter().find(|(name, _)| *name == key.value);
        if let Some((_, help)) = help {
            original.push((key, *help));
        } else if ONLY_NATIVE.contains(&key.value.as_ref()) {
            native = native.or(Some(key));
        } else if let ("hosts", Value::List(hosts)) = (key.value.as_ref(), &value.value) {
            let (hwaddr, mac) = marks_of_hosts(hosts);
            original.extend(hwaddr.map(|key| (key, "write `mac`")));
            native = native.or(mac);
        }
    }
    match (original.as_slice(), native) {
        ([], _) => Some(Form::Native),
        (_, None) => Some(Form::Original),
        (_, Some(native)) => {
            for (key, help) in original {
                report.error(
                    Fault::new(
                        key.place,
                        format!("`{}` belongs to the form of the first releases", key.value),
                    )
                    .help(format!("keep to one form; in this one, {help}"))
                    .also(native.place, "this is of the present form"),
                );
            }
            None
        }
    }
}

fn entries<'n, 'a>(node: &'n Node<'a>) -> &'n [(At<Cow<'a, str>>, Node<'a>)] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

/// The first `hwaddr` and the first `mac` among the host entries.
fn marks_of_hosts<'n, 'a>(hosts: &'n [Node<'a>]) -> (Option<Mark<'n, 'a>>, Option<Mark<'n, 'a>>) {
    let first = |name: &str| {
        let mut keys = hosts.iter().flat_map(entries).map(|(key, _)| key);
        keys.find(|key| key.value == name)
    };
    (first("hwaddr"), first("mac"))
}

/// Reads the network `node`, which is in the original's form.
pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Definition> {
    let network = Fields::read(node, "`network`", NETWORK, report)?;
    let name = network
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let mode = read_forward(network.get("forward"), node, report);
    let bridge = optional(network.get("bridge"), |n| n.parse("`bridge`", report));
    let domain = network
        .need("domain", report)
        .and_then(|n| n.parse("`domain`", report));
    let gateway = network.need("gateway", report);
    let netmask = network.need("netmask", report);
    let ipv4 = read_addresses(gateway, netmask, report);
    let by_libvirt = optional(network.get("libvirt_network_dhcp_enabled"), |n| {
        read_switch(n, "`libvirt_network_dhcp_enabled`", report)
    });
    let range = [network.get("dhcp_start"), network.get("dhcp_end")];
    let dhcp = by_libvirt.and_then(|by_libvirt| read_dhcp(node, range, by_libvirt, report));
    let hosts = match network.get("hosts") {
        Some(list) if !is_nothing(list) => list.items("`hosts`", report),
        _ => Some(&[][..]),
    };
    let mut numbers = Vec::new();
    let hosts = hosts.unwrap_or_default().iter();
    let hosts = hosts.filter_map(|n| read_host(n, &mut numbers, report)).collect();
    warn_of_numbers(&numbers, report);
    Some(Definition {
        form: Form::Original,
        name: name?,
        title: None,
        mode: mode?,
        bridge: bridge?,
        domain: Some(domain?),
        ipv4: Some(ipv4?),
        ipv6: None,
        dnsmasq_options: Vec::new(),
        dns: super::DnsSection::default(),
        dhcp: dhcp?,
        hosts,
        require_interfaces: Vec::new(),
        forbid_interfaces: Vec::new(),
    })
}

/// True for a key without a value, which means something in this form.
fn is_nothing(node: &Node<'_>) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if matches!(text.as_ref(), "" | "~" | "null"))
}

/// A single value with the text `text`, at the place of `node`.
fn scalar<'a>(node: &Node<'a>, text: impl Into<Cow<'a, str>>) -> Node<'a> {
    Node {
        place: node.place,
        value: Value::Scalar {
            text: text.into(),
            plain: false,
        },
    }
}

/// A mapping of these keys that begins at the place of `node`.
fn mapping<'a>(node: &Node<'a>, entries: Vec<(&'static str, Node<'a>)>) -> Node<'a> {
    let entry = |(key, value): (&'static str, Node<'a>)| (At::new(key.into(), value.place), value);
    Node {
        place: node.place,
        value: Value::Map(entries.into_iter().map(entry).collect()),
    }
}

/// `forward`: libvirt's word for how the network is connected, or nothing for an isolated one.
fn read_forward(
    forward: Option<&Node<'_>>,
    network: &Node<'_>,
    report: &mut Report<'_>,
) -> Option<At<crate::network::Mode>> {
    let Some(node) = forward.filter(|node| !is_nothing(node)) else {
        return read_mode(&scalar(forward.unwrap_or(network), "isolated"), report);
    };
    let text = node.text("`forward`", report)?.value;
    match text {
        "nat" | "open" => read_mode(&scalar(node, text), report),
        "route" => read_mode(&scalar(node, "routed"), report),
        other => {
            let shown = printable(other, 40);
            report.error(
                Fault::new(node.place, format!("`forward: {shown}` is not known here"))
                    .help("write `nat`, `route` or `open`, or nothing for an isolated network"),
            );
            None
        }
    }
}

/// `gateway` and `netmask`, which together are the subnet.
fn read_addresses(
    gateway: Option<&Node<'_>>,
    netmask: Option<&Node<'_>>,
    report: &mut Report<'_>,
) -> Option<super::Ipv4Section> {
    let address = gateway.and_then(|n| n.ipv4("`gateway`", report));
    let mask = netmask.and_then(|n| n.ipv4("`netmask`", report));
    let (address, mask) = (address?, mask?);
    let Ok(subnet) = Ipv4Net::with_netmask(address.value, mask.value) else {
        report.error(
            Fault::new(mask.place, format!("{} is not a netmask", mask.value))
                .help("a netmask is all ones and then all zeros in binary, as in 255.255.255.0"),
        );
        return None;
    };
    let (gateway, netmask) = (gateway?, netmask?);
    let subnet = scalar(netmask, subnet.trunc().to_string());
    let section = mapping(
        gateway,
        vec![
            ("subnet", subnet),
            ("gateway", scalar(gateway, address.value.to_string())),
        ],
    );
    address::read_ipv4(&section, report)
}

/// A switch as Python programs of the time took one: a number, a word, in quotes or not.
fn read_switch(node: &Node<'_>, what: &str, report: &mut Report<'_>) -> Option<At<bool>> {
    let text = node.text(what, report)?.value;
    let value = match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" | "y" => true,
        "0" | "false" | "no" | "off" | "n" => false,
        _ => {
            let shown = printable(text, 40);
            report.error(
                Fault::new(node.place, format!("{what} must be 0 or 1, not `{shown}`"))
                    .help("write 1 or 0; yes and no, true and false work too"),
            );
            return None;
        }
    };
    Some(At::new(value, node.place))
}

/// The DHCP of a network. With a range it was served either by libvirt or beside it, and is always served beside it
/// now; without one, by libvirt only, to machines with a reservation.
#[expect(clippy::option_option, reason = "no DHCP and unreadable are different")]
fn read_dhcp(
    network: &Node<'_>,
    range: [Option<&Node<'_>>; 2],
    by_libvirt: Option<At<bool>>,
    report: &mut Report<'_>,
) -> Option<Option<At<super::DhcpSection>>> {
    let section = match range {
        [Some(start), Some(end)] => {
            // Read here once more under the names that they have in the file.
            let start_read = start.ipv4("`dhcp_start`", report).is_some();
            let end_read = end.ipv4("`dhcp_end`", report).is_some();
            if !(start_read && end_read) {
                return None;
            }
            let range = mapping(start, vec![("start", start.clone()), ("end", end.clone())]);
            let ranges = Node {
                place: start.place,
                value: Value::List(vec![range]),
            };
            mapping(start, vec![("ranges", ranges)])
        }
        [Some(half), None] | [None, Some(half)] => {
            let (here, there) = if range[0].is_some() {
                ("dhcp_start", "dhcp_end")
            } else {
                ("dhcp_end", "dhcp_start")
            };
            report.error(
                Fault::new(half.place, format!("`{here}` has no `{there}` beside it"))
                    .help(format!("add `{there}: …`")),
            );
            return None;
        }
        [None, None] if by_libvirt.is_some_and(|by_libvirt| by_libvirt.value) => mapping(network, Vec::new()),
        [None, None] => return Some(None),
    };
    if let Some(At { value: true, place }) = by_libvirt {
        report.warning(
            Fault::new(place, "DHCP is served beside libvirt now, not by it")
                .help("nothing needs to be done: range and reservations are the same"),
        );
    }
    dhcp::read(&section, report).map(Some)
}

fn read_host(
    node: &Node<'_>,
    numbers: &mut Vec<At<String>>,
    report: &mut Report<'_>,
) -> Option<super::HostEntry> {
    let fields = Fields::read(node, "this host entry", HOST, report)?;
    let name = fields.need("name", report);
    let hwaddr = fields.need("hwaddr", report);
    let ip = fields.need("ip", report);
    let mac = hwaddr.and_then(|n| read_hwaddr(n, numbers, report));
    let mut entries: Vec<_> = [("name", name.cloned()), ("mac", mac), ("ip", ip.cloned())]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    if entries.len() == HOST.len() {
        return hosts::read(&mapping(node, entries), report);
    }
    // What is there is still looked at.
    for (key, value) in entries.drain(..) {
        match key {
            "name" => drop(value.parse::<crate::name::HostName>("`name`", report)),
            "ip" => drop(value.ipv4("`ip`", report)),
            _ => {}
        }
    }
    None
}

/// `hwaddr`: a MAC address, or the number that a YAML 1.1 writer made of one, which is then among the `numbers`.
fn read_hwaddr<'a>(
    node: &Node<'a>,
    numbers: &mut Vec<At<String>>,
    report: &mut Report<'_>,
) -> Option<Node<'a>> {
    let text = node.text("`hwaddr`", report)?.value;
    if text.parse::<Mac>().is_ok() {
        return Some(node.clone());
    }
    if let Some(mac) = from_base_60(text) {
        numbers.push(At::new(mac.clone(), node.place));
        return Some(scalar(node, mac));
    }
    let stray = text.chars().last().filter(|c| matches!(c, '"' | '\''));
    report.error(match (stray, text.parse::<Mac>()) {
        (Some(quote), _) => Fault::new(node.place, format!("a stray {quote} at the end of a MAC address"))
            .help(format!("remove it, or write another {quote} at the start")),
        (None, Err(error)) => {
            Fault::new(node.place, error.to_string()).help("put it in quotes, as in \"52:54:00:01:00:10\"")
        }
        (None, Ok(_)) => return None,
    });
    None
}

fn warn_of_numbers(numbers: &[At<String>], report: &mut Report<'_>) {
    let Some(first) = numbers.first() else { return };
    let those = match numbers.len() {
        1 => String::new(),
        many => format!(" ({many} entries)"),
    };
    let fault = Fault::new(
        first.place,
        format!(
            "a YAML writer has made a number of the MAC address {}{those}",
            first.value
        ),
    );
    report.warning(fault.help(format!("write \"{}\", in quotes", first.value)));
}

/// The MAC address that YAML 1.1 reads as the integer `number`: six groups of two decimal digits, of which all but
/// the first are below 60 (yaml.org/type/int.html). `None` if no address comes to that number.
pub(super) fn from_base_60(number: &str) -> Option<String> {
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let mut rest: u64 = number.parse().ok().filter(|_| digits)?;
    let mut groups = [0; 6];
    for group in groups[1..].iter_mut().rev() {
        *group = rest % 60;
        rest /= 60;
    }
    groups[0] = rest;
    // A first group with a zero in front would not have been taken for a number.
    (10..100)
        .contains(&rest)
        .then(|| groups.map(|group| format!("{group:02}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::from_base_60;

    /// What YAML 1.1 makes of a MAC address of digits.
    fn to_base_60(mac: &str) -> u64 {
        mac.split(':')
            .fold(0, |sum, group| sum * 60 + group.parse::<u64>().unwrap())
    }

    #[test]
    fn numbers_become_the_addresses_that_they_were() {
        assert_eq!(from_base_60("42664323610").as_deref(), Some("54:52:00:01:00:10"));
        for mac in ["52:54:00:01:01:59", "10:00:00:00:00:00", "99:59:59:59:59:59"] {
            assert_eq!(from_base_60(&to_base_60(mac).to_string()).as_deref(), Some(mac));
        }
        for number in [
            "",
            "0",
            "7775999999",
            "77760000000",
            "99999999999999999999999",
            "-1",
            "+42664323610",
        ] {
            assert_eq!(from_base_60(number), None, "{number}");
        }
    }
}
