//! The check before an instance starts: every layer below its overlay is still the file that was verified. QEMU does
//! not notice a swapped base, and a guest on a wrong one destroys its own data.

use super::InstallError;
use super::record::{ImageRecord, Instance};
use crate::host::Layout;
use crate::name::GuestName;

/// Fails if a layer of the instance `name` has changed since it was verified; fine for guests that are no instances.
pub fn check_images(layout: &Layout, name: &GuestName) -> Result<(), InstallError> {
    let Some(instance) = Instance::read(layout, name)? else {
        return Ok(());
    };
    let chain = layout.instance_chain(name);
    for verified in &instance.images {
        let path = chain.join(verified.digest.file_name()).on_disk().to_owned();
        let swapped = |what| InstallError::Swapped {
            guest: name.clone(),
            path: path.clone(),
            what,
        };
        match ImageRecord::of(&path, verified.digest) {
            Err(_) => return Err(swapped("removed")),
            Ok(now) if now.size != verified.size => return Err(swapped("cut or extended")),
            Ok(now) if now.inode != verified.inode => return Err(swapped("replaced")),
            Ok(now) if now.mtime != verified.mtime => return Err(swapped("written to")),
            Ok(_) => {}
        }
    }
    Ok(())
}
