//! Packing a guest while it runs: a backup job of its hypervisor, which exports all disks as they were at one moment.
//!
//! ```text
//! note what will have to be undone → freeze (if the agent answers) → begin the job → copy what lies beside the disks →
//! thaw → … read the exports … → is the job still ours? → end it, remove the note
//! ```
//!
//! What is undone, and by whom, is in `undo`. What lives elsewhere: reading an export (`image`), what becomes of it
//! (`package`).

mod freeze;
mod journal;
mod undo;

pub use freeze::Consistency;
pub use undo::{Undone, is_any, undo_dead, undo_own};

use crate::domain::{DiskSource, Domain, DomainXmlError};
use crate::host::{Layout, Libvirt, LibvirtError, files};
use crate::image::{Export, NbdError};
use crate::name::printable;
use freeze::{Stillness, freeze};
use fs_err as fs;
use journal::Journal;
use quick_xml::escape::escape;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The name of the socket in the domain's own directory, the only one where its AppArmor profile lets QEMU make one.
const SOCKET: &str = "miniascape-live.sock";
/// How the files begin into which a job saves what the guest overwrites.
const SCRATCH: &str = ".miniascape-live-";

/// Why a running guest could not be packed. Unless it says otherwise everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// Only the system's libvirt keeps its domains' directories where we know them.
    #[error(
        "{uri} keeps the sockets of its guests in places of its own: only guests of qemu:///system are packed while they run"
    )]
    OtherLibvirt {
        /// The connection.
        uri: String,
    },
    /// It does not run.
    #[error("the guest {guest} does not run any more")]
    NotRunning {
        /// The guest.
        guest: String,
    },
    /// Another run is at it.
    #[error("another run of miniascape packs the guest {guest}")]
    Busy {
        /// The guest.
        guest: String,
    },
    /// Someone else makes a backup.
    #[error("a backup job of the guest {guest} runs that is not ours")]
    Foreign {
        /// The guest.
        guest: String,
    },
    /// The running guest has another disk than its definition.
    #[error("the disk {target} of the running guest {guest} is {live}, and its definition says {defined}")]
    OtherDisk {
        /// The guest.
        guest: String,
        /// The disk.
        target: String,
        /// Where the running guest has it.
        live: String,
        /// Where it will have it when it starts the next time.
        defined: String,
    },
    /// The domain's own directory is not where libvirt should have made it.
    #[error("the directory of the guest {guest} in {} is not to be found", dir.display())]
    NoDirectory {
        /// The guest.
        guest: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The guest stands still, and its agent does not thaw it.
    #[error("the file systems of the guest {guest} are still frozen: {reason}")]
    Frozen {
        /// The guest.
        guest: String,
        /// Why.
        reason: String,
    },
    /// Our backup job does not end.
    #[error("the backup job of the guest {guest} was told to end, and still runs")]
    StillRuns {
        /// The guest.
        guest: String,
    },
    /// The job has ended before all was read.
    #[error("the backup job of the guest {guest} has ended before all was read: {reason}")]
    Ended {
        /// The guest.
        guest: String,
        /// Why, as far as one can tell.
        reason: &'static str,
    },
    /// An export cannot be read.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// The XML of the running domain cannot be read.
    #[error("the XML of the running guest: {0}")]
    Xml(#[from] DomainXmlError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

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
}

impl Live {
    /// Begins with the disks `targets` of a running guest. What has to be copied at the same moment is copied by `beside`.
    pub fn begin<E: From<LiveError>>(
        layout: &Layout,
        libvirt: &Libvirt,
        uuid: Uuid,
        targets: &[&str],
        beside: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        let (lock, journal, job) = prepare(layout, libvirt, uuid, targets)?;
        let mut live = Self {
            layout: layout.clone(),
            libvirt: libvirt.clone(),
            journal,
            lock: Some(lock),
            consistency: Consistency::Crash {
                reason: String::new(),
            },
            exports: Vec::new(),
        };
        live.start(&job, beside)?;
        // From here on dropping it undoes all.
        live.connect(targets)?;
        Ok(live)
    }

    fn start<E: From<LiveError>>(
        &mut self,
        job: &str,
        beside: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.journal.frozen = true;
        self.note()?;
        let still = freeze(&self.libvirt, &self.journal)?;
        let begun = self.libvirt.begin_backup(self.journal.uuid, job, None);
        let copied = match begun {
            Ok(()) => beside(),
            Err(error) => Err(LiveError::from(error).into()),
        };
        self.consistency = match still {
            Stillness::Frozen(frozen) => frozen.thaw()?,
            Stillness::Not(reason) => Consistency::Crash { reason },
        };
        self.journal.frozen = false;
        self.note()?;
        copied
    }

    fn connect(&mut self, targets: &[&str]) -> Result<(), LiveError> {
        for target in targets {
            let export = Export::open(&self.journal.socket, target)?;
            self.exports.push(((*target).to_owned(), Arc::new(export)));
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
        let job = self.libvirt.backup_job(self.journal.uuid)?;
        if job.is_some_and(|xml| self.journal.is_job(&xml)) {
            return Ok(());
        }
        Err(self.ended())
    }

    /// Why reading has failed, if it is that the job has ended; `error` otherwise.
    pub fn explain<E: From<LiveError>>(&self, error: E) -> E {
        match self.ensure_running() {
            Err(ended @ LiveError::Ended { .. }) => ended.into(),
            _ => error,
        }
    }

    fn ended(&self) -> LiveError {
        let domain = self.libvirt.domain_by_uuid(self.journal.uuid);
        LiveError::Ended {
            guest: self.journal.domain.clone(),
            reason: match domain {
                Ok(Some(domain)) if domain.state.is_active() => {
                    "somebody has ended it, or it had no more room for what the guest overwrites"
                }
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

/// All that can be refused before anything is touched; and the XML of the job.
fn prepare(
    layout: &Layout,
    libvirt: &Libvirt,
    uuid: Uuid,
    targets: &[&str],
) -> Result<(files::Lock, Journal, String), LiveError> {
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
    let running = Domain::parse(&libvirt.live_domain_xml(&record.name)?)?;
    let defined = Domain::parse(&record.xml)?;
    let dir = own_directory(&running, &guest)?;
    let mut journal = Journal::new(uuid, &record.name, libvirt.uri(), dir.join(SOCKET));
    // Whatever has this name is of a run whose note is lost.
    files::remove(&journal.socket)?;
    let mut disks = String::new();
    for disk in &running.disks {
        let name = escape(&disk.target);
        if !targets.contains(&disk.target.as_str()) {
            let _ = write!(disks, "<disk name='{name}' backup='no'/>");
            continue;
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
        journal.scratch.push(scratch);
    }
    let socket = journal.socket.to_string_lossy();
    let job = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{}'/><disks>{disks}</disks></domainbackup>",
        escape(socket.as_ref())
    );
    drop(socket);
    Ok((lock, journal, job))
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
