//! The edit that makes a host's domain fit for a package: its identity, what libvirt added while it ran, and what
//! belongs to this host come out, in the right elements only. Finding host-bound things is in `finder`.

use super::disk_edit::{Wanted, all_disks, empty_drive, point_at_file, remove_children, undecided};
use super::edit::Editor;
use super::error::{DomainXmlError, shown};
use super::finder::{self, generated_channel};
use super::host_bound::{Fate, HostBound, HostBoundKind};
use super::scan::{Document, Element};
use super::value::XmlValue;
use super::view::{Domain, InterfaceSource};
use super::{NAMESPACE, carried, read};

/// What the packager has decided about a domain.
#[derive(Debug, Clone, Default)]
pub struct PackageSpec {
    /// The disks whose content is in the package.
    pub disks: Vec<PackedDisk>,
    /// Targets of disks that stay behind; their `<disk>` is removed. One that is not there is no error.
    pub leave: Vec<String>,
}

/// A disk whose content is in the package.
#[derive(Debug, Clone)]
pub struct PackedDisk {
    /// The disk's target, like `vda`.
    pub target: String,
    /// The path that the package's domain XML names. The image there is a qcow2.
    pub file: XmlValue,
}

/// Domain XML for a package.
#[derive(Debug, Clone, PartialEq)]
pub struct Packaged {
    /// The edited text.
    pub xml: String,
    /// What it now says.
    pub domain: Domain,
    /// What a packager has to know and to tell.
    pub report: Report,
}

/// What a packaged domain left behind and what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The UUID that was removed, as written.
    pub uuid: Option<String>,
    /// The emulator that was removed.
    pub emulator: Option<String>,
    /// The machine type that was kept.
    pub machine: Option<String>,
    /// The architecture that was kept.
    pub arch: Option<String>,
    /// The hardware addresses that were kept, one for each interface of the packaged domain.
    pub macs: Vec<Option<String>>,
    /// The libvirt networks that the packaged domain needs, each once.
    pub networks: Vec<String>,
    /// What was tied to the host, and what became of it.
    pub host_bound: Vec<HostBound>,
    /// What was kept as it is and may hold secrets.
    pub carried: Vec<&'static str>,
}

/// Makes domain XML fit for a package. Every data disk must be in `spec`, packed or left behind. Best given the
/// XML of the stopped domain; what a running one has in addition is removed. Applying it again changes nothing.
pub fn for_package(xml: &str, spec: &PackageSpec) -> Result<Packaged, DomainXmlError> {
    let document = Document::parse(xml)?;
    let domain = read::domain(&document)?;
    let root = document.root();
    refuse_secret_arguments(root)?;
    let mut editor = Editor::new(&document);
    let mut report = Report {
        uuid: root.child("uuid").map(|uuid| shown(uuid.text().trim())),
        emulator: domain.emulator.clone(),
        machine: domain.machine.clone(),
        arch: domain.arch.clone(),
        carried: carried::find(root),
        ..Report::default()
    };
    for found in finder::find(root) {
        remove_host_bound(&mut editor, found.element, &found.bound);
        report.host_bound.push(found.bound);
    }
    remove_identity(&mut editor, root);
    disks(&mut editor, root, spec, &mut report)?;
    for device in root.children_named("devices").flat_map(Element::children) {
        remove_run_time(&mut editor, device);
    }
    let xml = editor.finish();
    let domain = Domain::parse(&xml)?;
    report.macs = domain
        .interfaces
        .iter()
        .map(|interface| interface.mac.clone())
        .collect();
    for interface in &domain.interfaces {
        match &interface.source {
            InterfaceSource::Network(name) if !report.networks.contains(name) => {
                report.networks.push(name.clone());
            }
            _ => {}
        }
    }
    Ok(Packaged { xml, domain, report })
}

/// `-object secret,…,data=…` carries the secret itself; `file=` only names one.
fn refuse_secret_arguments(root: Element<'_>) -> Result<(), DomainXmlError> {
    let arguments = root
        .children()
        .filter(|e| e.namespace().is_some() && e.local_name() == "commandline");
    for argument in arguments.flat_map(Element::children) {
        let value = argument.attribute("value").unwrap_or_default();
        let names_secret =
            value.starts_with("secret,") || value.contains("\"secret\"") || value.contains("qom-type=secret");
        if names_secret && value.contains("data") {
            return Err(DomainXmlError::SecretInArguments {
                place: argument.place(),
            });
        }
    }
    Ok(())
}

fn remove_host_bound<'d>(editor: &mut Editor<'d>, element: Element<'d>, bound: &HostBound) {
    match (bound.kind, bound.fate) {
        // An emulated TPM stays too; libvirt makes new state for it.
        (_, Fate::Kept) | (HostBoundKind::Tpm, Fate::Emptied) => {}
        (HostBoundKind::Media, _) => empty_drive(editor, element),
        (HostBoundKind::FirmwareVariables, _) => firmware_variables(editor, element),
        (HostBoundKind::Password, _) => {
            for name in ["passwd", "passwdValidTo", "connected"] {
                editor.remove_attribute(element, name);
            }
        }
        _ => editor.remove(element),
    }
}

