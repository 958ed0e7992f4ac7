//! XML that libvirt may take for something else than this program does, so that what was looked at is not what is done:
//! elements that are there twice where one counts (libvirt takes the first of some and the last of others, and looks
//! into every `<os>`), and elements of other namespaces among the devices, whose prefix it does not always look at.
//!
//! Nothing that libvirt or this program writes has any of it.

use super::error::shown;
use super::scan::Element;

/// Elements directly in the domain that may be there more than once.
const MANY_IN_DOMAIN: [&str; 2] = ["seclabel", "sysinfo"];
/// Elements directly in `<os>` that may be there more than once.
const MANY_IN_OS: [&str; 3] = ["boot", "initarg", "initenv"];
/// Elements in a device, or in the source of one, of which one counts.
const ONE_IN_DEVICE: [&str; 19] = [
    "acceleration",
    "address",
    "auth",
    "backend",
    "backingStore",
    "driver",
    "encryption",
    "filterref",
    "gl",
    "log",
    "mac",
    "mirror",
    "model",
    "path",
    "rom",
    "script",
    "server",
    "source",
    "target",
];
/// Devices that can have several sources: where to listen, and where to connect to.
const CHARACTER_DEVICES: [&str; 6] = [
    "serial",
    "parallel",
    "console",
    "channel",
    "smartcard",
    "redirdev",
];

/// All such elements, each with what it is for people.
pub(super) fn find(root: Element<'_>) -> Vec<(Element<'_>, String)> {
    let mut found = Vec::new();
    twice(root, &|name| !MANY_IN_DOMAIN.contains(&name), &mut found);
    for os in root.children_named("os") {
        twice(os, &|name| !MANY_IN_OS.contains(&name), &mut found);
        foreign(os, &mut found);
    }
    for device in root.children_named("devices").flat_map(Element::children) {
        let character = CHARACTER_DEVICES.contains(&device.local_name());
        let counts = |name: &str| ONE_IN_DEVICE.contains(&name) && !(character && name == "source");
        twice(device, &counts, &mut found);
        for part in device
            .children()
            .filter(|part| matches!(part.local_name(), "source" | "backend" | "model"))
        {
            twice(part, &|name| ONE_IN_DEVICE.contains(&name), &mut found);
        }
        foreign(device, &mut found);
    }
    found
}

/// The second and later children of a name of which one counts.
fn twice<'d>(parent: Element<'d>, counts: &dyn Fn(&str) -> bool, found: &mut Vec<(Element<'d>, String)>) {
    let mut seen = std::collections::HashSet::new();
    for child in parent.children().filter(|child| child.namespace().is_none()) {
        let name = child.local_name();
        if counts(name) && !seen.insert(name) {
            let what = format!("a second <{}> in <{}>", shown(name), shown(parent.local_name()));
            found.push((child, what));
        }
    }
}

/// The outermost elements of other namespaces, this one or below it.
fn foreign<'d>(element: Element<'d>, found: &mut Vec<(Element<'d>, String)>) {
    if element.namespace().is_some() {
        let what = format!("<{}> among the devices", shown(element.qualified_name()));
        found.push((element, what));
        return;
    }
    for child in element.children() {
        foreign(child, found);
    }
}
