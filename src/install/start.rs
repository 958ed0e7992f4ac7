//! The check before an instance starts: every layer below its overlay is still the file that was verified. QEMU does
//! not notice a swapped base, and a guest on a wrong one destroys its own data.

use super::record::{ImageRecord, Instance};
use super::{InstallError, overlay};
use crate::host::Layout;
use crate::name::GuestName;

/// Fails if a layer of the instance `name` has changed since it was verified; fine for guests that are no instances.
pub fn check_images(layout: &Layout, name: &GuestName) -> Result<(), InstallError> {
    let Some(instance) = Instance::read(layout, name)? else {
        return Ok(());
    };
    for disk in &instance.disks {
        if layout.instance_disk(name, &disk.target).on_disk().exists() {
            overlay::check_header(layout, name, disk)?;
        }
    }
    let chain = layout.instance_chain(name);
    for digest in instance.layers() {
        let path = chain.join(digest.file_name()).on_disk().to_owned();
        let swapped = |what| InstallError::Swapped {
            guest: name.clone(),
            path: path.clone(),
            what,
        };
        let Some(verified) = instance.images.iter().find(|image| image.digest == digest) else {
            return Err(InstallError::Unverified {
                guest: name.clone(),
                path,
            });
        };
        match ImageRecord::of(&path, digest) {
            Err(_) => return Err(swapped("removed")),
            Ok(now) if now.size != verified.size => return Err(swapped("cut or extended")),
            Ok(now) if now.inode != verified.inode => return Err(swapped("replaced")),
            Ok(now) if now.mtime != verified.mtime => return Err(swapped("written to")),
            Ok(_) => {}
        }
    }
    Ok(())
}
