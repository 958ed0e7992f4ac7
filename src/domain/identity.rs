//! What makes an element of a domain the same one in two documents, whatever else was changed about it and wherever it
//! stands: the keys by which `merge` matches them. libvirt adds much to what it is given, so only what a document
//! always says, or what people choose, counts.

use std::collections::HashMap;
use std::fmt;

use super::scan::Element;

/// An element among its siblings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key<'d> {
    namespace: Option<&'d str>,
    name: &'d str,
    identity: String,
    /// How many of the same identity stand before it.
    ordinal: usize,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match (self.identity.as_str(), self.ordinal) {
            ("", 0) => Ok(()),
            ("", n) => write!(f, "[{}]", n + 1),
            (identity, 0) => write!(f, "[{identity}]"),
            (identity, n) => write!(f, "[{identity}, {}]", n + 1),
        }
    }
}

/// The children of an element, each with its key; no key is there twice.
pub(super) fn keyed(parent: Element<'_>) -> Vec<(Key<'_>, Element<'_>)> {
    let mut seen: HashMap<(Option<&str>, &str, String), usize> = HashMap::new();
    let mut all = Vec::new();
    for element in parent.children() {
        let (namespace, name) = (element.namespace(), element.qualified_name());
        let identity = identity(element, &seen);
        let count = seen.entry((namespace, name, identity.clone())).or_default();
        let ordinal = *count;
        *count += 1;
        all.push((
            Key {
                namespace,
                name,
                identity,
                ordinal,
            },
            element,
        ));
    }
    all
}

fn identity(element: Element<'_>, seen: &HashMap<(Option<&str>, &str, String), usize>) -> String {
    let own = |name: &str| element.attribute(name).map(str::to_owned);
    let of = |child: &str, name: &str| {
        let child = element.child(child)?;
        child.attribute(name).map(str::to_owned)
    };
    if element.namespace().is_some() {
        return String::new();
    }
    // A name that somebody has given it (libvirt's own begin otherwise, and are no part of a definition).
    if let Some(alias) = of("alias", "name").filter(|name| name.starts_with("ua-")) {
        return alias;
    }
    let found = match element.qualified_name() {
        "disk" => of("target", "dev"),
        "filesystem" => of("target", "dir"),
        "interface" => of("mac", "address").map(|mac| mac.to_ascii_lowercase()),
        "channel" => of("target", "name"),
        "controller" => {
            let kind = own("type").unwrap_or_default();
            let before = seen
                .iter()
                .filter(|((_, name, id), _)| *name == "controller" && id.split(' ').next() == Some(&kind));
            // libvirt numbers those that nobody has numbered.
            let index =
                own("index").unwrap_or_else(|| before.map(|(_, count)| count).sum::<usize>().to_string());
            Some(format!("{kind} {index}"))
        }
        "hostdev" => element.child("source").map(all_attributes),
        "input" | "graphics" => own("type"),
        "seclabel" => own("model"),
        "boot" | "address" | "source" | "target" | "model" | "driver" => None,
        _ => ["name", "vcpu", "vcpus", "iothread", "id"]
            .iter()
            .find_map(|name| own(name)),
    };
    found.unwrap_or_default()
}

fn all_attributes(element: Element<'_>) -> String {
    let own = element.attributes().map(|(_, value)| value.to_owned());
    let inner = element.children().map(all_attributes);
    own.chain(inner)
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the element is one value: half of it from here and half from there would mean something that nobody wrote.
pub(super) fn is_whole(element: Element<'_>) -> bool {
    element.namespace().is_some()
        || !element.text().trim().is_empty()
        || matches!(
            element.qualified_name(),
            "address"
                | "auth"
                | "backend"
                | "backingStore"
                | "cpu"
                | "encryption"
                | "mirror"
                | "seclabel"
                | "source"
                | "sysinfo"
        )
}
