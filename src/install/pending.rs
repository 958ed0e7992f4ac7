//! Work that had to wait, one JSON file each: written when it could not be done, removed when it is done. The next
//! run of miniascape, or the daemon, takes it up again.

use crate::host::{Layout, files};
use crate::package::GuestPackage;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum PendingKind {
    /// Make the instance of an installed guest package.
    RegisterGuest {
        /// The package.
        package: GuestPackage,
    },
    /// Take away what a removed guest package leaves in libvirt.
    UnregisterGuest {
        /// The package.
        package: GuestPackage,
    },
}

/// A piece of pending work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is to be done.
    #[serde(flatten)]
    pub kind: PendingKind,
    /// Why it was not done at once.
    pub reason: String,
}

impl std::fmt::Display for PendingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RegisterGuest { package } => write!(f, "register {package}"),
            Self::UnregisterGuest { package } => write!(f, "unregister {package}"),
        }
    }
}

impl PendingKind {
    fn file_name(&self) -> String {
        match self {
            // One file for both: the later wish replaces the earlier one.
            Self::RegisterGuest { package } | Self::UnregisterGuest { package } => {
                format!("guest-{package}.json")
            }
        }
    }

    /// Notes that this could not be done, for `reason`.
    pub fn note(&self, layout: &Layout, reason: &str) -> io::Result<()> {
        let pending = Pending {
            kind: self.clone(),
            reason: reason.to_owned(),
        };
        let mut content = serde_json::to_vec_pretty(&pending).map_err(io::Error::other)?;
        content.push(b'\n');
        files::make_dir(layout.pending().on_disk(), 0o755)?;
        files::write(layout.pending().join(self.file_name()).on_disk(), &content, 0o644).map(drop)
    }

    /// Forgets it: it is done, or no longer wanted.
    pub fn forget(&self, layout: &Layout) -> io::Result<bool> {
        files::remove(layout.pending().join(self.file_name()).on_disk())
    }
}

/// All pending work, in the order of the file names. A file that cannot be read is named in the log and passed over.
pub fn list(layout: &Layout) -> io::Result<Vec<Pending>> {
    let dir = layout.pending();
    let entries = match fs::read_dir(dir.on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names: Vec<_> = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    names.retain(|name| name.as_encoded_bytes().ends_with(b".json"));
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let path = dir.join(&name).on_disk().to_owned();
        let Some(content) = files::read_if_there(&path)? else {
            continue;
        };
        match serde_json::from_slice(&content) {
            Ok(pending) => all.push(pending),
            Err(error) => tracing::error!(path = %path.display(), %error, "pending work that cannot be read"),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_wish_replaces_the_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        assert_eq!(list(&layout).unwrap(), []);
        let package: GuestPackage = "vm-web".parse().unwrap();
        let register = PendingKind::RegisterGuest {
            package: package.clone(),
        };
        let unregister = PendingKind::UnregisterGuest { package };
        register.note(&layout, "libvirt is down").unwrap();
        unregister.note(&layout, "still down").unwrap();
        assert_eq!(
            list(&layout).unwrap(),
            [Pending {
                kind: unregister,
                reason: "still down".into()
            }]
        );
        assert!(register.forget(&layout).unwrap());
        assert_eq!(list(&layout).unwrap(), []);
    }
}
