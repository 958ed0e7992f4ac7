//! Checkpoints: from when on libvirt keeps account of what a guest writes, in dirty bitmaps in its disks, so that the next
//! pack reads only that. Which package a checkpoint belongs to is on record, as are the images below the guest's own; what is
//! not exactly so is compared by content.
//!
//! One record for each guest, `checkpoints/UUID.json`, written when the package is there. A checkpoint that the journal names
//! and the record does not is of no use and deleted with the rest of what a live pack leaves.

use super::LiveError;
use crate::domain::{DiskSource, Domain};
use crate::host::{Layout, Libvirt, Place, files};
use crate::image;
use crate::name::Digest;
use fs_err as fs;
use quick_xml::escape::escape;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FORMAT: u32 = 1;
/// How the names of our checkpoints begin.
const NAME: &str = "miniascape-";

/// A disk of a guest: its target, and its files, that which the guest writes to first.
pub type DiskFiles = (String, Vec<PathBuf>);
/// A checkpoint's name, and the targets of disks.
pub type Since = (String, Vec<String>);

/// What a live pack does with checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// The one since which these disks are read by what was written to.
    pub since: Option<Since>,
    /// The disks for which a new one is left.
    pub leave: Vec<DiskFiles>,
}

/// The checkpoint that there is of a guest, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// Its name in libvirt, and that of the bitmaps.
    checkpoint: String,
    /// The package that holds the disks as they were then, for messages.
    package: String,
    /// SHA-256 of that package's manifest.
    manifest: Digest,
    disks: Vec<RecordedDisk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedDisk {
    target: String,
    /// The image that the guest writes to first.
    files: Vec<Stamp>,
}

/// A file by which a disk is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Length and time of the last change, of an image that nobody writes to.
    #[serde(default)]
    state: Option<(u64, i64, i64)>,
}

impl RecordedDisk {
    pub(super) fn of((target, paths): &DiskFiles) -> io::Result<Self> {
        let stamp = |(number, path): (usize, &PathBuf)| {
            let meta = fs::metadata(path)?;
            let state = (meta.len(), meta.mtime(), meta.mtime_nsec());
            Ok::<_, io::Error>(Stamp {
                path: path.clone(),
                device: meta.dev(),
                inode: meta.ino(),
                state: (number > 0).then_some(state),
            })
        };
        Ok(Self {
            target: target.clone(),
            files: paths.iter().enumerate().map(stamp).collect::<Result<_, _>>()?,
        })
    }
}

/// Which of these disks of a guest can be read by what was written to since the package with this manifest was made, and
/// why not the others. Nothing at all if no checkpoint is on record.
pub fn usable(
    layout: &Layout,
    libvirt: &Libvirt,
    uuid: Uuid,
    manifest: &Digest,
    disks: &[DiskFiles],
) -> Result<(Option<Since>, Vec<String>), LiveError> {
    let Some(record) = read(layout, uuid)? else {
        return Ok((None, Vec::new()));
    };
    if record.manifest != *manifest {
        let reason = format!("the guest's checkpoint is that of {}", record.package);
        return Ok((None, vec![reason]));
    }
    if !libvirt.has_checkpoint(uuid, &record.checkpoint)? {
        let reason = format!(
            "libvirt does not have the checkpoint {} any more",
            record.checkpoint
        );
        return Ok((None, vec![reason]));
    }
    let (mut good, mut reasons) = (Vec::new(), Vec::<String>::new());
    for disk in disks {
        match record.disks.iter().find(|known| known.target == disk.0) {
            Some(known) if RecordedDisk::of(disk).is_ok_and(|now| now == *known) => good.push(disk.0.clone()),
            Some(_) => reasons.push(format!("the files of the disk {} are not what they were", disk.0)),
            None => reasons.push(format!("the disk {} has no dirty bitmap", disk.0)),
        }
    }
    Ok(((!good.is_empty()).then_some((record.checkpoint, good)), reasons))
}

/// A name that no checkpoint has had.
pub(super) fn new_name() -> String {
    format!("{NAME}{}", Uuid::new_v4())
}

/// The bitmap of the disk `target` as the job exports it.
pub(super) fn exported(target: &str) -> String {
    format!("since-{target}")
}

/// The XML of the backup job `job`, with what was written to the disks since a checkpoint.
pub(super) fn with_changes(job: &str, (checkpoint, targets): &Since) -> String {
    let mut job = job.to_owned();
    for target in targets {
        let disk = format!("<disk name='{}' backup='yes'", escape(target));
        let bitmap = exported(target);
        let with = format!(
            "{disk} backupmode='incremental' incremental='{}' exportbitmap='{}'",
            escape(checkpoint),
            escape(&bitmap)
        );
        job = job.replace(&disk, &with);
    }
    job
}

