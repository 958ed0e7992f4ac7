//! What an instance stands on, and what would become of it by a reset. Nothing is changed here.

use super::define::History;
use super::record::{Instance, InstanceState};
use super::{InstallError, pending};
use crate::domain::Edit;
use crate::host::{DomainRecord, DomainState, Layout, Libvirt};
use crate::name::{Digest, GuestName, PackageVersion, printable};
use crate::package::{self, GuestPackage, Manifest, Word};
use fs_err as fs;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use uuid::Uuid;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// Its name, by which its files are called.
    pub instance: GuestName,
    /// What its domain is called, if libvirt knows it.
    pub domain: Option<String>,
    /// What it is doing, if libvirt knows it.
    pub state: Option<DomainState>,
    /// Its identity.
    pub uuid: Uuid,
    /// The package that it was made from.
    pub package: GuestPackage,
    /// The version of the package that is installed, if it is.
    pub installed: Option<PackageVersion>,
    /// The version of the package that its definition is of.
    pub version: Option<PackageVersion>,
    /// Its disks.
    pub disks: Vec<DiskStatus>,
    /// What users have changed in its definition.
    pub edits: Vec<Edit>,
    /// Work with it that is still to be done.
    pub pending: Vec<String>,
    /// What `guest reset` would change, for people.
    pub reset: Vec<String>,
}

/// A disk of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskStatus {
    /// The name in the domain.
    pub target: Word,
    /// The overlay that is written to.
    pub file: PathBuf,
    /// What the overlay takes on the disk, in bytes; none if it is not there.
    pub written: Option<u64>,
    /// The images below it, from the base upwards; the last one is the delta that it was made on.
    pub layers: Vec<Digest>,
    /// The version of the package that had these images; not known of an overlay that was found.
    pub version: Option<PackageVersion>,
    /// True if the installed package has the same images.
    pub current: bool,
    /// The images that the installed package has.
    pub packaged: Vec<Digest>,
}

/// All instances, by name.
pub fn statuses(layout: &Layout, libvirt: &Libvirt) -> Result<Vec<InstanceStatus>, InstallError> {
    let all = Instance::all(layout)?;
    all.iter()
        .map(|instance| describe(layout, libvirt, instance))
        .collect()
}

/// The instance whose domain, or which itself, is called `name`.
pub fn status(layout: &Layout, libvirt: &Libvirt, name: &str) -> Result<InstanceStatus, InstallError> {
    describe(layout, libvirt, &find(layout, libvirt, name)?)
}

pub(super) fn find(layout: &Layout, libvirt: &Libvirt, name: &str) -> Result<Instance, InstallError> {
    let found = match libvirt.domain(name)? {
        Some(domain) => Instance::of_domain(layout, domain.uuid)?,
        None => match name.parse() {
            Ok(name) => Instance::read(layout, &name)?,
            Err(_) => None,
        },
    };
    found.ok_or_else(|| InstallError::NoInstance(printable(name, 64)))
}

fn describe(layout: &Layout, libvirt: &Libvirt, instance: &Instance) -> Result<InstanceStatus, InstallError> {
    let domain = libvirt.domain_by_uuid(instance.uuid)?;
    let manifest = package::show(layout, &instance.package)
        .ok()
        .map(|installed| installed.manifest);
    let files = instance.disk_files(layout);
    let disks: Vec<DiskStatus> = instance
        .disks
        .iter()
        .zip(files)
        .map(|(disk, file)| {
            let packaged = manifest
                .iter()
                .flat_map(|manifest| layers(manifest, &disk.target));
            let packaged: Vec<Digest> = packaged.collect();
            DiskStatus {
                written: fs::metadata(&file).ok().map(|meta| meta.blocks() * 512),
                current: packaged == disk.layers,
                target: disk.target.clone(),
                layers: disk.layers.clone(),
                version: disk.version.clone(),
                packaged,
                file,
            }
        })
        .collect();
    let edits = edits(layout, libvirt, instance)?;
    let waiting = pending::list(layout)?;
    let about = |kind: &pending::PendingKind| match kind {
        pending::PendingKind::RegisterGuest { name: Some(name), .. }
        | pending::PendingKind::ResetGuest { guest: name, .. } => *name == instance.name,
        kind => *kind.package() == instance.package,
    };
    let mut reset = Vec::new();
    if let Some(manifest) = &manifest {
        for disk in &disks {
            reset.push(disk_change(disk, &manifest.package.version));
        }
        reset.extend(lost(layout, libvirt, instance, domain.as_ref())?);
    }
    Ok(InstanceStatus {
        instance: instance.name.clone(),
        state: domain.as_ref().map(|domain| domain.state),
        domain: domain.map(|domain| domain.name),
        uuid: instance.uuid,
        package: instance.package.clone(),
        installed: manifest.map(|manifest| manifest.package.version),
        version: instance.version.clone(),
        disks,
        edits,
        pending: waiting
            .iter()
            .filter(|work| about(&work.kind))
            .map(|work| format!("{}: {}", work.kind, work.reason))
            .collect(),
        reset,
    })
}

fn layers(manifest: &Manifest, target: &Word) -> Vec<Digest> {
    let disk = manifest.disks.iter().find(|disk| disk.target == *target);
    disk.into_iter()
        .flat_map(|disk| &disk.layers)
        .map(|layer| layer.digest)
        .collect()
}

fn disk_change(disk: &DiskStatus, version: &PackageVersion) -> String {
    let target = &disk.target;
    match (disk.packaged.last(), disk.layers.last()) {
        (None, _) => format!("disk {target}: goes, {version} of the package has none"),
        (Some(new), Some(old)) if new != old => format!(
            "disk {target}: begins anew on sha256-{} of version {version}, instead of sha256-{}",
            new.short(),
            old.short()
        ),
        (Some(_), _) => format!("disk {target}: begins anew on the same image"),
    }
}

fn edits(layout: &Layout, libvirt: &Libvirt, instance: &Instance) -> Result<Vec<Edit>, InstallError> {
    let history = History::read(layout, libvirt, instance)?;
    history.edits().map_err(|source| InstallError::Xml {
        package: instance.package.clone(),
        source,
    })
}

/// What a reset takes from the instance besides its disks.
pub(super) fn lost(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    domain: Option<&DomainRecord>,
) -> Result<Vec<String>, InstallError> {
    // The domain keeps its name.
    let edits = edits(layout, libvirt, instance)?;
    let mut lost: Vec<String> = edits
        .iter()
        .filter(|edit| edit.place != "name")
        .map(|edit| format!("definition: {edit} goes back"))
        .collect();
    if let Some(domain) = domain {
        for (points, kind) in [
            (libvirt.snapshots(&domain.name)?, "snapshot"),
            (libvirt.checkpoints(&domain.name)?, "checkpoint"),
        ] {
            lost.extend(
                points
                    .iter()
                    .map(|point| format!("{kind} {}: goes", printable(&point.name, 64))),
            );
        }
        if libvirt.has_saved_state(&domain.name)? {
            lost.push("saved memory: goes".to_owned());
        }
        if layout.instance_nvram(&instance.name).on_disk().exists()
            || layout.nvram(&domain.name).on_disk().exists()
        {
            lost.push("firmware variables: begin anew".to_owned());
        }
    }
    if instance.state == InstanceState::Registered && layout.tpm_state(instance.uuid).on_disk().exists() {
        lost.push("state of the TPM: begins anew".to_owned());
    }
    Ok(lost)
}
