//! Packing a guest while it runs: a backup job of its hypervisor, which exports all disks as they were at one moment.
//!
//! ```text
//! note what will have to be undone → freeze (if the agent answers) → begin the job → copy what lies beside the disks →
//! thaw → … read the exports … → is the job still ours? → end it, remove the note
//! ```
//!
//! What is refused beforehand is in `prepare`; what is undone, and by whom, in `undo`; what becomes of a guest that writes
//! more than there is room for, in `room`. What lives elsewhere: reading an export (`image`), what becomes of it (`package`).

mod checkpoint;
mod error;
mod freeze;
mod journal;
mod prepare;
mod room;
mod undo;

pub use checkpoint::{
    Checkpoints, DiskFiles, Since, forget as forget_checkpoint, usable as usable_checkpoint,
};
pub use error::LiveError;
pub use freeze::Consistency;
pub use undo::{Undone, is_any, undo_dead, undo_own};

use crate::host::{Layout, Libvirt, LibvirtError, files};
use crate::image::Export;
use crate::name::Digest;
use checkpoint::RecordedDisk;
use freeze::{Stillness, freeze};
use journal::Journal;
use prepare::prepare;
use room::{Keeper, Room, Trouble};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A guest whose disks are exported as they were at one moment. When this is dropped all is undone.
#[derive(Debug)]
pub struct Live {
    layout: Layout,
    libvirt: Libvirt,
    journal: Journal,
    /// None when it has ended.
    lock: Option<files::Lock>,
    consistency: Consistency,
    exports: Vec<(String, Arc<Export>)>,
    keeper: Option<Keeper>,
    warnings: Vec<String>,
    checkpoints: Checkpoints,
    /// The new checkpoint, and the disks that it is of.
    left: Option<(String, Vec<RecordedDisk>)>,
    /// Why what has changed is not read by dirty bitmaps, although that was wanted.
    unusable: Option<String>,
}

impl Live {
    /// Begins with the disks `targets` of a running guest, and with `checkpoints` of them. What has to be copied at the same
    /// moment is copied by `beside`.
    pub fn begin<E: From<LiveError>>(
        layout: &Layout,
        libvirt: &Libvirt,
        uuid: Uuid,
        targets: &[&str],
        checkpoints: Checkpoints,
        beside: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        let (lock, journal, job, rooms) = prepare(layout, libvirt, uuid, targets)?;
        let mut live = Self {
            layout: layout.clone(),
            libvirt: libvirt.clone(),
            journal,
            lock: Some(lock),
            consistency: Consistency::Crash {
                reason: String::new(),
            },
            exports: Vec::new(),
            keeper: None,
            warnings: Vec::new(),
            checkpoints,
            left: None,
            unusable: None,
        };
        live.prepare_checkpoint()?;
        // From here on dropping it undoes all.
        live.start(&job, beside)?;
        live.keeper = Some(Keeper::start(libvirt, &live.journal, rooms.clone()));
        if let Err(error) = live.connect(targets) {
            return Err(live.explain(error.into()));
        }
        live.look_at_room(&rooms)?;
        Ok(live)
    }

    fn start<E: From<LiveError>>(
        &mut self,
        job: &str,
        beside: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.note()?;
        let layout = &self.layout;
        let still = freeze(&self.libvirt, &mut self.journal, |journal| {
            Ok(journal.write(layout)?)
        })?;
        let begun = self.begin_job(job);
        let copied = match begun {
            Ok(()) => beside(),
            Err(error) => Err(LiveError::from(error).into()),
        };
        self.consistency = match still {
            Stillness::Frozen(frozen) => frozen.thaw()?,
            Stillness::Not(reason) => Consistency::Crash { reason },
        };
        if std::mem::take(&mut self.journal.frozen) {
            self.note()?;
        }
        copied
    }

    /// Thinks of a new checkpoint, if one is wanted. What is not the useful one in the end is undone like all else.
    fn prepare_checkpoint(&mut self) -> Result<(), LiveError> {
        if self.checkpoints.leave.is_empty() {
            return Ok(());
        }
        let disks = self.checkpoints.leave.iter().map(RecordedDisk::of);
        let name = checkpoint::new_name();
        self.journal
            .checkpoints
            .extend(checkpoint::on_record(&self.layout, self.journal.uuid)?);
        self.journal.checkpoints.push(name.clone());
        self.left = Some((name, disks.collect::<Result<_, _>>()?));
        Ok(())
    }

    /// Begins the job. Where libvirt refuses to tell what has changed, it goes without.
    fn begin_job(&mut self, job: &str) -> Result<(), LibvirtError> {
        let leave = &self.checkpoints.leave;
        let checkpoint = self.left.as_ref().map(|(name, _)| checkpoint::xml(name, leave));
        let begin = |job: &str| {
            self.libvirt
                .begin_backup(self.journal.uuid, job, checkpoint.as_deref())
        };
        if let Some(since) = &self.checkpoints.since {
            match begin(&checkpoint::with_changes(job, since)) {
                Ok(()) => return Ok(()),
                Err(error) => self.unusable = Some(error.to_string()),
            }
        }
        begin(job)
    }

