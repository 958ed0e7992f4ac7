//! Edits of one `<disk>`, shared by packaging and registering: what it takes to make any disk a qcow2 file.

use super::edit::{Editor, Fragment};
use super::scan::Element;
use super::value::XmlValue;

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
