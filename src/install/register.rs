//! `guest register PACKAGE`: instances from an installed guest package. Every step may be done twice; overlays that are
//! there are adopted, never written over.

use super::define::{self, History};
use super::overlooked::{is_verified, not_linked};
use super::record::{Identity, ImageRecord, Instance, InstanceState};
use super::{InstallError, chain, firmware, identity, kept, networks, overlay, reset, trust};
use crate::domain::scan::MAX_BYTES;
use crate::domain::{Domain, Edit, VirtType};
use crate::host::{Layout, Libvirt, files, instance_dir};
use crate::name::{Digest, GuestName};
use crate::package::{self, DiskSection, GuestPackage, ImagePackage, Manifest};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::io;

/// What is to be registered.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The package.
    pub package: &'a GuestPackage,
    /// One instance by name, made beside the others if it is not there. Without it: all that there are, or the first.
    pub name: Option<&'a GuestName>,
    /// Give it what the package does not declare.
    pub trust: bool,
    /// What will run it.
    pub virt: VirtType,
    /// Only tell whether anything would change.
    pub dry_run: bool,
}

/// What registering an instance did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    /// The instance's name.
    pub guest: GuestName,
    /// False if all was there.
    pub changed: bool,
    /// Remarks for the user: what differs from the package for this host's sake.
    pub notes: Vec<String>,
    /// What users have changed in its definition, which an upgrade has left as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Edit>,
}

/// A package as it is installed.
pub(super) struct Packaged {
    pub(super) manifest: Manifest,
    pub(super) xml: String,
    pub(super) domain: Domain,
}

