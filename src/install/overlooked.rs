//! What nobody has put on record: packages whose scriptlet was killed before it could, or never ran, since miniascape was
//! away; and images that came with a package of their own, which runs no scriptlet.
//!
//! Runs that change something look for both, and the daemon at its start; scriptlets do not look for packages, nor does
//! the daemon later, because the package manager may be at work then and what looks overlooked be still to come.

use super::pending::{self, PendingKind};
use super::record::{ImageRecord, Instance, InstanceState};
use super::{InstallError, identity, register, unregister};
use crate::host::libvirt::SYSTEM;
use crate::host::{Layout, files};
use crate::name::Digest;
use crate::package;
use std::os::unix::fs::MetadataExt;

/// Puts on record as pending what was overlooked.
pub fn note_overlooked(layout: &Layout) -> Result<(), InstallError> {
    for kind in overlooked(layout, &Instance::all(layout)?)? {
        // Whoever is at it puts it on record himself.
        let lock = layout.package_lock(kind.package().guest());
        if let Some(_lock) = files::Lock::try_acquire(lock.on_disk())?
            && overlooked(layout, &Instance::all(layout)?)?.contains(&kind)
        {
            // Packages belong to the host, and so to its libvirt.
            kind.note(layout, SYSTEM, "no run of miniascape has finished it so far")?;
        }
    }
    Ok(())
}

/// Whether there is anything for [`link_returned`] to do. What cannot be looked at does not count.
pub fn is_any_unlinked(layout: &Layout) -> bool {
    let instances = Instance::all(layout).unwrap_or_default();
    instances.iter().any(|instance| is_unlinked(layout, instance))
}

/// Links images that have come back with their packages to the instances that hold others of the same content, so that
/// none takes space twice. Each is read once for that.
pub fn link_returned(layout: &Layout) -> Result<(), InstallError> {
    let instances = Instance::all(layout)?;
    for instance in instances.iter().filter(|instance| is_unlinked(layout, instance)) {
        let lock = layout.guest_lock(&instance.name);
        let Some(_lock) = files::Lock::try_acquire(lock.on_disk())? else {
            continue;
        };
        if let Some(mut instance) = Instance::read(layout, &instance.name)? {
            register::relink(layout, &mut instance)?;
            instance.write(layout)?;
        }
    }
    Ok(())
}

/// What the installed packages and the records of their instances disagree about, unless it is on record already.
fn overlooked(layout: &Layout, instances: &[Instance]) -> Result<Vec<PendingKind>, InstallError> {
    let installed: Vec<_> = package::list(layout)?
        .into_iter()
        .flatten()
        .map(|installed| installed.manifest)
        .collect();
    let mut all = Vec::new();
    for manifest in &installed {
        let own = &manifest.package;
        let mut of_it = instances
            .iter()
            .filter(|i| identity::is_of(manifest, &i.package))
            .peekable();
        let follows = |instance: &Instance| {
            instance.package == own.name
                && instance.version.as_ref() == Some(&own.version)
                && instance.state == InstanceState::Registered
        };
        // A package that took over the place of an installed one is not asked about that one's guests.
        let replaced = installed
            .iter()
            .any(|other| other.renamed_from.contains(&own.name));
        if !replaced && (of_it.peek().is_none() || !of_it.all(follows)) {
            all.push(PendingKind::RegisterGuest {
                package: own.name.clone(),
                name: None,
                trust: false,
            });
        }
    }
    for instance in instances {
        let known = |manifest: &package::Manifest| identity::is_of(manifest, &instance.package);
        let kind = PendingKind::UnregisterGuest {
            package: instance.package.clone(),
        };
        if instance.state == InstanceState::Registered
            && !installed.iter().any(known)
            && !unregister::is_installed(layout, &instance.package)
            && !all.contains(&kind)
        {
            all.push(kind);
        }
    }
    if !all.is_empty() {
        let noted = pending::list(layout)?;
        all.retain(|kind| {
            noted
                .iter()
                .all(|pending| pending.kind.package() != kind.package())
        });
    }
    Ok(all)
}

/// True if an image in the instance's chain is there as another file under its package's name, which was not tried yet.
/// One that was swapped in the chain does not count: its guest is refused until somebody registers it again.
fn is_unlinked(layout: &Layout, instance: &Instance) -> bool {
    instance.images.iter().any(|image| {
        not_linked(layout, instance, &image.digest).is_some_and(|file| !instance.left.contains(&file))
            && is_verified(layout, instance, image)
    })
}

/// True if the instance's chain has the very file that was verified.
pub(super) fn is_verified(layout: &Layout, instance: &Instance, image: &ImageRecord) -> bool {
    let linked = layout
        .instance_chain(&instance.name)
        .join(image.digest.file_name());
    ImageRecord::of(linked.on_disk(), image.digest).is_ok_and(|now| now == *image)
}

/// The packaged file of an image in the instance's chain, if the chain has another file.
pub(super) fn not_linked(layout: &Layout, instance: &Instance, digest: &Digest) -> Option<ImageRecord> {
    let packaged = layout.packaged_image(digest);
    let linked = layout.instance_chain(&instance.name).join(digest.file_name());
    let [a, b] = [&packaged, &linked].map(|place| fs_err::metadata(place.on_disk()));
    let (a, b) = (a.ok()?, b.ok()?);
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return None;
    }
    ImageRecord::of(packaged.on_disk(), *digest).ok()
}
