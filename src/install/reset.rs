//! `guest reset`: an instance begins anew on what its package has now. Its disks, the variables of its firmware, the
//! state of its TPM, snapshots, saved memory, and what users have changed in its definition go; name, UUID and addresses
//! stay. On demand the old disks are put aside, beside the new ones, where their backing files are.
//!
//! Everything is checked, and the new disks are made, before anything goes: an old disk is given up in the moment in which
//! the new one gets its name. The record says how far it has come, so that a killed run is finished by the next one.

use super::record::{DiskRecord, Instance, ResetPhase, Resetting};
use super::register::{self, Packaged, Wish};
use super::{InstallError, PendingKind, Registered, chain, overlay};
use crate::domain::{DiskSource, Domain, VirtType};
use crate::host::libvirt::SYSTEM;
use crate::host::{DomainRecord, Layout, Libvirt, files};
use crate::name::{GuestName, PackageVersion, printable};
use fs_err as fs;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What a reset did, or with `dry_run` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// The instance.
    pub guest: GuestName,
    /// What its domain is called, made printable, if it is in libvirt.
    pub domain: Option<String>,
    /// The version of its package that it begins anew on.
    pub version: PackageVersion,
    /// The disks that went.
    pub removed: Vec<PathBuf>,
    /// Where the old disks are put aside.
    pub aside: Vec<PathBuf>,
    /// What else goes, for people.
    pub lost: Vec<String>,
    /// Remarks on the new definition.
    pub notes: Vec<String>,
}