impl Packaged {
    pub(super) fn read(layout: &Layout, package: &GuestPackage) -> Result<Self, InstallError> {
        let installed = package::show(layout, package)?;
        let path = installed.domain_xml.on_disk();
        let bytes = files::read_at_most(path, MAX_BYTES as u64)?;
        let xml = String::from_utf8(bytes).map_err(|_| {
            let text = format!("{}: it is not UTF-8", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let domain = Domain::parse(&xml).map_err(|source| InstallError::Xml {
            package: package.clone(),
            source,
        })?;
        Ok(Self {
            manifest: installed.manifest,
            xml,
            domain,
        })
    }
}

/// Makes, completes or brings back instances of a package. One that fails does not hold up the others; the first error
/// is returned.
pub fn register(
    layout: &Layout,
    libvirt: &Libvirt,
    wish: &Wish<'_>,
) -> Result<Vec<Registered>, InstallError> {
    let packaged = Packaged::read(layout, wish.package)?;
    let found = identity::instances(layout, libvirt, &packaged.manifest, &packaged.domain)?;
    let new = |name: &GuestName, identity| Instance::new(name.clone(), wish.package.clone(), identity);
    let wanted = match wish.name {
        Some(name) => {
            let known = found.into_iter().find(|instance| instance.name == *name);
            vec![known.unwrap_or_else(|| new(name, Identity::Own))]
        }
        None if found.is_empty() => vec![new(wish.package.guest(), Identity::Packaged)],
        None => found,
    };
    let mut done = Vec::new();
    let mut failed = None;
    for instance in wanted {
        match one(layout, libvirt, wish, &packaged, instance) {
            Ok(registered) => done.push(registered),
            Err(error) if failed.is_none() => failed = Some(error),
            Err(error) => tracing::error!(%error, "an instance of {} is not registered", wish.package),
        }
    }
    failed.map_or(Ok(done), Err)
}

fn one(
    layout: &Layout,
    libvirt: &Libvirt,
    wish: &Wish<'_>,
    packaged: &Packaged,
    found: Instance,
) -> Result<Registered, InstallError> {
    let Packaged {
        manifest,
        xml,
        domain,
    } = packaged;
    let name = found.name.clone();
    let _lock = if wish.dry_run {
        None
    } else {
        Some(files::Lock::acquire(layout.guest_lock(&name).on_disk())?)
    };
    // Under the lock, since another run may have made it meanwhile.
    let before = Instance::read(layout, &name)?.filter(|i| identity::is_of(manifest, &i.package));
    let known = before.is_some();
    let mut instance = before.clone().unwrap_or(found);
    let mut notes = Vec::new();
    instance.package = wish.package.clone();
    let needs = trust::check(manifest, domain, &mut instance, wish.trust)?;
    identity::refuse_name_clash(layout, libvirt, &instance, known)?;
    let digest = Digest::from_bytes(Sha256::digest(xml).into());
    let mut changed = before.as_ref() != Some(&instance);
    if wish.dry_run {
        changed |= networks::would_bring(layout, &instance, manifest)?
            || libvirt.domain_by_uuid(instance.uuid)?.is_none()
            || instance.domain_xml != Some(digest)
            || instance.version.as_ref() != Some(&manifest.package.version)
            || instance.state != InstanceState::Registered
            || !is_whole(layout, &instance, manifest);
        return Ok(Registered {
            guest: name,
            changed,
            notes,
            kept: Vec::new(),
        });
    }

    let resetting = instance.resetting.is_some();
    reset::clear_away(layout, libvirt, &mut instance)?;
    let macs = identity::settle_macs(layout, libvirt, domain, &mut instance, &mut notes)?;
    networks::settle(layout, libvirt, &mut instance, manifest, &mut notes)?;
    instance_dir::make_chain(layout, &name)?;
    overlay::settle(layout, manifest, &mut instance)?;
    changed |= link_images(layout, &mut instance)?;
    // Known before the overlays and the domain exist, so that a killed run leaves nothing without an owner, and no
    // overlay whose images are not known.
    instance.write(layout)?;
    let mut fresh = false;
    for disk in &instance.disks {
        fresh |= overlay::make(layout, &name, disk)?;
    }
    fresh |= firmware::put_back(layout, libvirt, wish.package, manifest, &instance)?;
    changed |= fresh;

    if manifest.disks.iter().any(|disk| stays_behind(&instance, disk)) {
        notes.push(format!(
            "{name} stays on the images that it was made from, not those of {} {}: `miniascape guest reset {name}` \
             would begin anew on them",
            wish.package, manifest.package.version
        ));
    }
    let running = libvirt.domain_by_uuid(instance.uuid)?;
    let wanted = define::wanted(layout, manifest, &instance, xml, &macs, wish.virt)?;
    let history = if resetting {
        History::default()
    } else {
        History::read(layout, libvirt, &instance)?
    };
    let mut kept = Vec::new();
    if running.is_none() || !history.is_applied(&wanted) {
        if running.as_ref().is_some_and(|d| d.state.is_active()) {
            notes.push(format!(
                "{name} is running: the new definition takes effect at its next start"
            ));
        }
        kept = define::define(layout, libvirt, &instance, &wanted, &history)?;
        notes.extend(needs);
        notes.extend(wanted.notes.iter().map(ToString::to_string));
        notes.extend(
            kept.iter()
                .map(|edit| format!("{name}: kept as it was changed here: {edit}")),
        );
        changed = true;
        notes.extend(networks::remarks(layout, libvirt, wish.package, manifest)?);
    }
    if layout.instance_kept(&name).on_disk().exists()
        && let Some(domain) = libvirt.domain_by_uuid(instance.uuid)?
    {
        changed |= kept::put_back(layout, libvirt, &instance, &domain.name, &mut notes)?;
    }
    changed |= networks::bring(layout, libvirt, &instance, manifest, &mut notes)?;
    changed |= instance.state != InstanceState::Registered;
    instance.state = InstanceState::Registered;
    instance.domain_xml = Some(digest);
    instance.version = Some(manifest.package.version.clone());
    if resetting {
        reset::prune(layout, &mut instance)?;
        instance.resetting = None;
    }
    instance.write(layout)?;
    Ok(Registered {
        guest: name,
        changed,
        notes,
        kept,
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

/// Links and verifies every image that the instance's disks stand on, and links again what else there is in its chain
/// and has come back with its package; true if a link changed.
pub(super) fn link_images(layout: &Layout, instance: &mut Instance) -> Result<bool, InstallError> {
    let chain = layout.instance_chain(&instance.name);
    let known = verified(layout, instance)?;
    let mut changed = false;
    let mut images: Vec<ImageRecord> = Vec::new();
    let layers = instance.layers();
    for digest in &layers {
        let packaged = layout.packaged_image(digest);
        let Some(linked) = chain::link(packaged.on_disk(), chain.on_disk(), digest, &known)? else {
            return Err(InstallError::ImageMissing {
                package: instance.package.clone(),
                path: packaged.on_disk().to_owned(),
                image: ImagePackage::of(digest).to_string(),
            });
        };
        changed |= linked.changed;
        images.push(linked.image);
    }
    // Of disks that were put aside: what is wrong with them is not in the way of this one.
    let aside = chain::held(chain.on_disk())?
        .into_iter()
        .filter(|held| !layers.contains(held));
    link_again(layout, instance, aside, &known, &mut images);
    instance.images = images;
    note_left(layout, instance)?;
    Ok(changed)
}

/// Links again what there is in the instance's chain and has come back with its package. What is damaged there is told,
/// and what the chain has stays.
pub(super) fn relink(layout: &Layout, instance: &mut Instance) -> Result<(), InstallError> {
    let known = verified(layout, instance)?;
    let mut images = instance.images.clone();
    let sound = |image: &&ImageRecord| is_verified(layout, instance, image);
    let held: Vec<Digest> = images.iter().filter(sound).map(|image| image.digest).collect();
    link_again(layout, instance, held.into_iter(), &known, &mut images);
    instance.images = images;
    note_left(layout, instance)
}

fn link_again(
    layout: &Layout,
    instance: &Instance,
    held: impl Iterator<Item = Digest>,
    known: &[ImageRecord],
    images: &mut Vec<ImageRecord>,
) {
    let chain = layout.instance_chain(&instance.name);
    for digest in held {
        let packaged = layout.packaged_image(&digest);
        match chain::link(packaged.on_disk(), chain.on_disk(), &digest, known) {
            Ok(Some(linked)) => {
                images.retain(|image| image.digest != digest);
                images.push(linked.image);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the image in {} is kept", chain.on_disk().display()),
        }
    }
}

/// Remembers the packaged files that the chain has no links to although they are there.
fn note_left(layout: &Layout, instance: &mut Instance) -> Result<(), InstallError> {
    let held = chain::held(layout.instance_chain(&instance.name).on_disk())?;
    let left = held
        .iter()
        .filter_map(|digest| not_linked(layout, instance, digest));
    instance.left = left.collect();
    Ok(())
}

/// The images that were verified before, for this instance or, which is the same file, for another.
fn verified(layout: &Layout, instance: &Instance) -> Result<Vec<ImageRecord>, InstallError> {
    let mut known = instance.images.clone();
    for other in Instance::all(layout)?
        .into_iter()
        .filter(|other| other.uuid != instance.uuid)
    {
        known.extend(other.images);
    }
    Ok(known)
}

/// True if the package now has other images for a disk than its overlay was made on.
pub(super) fn stays_behind(instance: &Instance, disk: &DiskSection) -> bool {
    let packaged = disk.layers.iter().map(|layer| layer.digest);
    instance
        .disk(&disk.target)
        .is_some_and(|made| !packaged.eq(made.layers.iter().copied()))
}
