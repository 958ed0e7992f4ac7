//! A network definition as it stands in its file: every value typed and with its place.
//!
//! Reading finds what is wrong with single keys and values; rules between values are in `network::check`.

mod address;
mod boot;
mod dhcp;
mod dns;
mod dnsmasq;
pub(super) mod hosts;
mod interfaces;
mod options;
mod original;

pub use address::{Ipv4Section, Ipv6Section};
pub use boot::BootSection;
pub use dhcp::{DhcpSection, RangeEntry};
pub use dns::{DnsSection, RecordEntry, RecordFields, SrvFields};
pub(super) use dns::{RECORDS, read_records};
pub use hosts::HostEntry;
pub use options::OptionEntry;
pub use original::Form;

use super::model::{DnsmasqOption, Mode, Title};
use crate::name::{DnsName, InterfaceName, NetworkName};
use crate::yaml::{At, Document, Fault, Fields, Key, Node, Report, Shape, nearest, parse};

/// A definition, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The form that the file is in
    pub form: Form,
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
    pub ipv4: Option<Ipv4Section>,
    /// `ipv6`
    pub ipv6: Option<Ipv6Section>,
    /// `dns`
    pub dns: DnsSection,
    /// `dhcp`
    pub dhcp: Option<At<DhcpSection>>,
    /// `hosts`
    pub hosts: Vec<HostEntry>,
    /// `require_interfaces`
    pub require_interfaces: Vec<At<InterfaceName>>,
    /// `forbid_interfaces`
    pub forbid_interfaces: Vec<At<InterfaceName>>,
    /// `dnsmasq_options`
    pub dnsmasq_options: Vec<At<DnsmasqOption>>,
}

const NETWORK: &[Key] = &[
    Key::must(
        "name",
        Shape::Pattern("name", "[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"),
        "1 to 32 letters, digits, `_`, `.` or `-`, the first a letter or digit",
    ),
    Key::may(
        "title",
        Shape::Text("text"),
        "one line for people, up to 128 characters",
    ),
    Key::must(
        "mode",
        Shape::Words(&["nat", "routed", "isolated", "open", "bridge", "hostroute"]),
        "how guests reach the outside",
    ),
    Key::may(
        "bridge",
        INTERFACE,
        "the bridge on the host, needed in mode `bridge`; by default `ms-` and the network's name, shortened where that is \
         longer than 15 characters",
    ),
    Key::may(
        "domain",
        Shape::Text("domain"),
        "where the network's names end, needed with DNS; `.internal` is reserved for such use",
    ),
    Key::may("ipv4", Shape::Map(address::IPV4), "the network's IPv4 addresses"),
    Key::may("ipv6", Shape::Map(address::IPV6), "the network's IPv6 addresses"),
    Key::may(
        "dns",
        Shape::Map(dns::DNS),
        "what the network's name server answers",
    ),
    Key::may(
        "dhcp",
        Shape::Map(dhcp::DHCP),
        "serve DHCP, where there is a subnet of IPv4, and with `ra: stateful` DHCPv6",
    ),
    Key::may(
        "require_interfaces",
        Shape::List(&INTERFACE),
        "interfaces of the host that have to be in the bridge: told when they are not, never moved",
    ),
    Key::may(
        "forbid_interfaces",
        Shape::List(&INTERFACE),
        "interfaces that must not be in it",
    ),
    Key::may("hosts", HOSTS, "the machines that have a name or a reservation"),
    Key::may(
        "dnsmasq_options",
        Shape::List(&Shape::Text("option")),
        "options of dnsmasq's own, written as in its configuration, from a list of those that are allowed",
    ),
    Key::Instead("subnet", "write `ipv4: { subnet: … }`"),
];
const INTERFACE: Shape = Shape::Pattern("interface", "[A-Za-z0-9][A-Za-z0-9_.-]{0,14}");
/// `hosts`, also of a file beside the definition.
pub(super) const HOSTS: Shape = Shape::List(&Shape::Map(hosts::HOST));
const FILE: &[Key] = &[Key::must("network", Shape::Map(NETWORK), "the network")];

