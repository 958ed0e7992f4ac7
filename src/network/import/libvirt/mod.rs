//! From libvirt's network XML (libvirt.org/formatnetwork.html), whoever made it, to a definition. Whatever is not
//! known to be carried over is listed, element by element and attribute by attribute.

mod addresses;
mod dns;

use super::settle::settle;
use super::{ImportError, Imported};
use crate::XML_NAMESPACE;
use crate::domain::scan::{Document, Element};
use crate::name::{DnsName, NetworkName, printable};
use crate::network::{definition, read_bytes};
use crate::{schema, yaml};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The definition of the network with this XML. `name` stands for the XML in messages; those on the definition that
/// comes out call it NAME.yaml.
pub fn from_libvirt(name: &str, xml: &str) -> Result<Imported, ImportError> {
    let document = Document::parse(xml).map_err(|error| {
        // The reader is that of domains, and says so.
        let error = error.to_string().replacen("domain XML", "network XML", 1);
        ImportError::Xml(format!("{}: {error}", printable(name, 4096)))
    })?;
    let root = document.root();
    if !root.is("network") {
        return Err(ImportError::NotANetwork(printable(name, 4096)));
    }
    let mut reader = Reader::default();
    let mut value = reader.network(root, name)?;
    let file = format!("{}.yaml", value["network"]["name"].as_str().unwrap_or_default());
    settle(&file, &mut value, &mut reader.lost)?;
    let mut text: String = reader.comments.iter().map(|line| format!("# {line}\n")).collect();
    text.push_str(&yaml::joined(&yaml::write(&value)));
    let (network, warnings) = read_bytes(&file, text.as_bytes())?;
    Ok(Imported {
        network,
        text: schema::with_modeline(&definition::DOCUMENT, &text),
        lost: reader.lost,
        warnings,
    })
}

/// An element as people know it: its tag with the attributes.
fn shown(element: Element<'_>) -> String {
    let mut text = format!("<{}", element.qualified_name());
    for (name, value) in element.attributes() {
        let _ = write!(text, " {name}='{value}'");
    }
    text.push('>');
    printable(&text, 160)
}

#[derive(Default)]
struct Reader {
    lost: Vec<String>,
    /// What the head of the file is to say.
    comments: Vec<String>,
    /// The lease time that was met first.
    lease_time: Option<String>,
}

impl Reader {
    /// Says that `element` is not carried over; of one that only holds others, that those are not.
    fn lose(&mut self, element: Element<'_>) {
        if element.attributes().next().is_none() && element.children().next().is_some() {
            element.children().for_each(|child| self.lose(child));
        } else {
            self.lost.push(format!("{} is not carried over", shown(element)));
        }
    }

    fn lose_attribute(&mut self, element: Element<'_>, name: &str) {
        let value = element.attribute(name).unwrap_or_default();
        let tag = element.qualified_name();
        let text = format!("{name}='{value}' of <{tag}> is not carried over");
        self.lost.push(printable(&text, 160));
    }

    /// Loses the attributes of `element` that are not among `known`.
    fn only_attributes(&mut self, element: Element<'_>, known: &[&str]) {
        for (name, _) in element.attributes() {
            if !known.contains(&name) && !name.starts_with("xmlns") {
                self.lose_attribute(element, name);
            }
        }
    }

    /// Loses the elements in `element` that are not among `known`.
    fn only_children(&mut self, element: Element<'_>, known: &[&str]) {
        for child in element.children() {
            if !known.iter().any(|known| child.is(known)) {
                self.lose(child);
            }
        }
    }

    fn network(&mut self, root: Element<'_>, from: &str) -> Result<Value, ImportError> {
        let text = |name: &str| root.child(name).map(|e| e.text().trim().to_owned());
        let unsupported = |what: String| ImportError::Unsupported {
            name: printable(from, 4096),
            what,
        };
        let name = text("name").unwrap_or_default();
        let name: NetworkName = name.parse().map_err(|e| unsupported(format!("{e}")))?;
        for attribute in ["ipv6", "trustGuestRxFilters"] {
            if root.attribute(attribute) == Some("yes") {
                self.lose_attribute(root, attribute);
            }
        }
        let known = [
            "name",
            "uuid",
            "title",
            "description",
            "metadata",
            "forward",
            "bridge",
            "mac",
            "domain",
            "dns",
            "ip",
        ];
        self.only_children(root, &known);
        let mode = self.mode(root, &unsupported)?;
        let mut all = Map::new();
        all.insert("name".to_owned(), json!(name));
        if let Some(title) = self.title(root) {
            all.insert("title".to_owned(), json!(title));
        }
        all.insert("mode".to_owned(), json!(mode));
        let bridge = root.child("bridge");
        if let Some(bridge) = bridge {
            self.bridge(bridge);
        }
        match bridge.and_then(|bridge| bridge.attribute("name")) {
            Some(bridge) => drop(all.insert("bridge".to_owned(), json!(bridge))),
            None if mode == "bridge" => {
                return Err(unsupported(
                    "it has guests on an interface, not on a bridge".to_owned(),
                ));
            }
            None => {}
        }
        let domain = self.domain(root);
        let (families, hosts) = self.addresses(root, domain.as_deref(), &unsupported)?;
        let [v4, v6] = families;
        let dhcp = v4.dhcp || v6.dhcp;
        let off = root
            .child("dns")
            .is_some_and(|dns| dns.attribute("enable") == Some("no"));
        let served = v4.section.is_some() || v6.section.is_some();
        let serve = dhcp || !off && served;
        if dhcp && off {
            self.lost
                .push("DNS is answered along with DHCP, although libvirt's was off".to_owned());
        }
        let domain = domain.or_else(|| serve.then(|| self.invent_domain(&name)).flatten());
        if let Some(domain) = domain {
            all.insert("domain".to_owned(), json!(domain));
        }
        let stateful = v6.dhcp;
        let sections = [("ipv4", v4.section), ("ipv6", v6.section)];
        for (key, mut section) in sections.into_iter().filter_map(|(k, s)| Some((k, s?))) {
            if key == "ipv6" {
                section["ra"] = json!(if stateful { "stateful" } else { "slaac" });
            }
            all.insert(key.to_owned(), section);
        }
        if let Some(dns) = self.dns(root.child("dns"), serve) {
            all.insert("dns".to_owned(), dns);
        }
        if dhcp {
            let mut section = Map::new();
            let ranges: Vec<Value> = v4.ranges.into_iter().chain(v6.ranges).collect();
            if !ranges.is_empty() {
                section.insert("ranges".to_owned(), Value::Array(ranges));
            }
            if let Some(time) = &self.lease_time {
                section.insert("lease_time".to_owned(), json!(time));
            }
            if let Some(boot) = v4.boot {
                section.insert("boot".to_owned(), boot);
            }
            all.insert("dhcp".to_owned(), Value::Object(section));
        }
        if !hosts.is_empty() {
            all.insert("hosts".to_owned(), Value::Array(hosts));
        }
        Ok(json!({ "network": all }))
    }

