//! What has to be undone when a live pack ends, however it ends: noted before it is done, in the directory of pending work,
//! where the next command that changes something and the daemon look.

use crate::host::{Layout, Place, files};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FORMAT: u32 = 1;
const PREFIX: &str = "live-";

/// What a live pack of a domain may have left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    format: u32,
    /// The domain.
    pub(super) uuid: Uuid,
    /// Its name, for messages.
    pub(super) domain: String,
    /// The libvirt that it lives in.
    pub(super) uri: String,
    /// Its file systems may be frozen.
    pub(super) frozen: bool,
    /// Where the NBD server of the backup job listens; by this the job is known.
    pub(super) socket: PathBuf,
    /// Files into which the job saves what the guest overwrites.
    pub(super) scratch: Vec<PathBuf>,
    /// Checkpoints of ours: only that which is on record in the end is of any use.
    #[serde(default)]
    pub(super) checkpoints: Vec<String>,
}

impl Journal {
    pub(super) fn new(uuid: Uuid, domain: &str, uri: &str, socket: PathBuf) -> Self {
        Self {
            format: FORMAT,
            uuid,
            domain: domain.to_owned(),
            uri: uri.to_owned(),
            frozen: false,
            socket,
            scratch: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        let content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        files::make_dir(layout.pending().on_disk(), 0o755)?;
        files::write(place(layout, self.uuid).on_disk(), &content, 0o644).map(drop)
    }

    pub(super) fn remove(&self, layout: &Layout) -> io::Result<()> {
        files::remove(place(layout, self.uuid).on_disk()).map(drop)
    }

    pub(super) fn read(layout: &Layout, uuid: Uuid) -> io::Result<Option<Self>> {
        read(place(layout, uuid).on_disk())
    }

    /// True if a backup job with this XML is the one that is meant.
    pub(super) fn is_job(&self, xml: &str) -> bool {
        let socket = self.socket.to_string_lossy();
        xml.contains(quick_xml::escape::escape(socket.as_ref()).as_ref())
    }
}

fn place(layout: &Layout, uuid: Uuid) -> Place {
    layout.pending().join(format!("{PREFIX}{uuid}.json"))
}

fn read(path: &Path) -> io::Result<Option<Journal>> {
    let Some(content) = files::read_if_there(path)? else {
        return Ok(None);
    };
    match serde_json::from_slice::<Journal>(&content) {
        Ok(journal) if journal.format == FORMAT => Ok(Some(journal)),
        _ => {
            tracing::error!(path = %path.display(), "a note of a live pack that cannot be read");
            Ok(None)
        }
    }
}

/// The notes of all live packs, finished or not.
pub(super) fn all(layout: &Layout) -> io::Result<Vec<Journal>> {
    let entries = match fs::read_dir(layout.pending().on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let uuid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(".json"));
        if uuid.is_some() {
            found.extend(read(&entry.path())?);
        }
    }
    Ok(found)
}

/// Held by a live pack as long as it lives.
pub(super) fn lock(layout: &Layout, uuid: Uuid) -> io::Result<Option<files::Lock>> {
    files::make_dir_once(layout.run().on_disk(), 0o755)?;
    files::Lock::try_acquire(layout.run().join(format!("{PREFIX}{uuid}.lock")).on_disk())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_again_and_a_job_is_known_by_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        assert_eq!(all(&layout).unwrap(), []);
        let uuid = Uuid::from_u128(7);
        let socket = PathBuf::from("/var/lib/libvirt/qemu/domain-3-a&b/miniascape-live.sock");
        let journal = Journal {
            frozen: true,
            scratch: vec!["/srv/x".into()],
            ..Journal::new(uuid, "a&b", "qemu:///system", socket)
        };
        journal.write(&layout).unwrap();
        assert_eq!(all(&layout).unwrap(), std::slice::from_ref(&journal));
        assert_eq!(Journal::read(&layout, uuid).unwrap(), Some(journal.clone()));
        assert!(journal.is_job(
            "<domainbackup><server socket='/var/lib/libvirt/qemu/domain-3-a&amp;b/miniascape-live.sock'/></domainbackup>"
        ));
        assert!(!journal.is_job("<domainbackup><server socket='/tmp/other'/></domainbackup>"));
        let held = lock(&layout, uuid).unwrap();
        assert!(held.is_some() && lock(&layout, uuid).unwrap().is_none());
        drop(held);
        assert!(lock(&layout, uuid).unwrap().is_some());
        journal.remove(&layout).unwrap();
        assert_eq!(all(&layout).unwrap(), []);
    }
}
