//! The libvirt network XML (libvirt.org/formatnetwork.html).

use super::{CompileError, rendered};
use crate::name::DnsName;
use crate::network::model::{Mode, Network, Title};
use crate::template::Templates;
use serde::Serialize;

const TEMPLATE: &str = "network.xml";

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    mark: &'static str,
    /// Our own element: libvirt before 9.7 drops the `<title>` of a network.
    title: Option<&'a str>,
    forward: Option<Forward>,
    bridge: &'a str,
    /// False for a bridge of somebody else's: libvirt takes no settings for it.
    own_bridge: bool,
    domain: Option<&'a str>,
    addresses: Vec<Address>,
}

/// One of the host's own addresses on the bridge.
#[derive(Serialize)]
struct Address {
    text: String,
    prefix: u8,
    ipv6: bool,
}

/// `<forward>`
#[derive(Serialize)]
struct Forward {
    mode: &'static str,
    /// True if IPv6 is translated too, which makes sense for addresses that nobody outside has a route to.
    nat_ipv6: bool,
}

/// The XML of `network`; `None` for a mode that has no libvirt network.
pub(super) fn xml(network: &Network, templates: &Templates) -> Result<Option<String>, CompileError> {
    let mode = network.mode();
    let Some(bridge) = network.bridge().filter(|_| mode.in_libvirt()) else {
        return Ok(None);
    };
    let context = Context {
        name: network.name().as_str(),
        mark: crate::XML_NAMESPACE,
        title: network.title().map(Title::as_str),
        forward: forward(network),
        bridge: bridge.as_str(),
        own_bridge: mode.makes_bridge(),
        // libvirt refuses a domain, addresses and DNS settings on a bridge of somebody else's.
        domain: network
            .domain()
            .filter(|_| mode.makes_bridge())
            .map(DnsName::as_str),
        addresses: if mode.makes_bridge() {
            addresses(network)
        } else {
            Vec::new()
        },
    };
    let xml = templates.render(TEMPLATE, &context)?;
    rendered::check_xml(TEMPLATE, &xml, network)?;
    Ok(Some(xml))
}

fn forward(network: &Network) -> Option<Forward> {
    let mode = match network.mode() {
        Mode::Nat => "nat",
        Mode::Routed => "route",
        Mode::Open => "open",
        Mode::Bridge => "bridge",
        Mode::Isolated | Mode::Hostroute => return None,
    };
    Some(Forward {
        mode,
        nat_ipv6: network.mode() == Mode::Nat && network.ipv6().is_some_and(|ipv6| ipv6.is_local()),
    })
}

fn addresses(network: &Network) -> Vec<Address> {
    let ipv4 = network.ipv4().map(|ipv4| Address {
        text: ipv4.gateway.to_string(),
        prefix: ipv4.subnet.prefix_len(),
        ipv6: false,
    });
    let ipv6 = network.ipv6().and_then(|ipv6| {
        Some(Address {
            text: ipv6.gateway?.to_string(),
            prefix: ipv6.subnet.prefix_len(),
            ipv6: true,
        })
    });
    ipv4.into_iter().chain(ipv6).collect()
}