/// Resets the instance `name`, which will run as `virt`; with `keep` its old disks are put aside. With `dry_run` nothing
/// is done but the checks.
pub fn reset(
    layout: &Layout,
    libvirt: &Libvirt,
    name: &str,
    keep: bool,
    virt: VirtType,
    dry_run: bool,
) -> Result<Reset, InstallError> {
    let instance = super::status::find(layout, libvirt, name)?;
    let _work = if dry_run {
        None
    } else {
        let lock = layout.package_lock(instance.package.guest());
        Some(files::Lock::acquire(lock.on_disk())?)
    };
    // Under the lock, since another run may have changed it.
    let mut instance = Instance::read(layout, &instance.name)?.unwrap_or(instance);
    let packaged = Packaged::read(layout, &instance.package)?;
    let domain = libvirt.domain_by_uuid(instance.uuid)?;
    if let Some(domain) = &domain {
        refuse(layout, &instance, domain)?;
    }
    let suffix = keep.then(|| jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
    let disks = instance.disk_files(layout).filter(|disk| disk.exists());
    let disks: Vec<PathBuf> = disks.collect();
    let mut done = Reset {
        guest: instance.name.clone(),
        domain: domain.as_ref().map(|domain| printable(&domain.name, 64)),
        version: packaged.manifest.package.version.clone(),
        aside: suffix
            .iter()
            .flat_map(|suffix| disks.iter().map(|disk| aside(disk, suffix)))
            .collect(),
        removed: if keep { Vec::new() } else { disks },
        lost: super::status::lost(layout, libvirt, &instance, domain.as_ref())?,
        notes: Vec::new(),
    };
    if dry_run {
        return Ok(done);
    }
    // What the new disks stand on is there and good before the old ones go.
    let mut trial = instance.clone();
    trial.disks.clear();
    trial.disks.extend(
        packaged
            .manifest
            .disks
            .iter()
            .map(|disk| overlay::packaged(disk, &packaged.manifest)),
    );
    {
        let _lock = files::Lock::acquire(layout.guest_lock(&instance.name).on_disk())?;
        crate::host::instance_dir::make_chain(layout, &instance.name)?;
        register::link_images(layout, &mut trial)?;
        let kind = pending(&instance);
        kind.note(layout, libvirt.uri(), "a run of miniascape was interrupted")?;
        for disk in &trial.disks {
            if let Err(error) = overlay::prepare(layout, &instance.name, disk) {
                if instance.resetting.is_none() {
                    overlay::forget_prepared(layout, &instance.name)?;
                    kind.forget(layout)?;
                }
                return Err(error);
            }
        }
        instance.images = trial.images;
        instance.resetting = Some(Resetting {
            phase: ResetPhase::Removing,
            aside: suffix,
            disks: trial.disks,
        });
        instance.write(layout)?;
    }
    done.notes = go_on(layout, libvirt, &instance, virt)?
        .into_iter()
        .flat_map(|done| done.notes)
        .collect();
    pending(&instance).forget(layout)?;
    Ok(done)
}

/// Finishes a reset that was begun, if one was.
pub(super) fn complete(
    layout: &Layout,
    libvirt: &Libvirt,
    name: &GuestName,
    virt: VirtType,
) -> Result<(), InstallError> {
    match Instance::read(layout, name)? {
        Some(instance) if instance.resetting.is_some() => go_on(layout, libvirt, &instance, virt).map(drop),
        // It had not begun.
        _ => Ok(overlay::forget_prepared(layout, name)?),
    }
}

fn pending(instance: &Instance) -> PendingKind {
    PendingKind::ResetGuest {
        package: instance.package.clone(),
        guest: instance.name.clone(),
    }
}

fn go_on(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    virt: VirtType,
) -> Result<Vec<Registered>, InstallError> {
    let wish = Wish {
        package: &instance.package,
        name: Some(&instance.name),
        trust: false,
        virt,
        dry_run: false,
    };
    register::register(layout, libvirt, &wish)
}

fn refuse(layout: &Layout, instance: &Instance, domain: &DomainRecord) -> Result<(), InstallError> {
    let guest = printable(&domain.name, 64);
    if domain.state.is_active() {
        return Err(InstallError::Running(guest));
    }
    // A snapshot outside of the disk stands on it by its name.
    let parsed = Domain::parse(&domain.xml).map_err(|source| InstallError::Xml {
        package: instance.package.clone(),
        source,
    })?;
    for disk in parsed.data_disks() {
        let own = instance
            .disks
            .iter()
            .find(|own| own.target.as_str() == disk.target);
        let own = own.map(|own| layout.instance_disk(&instance.name, &own.target));
        match (&disk.source, own) {
            (DiskSource::File(file), Some(own)) if Path::new(file) != own.named() => {
                return Err(InstallError::Elsewhere {
                    guest,
                    target: printable(&disk.target, 32),
                    file: printable(file, 400),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name under which a file is put aside: in the same directory, where its backing file is.
fn aside(file: &Path, suffix: &str) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension = file
        .extension()
        .map(|e| format!(".{}", e.to_string_lossy()))
        .unwrap_or_default();
    file.with_file_name(format!("{stem}.{suffix}{extension}"))
}

/// Takes away, or puts aside, what the instance has written; the first half of a reset, under the instance's lock. Every
/// step can be done twice.
pub(super) fn clear_away(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &mut Instance,
) -> Result<(), InstallError> {
    let Some(resetting) = instance
        .resetting
        .clone()
        .filter(|r| r.phase == ResetPhase::Removing)
    else {
        return Ok(());
    };
    // Of disks that the package no longer has.
    let gone = |disk: &&DiskRecord| resetting.disks.iter().all(|new| new.target != disk.target);
    let gone = instance.disks.iter().filter(gone);
    let file = |disk: &DiskRecord| {
        layout
            .instance_disk(&instance.name, &disk.target)
            .on_disk()
            .to_owned()
    };
    let mut files: Vec<PathBuf> = gone.map(file).collect();
    files.push(layout.instance_nvram(&instance.name).on_disk().to_owned());
    if let Some(domain) = libvirt.domain_by_uuid(instance.uuid)? {
        if domain.state.is_active() {
            return Err(InstallError::Running(printable(&domain.name, 64)));
        }
        libvirt.forget_restore_points(&domain.name)?;
        libvirt.drop_saved_state(&domain.name)?;
        if libvirt.uri() == SYSTEM {
            // libvirt's flag for it is not always right about a memory that was put back by its name.
            files::remove(layout.saved_memory(&domain.name).on_disk())?;
            files.push(layout.nvram(&domain.name).on_disk().to_owned());
        }
    }
    files::remove(layout.kept_memory(instance.uuid).on_disk())?;
    files::remove_dir(layout.instance_kept(&instance.name).on_disk())?;
    if libvirt.uri() == SYSTEM {
        files.push(layout.tpm_state(instance.uuid).on_disk().to_owned());
    }
    for file in &files {
        match &resetting.aside {
            Some(suffix) => put_aside(file, &aside(file, suffix))?,
            None if file.is_dir() => drop(files::remove_dir(file)?),
            None => drop(files::remove(file)?),
        }
    }
    for disk in &resetting.disks {
        let aside = resetting.aside.as_ref().map(|suffix| aside(&file(disk), suffix));
        overlay::take_place(layout, &instance.name, disk, aside.as_deref())?;
    }
    instance.disks.clone_from(&resetting.disks);
    instance.resetting = Some(Resetting {
        phase: ResetPhase::Making,
        ..resetting
    });
    instance.write(layout)
}

fn put_aside(file: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(file, to) {
        Ok(()) => file.parent().map_or(Ok(()), files::sync_dir),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes the links to images on which no disk of the instance stands any more, be it in use or put aside. If a disk
/// cannot be understood, all links stay.
pub(super) fn prune(layout: &Layout, instance: &mut Instance) -> Result<(), InstallError> {
    let mut used = instance.layers();
    for entry in fs::read_dir(layout.instance_disks(&instance.name).on_disk())? {
        let path = entry?.path();
        if path.extension() == Some("qcow2".as_ref()) {
            match overlay::layers_of(layout, &instance.name, &path) {
                Ok(Some(layers)) => used.extend(layers),
                Ok(None) | Err(_) => return Ok(()),
            }
        }
    }
    let dir = layout.instance_chain(&instance.name);
    for digest in chain::held(dir.on_disk())? {
        if !used.contains(&digest) {
            files::remove(dir.join(digest.file_name()).on_disk())?;
        }
    }
    instance.images.retain(|image| used.contains(&image.digest));
    Ok(())
}
