//! The interfaces by which a running guest is plugged into a network: their host side, and the same element with the
//! link taken down or up, as libvirt's device update wants it.

use super::edit::{Editor, Fragment};
use super::scan::{Document, Element};
use super::{DomainXmlError, XmlValue};
use std::net::IpAddr;

/// An interface of a running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// The tap on the host.
    pub tap: String,
    /// The whole `<interface>` element with its link down.
    pub down: String,
    /// The whole `<interface>` element with its link up.
    pub up: String,
}

/// The plugs of the domain whose live XML is `xml` in the libvirt network `network`. An interface whose link is down
/// already is left out: its user wants it so.
pub fn plugs(xml: &str, network: &str) -> Result<Vec<Plug>, DomainXmlError> {
    let document = Document::parse(xml)?;
    let mut found = Vec::new();
    let Some(devices) = document.root().child("devices") else {
        return Ok(found);
    };
    for interface in devices.children_named("interface") {
        let source = interface
            .child("source")
            .and_then(|source| source.attribute("network"));
        let tap = interface
            .child("target")
            .and_then(|target| target.attribute("dev"));
        let off = interface
            .child("link")
            .is_some_and(|link| link.attribute("state") == Some("down"));
        if let (Some(source), Some(tap), false) = (source, tap, off)
            && source == network
        {
            let element = &xml[interface.span()];
            found.push(Plug {
                tap: tap.to_owned(),
                down: with_link(element, "down")?,
                up: with_link(element, "up")?,
            });
        }
    }
    Ok(found)
}

/// The host's ends of the interfaces that the domain whose live XML is `xml` has in the libvirt network `network`, or
/// directly on its bridge, whatever their links are.
pub fn taps(xml: &str, network: &str, bridge: &str) -> Result<Vec<String>, DomainXmlError> {
    let document = Document::parse(xml)?;
    let Some(devices) = document.root().child("devices") else {
        return Ok(Vec::new());
    };
    let here = |interface: &Element<'_>| {
        interface.child("source").is_some_and(|source| {
            source.attribute("network") == Some(network) || source.attribute("bridge") == Some(bridge)
        })
    };
    let tap = |interface: Element<'_>| Some(interface.child("target")?.attribute("dev")?.to_owned());
    Ok(devices
        .children_named("interface")
        .filter(here)
        .filter_map(tap)
        .collect())
}

/// The addresses that the domain whose XML is `xml` gives to the host's ends of interfaces without a bridge.
pub fn host_addresses(xml: &str) -> Result<Vec<IpAddr>, DomainXmlError> {
    let document = Document::parse(xml)?;
    let Some(devices) = document.root().child("devices") else {
        return Ok(Vec::new());
    };
    let ethernet = devices
        .children_named("interface")
        .filter(|interface| interface.attribute("type") == Some("ethernet"));
    let ends = ethernet
        .filter_map(|interface| interface.child("source"))
        .flat_map(|source| source.children_named("ip").collect::<Vec<_>>());
    Ok(ends
        .filter_map(|ip| ip.attribute("address")?.parse().ok())
        .collect())
}

/// The interface `element` with its link in `state`.
fn with_link(element: &str, state: &'static str) -> Result<String, DomainXmlError> {
    let document = Document::parse(element)?;
    let root: Element<'_> = document.root();
    let mut editor = Editor::new(&document);
    match root.child("link") {
        Some(link) => editor.set_attribute(link, "state", &XmlValue::constant(state)),
        None => editor.append(root, Fragment::new("link").word("state", state)),
    }
    Ok(editor.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_of_the_network_with_a_link() {
        let nic = |network: &str, tap: &str, more: &str| {
            format!(
                "<interface type='network'><source network='{network}'/><target dev='{tap}'/>{more}</interface>"
            )
        };
        let xml = format!(
            "<domain><name>g</name><devices>{}{}{}{}</devices></domain>",
            nic("net-1", "vnet0", ""),
            nic("net-10", "vnet1", ""),
            nic("net-1", "vnet2", "<link state='down'/>"),
            nic("net-1", "vnet3", "<link state='up'/>"),
        );
        let found = plugs(&xml, "net-1").unwrap();
        assert_eq!(
            found.iter().map(|p| p.tap.as_str()).collect::<Vec<_>>(),
            ["vnet0", "vnet3"]
        );
        assert!(
            found[0].down.contains("state='down'") || found[0].down.contains("state=\"down\""),
            "{}",
            found[0].down
        );
        assert!(found[1].up.contains("<link state='up'/>"));
    }
}
