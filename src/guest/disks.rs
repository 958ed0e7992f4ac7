//! The new disks of a guest that is being created. A journal beside them says which files are the work of a run that
//! has not come to its end, so that the next one takes them away instead of being refused by them for ever. Files that
//! anyone has written to since are never taken away.

use super::make::MakeError;
use crate::host::{Layout, files, instance_dir};
use crate::image::{self, Format};
use crate::name::GuestName;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A disk to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewDisk {
    /// The image file, in the guest's directory.
    pub(super) file: PathBuf,
    /// Its format.
    pub(super) format: Format,
    /// Its virtual size, in bytes.
    pub(super) size: u64,
}

/// An empty disk as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    file: PathBuf,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
}

/// Disks that were made for a guest that libvirt does not know yet.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    directory: PathBuf,
    made: Vec<Made>,
}

impl Made {
    fn of(file: &Path, found_at: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(found_at)?;
        Ok(Self {
            file: file.to_owned(),
            inode: meta.ino(),
            size: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    /// True if the file is there, and nobody has written to it.
    fn is_untouched(&self) -> bool {
        Self::of(&self.file, &self.file).is_ok_and(|now| now == *self)
    }
}

impl Unfinished {
    /// What an earlier run left behind when it was killed.
    pub(super) fn left_behind(layout: &Layout, guest: &GuestName) -> io::Result<Self> {
        let directory = layout.instance_disks(guest).on_disk().to_owned();
        let journal = journal(&directory);
        let made = match files::read_if_there(&journal)? {
            None => Vec::new(),
            Some(content) => serde_json::from_slice(&content).unwrap_or_else(|error| {
                tracing::warn!(journal = %journal.display(), %error, "cannot be read");
                Vec::new()
            }),
        };
        Ok(Self { directory, made })
    }

    /// True if `file` is one of these disks, still empty.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.made
            .iter()
            .any(|made| made.file == file && made.is_untouched())
    }

    /// Makes the disks. Their files appear under their names only when all are complete and on record.
    pub(super) fn make(layout: &Layout, guest: &GuestName, disks: &[NewDisk]) -> Result<Self, MakeError> {
        let mut new = Self {
            directory: layout.instance_disks(guest).on_disk().to_owned(),
            made: Vec::new(),
        };
        if disks.is_empty() {
            return Ok(new);
        }
        instance_dir::make(layout, guest)?;
        match new.fill(disks) {
            Ok(()) => Ok(new),
            Err(error) => {
                new.take_back();
                Err(error)
            }
        }
    }

    fn fill(&mut self, disks: &[NewDisk]) -> Result<(), MakeError> {
        let mut drafts = Vec::new();
        for (index, disk) in disks.iter().enumerate() {
            let draft = self.directory.join(format!(".making-{index}"));
            files::remove(&draft)?;
            drafts.push(tempfile::TempPath::try_from_path(&draft)?);
            image::create(&draft, disk.format, disk.size)?;
            fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
            fs::File::open(&draft)?.sync_all()?;
            self.made.push(Made::of(&disk.file, &draft)?);
        }
        let content = serde_json::to_vec_pretty(&self.made).map_err(io::Error::other)?;
        files::write(&journal(&self.directory), &content, 0o600)?;
        for (draft, made) in drafts.iter().zip(&self.made) {
            // A link and not a rename: it writes over nothing.
            fs::hard_link(draft, &made.file)?;
        }
        files::sync_dir(&self.directory)?;
        Ok(())
    }

    /// The guest is there, and the disks are its own.
    pub(super) fn keep(self) -> io::Result<()> {
        if self.made.is_empty() {
            return Ok(());
        }
        files::remove(&journal(&self.directory)).map(drop)
    }

    /// Takes the disks away again, as far as nobody has written to them.
    pub(super) fn take_back(self) {
        for made in self.made.iter().filter(|made| made.is_untouched()) {
            if let Err(error) = files::remove(&made.file) {
                tracing::warn!(file = %made.file.display(), %error, "not taken back");
            }
        }
        if self.directory.is_dir()
            && let Err(error) = files::remove(&journal(&self.directory))
        {
            tracing::warn!(directory = %self.directory.display(), %error, "the journal stays");
        }
    }
}

fn journal(directory: &Path) -> PathBuf {
    directory.join(".creating.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> (tempfile::TempDir, Layout, GuestName, NewDisk) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let guest: GuestName = "web".parse().unwrap();
        fs::create_dir_all(layout.images().on_disk()).unwrap();
        let disk = NewDisk {
            file: layout
                .instance_disks(&guest)
                .join("disk-0.qcow2")
                .on_disk()
                .to_owned(),
            format: Format::Qcow2,
            size: 1 << 20,
        };
        (dir, layout, guest, disk)
    }

    fn names(layout: &Layout, guest: &GuestName) -> Vec<String> {
        let entries = fs::read_dir(layout.instance_disks(guest).on_disk()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_killed_run_is_made_up_for_and_a_used_disk_is_left_alone() {
        let (_dir, layout, guest, disk) = bench();
        let make = || Unfinished::make(&layout, &guest, std::slice::from_ref(&disk));
        let left = || Unfinished::left_behind(&layout, &guest).unwrap();
        assert!(!left().has(&disk.file));
        // Killed after the disk was made, and a draft of another run.
        std::mem::forget(make().unwrap());
        fs::write(layout.instance_disks(&guest).join(".making-0").on_disk(), "half").unwrap();
        assert!(left().has(&disk.file));
        left().take_back();
        assert_eq!(names(&layout, &guest), [".making-0"]);
        make().unwrap().keep().unwrap();
        assert_eq!(names(&layout, &guest), ["disk-0.qcow2"]);
        assert!(!left().has(&disk.file));

        // Killed so late that the guest was there, and has written.
        fs::remove_file(&disk.file).unwrap();
        std::mem::forget(make().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&disk.file, "data").unwrap();
        assert!(!left().has(&disk.file));
        left().take_back();
        assert_eq!(names(&layout, &guest), ["disk-0.qcow2"]);
        // What is there is never written over.
        assert!(make().is_err());
        assert_eq!(fs::read_to_string(&disk.file).unwrap(), "data");
        assert_eq!(names(&layout, &guest), ["disk-0.qcow2"]);
    }
}
