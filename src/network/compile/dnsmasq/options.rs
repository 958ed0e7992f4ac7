//! Lines of `dhcp-optsfile`: DHCP options, each for everyone, for machines with a tag, or for one machine.

use crate::name::{HostName, Tag, TagMatch};
use crate::network::model::{DhcpOption, Mode, Network, OptionValue};
use std::fmt::Write;

/// The number of the option for routers.
const ROUTER: u8 = 3;

/// The tag that a machine with options of its own gets; no definition can have it.
pub(super) fn host_tag(name: &HostName) -> String {
    format!("{}host-{name}", Tag::OURS)
}

/// The whole file behind its header.
pub(super) fn lines(network: &Network) -> String {
    let mut text = String::new();
    let general = network.dhcp().map_or(&[][..], |dhcp| &dhcp.options);
    let routes = general
        .iter()
        .any(|tagged| tagged.option.code == ROUTER && tagged.tags.is_empty());
    match (network.mode(), network.ipv4()) {
        (Mode::Isolated, Some(_)) if !routes => {
            text.push_str("# No default route: the gateway leads nowhere.\noption:router\n");
        }
        // dnsmasq would name the host.
        (Mode::Bridge, Some(ipv4)) if !routes => {
            let _ = writeln!(
                text,
                "# The router of this network is not this host.\noption:router,{}",
                ipv4.gateway
            );
        }
        _ => {}
    }
    for tagged in general {
        let tags: String = tagged
            .tags
            .iter()
            .map(|tag: &TagMatch| format!("tag:{tag},"))
            .collect();
        let _ = writeln!(text, "{tags}{}", line(&tagged.option));
    }
    for host in network.hosts() {
        for option in host.options() {
            let _ = writeln!(text, "tag:{},{}", host_tag(&host.name), line(option));
        }
    }
    text
}

/// What may stand on the right side of `dhcp-option=`.
///
/// dnsmasq guesses the type of a value of which it does not know it (dnsmasq 2.90, option.c, `parse_dhcp_opt`); such
/// a text is written as octets, so that one of digits stays a text.
fn line(option: &DhcpOption) -> String {
    let name = match option.written_name() {
        Some(name) => format!("option:{name}"),
        None => option.code.to_string(),
    };
    let value = match &option.value {
        OptionValue::Nothing => return name,
        OptionValue::Addresses(all) => joined(all),
        OptionValue::Integer { value, octets } => match (option.name, octets) {
            (Some(_), _) => value.to_string(),
            (None, 1) => format!("{value}b"),
            (None, 2) => format!("{value}s"),
            (None, _) => format!("{value}i"),
        },
        OptionValue::Text(text) if option.takes_text() => text.quoted(),
        OptionValue::Text(text) => octets(text.as_str().as_bytes()),
        OptionValue::Domains(all) => joined(all),
        OptionValue::Routes(all) => {
            let pairs: Vec<String> = all.iter().map(|(to, via)| format!("{to},{via}")).collect();
            pairs.join(",")
        }
        OptionValue::Time(time) => time.seconds().to_string(),
        OptionValue::Octets(all) => octets(all),
    };
    format!("{name},{value}")
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// Octets as hexadecimal groups; dnsmasq takes a single one for a number only.
fn octets(all: &[u8]) -> String {
    match all {
        [one] => format!("{one}b"),
        _ => all
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<Vec<_>>()
            .join(":"),
    }
}
