//! What a libvirt network's XML says that decides whether it is ours and whether it clashes: a small read-only view
//! of XML that libvirt gives out. Writing such XML is `compile`'s business.

use crate::XML_NAMESPACE;
use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

/// The facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// True if it carries our mark.
    pub ours: bool,
    /// Its bridge.
    pub bridge: Option<String>,
    /// How it is connected to the world outside, like `nat`; `None` for an isolated one.
    pub forward: Option<String>,
    /// Its DNS domain.
    pub domain: Option<String>,
    /// The host's addresses in it, each with its prefix length or netmask as written.
    pub addresses: Vec<(String, String)>,
    /// True if libvirt would run a DHCP server for it.
    pub dhcp: bool,
    /// True if libvirt would run a DNS server for it: it has addresses, and DNS is not switched off.
    pub dns: bool,
}

impl Observed {
    /// Reads libvirt's XML. XML that cannot be read is nobody's: every fact stays false.
    pub fn parse(xml: &str) -> Self {
        read(xml).unwrap_or_default()
    }

    /// True if libvirt runs a dnsmasq of its own for the network.
    pub const fn served_by_libvirt(&self) -> bool {
        self.dhcp || self.dns
    }
}

fn read(xml: &str) -> Option<Observed> {
    let mut facts = Observed::default();
    let mut dns_off = false;
    let mut path: Vec<String> = Vec::new();
    let mut reader = NsReader::from_str(xml);
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let start = match &event {
            Event::Start(start) | Event::Empty(start) => start,
            Event::End(_) => {
                path.pop()?;
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let local = start.local_name();
        let inside: Vec<&str> = path.iter().map(String::as_str).collect();
        let marked = matches!(&namespace, ResolveResult::Bound(ns) if ns.as_ref() == XML_NAMESPACE);
        match (inside.as_slice(), local.as_ref()) {
            (["network", "metadata"], "network") if marked => facts.ours = true,
            (["network"], "bridge") => facts.bridge = attribute(start, "name"),
            (["network", "ip"], "dhcp") => facts.dhcp = true,
            (["network"], "ip") => {
                facts.dns = true;
                let mask = attribute(start, "prefix").or_else(|| attribute(start, "netmask"));
                facts.addresses.extend(attribute(start, "address").zip(mask));
            }
            (["network"], "forward") => {
                facts.forward = Some(attribute(start, "mode").unwrap_or_else(|| "nat".to_owned()));
            }
            (["network"], "domain") => facts.domain = attribute(start, "name"),
            (["network"], "dns") => dns_off = attribute(start, "enable").as_deref() == Some("no"),
            _ => {}
        }
        if matches!(event, Event::Start(_)) {
            path.push(local.as_ref().to_owned());
        }
    }
    facts.dns &= !dns_off;
    path.is_empty().then_some(facts)
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok()??;
    Some(
        attribute
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .ok()?
            .into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ours_from_others() {
        let ours = "<network><name>n</name><metadata><m:network xmlns:m='https://miniascape.org/xmlns/1' version='1'/>\
            </metadata><bridge name='virbr1'/><dns enable='no'/><ip address='10.0.0.1' prefix='24'/></network>";
        let facts = Observed::parse(ours);
        assert!(facts.ours && !facts.served_by_libvirt());
        assert_eq!(facts.bridge.as_deref(), Some("virbr1"));
        let theirs = "<network><name>miniascape</name><metadata><m:network xmlns:m='urn:x'/></metadata>\
            <ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.2' end='10.0.0.9'/></dhcp></ip></network>";
        let facts = Observed::parse(theirs);
        assert!(!facts.ours && facts.dhcp && facts.dns);
    }

    #[test]
    fn broken_xml_is_nobodys() {
        for xml in ["", "<network", "<network></other>", "<network><metadata>"] {
            assert!(!Observed::parse(xml).ours, "{xml}");
        }
    }
}
