//! libvirt's capabilities, as far as a guest's needs are judged by them
//! (<https://libvirt.org/formatcaps.html>, <https://libvirt.org/formatdomaincaps.html>).

use crate::domain::scan::{Document, Element};
use std::collections::BTreeMap;

/// The emulator for an architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Emulator {
    pub(super) path: String,
    /// The machine types and their aliases, of all kinds of domains.
    pub(super) machines: Vec<String>,
    /// The kinds of domains: `qemu`, `kvm`.
    pub(super) kinds: Vec<String>,
}

/// What the host's libvirt has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// The architecture of the host.
    pub(super) arch: Option<String>,
    /// By architecture.
    pub(super) emulators: BTreeMap<String, Emulator>,
    /// The security drivers that libvirt uses: `apparmor`, `selinux`, `dac`.
    pub(super) confined_by: Vec<String>,
}

/// What a machine can have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MachineCapabilities {
    /// The kinds of firmware that libvirt can choose: `bios`, `efi`.
    pub(super) firmware: Vec<String>,
    /// True if one of them is for secure boot.
    pub(super) secure: bool,
    /// The CPU modes that are supported.
    pub(super) modes: Vec<String>,
    /// The named models, each with whether it runs here.
    pub(super) models: BTreeMap<String, bool>,
}

fn text(element: Option<Element<'_>>) -> Option<String> {
    Some(element?.text().trim().to_owned())
}

/// Reads libvirt's capabilities; `None` if they cannot be read.
pub(super) fn read(xml: &str) -> Option<Capabilities> {
    let document = Document::parse(xml).ok()?;
    let root = document.root();
    let host = root.child("host")?;
    let mut found = Capabilities {
        arch: text(host.at(&["cpu", "arch"])),
        confined_by: host
            .children_named("secmodel")
            .filter_map(|model| text(model.child("model")))
            .collect(),
        ..Capabilities::default()
    };
    for guest in root.children_named("guest") {
        if text(guest.child("os_type")).as_deref() != Some("hvm") {
            continue;
        }
        let Some(arch) = guest.child("arch") else { continue };
        let domains = || arch.children_named("domain");
        let parts = || std::iter::once(arch).chain(domains());
        let emulator = Emulator {
            path: text(arch.child("emulator")).unwrap_or_default(),
            machines: parts()
                .flat_map(|part| part.children_named("machine"))
                .flat_map(|machine| {
                    let canonical = machine.attribute("canonical").map(str::to_owned);
                    canonical.into_iter().chain(text(Some(machine)))
                })
                .collect(),
            kinds: domains()
                .filter_map(|domain| domain.attribute("type").map(str::to_owned))
                .collect(),
        };
        if let Some(name) = arch.attribute("name") {
            found.emulators.insert(name.to_owned(), emulator);
        }
    }
    Some(found)
}

/// Reads the capabilities of a machine; `None` if they cannot be read.
pub(super) fn read_machine(xml: &str) -> Option<MachineCapabilities> {
    let document = Document::parse(xml).ok()?;
    let root = document.root();
    let supported = |element: &Element<'_>| element.attribute("supported") == Some("yes");
    let values = |parent: Option<Element<'_>>, name: &str| -> Vec<String> {
        let enums = parent
            .into_iter()
            .flat_map(|parent| parent.children_named("enum"));
        enums
            .filter(|list| list.attribute("name") == Some(name))
            .flat_map(|list| list.children_named("value"))
            .map(|value| value.text().trim().to_owned())
            .collect()
    };
    let os = root.child("os");
    let modes = || {
        let cpu = root.child("cpu").into_iter();
        cpu.flat_map(|cpu| cpu.children_named("mode")).filter(supported)
    };
    let custom = modes().filter(|mode| mode.attribute("name") == Some("custom"));
    Some(MachineCapabilities {
        firmware: values(os, "firmware"),
        secure: values(os.and_then(|os| os.child("loader")), "secure").contains(&"yes".to_owned()),
        modes: modes()
            .filter_map(|mode| mode.attribute("name").map(str::to_owned))
            .collect(),
        models: custom
            .flat_map(|mode| mode.children_named("model"))
            .filter_map(|model| Some((text(Some(model))?, model.attribute("usable") != Some("no"))))
            .collect(),
    })
}