/// The instance gets variables of its own; the template says what they start from.
fn firmware_variables<'d>(editor: &mut Editor<'d>, nvram: Element<'d>) {
    if nvram.attribute("template").is_none() {
        return editor.remove(nvram);
    }
    editor.remove_attribute(nvram, "type");
    editor.remove_content(nvram);
}

fn remove_identity<'d>(editor: &mut Editor<'d>, root: Element<'d>) {
    editor.remove_attribute(root, "id");
    remove_children(editor, root, "uuid");
    for genid in root.children_named("genid") {
        // Each instance gets its own: the guest shall notice that it is a copy.
        editor.remove_content(genid);
    }
    for label in root.children_named("seclabel") {
        if label.attribute("type") != Some("none") {
            editor.remove(label);
        }
    }
    for mark in root.children_named("metadata").flat_map(Element::children) {
        if mark.namespace() == Some(NAMESPACE) {
            editor.remove(mark);
        }
    }
}

fn disks<'d>(
    editor: &mut Editor<'d>,
    root: Element<'d>,
    spec: &PackageSpec,
    report: &mut Report,
) -> Result<(), DomainXmlError> {
    for disk in all_disks(root) {
        remove_children(editor, disk, "backingStore");
        remove_children(editor, disk, "mirror");
    }
    Wanted::new(&spec.disks, |disk| &disk.target).of(root, |disk, target, packed| {
        if let Some(packed) = packed {
            point_at_file(editor, disk, &packed.file);
        } else if spec.leave.iter().any(|left| left == target) {
            editor.remove(disk);
            report.host_bound.push(HostBound {
                kind: HostBoundKind::Disk,
                what: format!("disk {}", shown(target)),
                fate: Fate::Removed,
            });
        } else {
            return Err(undecided(disk, target));
        }
        Ok(())
    })
}

/// What libvirt writes into the XML of a running domain and would refuse or misread in another one.
fn remove_run_time<'d>(editor: &mut Editor<'d>, device: Element<'d>) {
    if device.namespace().is_some() {
        return;
    }
    for alias in device.children_named("alias") {
        // Names that begin so were given by people, and other elements may refer to them.
        if !alias
            .attribute("name")
            .is_some_and(|name| name.starts_with("ua-"))
        {
            editor.remove(alias);
        }
    }
    for source in device.children_named("source") {
        remove_children(editor, source, "seclabel");
    }
    match device.qualified_name() {
        "interface" => interface(editor, device),
        "serial" | "parallel" | "console" | "channel" => character_device(editor, device),
        "graphics" => graphics(editor, device),
        _ => {}
    }
}

fn interface<'d>(editor: &mut Editor<'d>, interface: Element<'d>) {
    let connected: &[&str] = match interface.attribute("type") {
        Some("network") => &["portid", "bridge", "dev", "mode"],
        // There it is not libvirt's own, but names the port of a distributed switch.
        Some("vds") => &[],
        _ => &["portid"],
    };
    for source in interface.children_named("source") {
        for name in connected {
            editor.remove_attribute(source, name);
        }
    }
    for target in interface.children_named("target") {
        let made_up = target.attribute("dev").is_some_and(is_generated_tap);
        if made_up && target.attribute("managed") != Some("no") {
            editor.remove(target);
        }
    }
}

/// The names that libvirt (or QEMU) gives to host devices that nobody named.
fn is_generated_tap(name: &str) -> bool {
    ["vnet", "macvtap", "macvlan", "tap"].iter().any(|prefix| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn character_device<'d>(editor: &mut Editor<'d>, device: Element<'d>) {
    editor.remove_attribute(device, "tty");
    let generated = generated_channel(device);
    for source in device.children_named("source") {
        let path = source
            .attribute("path")
            .or(source.attribute("dev"))
            .unwrap_or_default();
        let pty = device.attribute("type") == Some("pty") && path.starts_with("/dev/pts/");
        if pty || generated {
            editor.remove(source);
        }
    }
    for target in device.children_named("target").filter(|_| device.is("channel")) {
        editor.remove_attribute(target, "state");
    }
}

fn graphics<'d>(editor: &mut Editor<'d>, graphics: Element<'d>) {
    let generated = |path: Option<&str>| path.is_some_and(finder::generated_socket);
    for name in ["passwd", "passwdValidTo", "connected"] {
        editor.remove_attribute(graphics, name);
    }
    if generated(graphics.attribute("socket")) {
        editor.remove_attribute(graphics, "socket");
    }
    for listen in graphics.children_named("listen") {
        if generated(listen.attribute("socket")) {
            editor.remove_attribute(listen, "socket");
        }
    }
}