/// The XML of a new checkpoint of these disks.
pub(super) fn xml(name: &str, of: &[DiskFiles]) -> String {
    let mut disks = String::new();
    for (target, _) in of {
        let target = escape(target);
        let _ = write!(
            disks,
            "<disk name='{target}' checkpoint='bitmap' bitmap='{name}'/>"
        );
    }
    format!(
        "<domaincheckpoint><name>{name}</name>\
         <description>for the next `miniascape repack --live --since`</description><disks>{disks}</disks></domaincheckpoint>"
    )
}

/// The name of the checkpoint that is on record.
pub(super) fn on_record(layout: &Layout, uuid: Uuid) -> io::Result<Option<String>> {
    Ok(read(layout, uuid)?.map(|record| record.checkpoint))
}

/// Puts on record that the package with this manifest holds the disks as they were at the checkpoint.
pub(super) fn record(
    layout: &Layout,
    uuid: Uuid,
    checkpoint: &str,
    (package, manifest): (&str, Digest),
    disks: &[RecordedDisk],
) -> io::Result<()> {
    let record = Record {
        format: FORMAT,
        checkpoint: checkpoint.to_owned(),
        package: package.to_owned(),
        manifest,
        disks: disks.to_vec(),
    };
    let content = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
    files::make_dir(layout.checkpoints().on_disk(), 0o755)?;
    files::write(place(layout, uuid).on_disk(), &content, 0o600).map(drop)
}

/// Forgets which checkpoint a guest has.
pub fn forget(layout: &Layout, uuid: Uuid) -> io::Result<()> {
    files::remove(place(layout, uuid).on_disk()).map(drop)
}

fn place(layout: &Layout, uuid: Uuid) -> Place {
    layout.checkpoints().join(format!("{uuid}.json"))
}

fn read(layout: &Layout, uuid: Uuid) -> io::Result<Option<Record>> {
    let place = place(layout, uuid);
    let Some(content) = files::read_if_there(place.on_disk())? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Record>(&content) {
        Ok(record) if record.format == FORMAT => Ok(Some(record)),
        _ => {
            tracing::error!(path = %place.on_disk().display(), "a record of a checkpoint that cannot be read");
            Ok(None)
        }
    }
}

/// Takes the bitmaps of a checkpoint out of the disks of a guest that is off.
pub(super) fn remove_bitmaps(definition: &str, checkpoint: &str) -> Result<(), LiveError> {
    let domain = Domain::parse(definition)?;
    for disk in &domain.disks {
        if let DiskSource::File(path) | DiskSource::Block(path) = &disk.source
            && disk.format.as_deref() == Some("qcow2")
            && Path::new(path).exists()
        {
            image::remove_bitmap(Path::new(path), checkpoint)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_tells_of_changes_only_for_disks_that_have_a_bitmap() {
        let job = "<disks><disk name='vda' backup='yes' type='file'/><disk name='vdb' backup='yes' type='file'/>\
                   <disk name='sda' backup='no'/></disks>";
        let since = ("miniascape-x".to_owned(), vec!["vda".to_owned()]);
        assert_eq!(
            with_changes(job, &since),
            "<disks><disk name='vda' backup='yes' backupmode='incremental' incremental='miniascape-x' \
             exportbitmap='since-vda' type='file'/><disk name='vdb' backup='yes' type='file'/><disk name='sda' backup='no'/></disks>"
        );
    }

    #[test]
    fn a_disk_is_known_again_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let paths: Vec<PathBuf> = ["top", "base"].map(|name| dir.path().join(name)).into();
        for path in &paths {
            fs::write(path, "1").unwrap();
        }
        let disk = ("vda".to_owned(), paths.clone());
        let then = RecordedDisk::of(&disk).unwrap();
        let (uuid, manifest) = (Uuid::from_u128(9), Digest::from_bytes([7; 32]));
        record(
            &layout,
            uuid,
            "miniascape-x",
            ("vm-web 0.1", manifest),
            std::slice::from_ref(&then),
        )
        .unwrap();
        assert_eq!(on_record(&layout, uuid).unwrap().as_deref(), Some("miniascape-x"));
        // The guest writes to the first one, and nobody to the other.
        fs::write(&paths[0], "more").unwrap();
        assert_eq!(RecordedDisk::of(&disk).unwrap(), then);
        fs::write(&paths[1], "more").unwrap();
        assert_ne!(RecordedDisk::of(&disk).unwrap(), then);
        forget(&layout, uuid).unwrap();
        assert_eq!(on_record(&layout, uuid).unwrap(), None);
    }
}
