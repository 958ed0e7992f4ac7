//! Undoing a live pack: thaw first, then end our job, then remove what it leaves. The same at every exit, for the run itself
//! and for the next one after it was killed.

use super::LiveError;
use super::checkpoint;
use super::journal::{self, Journal};
use crate::host::libvirt::Bitmaps;
use crate::host::{Layout, Libvirt, LibvirtError, files};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often thawing is tried, and how long is waited in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a job may take to end after it was told to. libvirt 9 is held up for 30 s by each agent that comes or goes meanwhile.
const ENDING: Duration = Duration::from_secs(120);
/// How long libvirt may take to begin one for a run that has died meanwhile.
const BEGINNING: Duration = Duration::from_secs(10);
/// How long is waited for a libvirt that has gone: it may just be started anew.
pub(super) const AWAY: Duration = Duration::from_secs(30);

/// A live pack of a dead run that was undone, or could not be.
#[derive(Debug)]
pub struct Undone {
    /// The guest.
    pub guest: String,
    /// Why something is still left.
    pub result: Result<(), LiveError>,
}

/// True if live packs are on record, whether their runs live or not.
pub fn is_any(layout: &Layout) -> bool {
    journal::all(layout).map_or(true, |all| !all.is_empty())
}

/// Undoes what dead runs have left in this libvirt. Those that live are passed over.
pub fn undo_dead(layout: &Layout, libvirt: &Libvirt) -> Result<Vec<Undone>, LiveError> {
    let mut all = Vec::new();
    for journal in journal::all(layout)? {
        if journal.uri != libvirt.uri() {
            continue;
        }
        let Some(_lock) = journal::lock(layout, journal.uuid)? else {
            continue;
        };
        // It may have come to its end meanwhile.
        let Some(journal) = Journal::read(layout, journal.uuid)? else {
            continue;
        };
        all.push(Undone {
            guest: journal.domain.clone(),
            result: undo(layout, libvirt, journal),
        });
    }
    Ok(all)
}

/// Undoes the live pack of the domain, for a run that is about to be ended by a signal.
pub fn undo_own(layout: &Layout, uri: &str, uuid: Uuid) -> Result<(), LiveError> {
    match Journal::read(layout, uuid)? {
        Some(journal) => undo(layout, &Libvirt::connect(uri)?, journal),
        None => Ok(()),
    }
}

/// Undoes all that the journal names, and removes it when nothing is left.
pub(super) fn undo(layout: &Layout, libvirt: &Libvirt, mut journal: Journal) -> Result<(), LiveError> {
    let uuid = journal.uuid;
    let libvirt = &libvirt.or_again(AWAY)?;
    let running = libvirt
        .domain_by_uuid(uuid)?
        .is_some_and(|domain| domain.state.is_active());
    if running {
        // A guest that stands still comes before all else, but does not keep the rest from being undone.
        let thawed = if journal.frozen {
            thaw(libvirt, &journal)
        } else {
            Ok(())
        };
        end_job(libvirt, &journal)?;
        if thawed.is_ok() && journal.frozen {
            journal.frozen = false;
            journal.write(layout)?;
        }
        remove_files(&journal)?;
        for checkpoint in useless(layout, &journal)? {
            libvirt.delete_checkpoint(uuid, &checkpoint, Bitmaps::Delete)?;
        }
        thawed?;
    } else {
        // Jobs end with their guest, and one that starts anew is not frozen.
        remove_files(&journal)?;
        for checkpoint in useless(layout, &journal)? {
            // libvirt takes no bitmap out of a guest that is off.
            if let Some(domain) = libvirt.domain_by_uuid(uuid)? {
                checkpoint::remove_bitmaps(&domain.xml, &checkpoint)?;
                libvirt.delete_checkpoint(uuid, &checkpoint, Bitmaps::Leave)?;
            }
        }
    }
    Ok(journal.remove(layout)?)
}

/// The journal's checkpoints but for that which a package goes with.
fn useless(layout: &Layout, journal: &Journal) -> Result<Vec<String>, LiveError> {
    let useful = checkpoint::on_record(layout, journal.uuid)?;
    let all = journal.checkpoints.iter().cloned();
    Ok(all.filter(|name| Some(name) != useful.as_ref()).collect())
}

/// Thaws the guest, trying more than once.
pub(super) fn thaw(libvirt: &Libvirt, journal: &Journal) -> Result<(), LiveError> {
    let mut tries = 1;
    loop {
        // It may be libvirt that was ended meanwhile.
        let thawed = libvirt.or_again(AWAY).and_then(|libvirt| {
            libvirt.thaw(journal.uuid)?;
            // Only libvirts that know no limit refuse; then none was set.
            let _ = libvirt.unlimit_agent(journal.uuid);
            Ok(())
        });
        match thawed {
            Ok(()) => return Ok(()),
            Err(_) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                return Err(LiveError::Frozen {
                    guest: journal.domain.clone(),
                    reason: error.to_string(),
                });
            }
        }
    }
}

/// Ends our backup job, if it runs, and waits until it has gone. A guest that was stopped because the job had no room goes on.
pub(super) fn end_job(libvirt: &Libvirt, journal: &Journal) -> Result<(), LiveError> {
    wait_for_end(libvirt, journal)?;
    // Whatever else an error has stopped stops again at once. It may have gone meanwhile.
    if libvirt.is_stopped_by_error(journal.uuid).unwrap_or(false) {
        libvirt.resume(journal.uuid)?;
    }
    Ok(())
}

fn wait_for_end(libvirt: &Libvirt, journal: &Journal) -> Result<(), LiveError> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match libvirt.backup_job(journal.uuid) {
            Ok(Some(xml)) if journal.is_job(&xml) => {}
            Ok(None)
                if !told
                    && begun.elapsed() < BEGINNING
                    && libvirt.is_at_a_job(journal.uuid).unwrap_or(false) =>
            {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            Ok(_) => return Ok(()),
            // The guest has gone, and the job with it.
            Err(_) if libvirt.domain_by_uuid(journal.uuid)?.is_none() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if !told {
            match libvirt.abort_job(journal.uuid) {
                Ok(()) => told = true,
                // It may just have ended by itself.
                Err(LibvirtError::Call { .. }) if begun.elapsed() < ENDING => {}
                Err(error) => return Err(error.into()),
            }
        }
        if begun.elapsed() > ENDING {
            return Err(LiveError::StillRuns {
                guest: journal.domain.clone(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove_files(journal: &Journal) -> Result<(), LiveError> {
    for path in journal.scratch.iter().chain([&journal.socket]) {
        files::remove(path)?;
    }
    Ok(())
}
