//! What libvirt knows of an instance beside its disks, kept while its package is away: the definition with its users'
//! changes, snapshots, checkpoints, and the memory of a guest that was put to sleep. All of it comes back with the
//! package. Firmware variables and TPM state stay where they are.
//!
//! A saved memory belongs to the very disks that it was saved with: after any write to them it would ruin them, so it
//! is put back only if they are untouched.

use super::InstallError;
use super::record::{ImageRecord, Instance};
use crate::domain::{DiskSource, Domain};
use crate::host::libvirt::{Blocker, RestorePoint, SYSTEM};
use crate::host::{DomainRecord, Layout, Libvirt, LibvirtError, files};
use crate::name::{Digest, printable};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The file `points.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Points {
    snapshots: Vec<RestorePoint>,
    checkpoints: Vec<RestorePoint>,
    /// The disks as they were when the memory was put aside; none if there is no saved memory.
    #[serde(default)]
    disks: Option<Vec<Stamp>>,
}

/// A disk's file, as it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    size: u64,
    mtime: i128,
}

/// Reads out all that libvirt knows of the instance, so that it can be undefined. Doing it again replaces what was read.
pub(super) fn keep(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    domain: &DomainRecord,
) -> Result<(), InstallError> {
    let kept = layout.instance_kept(&instance.name);
    files::make_dir(kept.on_disk(), 0o700)?;
    let definition = libvirt
        .definition(instance.uuid)?
        .unwrap_or_else(|| domain.xml.clone());
    let mut points = Points {
        snapshots: libvirt.snapshots(&domain.name)?,
        checkpoints: libvirt.checkpoints(&domain.name)?,
        disks: None,
    };
    if let Some(waiting) = read(layout, instance)?
        && points.checkpoints.is_empty()
    {
        // They have not been back yet, since the guest has not run.
        points.checkpoints = waiting.checkpoints;
    }
    let aside = layout.kept_memory(instance.uuid);
    if libvirt.has_saved_state(&domain.name)? || saved_file(layout, libvirt, &domain.name).is_some() {
        // Where another libvirt keeps it, nobody says.
        let Some(saved) = saved_file(layout, libvirt, &domain.name) else {
            return Err(LibvirtError::Blocked {
                name: printable(&domain.name, 64),
                blocker: Blocker::SavedState,
            }
            .into());
        };
        points.disks = Some(stamps(&definition));
        files::remove(aside.on_disk())?;
        fs::hard_link(&saved, aside.on_disk())?;
        sync_parent(aside.on_disk())?;
    } else {
        files::remove(aside.on_disk())?;
    }
    write(layout, instance, &points)?;
    for place in [
        kept.join("domain.xml"),
        layout.instance(&instance.name).join("domain.xml"),
    ] {
        files::write(place.on_disk(), definition.as_bytes(), 0o600)?;
    }
    Ok(())
}

/// Gives libvirt back what was kept of the instance, which is defined again; true if there was anything. Remarks on
/// what could not be put back go to `notes`.
pub(super) fn put_back(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    domain: &str,
    notes: &mut Vec<String>,
) -> Result<bool, InstallError> {
    let kept = layout.instance_kept(&instance.name);
    let name = &instance.name;
    let Some(mut points) = read(layout, instance)? else {
        return Ok(files::remove_dir(kept.on_disk())?);
    };
    let definition = kept.join("domain.xml");
    if !definition.on_disk().exists() {
        // Only what waits for the guest's next start.
        return Ok(false);
    }
    // One that libvirt does not take back is no reason to keep the guest away.
    if let Err(error) = libvirt.restore_snapshots(domain, &points.snapshots) {
        notes.push(format!("{name}: not all snapshots are back: {error}"));
    }
    memory_back(layout, libvirt, instance, domain, points.disks.as_deref(), notes)?;
    if points.checkpoints.is_empty() {
        files::remove_dir(kept.on_disk())?;
    } else {
        points.snapshots.clear();
        points.disks = None;
        write(layout, instance, &points)?;
        files::remove(definition.on_disk())?;
    }
    Ok(true)
}

/// Gives libvirt back the checkpoints of a guest that was started; it takes them of running ones only.
pub fn after_start(layout: &Layout, libvirt: &Libvirt, domain: &DomainRecord) -> Result<(), InstallError> {
    let Some(instance) = Instance::of_domain(layout, domain.uuid)? else {
        return Ok(());
    };
    if let Some(points) = read(layout, &instance)? {
        libvirt.restore_checkpoints(&domain.name, &points.checkpoints)?;
        files::remove_dir(layout.instance_kept(&instance.name).on_disk())?;
    }
    Ok(())
}

fn read(layout: &Layout, instance: &Instance) -> Result<Option<Points>, InstallError> {
    let place = layout.instance_kept(&instance.name).join("points.json");
    let Some(text) = files::read_if_there(place.on_disk())? else {
        return Ok(None);
    };
    let points = serde_json::from_slice(&text).map_err(|error| InstallError::Record {
        path: place.on_disk().to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Some(points))
}

fn write(layout: &Layout, instance: &Instance, points: &Points) -> Result<(), InstallError> {
    let text = serde_json::to_vec_pretty(points).map_err(io::Error::other)?;
    let place = layout.instance_kept(&instance.name).join("points.json");
    files::write(place.on_disk(), &text, 0o600)?;
    Ok(())
}

fn memory_back(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    domain: &str,
    disks: Option<&[Stamp]>,
    notes: &mut Vec<String>,
) -> Result<(), InstallError> {
    let aside = layout.kept_memory(instance.uuid);
    let (Some(disks), true) = (disks, aside.on_disk().exists()) else {
        return Ok(());
    };
    let place = layout.saved_memory(domain);
    if saved_file(layout, libvirt, domain).is_some() {
        // A run was killed before it undefined the domain, or a later one saved another.
        files::remove(aside.on_disk())?;
    } else if disks
        .iter()
        .all(|then| Stamp::of(&then.path).is_some_and(|now| now == *then))
    {
        fs::rename(aside.on_disk(), place.on_disk())?;
        sync_parent(place.on_disk())?;
    } else {
        notes.push(format!(
            "{}: the saved memory is not put back, since its disks were written to meanwhile; it stays in {}",
            instance.name,
            aside.on_disk().display()
        ));
    }
    Ok(())
}

/// The file in which libvirt keeps the memory of a domain that was put to sleep, if there is one and it is known where.
fn saved_file(layout: &Layout, libvirt: &Libvirt, domain: &str) -> Option<PathBuf> {
    let place = (libvirt.uri() == SYSTEM).then(|| layout.saved_memory(domain))?;
    place.on_disk().is_file().then(|| place.on_disk().to_owned())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), files::sync_dir)
}

/// The files of the domain's data disks.
fn stamps(definition: &str) -> Vec<Stamp> {
    let domain = Domain::parse(definition).ok();
    let disks = domain.iter().flat_map(Domain::data_disks);
    let files = disks.filter_map(|disk| match &disk.source {
        DiskSource::File(path) => Stamp::of(Path::new(path)),
        _ => None,
    });
    files.collect()
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let now = ImageRecord::of(path, Digest::from_bytes([0; 32])).ok()?;
        Some(Self {
            path: path.to_owned(),
            inode: now.inode,
            size: now.size,
            mtime: now.mtime,
        })
    }
}
