//! A network definition as it stands in its file: every value typed and with its place.
//!
//! Reading finds what is wrong with single keys and values; rules between values are in `network::check`.

mod address;
mod dhcp;
mod dns;
pub(super) mod hosts;
mod original;

pub use address::Ipv4Section;
pub use dhcp::{DhcpSection, RangeEntry};
pub use dns::DnsSection;
pub use hosts::HostEntry;
pub use original::Form;

use super::model::{Mode, Title};
use crate::name::{DnsName, InterfaceName, NetworkName, printable};
use crate::yaml::{At, Fault, Fields, Key, Node, Report, parse};

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
    /// `dns`
    pub dns: DnsSection,
    /// `dhcp`
    pub dhcp: Option<At<DhcpSection>>,
    /// `hosts`
    pub hosts: Vec<HostEntry>,
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
    Key::Instead("subnet", "write `ipv4: { subnet: … }`"),
];

/// Reads the definition that `report` is about.
///
/// What cannot be read is reported. A definition comes back all the same if the parts that others depend on could be
/// read, so that the check can find more mistakes in the same go; the report says whether it is whole.
pub fn read(report: &mut Report<'_>) -> Option<Definition> {
    let root = parse(report)?;
    let document = Fields::read(&root, "the file", &[Key::Known("network")], report)?;
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
    let ipv4 = network
        .need("ipv4", report)
        .and_then(|n| address::read(n, report));
    let dns = optional(network.get("dns"), |n| dns::read(n, report));
    let dhcp = optional(network.get("dhcp"), |n| dhcp::read(n, report));
    let hosts = optional(network.get("hosts"), |n| n.items("`hosts`", report));
    let hosts = hosts.flatten().unwrap_or_default();
    let hosts = hosts.iter().filter_map(|n| hosts::read(n, report)).collect();
    Some(Definition {
        form: Form::Native,
        name: name?,
        title: title?,
        mode: mode?,
        bridge: bridge?,
        domain: domain?,
        ipv4: Some(ipv4?),
        dns: dns?.unwrap_or_default(),
        dhcp: dhcp?,
        hosts,
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
