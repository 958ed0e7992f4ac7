//! What the machine of a packaged guest remembers besides its disks, put in its place on this host: UEFI variables and
//! the state of an emulated TPM. Like a disk, what is there already is the instance's own and is never written over.

use super::InstallError;
use super::record::Instance;
use crate::host::libvirt::SYSTEM;
use crate::host::{Layout, Libvirt, Place, files, tpm_dir};
use crate::name::GuestName;
use crate::package::{FileRole, FileSection, GuestPackage, Manifest};

/// The instance's own variables, if it came with some.
pub(super) fn variables(layout: &Layout, guest: &GuestName) -> Option<Place> {
    let place = layout.instance_nvram(guest);
    place.on_disk().exists().then_some(place)
}

/// Puts variables and TPM state of the package in the instance's places; true if something was not there.
pub(super) fn put_back(
    layout: &Layout,
    libvirt: &Libvirt,
    package: &GuestPackage,
    manifest: &Manifest,
    instance: &Instance,
) -> Result<bool, InstallError> {
    let mut changed = false;
    for file in &manifest.files {
        match file.role {
            FileRole::FirmwareVariables => {
                let place = layout.instance_nvram(&instance.name);
                if !place.on_disk().exists() {
                    // libvirt hands it to QEMU's user when the guest starts.
                    files::write(place.on_disk(), &content(layout, package, file)?, 0o600)?;
                    changed = true;
                }
            }
            // Another libvirt than the system's keeps its state elsewhere.
            FileRole::Tpm2State | FileRole::Tpm1State if libvirt.uri() == SYSTEM => {
                let version = if file.role == FileRole::Tpm2State {
                    "tpm2"
                } else {
                    "tpm1.2"
                };
                let own = layout.tpm_state(instance.uuid);
                if !own.join(version).join(file.name.as_str()).on_disk().exists() {
                    let content = content(layout, package, file)?;
                    tpm_dir::fill(layout, &own, version, file.name.as_str(), &content)?;
                    changed = true;
                }
            }
            FileRole::Tpm2State
            | FileRole::Tpm1State
            | FileRole::Network
            | FileRole::NetworkPart
            | FileRole::BlockDigests => {}
        }
    }
    Ok(changed)
}

/// A file of the package, checked against the manifest.
fn content(layout: &Layout, package: &GuestPackage, file: &FileSection) -> Result<Vec<u8>, InstallError> {
    let path = layout.guest_package(package.guest()).join(file.name.as_str());
    let content = files::read_at_most(path.on_disk(), file.size)?;
    if file.is_of(&content) {
        return Ok(content);
    }
    Err(InstallError::File {
        package: package.clone(),
        path: path.on_disk().to_owned(),
    })
}
