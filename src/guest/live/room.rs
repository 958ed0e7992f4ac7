//! Room for what a guest overwrites while it is packed. QEMU stops a guest whose old bytes it cannot save, so the job is
//! ended before it comes to that; and should it have come to that, it is ended too, and the guest goes on.

use super::LiveError;
use super::journal::Journal;
use super::undo;
use crate::host::{Libvirt, files};
use fs_err as fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that always stay free where a job saves what the guest overwrites.
const RESERVE: u64 = 64 << 20;
/// How often the room is looked at; a disk that writes 1 GB/s fills 50 MB meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// After how many of these the guest is looked at, too.
const LOOKS: u32 = 10;

/// A file into which a job saves what a guest overwrites.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    pub(super) target: String,
    pub(super) path: PathBuf,
    /// Size of the guest's disk, in bytes.
    pub(super) size: u64,
}

impl Scratch {
    /// Bytes by which it may still grow: to the size of the disk and its own tables.
    fn to_come(&self) -> u64 {
        let has = fs::metadata(&self.path).map_or(0, |meta| meta.blocks() * 512);
        (self.size + self.size / 1024 + (1 << 20)).saturating_sub(has)
    }
}

/// A file system with such files.
#[derive(Debug, Clone)]
pub(super) struct Room {
    device: u64,
    dir: PathBuf,
    scratch: Vec<Scratch>,
}

impl Room {
    /// The file systems of these files.
    pub(super) fn of(all: Vec<Scratch>) -> io::Result<Vec<Self>> {
        let mut rooms: Vec<Self> = Vec::new();
        for scratch in all {
            let dir = scratch.path.parent().unwrap_or(Path::new("/")).to_owned();
            let device = fs::metadata(&dir)?.dev();
            match rooms.iter_mut().find(|room| room.device == device) {
                Some(room) => room.scratch.push(scratch),
                None => rooms.push(Self {
                    device,
                    dir,
                    scratch: vec![scratch],
                }),
            }
        }
        Ok(rooms)
    }

    fn to_come(&self) -> u64 {
        self.scratch.iter().map(Scratch::to_come).sum()
    }

    /// Refuses to begin where a job would soon have to be ended.
    pub(super) fn ensure_enough(&self, guest: &str) -> Result<(), LiveError> {
        let (free, needed) = (files::free_space(&self.dir)?, self.to_come().min(2 * RESERVE));
        if free >= needed {
            return Ok(());
        }
        Err(LiveError::Tight {
            guest: guest.to_owned(),
            dir: self.dir.clone(),
            free,
            needed,
        })
    }

    /// Bytes that are free, if what the disks hold is more than that. `data` tells how much a disk holds.
    pub(super) fn may_be_short(&self, data: &dyn Fn(&str) -> u64) -> io::Result<Option<(u64, u64)>> {
        let free = files::free_space(&self.dir)?;
        let holds = self.scratch.iter().map(|scratch| data(&scratch.target)).sum();
        Ok((free < holds).then_some((free, holds)))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn is_tight(&self) -> bool {
        files::free_space(&self.dir).is_ok_and(|free| free < self.to_come().min(RESERVE))
    }
}

/// Why a job had to be ended.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// There is no more room in this directory.
    NoRoom(PathBuf),
    /// Something could not be written or read, and the hypervisor has stopped the guest.
    Stopped,
}

/// Looks after a guest as long as its job runs.
#[derive(Debug)]
pub(super) struct Keeper {
    trouble: Arc<OnceLock<Trouble>>,
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(super) fn start(libvirt: &Libvirt, journal: &Journal, rooms: Vec<Room>) -> Self {
        let trouble = Arc::new(OnceLock::new());
        let (release, released) = channel::<()>();
        let (libvirt, journal, found) = (libvirt.clone(), journal.clone(), Arc::clone(&trouble));
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while released.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                looks += 1;
                let tight = rooms.iter().find(|room| room.is_tight());
                let trouble = match tight {
                    Some(room) => Trouble::NoRoom(room.dir.clone()),
                    None if looks % LOOKS == 0
                        && libvirt.is_stopped_by_error(journal.uuid).unwrap_or(false) =>
                    {
                        Trouble::Stopped
                    }
                    None => continue,
                };
                let _ = found.set(trouble);
                if let Err(error) = undo::end_job(&libvirt, &journal) {
                    tracing::error!(guest = %journal.domain, "{error}");
                }
                return;
            }
        });
        Self {
            trouble,
            release: Some(release),
            thread: Some(thread),
        }
    }

    /// Why it has ended the job, if it has.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.get()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.release = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(dir: &Path, target: &str, size: u64) -> Scratch {
        Scratch {
            target: target.to_owned(),
            path: dir.join(target),
            size,
        }
    }

    #[test]
    fn what_is_there_is_compared_with_what_may_come() {
        let dir = tempfile::tempdir().unwrap();
        let free = files::free_space(dir.path()).unwrap();
        let all = vec![
            scratch(dir.path(), "vda", 4 << 20),
            scratch(dir.path(), "vdb", 1 << 20),
        ];
        let rooms = Room::of(all).unwrap();
        assert_eq!(rooms.len(), 1, "{rooms:?}");
        let room = &rooms[0];
        assert!(room.to_come() > 5 << 20 && room.to_come() < 8 << 20);
        assert!(free < 8 << 20 || room.ensure_enough("web").is_ok() && !room.is_tight());
        assert_eq!(room.may_be_short(&|_| 0).unwrap(), None);
        let short = room.may_be_short(&|_| u64::MAX / 4).unwrap();
        assert!(short.is_some_and(|(_, holds)| holds == u64::MAX / 4 * 2));
        // What has been saved already needs no more room.
        fs::write(dir.path().join("vdb"), vec![1; 3 << 20]).unwrap();
        assert!(room.to_come() < 6 << 20);
    }
}