    fn title(&mut self, root: Element<'_>) -> Option<String> {
        let mut title = root.child("title").map(|title| title.text().trim().to_owned());
        if let Some(text) = root.child("description") {
            let lines = text.text().trim().lines();
            self.comments
                .extend(lines.map(|line| printable(line.trim(), 400)));
        }
        for child in root
            .child("metadata")
            .iter()
            .flat_map(|metadata| metadata.children())
        {
            if child.namespace() == Some(XML_NAMESPACE) {
                let ours = child.children().find(|e| e.local_name() == "title");
                title = title.or_else(|| ours.map(|title| title.text().trim().to_owned()));
            } else {
                self.lose(child);
            }
        }
        title.filter(|title| !title.is_empty())
    }

    /// The mode that is libvirt's `<forward>`.
    fn mode(
        &mut self,
        root: Element<'_>,
        unsupported: &dyn Fn(String) -> ImportError,
    ) -> Result<&'static str, ImportError> {
        let Some(forward) = root.child("forward") else {
            return Ok("isolated");
        };
        let mode = match forward.attribute("mode").unwrap_or("nat") {
            "nat" => "nat",
            "route" => "routed",
            "open" => "open",
            "bridge" => "bridge",
            other => {
                return Err(unsupported(printable(
                    &format!("a definition knows nothing like <forward mode='{other}'>"),
                    160,
                )));
            }
        };
        self.only_attributes(forward, &["mode"]);
        // libvirt writes the device into an element too.
        let device = forward.attribute("dev");
        for child in forward.children() {
            if child.is("nat") {
                self.nat(child);
            } else if !(child.is("interface") && child.attribute("dev") == device) {
                self.lose(child);
            }
        }
        Ok(mode)
    }

    fn nat(&mut self, nat: Element<'_>) {
        self.only_attributes(nat, &[]);
        for child in nat.children() {
            // These ports are libvirt's default, which it writes out.
            let usual = child.is("port")
                && child.attribute("start") == Some("1024")
                && child.attribute("end") == Some("65535");
            if !usual {
                self.lose(child);
            }
        }
    }

    fn bridge(&mut self, bridge: Element<'_>) {
        self.only_children(bridge, &[]);
        for (name, value) in bridge.attributes() {
            let usual = matches!(
                (name, value),
                ("name", _) | ("stp", "on") | ("delay", "0") | ("macTableManager", "kernel")
            );
            if !usual {
                self.lose_attribute(bridge, name);
            }
        }
    }

    fn domain(&mut self, root: Element<'_>) -> Option<String> {
        let domain = root.child("domain")?;
        self.only_attributes(domain, &["name", "localOnly"]);
        let name = domain.attribute("name")?.trim().trim_end_matches('.');
        match name.parse::<DnsName>() {
            Ok(name) => {
                if domain.attribute("localOnly") != Some("yes") {
                    self.lost.push(format!(
                        "names in {name} that are not known are not asked for elsewhere, as libvirt did"
                    ));
                }
                Some(name.to_string())
            }
            Err(error) => {
                self.lost.push(format!("the domain is not carried over: {error}"));
                None
            }
        }
    }

    /// A domain for a network that has none, made of its name.
    fn invent_domain(&mut self, name: &NetworkName) -> Option<String> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let label: String = name.as_str().chars().map(plain).collect();
        let domain: DnsName = format!("{}.internal", label.trim_matches('-')).parse().ok()?;
        self.lost.push(format!(
            "libvirt's network has no domain; its names end in {domain} now"
        ));
        Some(domain.to_string())
    }
}
