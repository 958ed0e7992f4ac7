//! Finds what ties a domain to the host that it is on. One list serves people (shown before any byte is copied), the
//! manifest, and the edit itself. The edits that need more than removing an element are in `package`.

mod devices;

use super::ambiguous;
use super::error::{shown, shown_path};
use super::host_bound::{Fate, HostBound, HostBoundKind};
use super::scan::Element;
pub(super) use devices::{generated_channel, generated_socket};

/// A host-bound thing with its element.
pub(super) struct Found<'d> {
    pub(super) bound: HostBound,
    pub(super) element: Element<'d>,
}

struct Finder<'d> {
    found: Vec<Found<'d>>,
}

/// Everything host-bound in a domain, in the order in which people look for it.
pub(super) fn find(root: Element<'_>) -> Vec<Found<'_>> {
    let mut finder = Finder { found: Vec::new() };
    finder.firmware(root);
    for device in root.children_named("devices").flat_map(Element::children) {
        let before = finder.found.len();
        finder.device(device);
        // What belongs to a device that is left out needs no mention.
        let gone = |found: &Found<'_>| {
            found.element == device
                && found.bound.fate == Fate::Removed
                && found.bound.kind != HostBoundKind::Password
        };
        if !finder.found[before..].iter().any(gone) {
            finder.option_rom(device);
            finder.secrets(device);
        }
    }
    finder.tuning(root);
    finder.rest(root);
    for (element, what) in ambiguous::find(root) {
        finder.add(element, HostBoundKind::Ambiguous, Fate::Kept, what);
    }
    finder.found
}

impl<'d> Finder<'d> {
    fn add(&mut self, element: Element<'d>, kind: HostBoundKind, fate: Fate, what: String) {
        self.found.push(Found {
            bound: HostBound { kind, what, fate },
            element,
        });
    }

    fn path(&mut self, element: Element<'d>, what: &str, path: Option<&str>) {
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            self.add(
                element,
                HostBoundKind::HostPath,
                Fate::Kept,
                format!("{what} {}", shown_path(path)),
            );
        }
    }

    fn firmware(&mut self, root: Element<'d>) {
        let Some(os) = root.child("os") else { return };
        for (name, what) in [
            ("loader", "firmware"),
            ("kernel", "kernel"),
            ("initrd", "initial RAM disk"),
            ("dtb", "device tree"),
        ] {
            if let Some(element) = os.child(name) {
                self.path(element, what, element.trimmed_text().as_deref());
            }
        }
        for table in os
            .at(&["acpi"])
            .into_iter()
            .flat_map(|acpi| acpi.children_named("table"))
        {
            self.path(table, "ACPI table", table.trimmed_text().as_deref());
        }
        let Some(nvram) = os.child("nvram") else { return };
        self.path(
            nvram,
            "template of the firmware variables",
            nvram.attribute("template"),
        );
        let path = match nvram.child("source") {
            Some(source) => source.attributes().next().map(|(_, path)| path.to_owned()),
            None => nvram.trimmed_text(),
        };
        if let Some(path) = path {
            let what = format!("firmware variables {}", shown_path(&path));
            self.add(nvram, HostBoundKind::FirmwareVariables, Fate::Removed, what);
        }
    }

    fn tuning(&mut self, root: Element<'d>) {
        let mut tuned = |element: Option<Element<'d>>, what: &str| {
            if let Some(element) = element {
                self.add(element, HostBoundKind::HostTuning, Fate::Kept, what.to_owned());
            }
        };
        tuned(
            root.child("vcpu")
                .filter(|vcpu| vcpu.attribute("cpuset").is_some()),
            "CPUs of the host",
        );
        let pinned = |tune: &Element<'_>| tune.children().any(|e| e.local_name().ends_with("pin"));
        tuned(
            root.child("cputune").filter(pinned),
            "virtual CPUs pinned to CPUs of the host",
        );
        tuned(root.child("numatune"), "memory nodes of the host");
        tuned(root.at(&["memoryBacking", "hugepages"]), "huge pages");
    }

    fn rest(&mut self, root: Element<'d>) {
        use Fate::{Kept, Removed};
        use HostBoundKind as Kind;
        for element in root.children() {
            match element.local_name() {
                "launchSecurity" if element.namespace().is_none() => {
                    let kind = shown(element.attribute("type").unwrap_or("?"));
                    self.add(
                        element,
                        Kind::LaunchSecurity,
                        Removed,
                        format!("memory encryption {kind}"),
                    );
                }
                "seclabel" if element.is("seclabel") => {
                    let kind = element.attribute("type");
                    if kind == Some("none") {
                        let model = shown(element.attribute("model").unwrap_or("everything"));
                        let what = format!("no confinement by {model}");
                        self.add(element, Kind::SecurityLabel, Kept, what);
                    } else if kind == Some("static") || element.child("baselabel").is_some() {
                        let model = shown(element.attribute("model").unwrap_or("?"));
                        let what = format!("security label for {model}");
                        self.add(element, Kind::SecurityLabel, Removed, what);
                    }
                }
                "sysinfo" if element.is("sysinfo") => self.sysinfo(element),
                "commandline" | "override" | "capabilities" if element.namespace().is_some() => {
                    let what = format!("{} for QEMU", shown(element.qualified_name()));
                    self.add(element, Kind::Arguments, Kept, what);
                }
                _ => {}
            }
        }
    }

    fn sysinfo(&mut self, sysinfo: Element<'d>) {
        for entry in sysinfo.children_named("entry") {
            self.path(entry, "firmware configuration file", entry.attribute("file"));
        }
        for entry in sysinfo.children_named("system").flat_map(Element::children) {
            // libvirt refuses a domain in which this differs from <uuid>.
            if entry.is("entry") && entry.attribute("name") == Some("uuid") {
                let what = "UUID in the SMBIOS tables".to_owned();
                self.add(entry, HostBoundKind::Identity, Fate::Removed, what);
            }
        }
    }
}
