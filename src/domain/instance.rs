//! The edit that makes a package's domain XML into one instance on this host: name, identity, disks with their
//! chains, hardware addresses, firmware variables, and our mark. Paths and addresses are decided by the caller.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::NAMESPACE;
use super::disk_edit::{Wanted, all_disks, point_at_file, set_backing, undecided};
use super::edit::{Editor, Fragment};
use super::error::{DomainXmlError, shown};
use super::read;
use super::scan::{Document, Element};
use super::value::XmlValue;
use super::view::Domain;

/// What runs the instance, decided by a probe of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtType {
    /// Hardware virtualisation.
    Kvm,
    /// Software emulation.
    Qemu,
}

impl VirtType {
    /// The value of `<domain type=…>`.
    pub fn as_str(self) -> &'static str {
        match self {
            VirtType::Kvm => "kvm",
            VirtType::Qemu => "qemu",
        }
    }
}

impl fmt::Display for VirtType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instance as it shall be.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// Its name.
    pub name: XmlValue,
    /// Its identity.
    pub uuid: Uuid,
    /// What runs it.
    pub virt: VirtType,
    /// Every data disk of the domain.
    pub disks: Vec<InstanceDisk>,
    /// Hardware addresses by the index of the interface; the others stay as they are.
    pub macs: BTreeMap<usize, XmlValue>,
    /// The file with its firmware variables, for a domain whose firmware has any. None leaves `<nvram>` as it is.
    pub nvram: Option<XmlValue>,
    /// Where the first serial port is logged to. None leaves it as it is.
    pub serial_log: Option<XmlValue>,
    /// The attributes of our mark `<miniascape:guest>`, in order. Names must be XML names without a prefix.
    pub mark: Vec<(&'static str, XmlValue)>,
}

/// A data disk of an instance.
#[derive(Debug, Clone)]
pub struct InstanceDisk {
    /// The disk's target, like `vda`.
    pub target: String,
    /// The instance's own overlay, a qcow2.
    pub file: XmlValue,
    /// The qcow2 files below it, uppermost first, to the very base.
    pub backing: Vec<XmlValue>,
}

/// Domain XML for an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The edited text.
    pub xml: String,
    /// What it now says.
    pub domain: Domain,
    /// What differs from the package for this host's sake.
    pub notes: Vec<InstanceNote>,
}

/// A change that the instance's user may want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceNote {
    /// Software emulation cannot give the guest this CPU; it gets all that emulation has.
    CpuReplaced {
        /// The CPU mode in the package.
        mode: String,
    },
    /// The package was made for hardware virtualisation, which this host does not have, or the reverse.
    TypeChanged {
        /// The domain type in the package.
        from: String,
    },
}

impl fmt::Display for InstanceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstanceNote::CpuReplaced { mode } => {
                write!(
                    f,
                    "the CPU mode {mode} needs KVM; under software emulation the guest gets \"maximum\""
                )
            }
            InstanceNote::TypeChanged { from } => {
                write!(
                    f,
                    "the package's domain type {from} was changed to what runs here"
                )
            }
        }
    }
}

/// Makes domain XML of a package into that of an instance. Every data disk must be in `spec`. Applying it again
/// changes nothing.
pub fn for_instance(xml: &str, spec: &InstanceSpec) -> Result<Instance, DomainXmlError> {
    let document = Document::parse(xml)?;
    read::domain(&document)?;
    let root = document.root();
    let mut editor = Editor::new(&document);
    let mut notes = Vec::new();

    let kind = root.attribute("type").unwrap_or_default();
    if kind != spec.virt.as_str() {
        notes.push(InstanceNote::TypeChanged { from: shown(kind) });
        editor.set_attribute(root, "type", &XmlValue::constant(spec.virt.as_str()));
    }
    if spec.virt == VirtType::Qemu {
        notes.extend(emulate_cpu(&mut editor, root));
    }
    let name = root.child("name").ok_or(DomainXmlError::Missing {
        place: root.place(),
        what: "<name>",
    })?;
    editor.set_text(name, &spec.name);
    let uuid = XmlValue::from(spec.uuid);
    match root.child("uuid") {
        Some(element) => editor.set_text(element, &uuid),
        None => editor.insert_after(name, &Fragment::new("uuid").text(uuid.clone())),
    }
    if let Some(genid) = root.child("genid").filter(|genid| genid.text().trim().is_empty()) {
        // Left empty, libvirt would make a new one each time the instance is defined again.
        editor.set_text(genid, &uuid);
    }
    set_mark(&mut editor, root, root.child("uuid").unwrap_or(name), &spec.mark);
    if let Some(nvram) = &spec.nvram {
        set_nvram(&mut editor, root, nvram);
    }
    set_disks(&mut editor, root, &spec.disks)?;
    set_macs(&mut editor, root, &spec.macs)?;
    if let Some(log) = &spec.serial_log {
        set_serial_log(&mut editor, root, log);
    }

    let xml = editor.finish();
    let domain = Domain::parse(&xml)?;
    Ok(Instance { xml, domain, notes })
}

