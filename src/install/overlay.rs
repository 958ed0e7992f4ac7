//! The overlays that an instance writes to: on which images they are to stand, and making them. An overlay that is
//! there is never written over, and stays on the images that it was made on.

use super::InstallError;
use super::record::{DiskRecord, Instance};
use crate::host::{Layout, Place, files};
use crate::image::{self, Format};
use crate::name::{Digest, GuestName, printable};
use crate::package::{DiskSection, Manifest, Word};
use fs_err as fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Decides what each disk of the manifest stands on: what its overlay was made on if there is one, whether that is on
/// record or only in its header, and the manifest's images otherwise. Disks that the manifest no longer has stay
/// recorded with their files.
pub(super) fn settle(
    layout: &Layout,
    manifest: &Manifest,
    instance: &mut Instance,
) -> Result<(), InstallError> {
    for disk in &manifest.disks {
        let mut made = packaged(disk, manifest);
        if exists(layout, &instance.name, &disk.target) {
            if let Some(known) = instance.disk(&disk.target) {
                check_header(layout, &instance.name, known)?;
                continue;
            }
            let overlay = layout.instance_disk(&instance.name, &disk.target);
            if let Some(layers) = layers_of(layout, &instance.name, overlay.on_disk())?
                && layers != made.layers
            {
                made = DiskRecord {
                    layers,
                    version: None,
                    ..made
                };
            }
            check_header(layout, &instance.name, &made)?;
        }
        instance.disks.retain(|known| known.target != disk.target);
        instance.disks.push(made);
    }
    // One whose file has gone, and that no package has, is no disk any more.
    let Instance { name, disks, .. } = instance;
    disks.retain(|made| {
        let packaged = manifest.disks.iter().any(|disk| disk.target == made.target);
        packaged || exists(layout, name, &made.target)
    });
    Ok(())
}

/// What a new overlay of the manifest's disk stands on.
pub(super) fn packaged(disk: &DiskSection, manifest: &Manifest) -> DiskRecord {
    DiskRecord {
        target: disk.target.clone(),
        layers: disk.layers.iter().map(|layer| layer.digest).collect(),
        version: Some(manifest.package.version.clone()),
    }
}

/// The images below an overlay as the headers say, from the base upwards; `None` if it does not stand on links of ours.
/// Whether they are what they are called is verified when they are linked.
pub(super) fn layers_of(
    layout: &Layout,
    guest: &GuestName,
    overlay: &Path,
) -> Result<Option<Vec<Digest>>, InstallError> {
    let mut backing = image::info(overlay, Format::Qcow2)?.backing;
    let mut layers: Vec<Digest> = Vec::new();
    while let Some(below) = backing {
        let name = below.recorded.strip_prefix("chain/");
        let name = if layers.is_empty() {
            name
        } else {
            Some(below.recorded.as_str())
        };
        let Some(digest) = name.and_then(Digest::of_file_name) else {
            return Ok(None);
        };
        if layers.contains(&digest) {
            return Ok(None);
        }
        layers.push(digest);
        let places = [
            layout.instance_chain(guest).join(digest.file_name()),
            layout.packaged_image(&digest),
        ];
        let Some(file) = places.iter().find(|place| place.on_disk().exists()) else {
            return Ok(None);
        };
        backing = image::info(file.on_disk(), Format::Qcow2)?.backing;
    }
    layers.reverse();
    Ok((!layers.is_empty()).then_some(layers))
}

/// Fails if the header of a disk's overlay does not name the image that the overlay was made on.
pub(super) fn check_header(
    layout: &Layout,
    guest: &GuestName,
    made: &DiskRecord,
) -> Result<(), InstallError> {
    let path = layout.instance_disk(guest, &made.target).on_disk().to_owned();
    let backing = image::info(&path, Format::Qcow2)?.backing;
    let wanted = made.layers.last().map(backing_name).unwrap_or_default();
    if backing
        .as_ref()
        .is_some_and(|backing| backing.recorded == wanted && backing.format == Some(Format::Qcow2))
    {
        return Ok(());
    }
    Err(InstallError::Overlay {
        guest: guest.clone(),
        path,
        found: backing.map_or("no other image".to_owned(), |b| printable(&b.recorded, 200)),
        wanted,
    })
}

