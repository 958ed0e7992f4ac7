//! `guest register PACKAGE`: an instance from an installed guest package. Every step may be done twice; overlays that
//! are there are adopted, never written over.

use super::record::{Instance, InstanceState};
use super::{InstallError, chain, firmware, networks, overlay, trust};
use crate::domain::{self, Domain, InstanceDisk, InstanceNote, InstanceSpec, VirtType, XmlValue};
use crate::host::{Layout, Libvirt, files, instance_dir};
use crate::name::{Digest, GuestName};
use crate::package::{self, DiskSection, GuestPackage, ImagePackage, Manifest};
use fs_err as fs;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// What registering did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The instance's name.
    pub guest: GuestName,
    /// False if all was there.
    pub changed: bool,
    /// Remarks for the user: what differs from the package for this host's sake.
    pub notes: Vec<String>,
}

/// Makes, completes or brings back the instance of `package`, which will run as `virt`. With `dry_run` it is only told
/// whether that would change anything.
pub fn register(
    layout: &Layout,
    libvirt: &Libvirt,
    package: &GuestPackage,
    virt: VirtType,
    dry_run: bool,
) -> Result<Registered, InstallError> {
    let name = package.guest();
    let _lock = if dry_run {
        None
    } else {
        Some(files::Lock::acquire(layout.guest_lock(name).on_disk())?)
    };
    let installed = package::show(layout, package)?;
    let manifest = installed.manifest;
    let packaged_xml = fs::read_to_string(installed.domain_xml.on_disk())?;
    let asked = Domain::parse(&packaged_xml).map_err(|source| InstallError::Xml {
        package: package.clone(),
        source,
    })?;
    let needs = trust::check(package, &asked)?;
    let before = Instance::read(layout, name)?;
    let mut instance = before
        .clone()
        .unwrap_or_else(|| Instance::new(name.clone(), package.clone()));
    refuse_name_clash(libvirt, &instance)?;
    let digest = Digest::from_bytes(Sha256::digest(&packaged_xml).into());
    let mut changed = before.is_none();
    if dry_run {
        let known = libvirt.domain_by_uuid(instance.uuid)?.is_some() && instance.domain_xml == Some(digest);
        changed |= networks::would_bring(layout, name, &manifest)?
            || !known
            || instance.state != InstanceState::Registered
            || !is_whole(layout, &instance, &manifest);
        return Ok(Registered {
            guest: name.clone(),
            changed,
            notes: Vec::new(),
        });
    }

    instance_dir::make_chain(layout, name)?;
    overlay::settle(layout, &manifest, &mut instance)?;
    changed |= link_images(layout, package, &mut instance)?;
    // Known before the overlays and the domain exist, so that a killed run leaves nothing without an owner, and no
    // overlay whose images are not known.
    instance.write(layout)?;
    let mut fresh = false;
    for disk in &instance.disks {
        fresh |= overlay::make(layout, name, disk)?;
    }

    fresh |= firmware::put_back(layout, libvirt, package, &manifest, &instance)?;

    let defined = libvirt.domain_by_uuid(instance.uuid)?;
    let mut notes = Vec::new();
    if manifest.disks.iter().any(|disk| stays_behind(&instance, disk)) {
        notes.push(format!(
            "{name} stays on the images that it was made from: those of {package} {} are not used by it",
            manifest.package.version
        ));
    }
    if defined.is_none() || fresh || instance.domain_xml != Some(digest) {
        if defined.as_ref().is_some_and(|d| d.state.is_active()) {
            notes.push(format!(
                "{name} is running: the new definition takes effect at its next start"
            ));
        }
        let xml = instance_xml(
            layout,
            package,
            &manifest,
            &instance,
            &packaged_xml,
            virt,
            &mut notes,
        )?;
        libvirt.define_domain(name.as_str(), &xml)?;
        notes.extend(needs);
        files::write(
            layout.instance(name).join("domain.xml").on_disk(),
            xml.as_bytes(),
            0o600,
        )?;
        instance.domain_xml = Some(digest);
        changed = true;
        notes.extend(networks::remarks(layout, libvirt, package, &manifest)?);
    }
    changed |= networks::bring(layout, libvirt, name, &manifest, &mut notes)?;
    changed |= instance.state != InstanceState::Registered;
    instance.state = InstanceState::Registered;
    instance.write(layout)?;
    Ok(Registered {
        guest: name.clone(),
        changed,
        notes,
    })
}

