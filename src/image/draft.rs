//! A new image under a temporary name beside its place: whole and synced before it gets its own name, gone if that
//! does not come about.

use super::ImageError;
use crate::host::files;
use fs_err as fs;
use rustix::fs::FlockOperation;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = ".miniascape-image-";

/// A file that goes away with this value unless it is published.
#[derive(Debug)]
pub struct Draft {
    file: tempfile::NamedTempFile,
    /// Open under a name that errors can tell.
    handle: fs::File,
    target: PathBuf,
}

impl Draft {
    /// Makes one, readable by its owner only, for `target`, whose directory must be there. What killed runs left in it
    /// is removed.
    pub fn create(target: &Path) -> Result<Self, ImageError> {
        let target = std::path::absolute(target)?;
        let dir = target.parent().unwrap_or(Path::new("/"));
        // Held until the draft has a lock of its own.
        let gate = fs::File::open(dir)?;
        if rustix::fs::flock(&gate, FlockOperation::LockExclusive).is_ok() {
            remove_abandoned(dir)?;
        }
        let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)?;
        // Where the file system has no locks nobody cleans up either.
        let _ = rustix::fs::flock(file.as_file(), FlockOperation::NonBlockingLockExclusive);
        let handle = fs::File::from_parts(file.as_file().try_clone()?, file.path());
        Ok(Self { file, handle, target })
    }

    /// The open file.
    pub fn file(&self) -> &fs::File {
        &self.handle
    }

    /// Its temporary name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Syncs the file, gives it permission bits `mode` and its name. What has that name is replaced if `replace`.
    pub fn publish(self, mode: u32, replace: bool) -> Result<(), ImageError> {
        self.handle
            .set_permissions(std::fs::Permissions::from_mode(mode))?;
        self.handle.sync_all()?;
        let result = if replace {
            self.file.persist(&self.target)
        } else {
            self.file.persist_noclobber(&self.target)
        };
        result
            .map_err(|e| io::Error::new(e.error.kind(), format!("{}: {}", self.target.display(), e.error)))?;
        Ok(files::sync_dir(self.target.parent().unwrap_or(Path::new("/")))?)
    }
}

fn remove_abandoned(dir: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        // Another run may end and remove its own at any moment.
        let Ok(meta) = fs::symlink_metadata(entry.path()) else {
            continue;
        };
        if !meta.is_file() || meta.uid() != me {
            continue;
        }
        let Ok(file) = fs::File::open(entry.path()) else {
            continue;
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_left_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("image");
        fs::write(dir.path().join(".miniascape-image-dead"), "").unwrap();
        let first = Draft::create(&target).unwrap();
        let second = Draft::create(&target).unwrap();
        assert!(first.path().exists() && second.path().exists());
        first.file().file().write_all(b"whole").unwrap();
        first.publish(0o640, false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert!(second.publish(0o640, false).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
