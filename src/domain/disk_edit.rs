//! Edits of `<disk>`, shared by packaging and registering: which disks there are, and what it takes to make any of
//! them a qcow2 file.

use std::collections::BTreeMap;

use super::edit::{Editor, Fragment};
use super::error::{DomainXmlError, shown};
use super::read;
use super::scan::Element;
use super::value::XmlValue;

/// All disks and drives.
pub(super) fn all_disks(root: Element<'_>) -> impl Iterator<Item = Element<'_>> {
    root.children_named("devices")
        .flat_map(Element::children)
        .filter(|device| device.is("disk"))
}

/// What the caller wants done to each disk that holds data, by the disk's target.
pub(super) struct Wanted<'s, T>(BTreeMap<&'s str, &'s T>);

impl<'s, T> Wanted<'s, T> {
    pub(super) fn new(wanted: impl IntoIterator<Item = &'s T>, target: fn(&T) -> &str) -> Self {
        Self(wanted.into_iter().map(|disk| (target(disk), disk)).collect())
    }

    /// The disks that hold data, each with its target and what is wanted, if anything; then an error if more is
    /// wanted than there is.
    pub(super) fn of<'d>(
        mut self,
        root: Element<'d>,
        mut each: impl FnMut(Element<'d>, &'d str, Option<&'s T>) -> Result<(), DomainXmlError>,
    ) -> Result<(), DomainXmlError> {
        for disk in all_disks(root) {
            if !read::disk_device(disk)?.holds_data() {
                continue;
            }
            let target = disk.child("target").and_then(|target| target.attribute("dev"));
            let target = target.unwrap_or_default();
            each(disk, target, self.0.remove(target))?;
        }
        match self.0.first_key_value() {
            Some((target, _)) => Err(DomainXmlError::NoSuchDisk {
                target: shown(target),
            }),
            None => Ok(()),
        }
    }
}

/// The error for a disk that nothing is wanted for.
pub(super) fn undecided(disk: Element<'_>, target: &str) -> DomainXmlError {
    DomainXmlError::DiskNotDecided {
        place: disk.place(),
        target: shown(target),
    }
}

/// Makes the disk one that is a qcow2 file at that path, whatever it was before. What the guest sees (target, bus,
/// address, serial) and how it is driven (cache, discard, iotune) stays.
pub(super) fn point_at_file<'d>(editor: &mut Editor<'d>, disk: Element<'d>, file: &XmlValue) {
    if disk.attribute("type").is_some_and(|kind| kind != "file") {
        editor.set_attribute(disk, "type", &XmlValue::constant("file"));
        for name in ["auth", "model"] {
            remove_children(editor, disk, name);
        }
    }
    if disk.attribute("device") == Some("lun") {
        editor.set_attribute(disk, "device", &XmlValue::constant("disk"));
        for name in ["rawio", "sgio"] {
            editor.remove_attribute(disk, name);
        }
    }
    // Only raw images can be written by several guests, and this one is the guest's own.
    for name in ["shareable", "mirror"] {
        remove_children(editor, disk, name);
    }
    let driver = disk.child("driver");
    match driver {
        Some(driver) => editor.set_attribute(driver, "type", &XmlValue::constant("qcow2")),
        None => editor.append(
            disk,
            Fragment::new("driver").word("name", "qemu").word("type", "qcow2"),
        ),
    }
    match (disk.child("source"), driver) {
        (Some(source), _) => point_source(editor, source, file),
        (None, Some(driver)) => editor.insert_after(driver, &source_of(file)),
        (None, None) => editor.append(disk, source_of(file)),
    }
}

fn source_of(file: &XmlValue) -> Fragment {
    Fragment::new("source").attribute("file", file.clone())
}

fn point_source<'d>(editor: &mut Editor<'d>, source: Element<'d>, file: &XmlValue) {
    let keeps = |child: &Element<'d>| child.is("encryption");
    if source.children().next().is_some() && !source.children().any(|child| keeps(&child)) {
        let policy = source
            .attribute("startupPolicy")
            .and_then(|policy| XmlValue::new(policy).ok());
        let new = source_of(file);
        let new = match policy {
            Some(policy) => new.attribute("startupPolicy", policy),
            None => new,
        };
        return editor.replace(source, &new);
    }
    editor.set_attribute(source, "file", file);
    for (name, _) in source
        .attributes()
        .filter(|(name, _)| !matches!(*name, "file" | "startupPolicy"))
    {
        editor.remove_attribute(source, name);
    }
    for child in source.children().filter(|child| !keeps(child)) {
        editor.remove(child);
    }
}

/// Writes out the chain below the disk's file, uppermost first, so that libvirt neither probes it nor hands the
/// files of it to QEMU's user.
pub(super) fn set_backing<'d>(editor: &mut Editor<'d>, disk: Element<'d>, backing: &[XmlValue]) {
    let chain = backing
        .iter()
        .rev()
        .fold(Fragment::new("backingStore"), |below, file| {
            let label = Fragment::new("seclabel")
                .word("model", "dac")
                .word("relabel", "no");
            Fragment::new("backingStore")
                .word("type", "file")
                .child(Fragment::new("format").word("type", "qcow2"))
                .child(source_of(file).child(label))
                .child(below)
        });
    match (disk.child("backingStore"), disk.child("source")) {
        (Some(existing), _) => editor.replace(existing, &chain),
        (None, Some(source)) => editor.insert_after(source, &chain),
        (None, None) => editor.append(disk, chain),
    }
}

/// Takes what is in a drive out of it.
pub(super) fn empty_drive<'d>(editor: &mut Editor<'d>, disk: Element<'d>) {
    for name in ["source", "backingStore", "mirror", "auth", "encryption"] {
        remove_children(editor, disk, name);
    }
    if disk.child("source").is_some() && disk.attribute("type").is_some_and(|kind| kind != "file") {
        editor.set_attribute(disk, "type", &XmlValue::constant("file"));
    }
}

/// Removes libvirt's own elements of that name directly in the element.
pub(super) fn remove_children<'d>(editor: &mut Editor<'d>, element: Element<'d>, name: &str) {
    for child in element.children_named(name) {
        editor.remove(child);
    }
}
