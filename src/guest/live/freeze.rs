//! The time in which a guest stands still. It ends when the guard is told so, when it is dropped, and, whatever else
//! happens, when its time is up.

use super::LiveError;
use super::journal::Journal;
use super::undo;
use crate::host::Libvirt;
use crate::host::libvirt::{DomainState, Freeze};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a guest may stand still, and how long its agent may take to make it.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// How the disks of the packed guest are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consistency {
    /// As after unmounting: the guest's agent had frozen its file systems.
    Frozen {
        /// How many there were.
        filesystems: u32,
        /// How long they were.
        time: Duration,
    },
    /// As after a power failure, all disks at one moment.
    Crash {
        /// Why they were not frozen.
        reason: String,
    },
}

/// A guest that stands still, or could not be made to.
pub(super) enum Stillness {
    Frozen(Frozen),
    Not(String),
}

/// A guest that stands still.
pub(super) struct Frozen {
    filesystems: u32,
    since: Instant,
    release: Sender<()>,
    /// Gives back whether the time was up.
    watchdog: JoinHandle<Result<bool, LiveError>>,
}

/// Freezes the guest, if somebody in it can do that. `note` writes down that it may be frozen.
pub(super) fn freeze(
    libvirt: &Libvirt,
    journal: &mut Journal,
    note: impl FnOnce(&Journal) -> Result<(), LiveError>,
) -> Result<Stillness, LiveError> {
    let state = libvirt.domain_by_uuid(journal.uuid)?.map(|domain| domain.state);
    if let Some(state) = state.filter(|state| *state != DomainState::Running) {
        return Ok(Stillness::Not(format!("the guest is {state}")));
    }
    // One that does not answer could not be thawed, either.
    if let Err(words) = libvirt.ask_agent(journal.uuid, LIMIT)? {
        let _ = libvirt.unlimit_agent(journal.uuid);
        return Ok(Stillness::Not(words));
    }
    journal.frozen = true;
    note(journal)?;
    match libvirt.freeze(journal.uuid, LIMIT)? {
        Freeze::Frozen(0) => {
            undo::thaw(libvirt, journal)?;
            Ok(Stillness::Not(
                "its agent found no file system to freeze".to_owned(),
            ))
        }
        Freeze::Frozen(filesystems) => {
            let (release, released) = channel();
            let (own, journal) = (libvirt.clone(), journal.clone());
            let watchdog = std::thread::spawn(move || {
                let is_up = released.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
                undo::thaw(&own, &journal).map(|()| is_up)
            });
            Ok(Stillness::Frozen(Frozen {
                filesystems,
                since: Instant::now(),
                release,
                watchdog,
            }))
        }
        Freeze::NoAgent(words) => {
            let _ = libvirt.unlimit_agent(journal.uuid);
            Ok(Stillness::Not(words))
        }
        Freeze::Unknown(words) => {
            undo::thaw(libvirt, journal)?;
            Ok(Stillness::Not(words))
        }
    }
}

impl Frozen {
    /// Ends it. Crash-consistent is what was done after the time was up.
    pub(super) fn thaw(self) -> Result<Consistency, LiveError> {
        let _ = self.release.send(());
        let is_up = self
            .watchdog
            .join()
            .unwrap_or_else(|_| Err(LiveError::Io(std::io::Error::other("the watchdog panicked"))))?;
        Ok(if is_up {
            Consistency::Crash {
                reason: format!(
                    "it was thawed after {} s, before the backup had begun",
                    LIMIT.as_secs()
                ),
            }
        } else {
            Consistency::Frozen {
                filesystems: self.filesystems,
                time: self.since.elapsed(),
            }
        })
    }
}