    fn connect(&mut self, targets: &[&str]) -> Result<(), LiveError> {
        let since = self
            .checkpoints
            .since
            .as_ref()
            .filter(|_| self.unusable.is_none());
        for target in targets {
            let socket = &self.journal.socket;
            let export = match since {
                Some((_, known)) if known.iter().any(|known| known == target) => {
                    Export::open_with_changes(socket, target, &checkpoint::exported(target))?
                }
                _ => Export::open(socket, target)?,
            };
            self.exports.push(((*target).to_owned(), Arc::new(export)));
        }
        Ok(())
    }

    fn look_at_room(&mut self, rooms: &[Room]) -> Result<(), LiveError> {
        let data = |target: &str| self.export(target).map_or(0, |export| export.data());
        let mut warnings = Vec::new();
        for room in rooms {
            if let Some((free, holds)) = room.may_be_short(&data)? {
                warnings.push(format!(
                    "{} MiB are free in {}, and the disks of {} hold {} MiB: if it overwrites so much meanwhile that there is \
                     no more room, the pack is given up",
                    free >> 20,
                    room.dir().display(),
                    self.journal.domain,
                    holds >> 20
                ));
            }
        }
        self.warnings = warnings;
        Ok(())
    }

    /// What a person should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why what has changed is not told by dirty bitmaps, although that was wanted.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Puts on record that the package with this manifest holds the disks as they are at the new checkpoint, which takes the
    /// place of an earlier one. Without this the new one goes with all else.
    pub fn keep_checkpoint(&self, package: &str, manifest: Digest) -> Result<(), LiveError> {
        if let Some((name, disks)) = &self.left {
            checkpoint::record(&self.layout, self.journal.uuid, name, (package, manifest), disks)?;
        }
        Ok(())
    }

    fn note(&self) -> Result<(), LiveError> {
        Ok(self.journal.write(&self.layout)?)
    }

    /// What the disks are like.
    pub const fn consistency(&self) -> &Consistency {
        &self.consistency
    }

    /// The disk `target` as it was at that moment.
    pub fn export(&self, target: &str) -> Option<&Arc<Export>> {
        let found = self.exports.iter().find(|(name, _)| name == target);
        found.map(|(_, export)| export)
    }

    /// Fails if the job that exports the disks has ended, or another has taken its place.
    pub fn ensure_running(&self) -> Result<(), LiveError> {
        if self.keeper.as_ref().and_then(Keeper::trouble).is_some() {
            return Err(self.ended());
        }
        // A libvirt that was just started knows its guests and their jobs only after a while.
        for _ in 0..8 {
            let job = self
                .libvirt
                .or_again(undo::AWAY)
                .and_then(|libvirt| libvirt.backup_job(self.journal.uuid));
            if matches!(job, Ok(Some(xml)) if self.journal.is_job(&xml)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Err(self.ended())
    }

    /// Why reading has failed, if it is that the job has ended; `error` otherwise.
    pub fn explain<E: From<LiveError>>(&self, error: E) -> E {
        // QEMU's server has gone a moment before libvirt says that the job has.
        for _ in 0..20 {
            match self.ensure_running() {
                Err(ended @ (LiveError::Ended { .. } | LiveError::NoRoom { .. })) => return ended.into(),
                Err(_) => return error,
                Ok(()) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        error
    }

    fn ended(&self) -> LiveError {
        let guest = self.journal.domain.clone();
        let trouble = self.keeper.as_ref().and_then(Keeper::trouble);
        if let Some(Trouble::NoRoom(dir)) = trouble {
            return LiveError::NoRoom {
                guest,
                dir: dir.clone(),
            };
        }
        let libvirt = self.libvirt.or_again(undo::AWAY);
        let domain = libvirt.and_then(|libvirt| libvirt.domain_by_uuid(self.journal.uuid));
        LiveError::Ended {
            guest,
            reason: match domain {
                Ok(Some(domain)) if domain.state.is_active() => match trouble {
                    Some(Trouble::Stopped) => "an I/O error had stopped the guest, so we have ended it",
                    _ => "somebody has ended it",
                },
                Ok(_) => "the guest has stopped",
                Err(_) => "libvirt cannot be asked any more",
            },
        }
    }

    /// Ends it: nothing of it is left, or the error says what.
    pub fn end(mut self) -> Result<(), LiveError> {
        self.undo()
    }

    fn undo(&mut self) -> Result<(), LiveError> {
        if self.lock.is_none() {
            return Ok(());
        }
        self.keeper = None;
        // QEMU waits for clients that are still there.
        self.exports.clear();
        let done = undo::undo(&self.layout, &self.libvirt, self.journal.clone());
        self.lock = None;
        done
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            tracing::error!(guest = %self.journal.domain, "the next run will try again: {error}");
        }
    }
}
