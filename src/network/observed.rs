//! What a libvirt network's XML says that decides whether it is ours and whether it clashes: a small read-only view
//! of XML that libvirt gives out. Writing such XML is `compile`'s business.

use crate::XML_NAMESPACE;
use crate::domain::scan::{Document, Element};

/// The facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its name.
    pub name: Option<String>,
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

/// The hardware address that libvirt gives the network's bridge.
pub(super) fn bridge_mac(xml: &str) -> Option<String> {
    let document = Document::parse(xml).ok()?;
    document
        .root()
        .child("mac")?
        .attribute("address")
        .map(str::to_owned)
}

fn read(xml: &str) -> Option<Observed> {
    let document = Document::parse(xml).ok()?;
    let root = document.root();
    let ours = |element: Element<'_>| {
        element.namespace() == Some(XML_NAMESPACE) && element.local_name() == "network"
    };
    let value = |element: Option<Element<'_>>, name: &str| element?.attribute(name).map(str::to_owned);
    let addresses = root.children_named("ip").filter_map(|ip| {
        let mask = ip.attribute("prefix").or_else(|| ip.attribute("netmask"))?;
        Some((ip.attribute("address")?.to_owned(), mask.to_owned()))
    });
    let dns_off = root
        .child("dns")
        .is_some_and(|dns| dns.attribute("enable") == Some("no"));
    Some(Observed {
        name: root.child("name").map(|name| name.text().trim().to_owned()),
        ours: root
            .child("metadata")
            .is_some_and(|metadata| metadata.children().any(ours)),
        bridge: value(root.child("bridge"), "name"),
        forward: root
            .child("forward")
            .map(|f| f.attribute("mode").unwrap_or("nat").to_owned()),
        domain: value(root.child("domain"), "name"),
        addresses: addresses.collect(),
        dhcp: root.children_named("ip").any(|ip| ip.child("dhcp").is_some()),
        dns: !dns_off && root.child("ip").is_some(),
    })
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
    fn the_bridge_has_libvirts_address() {
        let xml = "<network><name>n</name><mac address='52:54:00:00:00:01'/></network>";
        assert_eq!(bridge_mac(xml).as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(bridge_mac("<network><name>n</name></network>"), None);
    }

    #[test]
    fn broken_xml_is_nobodys() {
        for xml in ["", "<network", "<network></other>", "<network><metadata>"] {
            assert!(!Observed::parse(xml).ours, "{xml}");
        }
    }
}
