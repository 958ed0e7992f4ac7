//! What is looked at before anything is touched: may this guest be packed now, and where goes what.

use super::LiveError;
use super::journal::{self, Journal};
use super::room::{Room, Scratch};
use super::undo;
use crate::domain::{DiskSource, Domain};
use crate::host::{Layout, Libvirt, files};
use crate::name::printable;
use fs_err as fs;
use quick_xml::escape::escape;
use std::fmt::Write as _;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The name of the socket in the domain's own directory, the only one where its AppArmor profile lets QEMU make one.
const SOCKET: &str = "miniascape-live.sock";
/// How the files begin into which a job saves what the guest overwrites.
const SCRATCH: &str = ".miniascape-live-";

/// All that can be refused before anything is touched; the XML of the job, and where it needs room.
pub(super) fn prepare(
    layout: &Layout,
    libvirt: &Libvirt,
    uuid: Uuid,
    targets: &[&str],
) -> Result<(files::Lock, Journal, String, Vec<Room>), LiveError> {
    if libvirt.uri() != crate::host::libvirt::SYSTEM {
        return Err(LiveError::OtherLibvirt {
            uri: printable(libvirt.uri(), 200),
        });
    }
    let record = libvirt
        .domain_by_uuid(uuid)?
        .filter(|domain| domain.state.is_active());
    let record = record.ok_or_else(|| LiveError::NotRunning {
        guest: uuid.to_string(),
    })?;
    let guest = printable(&record.name, 64);
    let lock = journal::lock(layout, uuid)?.ok_or_else(|| LiveError::Busy { guest: guest.clone() })?;
    if let Some(left) = Journal::read(layout, uuid)? {
        undo::undo(layout, libvirt, left)?;
    }
    if libvirt.backup_job(uuid)?.is_some() {
        return Err(LiveError::Foreign { guest });
    }
    if libvirt.is_stopped_by_error(uuid)? {
        return Err(LiveError::Stopped { guest });
    }
    let running = Domain::parse(&libvirt.live_domain_xml(&record.name)?)?;
    let defined = Domain::parse(&record.xml)?;
    let dir = own_directory(&running, &guest)?;
    let mut journal = Journal::new(uuid, &record.name, libvirt.uri(), dir.join(SOCKET));
    // Whatever has this name is of a run whose note is lost.
    files::remove(&journal.socket)?;
    let (mut disks, mut rooms) = (String::new(), Vec::new());
    for disk in &running.disks {
        let name = escape(&disk.target);
        if !targets.contains(&disk.target.as_str()) {
            let _ = write!(disks, "<disk name='{name}' backup='no'/>");
            continue;
        }
        if disk.transient {
            return Err(LiveError::Transient {
                guest,
                target: printable(&disk.target, 40),
            });
        }
        if libvirt.has_block_job(uuid, &disk.target)? {
            return Err(LiveError::ForeignOfDisk {
                guest,
                target: printable(&disk.target, 40),
            });
        }
        let source = |domain: &Domain| {
            let found = domain.disks.iter().find(|other| other.target == disk.target);
            found.map(|disk| disk.source.clone())
        };
        if source(&defined).as_ref() != Some(&disk.source) {
            return Err(LiveError::OtherDisk {
                guest,
                target: printable(&disk.target, 40),
                live: shown(Some(&disk.source)),
                defined: shown(source(&defined).as_ref()),
            });
        }
        let scratch = scratch(layout, &disk.source, uuid, &disk.target)?;
        files::remove(&scratch)?;
        let path = scratch.to_string_lossy();
        let path = escape(path.as_ref());
        let _ = write!(
            disks,
            "<disk name='{name}' backup='yes' type='file' exportname='{name}'>\
             <driver type='qcow2'/><scratch file='{path}'/></disk>"
        );
        rooms.push(Scratch {
            target: disk.target.clone(),
            path: scratch.clone(),
            size: libvirt.disk_size(uuid, &disk.target)?,
        });
        journal.scratch.push(scratch);
    }
    let rooms = Room::of(rooms)?;
    for room in &rooms {
        room.ensure_enough(&guest)?;
    }
    let socket = journal.socket.to_string_lossy();
    let job = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{}'/><disks>{disks}</disks></domainbackup>",
        escape(socket.as_ref())
    );
    drop(socket);
    Ok((lock, journal, job, rooms))
}

/// Where a job saves what the guest overwrites: beside the disk, where there is room for disks; for a block device, beside
/// our own images.
fn scratch(layout: &Layout, source: &DiskSource, uuid: Uuid, target: &str) -> Result<PathBuf, LiveError> {
    let file = match source {
        DiskSource::File(path) => Some(Path::new(path)),
        _ => None,
    };
    let is_device = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device());
    let dir = match file.and_then(Path::parent) {
        Some(dir) if file.is_some_and(|file| !is_device(file)) => dir.to_owned(),
        _ => {
            let dir = layout.images();
            files::make_dir_once(dir.on_disk(), 0o711)?;
            dir.on_disk().to_owned()
        }
    };
    Ok(dir.join(format!("{SCRATCH}{uuid}-{target}.qcow2")))
}

/// The directory that libvirt has made for this run of the domain: `domain-ID-NAME`, the name cut and without what is not
/// ASCII (libvirt's virDomainDefGetShortName).
fn own_directory(domain: &Domain, guest: &str) -> Result<PathBuf, LiveError> {
    let dir = Layout::default().libvirt_qemu();
    let missing = || LiveError::NoDirectory {
        guest: guest.to_owned(),
        dir: dir.on_disk().to_owned(),
    };
    let prefix = format!("domain-{}-", domain.id.ok_or_else(missing)?);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.on_disk())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    if found.len() > 1 {
        // What an earlier run of the host left has the same number, and nobody who listens.
        let sockets = fs::read_to_string("/proc/net/unix")?;
        found.retain(|dir| sockets.contains(&format!(" {}\n", dir.join("monitor.sock").display())));
    }
    match found.pop() {
        Some(dir) if found.is_empty() => Ok(dir),
        _ => Err(missing()),
    }
}

fn shown(source: Option<&DiskSource>) -> String {
    match source {
        Some(DiskSource::File(path) | DiskSource::Block(path)) => printable(path, 200),
        Some(DiskSource::Volume { pool, volume }) => {
            format!(
                "the volume {} of the pool {}",
                printable(volume, 80),
                printable(pool, 80)
            )
        }
        Some(_) => "of another kind".to_owned(),
        None => "not there".to_owned(),
    }
}
