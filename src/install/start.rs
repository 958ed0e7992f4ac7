//! The check before an instance starts: every layer below its overlay is still the file that was verified. QEMU does
//! not notice a swapped base, and a guest on a wrong one destroys its own data.

use super::record::{ImageRecord, Instance};
use super::{InstallError, overlay};
use crate::host::Layout;
use crate::image;
use uuid::Uuid;

/// Fails if a layer of the instance whose domain has this identity is not what was verified; fine for guests that are
/// no instances. A layer that looks changed is read: it may have been copied, or restored, and be the same.
pub fn check_images(layout: &Layout, uuid: Uuid) -> Result<(), InstallError> {
    let Some(mut instance) = Instance::of_domain(layout, uuid)? else {
        return Ok(());
    };
    let name = &instance.name;
    for disk in &instance.disks {
        if layout.instance_disk(name, &disk.target).on_disk().exists() {
            overlay::check_header(layout, name, disk)?;
        }
    }
    let chain = layout.instance_chain(name);
    let mut renewed = Vec::new();
    for digest in instance.layers() {
        let path = chain.join(digest.file_name()).on_disk().to_owned();
        let Some(verified) = instance.images.iter().find(|image| image.digest == digest) else {
            return Err(InstallError::Unverified {
                guest: name.clone(),
                path,
            });
        };
        let swapped = |what, found| InstallError::Swapped {
            guest: name.clone(),
            path: path.clone(),
            what,
            wanted: Box::new(digest),
            found,
        };
        let Ok(now) = ImageRecord::of(&path, digest) else {
            return Err(swapped("removed", None));
        };
        if now == *verified {
            continue;
        }
        let found = image::sha256_file(&path, &mut |_| {})?;
        if found == digest {
            renewed.push(now);
            continue;
        }
        let what = if now.size != verified.size {
            "cut or extended"
        } else if now.inode != verified.inode {
            "replaced"
        } else {
            "written to"
        };
        return Err(swapped(what, Some(found)));
    }
    if !renewed.is_empty() {
        instance
            .images
            .retain(|image| renewed.iter().all(|new| new.digest != image.digest));
        instance.images.extend(renewed);
        instance.write(layout)?;
    }
    Ok(())
}
