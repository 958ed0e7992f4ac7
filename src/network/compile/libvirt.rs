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
    forward: Option<&'static str>,
    bridge: &'a str,
    domain: Option<&'a str>,
    addresses: Vec<Address>,
}

/// One of the host's own addresses on the bridge.
#[derive(Serialize)]
struct Address {
    address: String,
    prefix: u8,
}

pub(super) fn xml(network: &Network, templates: &Templates) -> Result<String, CompileError> {
    let addresses = network.ipv4().into_iter().map(|ipv4| Address {
        address: ipv4.gateway.to_string(),
        prefix: ipv4.subnet.prefix_len(),
    });
    let context = Context {
        name: network.name().as_str(),
        mark: crate::XML_NAMESPACE,
        title: network.title().map(Title::as_str),
        forward: match network.mode() {
            Mode::Nat => Some("nat"),
            Mode::Isolated => None,
        },
        bridge: network.bridge().as_str(),
        domain: network.domain().map(DnsName::as_str),
        addresses: addresses.collect(),
    };
    let xml = templates.render(TEMPLATE, &context)?;
    rendered::check_xml(TEMPLATE, &xml, network)?;
    Ok(xml)
}