/// Whether the overlays of an instance, and the images that they stand on, are in their places.
fn is_whole(layout: &Layout, instance: &Instance, manifest: &Manifest) -> bool {
    let chain = layout.instance_chain(&instance.name);
    let linked = |layer: &Digest| chain.join(layer.file_name()).on_disk().exists();
    manifest.disks.iter().all(|disk| {
        let overlay = layout.instance_disk(&instance.name, &disk.target);
        let made = instance.disk(&disk.target);
        overlay.on_disk().exists() && made.is_some_and(|made| made.layers.iter().all(linked))
    })
}

/// The name is free, or has the instance's own domain.
fn refuse_name_clash(libvirt: &Libvirt, instance: &Instance) -> Result<(), InstallError> {
    match libvirt.domain(instance.name.as_str())? {
        Some(other) if other.uuid != instance.uuid => Err(InstallError::NameTaken(instance.name.clone())),
        _ => Ok(()),
    }
}

/// Links and verifies every image that the instance's disks stand on; true if a link changed.
fn link_images(
    layout: &Layout,
    package: &GuestPackage,
    instance: &mut Instance,
) -> Result<bool, InstallError> {
    let chain = layout.instance_chain(&instance.name);
    let mut changed = false;
    let mut images = Vec::new();
    for digest in instance.layers() {
        let packaged = layout.packaged_image(&digest);
        let Some(linked) = chain::link(packaged.on_disk(), chain.on_disk(), &digest, &instance.images)?
        else {
            return Err(InstallError::ImageMissing {
                package: package.clone(),
                path: packaged.on_disk().to_owned(),
                image: ImagePackage::of(&digest).to_string(),
            });
        };
        changed |= linked.changed;
        images.push(linked.image);
    }
    instance.images = images;
    Ok(changed)
}

/// True if the package now has other images for a disk than its overlay was made on.
fn stays_behind(instance: &Instance, disk: &DiskSection) -> bool {
    let packaged = disk.layers.iter().map(|layer| layer.digest);
    instance
        .disk(&disk.target)
        .is_some_and(|made| !packaged.eq(made.layers.iter().copied()))
}

fn instance_xml(
    layout: &Layout,
    package: &GuestPackage,
    manifest: &Manifest,
    instance: &Instance,
    packaged_xml: &str,
    virt: VirtType,
    notes: &mut Vec<String>,
) -> Result<String, InstallError> {
    let wrong = |source| InstallError::Xml {
        package: package.clone(),
        source,
    };
    let path = |path: &Path| XmlValue::path(path).map_err(wrong);
    let chain = layout.instance_chain(&instance.name);
    let mut disks = Vec::new();
    for disk in &manifest.disks {
        // From the record, never from the manifest: an upgraded package names images that the overlay is not on.
        let layers = instance.disk(&disk.target).map_or(&[][..], |made| &made.layers);
        let below = layers
            .iter()
            .rev()
            .map(|layer| path(chain.join(layer.file_name()).named()));
        disks.push(InstanceDisk {
            target: disk.target.as_str().to_owned(),
            file: path(layout.instance_disk(&instance.name, &disk.target).named())?,
            backing: below.collect::<Result<_, _>>()?,
        });
    }
    let text = |text: &str| XmlValue::new(text).map_err(wrong);
    let spec = InstanceSpec {
        name: text(instance.name.as_str())?,
        uuid: instance.uuid,
        virt,
        disks,
        macs: BTreeMap::new(),
        nvram: firmware::variables(layout, &instance.name)
            .map(|file| path(file.named()))
            .transpose()?,
        serial_log: None,
        mark: vec![
            ("version", text("1")?),
            ("package", text(package.as_str())?),
            ("package-version", text(manifest.package.version.as_str())?),
        ],
    };
    let made = domain::for_instance(packaged_xml, &spec).map_err(wrong)?;
    notes.extend(made.notes.iter().map(InstanceNote::to_string));
    Ok(made.xml)
}
