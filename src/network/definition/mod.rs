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
pub(super) use dns::read_records;
pub use dns::{DnsSection, RecordEntry, RecordFields, SrvFields};
pub use hosts::HostEntry;
pub use options::OptionEntry;
pub use original::Form;

use super::model::{DnsmasqOption, Mode, Title};
use crate::name::{DnsName, InterfaceName, NetworkName};
use crate::yaml::{At, Fault, Fields, Key, Node, Report, nearest, parse};

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
    Key::Known("name"),
    Key::Known("title"),
    Key::Known("mode"),
    Key::Known("bridge"),
    Key::Known("domain"),
    Key::Known("ipv4"),
    Key::Known("ipv6"),
    Key::Known("dns"),
    Key::Known("dhcp"),
    Key::Known("require_interfaces"),
    Key::Known("forbid_interfaces"),
    Key::Known("hosts"),
    Key::Known("dnsmasq_options"),
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
