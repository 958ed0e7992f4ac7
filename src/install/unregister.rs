//! `guest unregister PACKAGE`: what a removed package leaves behind is taken out of libvirt; disks, firmware variables,
//! definition, snapshots and saved memory are kept, and come back with the package. A package that another one has replaced leaves its
//! instances to that one.

use super::InstallError;
use super::record::{Instance, InstanceState};
use super::{kept, networks};
use crate::host::{Layout, Libvirt, files};
use crate::name::GuestName;
use crate::package::{self, GuestPackage};
use serde::Serialize;

/// What unregistering did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unregistered {
    /// Instances that libvirt no longer knows; their disks are kept.
    pub undefined: Vec<GuestName>,
    /// Instances that are running: they stay until they are off.
    pub running: Vec<GuestName>,
    /// True if nothing was to be done because the package is still installed.
    pub still_installed: bool,
    /// The installed package that takes the instances over, because it is this one under another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_to: Option<GuestPackage>,
    /// What could not be done, and how it can.
    pub notes: Vec<String>,
}

/// Takes the instances of `package` out of libvirt, unless the package is still installed, as it is while it is being
/// upgraded. A running instance is left alone, to be taken up again by a later run. With `dry_run` nothing is done.
pub fn unregister(
    layout: &Layout,
    libvirt: &Libvirt,
    package: &GuestPackage,
    dry_run: bool,
) -> Result<Unregistered, InstallError> {
    let mut done = Unregistered::default();
    let successor = successor(layout, package)?;
    for Instance { name, .. } in Instance::all(layout)? {
        let _lock = if dry_run {
            None
        } else {
            Some(files::Lock::acquire(layout.guest_lock(&name).on_disk())?)
        };
        // Under the lock, since another run may have changed it: brought the package back, or taken the guest over.
        let Some(mut instance) = Instance::read(layout, &name)?.filter(|i| i.package == *package) else {
            continue;
        };
        if is_installed(layout, package) {
            done.still_installed = true;
            return Ok(done);
        }
        if let Some(successor) = &successor {
            done.left_to = Some(successor.clone());
            return Ok(done);
        }
        if let Some(domain) = libvirt.domain_by_uuid(instance.uuid)? {
            if domain.state.is_active() {
                done.running.push(instance.name);
                continue;
            }
            if dry_run {
                done.undefined.push(instance.name);
                continue;
            }
            kept::keep(layout, libvirt, &instance, &domain)?;
            libvirt.undefine_keeping_data(&domain.name)?;
            done.undefined.push(instance.name.clone());
        }
        if instance.state != InstanceState::Unregistered && !dry_run {
            done.notes
                .extend(networks::leave(layout, libvirt, &instance.name)?);
            instance.state = InstanceState::Unregistered;
            instance.write(layout)?;
        }
    }
    done.still_installed = is_installed(layout, package);
    Ok(done)
}

/// The installed package that was called `package` before. Its scriptlet may run before or after this one's.
fn successor(layout: &Layout, package: &GuestPackage) -> Result<Option<GuestPackage>, InstallError> {
    let mut installed = package::list(layout)?.into_iter().flatten();
    let successor = installed.find(|other| other.manifest.renamed_from.contains(package));
    Ok(successor.map(|other| other.package))
}

pub(super) fn is_installed(layout: &Layout, package: &GuestPackage) -> bool {
    let manifest = layout.guest_package(package.guest()).join("manifest.json");
    manifest.on_disk().exists()
}