/// Makes the overlay of one disk unless there is one. Its images have to be linked.
pub(super) fn make(layout: &Layout, name: &GuestName, disk: &DiskRecord) -> Result<bool, InstallError> {
    if disk.layers.is_empty() || exists(layout, name, &disk.target) {
        return Ok(false);
    }
    prepare(layout, name, disk)?;
    Ok(take_place(layout, name, disk, None)?)
}

/// Makes a new overlay beside the one that the disk has, under a name of its own. Its images have to be linked.
pub(super) fn prepare(layout: &Layout, name: &GuestName, disk: &DiskRecord) -> Result<(), InstallError> {
    check_layers(layout, name, disk)?;
    let Some(top) = disk.layers.last() else {
        return Ok(());
    };
    let draft = draft(layout, name, &disk.target);
    files::remove(draft.on_disk())?;
    image::create_overlay(draft.on_disk(), &backing_name(top), Format::Qcow2, None)?;
    fs::set_permissions(draft.on_disk(), std::fs::Permissions::from_mode(0o600))?;
    fs::File::open(draft.on_disk())?.sync_all()?;
    Ok(())
}

/// Puts the prepared overlay in the place of the disk's own, if it is not there already: the old one is put aside as
/// `aside`, or goes in the same moment.
pub(super) fn take_place(
    layout: &Layout,
    name: &GuestName,
    disk: &DiskRecord,
    aside: Option<&Path>,
) -> io::Result<bool> {
    let draft = draft(layout, name, &disk.target);
    if !draft.on_disk().exists() {
        return Ok(false);
    }
    let overlay = layout.instance_disk(name, &disk.target);
    if let Some(aside) = aside.filter(|_| exists(layout, name, &disk.target)) {
        fs::rename(overlay.on_disk(), aside)?;
    }
    fs::rename(draft.on_disk(), overlay.on_disk())?;
    files::sync_dir(layout.instance_disks(name).on_disk())?;
    Ok(true)
}

/// Removes prepared overlays that nobody will put in their place.
pub(super) fn forget_prepared(layout: &Layout, name: &GuestName) -> io::Result<()> {
    let dir = layout.instance_disks(name);
    let entries = match fs::read_dir(dir.on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREPARED) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// What the names of prepared overlays begin with.
const PREPARED: &str = ".new-";

fn draft(layout: &Layout, name: &GuestName, target: &Word) -> Place {
    layout
        .instance_disks(name)
        .join(format!("{PREPARED}{target}.qcow2"))
}

/// Fails if a layer names another file below it than the next layer: opening the chain would open that file.
pub(super) fn check_layers(layout: &Layout, name: &GuestName, disk: &DiskRecord) -> Result<(), InstallError> {
    let mut below: Option<String> = None;
    for layer in &disk.layers {
        let path = layout
            .instance_chain(name)
            .join(layer.file_name())
            .on_disk()
            .to_owned();
        let backing = image::info(&path, Format::Qcow2)?.backing;
        let format = backing.as_ref().map(|backing| backing.format);
        if backing.as_ref().map(|backing| &backing.recorded) != below.as_ref()
            || format.is_some_and(|format| format != Some(Format::Qcow2))
        {
            let words = |name: Option<&str>| {
                name.map_or("no other file".to_owned(), |name| {
                    format!("`{}`", printable(name, 200))
                })
            };
            return Err(InstallError::Layer {
                path,
                found: words(backing.as_ref().map(|backing| backing.recorded.as_str())),
                wanted: words(below.as_deref()),
            });
        }
        below = Some(layer.file_name());
    }
    Ok(())
}

fn exists(layout: &Layout, name: &GuestName, target: &Word) -> bool {
    layout.instance_disk(name, target).on_disk().exists()
}

/// What an overlay's header calls the image below it.
fn backing_name(top: &Digest) -> String {
    format!("chain/{}", top.file_name())
}
