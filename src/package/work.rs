//! Working directories that do not outlive their run, and the last step of every result: into place, whole.
//!
//! A working directory is locked as long as its run lives. The next run in the same place removes those that nobody
//! holds any more, so that a killed run leaves nothing for good.

use crate::host::files;
use fs_err as fs;
use rustix::fs::FlockOperation;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const PREFIX: &str = ".miniascape-repack-";

/// A directory of mode 0700 that goes away with this value.
#[derive(Debug)]
pub(super) struct WorkDir {
    dir: tempfile::TempDir,
    _lock: fs::File,
}

impl WorkDir {
    /// Makes one in `parent`, which is made when missing, after removing those of dead runs there.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        // Held while looking around: a directory that is just being made has no lock of its own yet.
        let gate = Gate::close(parent)?;
        if gate.locked {
            remove_abandoned(parent)?;
        }
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let lock = fs::File::open(dir.path())?;
        // Where the file system has no locks nobody can clean up either, so nothing is lost without this one.
        let _ = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The lock on a directory in which working directories are made.
pub(super) struct Gate {
    _file: fs::File,
    /// False where the file system has no locks.
    locked: bool,
}

impl Gate {
    /// Locks `parent`, which is made when missing.
    pub(super) fn close(parent: &Path) -> io::Result<Self> {
        loop {
            make(parent)?;
            if let Some(gate) = Self::close_if_there(parent)? {
                return Ok(gate);
            }
        }
    }

    /// Locks `dir`; `None` if it is not there, or has gone while we waited, because its run had failed.
    fn close_if_there(dir: &Path) -> io::Result<Option<Self>> {
        let Some(file) = there(fs::File::open(dir))? else {
            return Ok(None);
        };
        let locked = rustix::fs::flock(&file, FlockOperation::LockExclusive).is_ok();
        let own = file.metadata()?;
        let same = there(fs::metadata(dir))?.is_some_and(|at| (at.dev(), at.ino()) == (own.dev(), own.ino()));
        Ok(same.then_some(Self { _file: file, locked }))
    }
}

/// Makes a directory and those above it. A run that fails may be removing it meanwhile: std then finds neither the place
/// free nor a directory there, and says that it exists.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    loop {
        match fs::create_dir_all(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if there(fs::symlink_metadata(dir))?.is_some_and(|meta| !meta.is_dir()) {
                    return Err(e);
                }
            }
            other => return other,
        }
    }
}

/// Removes a directory that is empty, unless another run is about to use it.
pub(super) fn remove_if_empty(dir: &Path) {
    if let Ok(Some(_gate)) = Gate::close_if_there(dir) {
        // Whatever else is in there by now is not ours, and then this fails.
        let _ = fs::remove_dir(dir);
    }
}

/// `None` for what is not there, or no longer: other runs come and go.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A run that ends removes its own without asking anybody.
        let Some(meta) = there(fs::symlink_metadata(entry.path()))? else {
            continue;
        };
        if !meta.is_dir() || meta.uid() != me {
            continue;
        }
        let Some(dir) = there(fs::File::open(entry.path()))? else {
            continue;
        };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            tracing::info!(path = %entry.path().display(), "remove what a killed run left");
            // A program that the killed run started may still write there: then the run after this one does it.
            if let Err(error) = files::remove_dir(&entry.path()) {
                tracing::warn!(%error, "cannot remove what a killed run left");
            }
        }
    }
    Ok(())
}

/// Moves the finished file `source` to `target` with permission bits `mode`: whoever looks at `target` sees what was
/// there before, or all of it.
pub(super) fn publish(source: &Path, target: &Path, mode: u32) -> io::Result<()> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(mode);
    fs::set_permissions(source, permissions.clone())?;
    fs::File::open(source)?.sync_all()?;
    match fs::rename(source, target) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let mut copy = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)?;
            io::copy(&mut fs::File::open(source)?, &mut copy)?;
            copy.as_file().set_permissions(permissions)?;
            copy.as_file().sync_all()?;
            copy.persist(target)
                .map_err(|e| io::Error::new(e.error.kind(), format!("{}: {}", target.display(), e.error)))?;
        }
        other => other?,
    }
    files::sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_a_dead_run_left_goes_and_what_a_living_one_holds_stays() {
        let parent = tempfile::tempdir().unwrap();
        let living = WorkDir::create(parent.path()).unwrap();
        assert_eq!(
            fs::metadata(living.path()).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("deep")).unwrap();
        fs::create_dir(parent.path().join("foreign")).unwrap();
        let next = WorkDir::create(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(living.path().is_dir() && next.path().is_dir());
        drop((living, next));
        assert_eq!(names(parent.path()), ["foreign"]);
    }

    #[test]
    fn runs_that_come_and_go_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let parent = dir.path().join("out");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let work = WorkDir::create(&parent).unwrap();
                        fs::write(work.path().join("file"), "").unwrap();
                        drop(work);
                        remove_if_empty(&parent);
                    }
                });
            }
        });
        assert!(!parent.exists());
    }

    #[test]
    fn publishing_replaces_the_old_file_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&source, "new").unwrap();
        fs::write(&target, "old").unwrap();
        publish(&source, &target, 0o600).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(
            fs::metadata(&target).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(names(dir.path()), ["b"]);
    }
}