/// Gives a domain the identity of an instance, our mark, and below each of the instance's overlays the images that it
/// stands on; its name only if there is one. All else stays as it is.
pub fn with_identity(
    xml: &str,
    spec: &InstanceSpec,
    name: Option<&XmlValue>,
) -> Result<String, DomainXmlError> {
    let document = Document::parse(xml)?;
    let root = document.root();
    let mut editor = Editor::new(&document);
    let element = root.child("name").ok_or(DomainXmlError::Missing {
        place: root.place(),
        what: "<name>",
    })?;
    if let Some(name) = name {
        editor.set_text(element, name);
    }
    let name = element;
    let uuid = XmlValue::from(spec.uuid);
    match root.child("uuid") {
        Some(element) => editor.set_text(element, &uuid),
        None => editor.insert_after(name, &Fragment::new("uuid").text(uuid)),
    }
    set_mark(&mut editor, root, root.child("uuid").unwrap_or(name), &spec.mark);
    for disk in all_disks(root) {
        let file = disk.child("source").and_then(|source| source.attribute("file"));
        let own = spec.disks.iter().find(|own| file == Some(own.file.as_str()));
        if let Some(own) = own {
            set_backing(&mut editor, disk, &own.backing);
        }
    }
    Ok(editor.finish())
}

/// Modes that copy the host's CPU need KVM. Topology and NUMA cells stay, because memory and vcpus refer to them.
fn emulate_cpu<'d>(editor: &mut Editor<'d>, root: Element<'d>) -> Option<InstanceNote> {
    let cpu = root.child("cpu")?;
    let mode = cpu
        .attribute("mode")
        .filter(|mode| matches!(*mode, "host-passthrough" | "host-model"))?;
    editor.set_attribute(cpu, "mode", &XmlValue::constant("maximum"));
    if cpu.attribute("check").is_some() {
        editor.set_attribute(cpu, "check", &XmlValue::constant("none"));
    }
    for child in cpu
        .children()
        .filter(|child| child.is("model") || child.is("vendor") || child.is("feature"))
    {
        editor.remove(child);
    }
    Some(InstanceNote::CpuReplaced {
        mode: mode.to_owned(),
    })
}

fn set_mark<'d>(
    editor: &mut Editor<'d>,
    root: Element<'d>,
    before: Element<'d>,
    attributes: &[(&'static str, XmlValue)],
) {
    let declared = Fragment::new("miniascape:guest").word("xmlns:miniascape", NAMESPACE);
    let mark = attributes.iter().fold(declared, |mark, (name, value)| {
        mark.attribute(name, value.clone())
    });
    let Some(metadata) = root.child("metadata") else {
        return editor.insert_after(before, &Fragment::new("metadata").child(mark));
    };
    let ours = |e: &Element<'_>| e.namespace() == Some(NAMESPACE) && e.local_name() == "guest";
    match metadata.children().find(ours) {
        Some(existing) => editor.replace(existing, &mark),
        None => editor.append(metadata, mark),
    }
}

fn set_nvram<'d>(editor: &mut Editor<'d>, root: Element<'d>, path: &XmlValue) {
    let Some(os) = root.child("os") else { return };
    if let Some(nvram) = os.child("nvram") {
        editor.remove_attribute(nvram, "type");
        return editor.set_text(nvram, path);
    }
    // libvirt refuses variables without a firmware that has them, or where it shall keep none.
    let stateless = |loader: Element<'_>| loader.attribute("stateless") == Some("yes");
    if os.child("loader").is_some_and(stateless) {
        return;
    }
    let flash = os
        .child("loader")
        .filter(|loader| loader.attribute("type") == Some("pflash"));
    let nvram = Fragment::new("nvram").text(path.clone());
    match flash {
        Some(loader) => editor.insert_after(loader, &nvram),
        None if os.attribute("firmware") == Some("efi") => editor.append(os, nvram),
        None => {}
    }
}

fn set_disks<'d>(
    editor: &mut Editor<'d>,
    root: Element<'d>,
    disks: &[InstanceDisk],
) -> Result<(), DomainXmlError> {
    Wanted::new(disks, |disk| &disk.target).of(root, |disk, target, wanted| {
        let wanted = wanted.ok_or_else(|| undecided(disk, target))?;
        point_at_file(editor, disk, &wanted.file);
        set_backing(editor, disk, &wanted.backing);
        Ok(())
    })
}

fn set_macs<'d>(
    editor: &mut Editor<'d>,
    root: Element<'d>,
    macs: &BTreeMap<usize, XmlValue>,
) -> Result<(), DomainXmlError> {
    let devices = root.children_named("devices").flat_map(Element::children);
    let interfaces: Vec<Element<'d>> = devices.filter(|device| device.is("interface")).collect();
    for (&index, mac) in macs {
        let Some(interface) = interfaces.get(index) else {
            return Err(DomainXmlError::NoSuchInterface {
                index,
                count: interfaces.len(),
            });
        };
        if let Some(element) = interface.child("mac") {
            editor.set_attribute(element, "address", mac);
        } else {
            editor.append(*interface, Fragment::new("mac").attribute("address", mac.clone()));
        }
    }
    Ok(())
}

fn set_serial_log<'d>(editor: &mut Editor<'d>, root: Element<'d>, path: &XmlValue) {
    let mut devices = root.children_named("devices").flat_map(Element::children);
    let Some(serial) = devices.find(|device| device.is("serial")) else {
        return;
    };
    match serial.child("log") {
        Some(log) => editor.set_attribute(log, "file", path),
        None => editor.append(serial, Fragment::new("log").attribute("file", path.clone())),
    }
}