/// Network definitions.
pub const DOCUMENT: Document = Document {
    name: "network",
    title: "a network of guests: libvirt's network, and what its dnsmasq serves",
    files: &[
        "/etc/miniascape/networks/NAME.yaml",
        "/usr/share/miniascape/networks/NAME.yaml",
    ],
    keys: FILE,
    old_keys: &[Key::must("network", Shape::Map(original::NETWORK), "the same")],
    example: include_str!("../../../data/examples/network.yaml"),
};

/// Reads the definition that `report` is about.
///
/// What cannot be read is reported. A definition comes back all the same if the parts that others depend on could be
/// read, so that the check can find more mistakes in the same go; the report says whether it is whole.
pub fn read(report: &mut Report<'_>) -> Option<Definition> {
    let root = parse(report)?;
    let document = Fields::read(&root, "the file", FILE, report)?;
    let node = document.need("network", report)?;
    if original::form(node, report)? == Form::Original {
        return original::read(node, report);
    }
    let network = Fields::read(node, "`network`", NETWORK, report)?;

    let name = network
        .need("name", report)
        .and_then(|n| n.parse("`name`", report));
    let title = optional(network.get("title"), |n| n.parse("`title`", report));
    let mode = network.need("mode", report).and_then(|n| read_mode(n, report));
    let bridge = optional(network.get("bridge"), |n| n.parse("`bridge`", report));
    let domain = optional(network.get("domain"), |n| n.parse("`domain`", report));
    let ipv4 = optional(network.get("ipv4"), |n| address::read_ipv4(n, report));
    let ipv6 = optional(network.get("ipv6"), |n| address::read_ipv6(n, report));
    let dns = optional(network.get("dns"), |n| dns::read(n, report));
    let dhcp = optional(network.get("dhcp"), |n| dhcp::read(n, report));
    let hosts = optional(network.get("hosts"), |n| n.items("`hosts`", report));
    let hosts = hosts.flatten().unwrap_or_default();
    let hosts = hosts.iter().filter_map(|n| hosts::read(n, report)).collect();
    let require_interfaces = interfaces::read(&network, "require_interfaces", report);
    let forbid_interfaces = interfaces::read(&network, "forbid_interfaces", report);
    let dnsmasq_options = optional(network.get("dnsmasq_options"), |n| dnsmasq::read(n, report));
    Some(Definition {
        form: Form::Native,
        name: name?,
        title: title?,
        mode: mode?,
        bridge: bridge?,
        domain: domain?,
        ipv4: ipv4?,
        ipv6: ipv6?,
        dns: dns?.unwrap_or_default(),
        dhcp: dhcp?,
        hosts,
        require_interfaces,
        forbid_interfaces,
        dnsmasq_options: dnsmasq_options?.unwrap_or_default(),
    })
}

/// The value of a key that may be absent: `None` only when it is there and cannot be read.
#[expect(clippy::option_option, reason = "absent and unreadable are different")]
pub(super) fn optional<'n, 'a, T>(
    node: Option<&'n Node<'a>>,
    read: impl FnOnce(&'n Node<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match node {
        Some(node) => read(node).map(Some),
        None => Some(None),
    }
}

/// One value or a list of them, each read by `read`; not an empty list. `None` if one cannot be read.
fn several<'a, T>(
    node: &Node<'a>,
    what: &str,
    report: &mut Report<'_>,
    mut read: impl FnMut(&Node<'a>, &mut Report<'_>) -> Option<At<T>>,
) -> Option<Vec<At<T>>> {
    let items = node.one_or_more();
    if items.is_empty() {
        report.error(
            Fault::new(node.place, format!("{what} is an empty list"))
                .help("write a value, or remove the key"),
        );
        return None;
    }
    // All are read, so that all mistakes are told.
    let all: Vec<Option<At<T>>> = items.iter().map(|item| read(item, report)).collect();
    all.into_iter().collect()
}

fn read_mode(node: &Node<'_>, report: &mut Report<'_>) -> Option<At<Mode>> {
    let text = node.text("`mode`", report)?;
    match text.value.parse() {
        Ok(mode) => Some(At::new(mode, text.place)),
        Err(error) => {
            let all = Mode::ALL.map(|mode| format!("`{mode}`")).join(", ");
            let near = nearest(text.value, Mode::ALL.iter().map(|mode| mode.as_str()));
            let help = near.map_or(String::new(), |near| format!("did you mean `{near}`? "));
            report
                .error(Fault::new(text.place, error.to_string()).help(format!("{help}the modes are {all}")));
            None
        }
    }
}
