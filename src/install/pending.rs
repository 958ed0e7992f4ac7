//! Work that had to wait, one JSON file each: written when it could not be done, removed when it is done. The next
//! run of miniascape, or the daemon, takes it up again.

use crate::host::{Layout, Place, files};
use crate::name::{Digest, GuestName};
use crate::package::GuestPackage;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum PendingKind {
    /// Make or bring back instances of an installed guest package.
    RegisterGuest {
        /// The package.
        package: GuestPackage,
        /// One instance beside others, by name.
        #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
        name: Option<GuestName>,
        /// Whether it is given what the package does not declare.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        trust: bool,
    },
    /// Finish the reset of an instance.
    ResetGuest {
        /// Its package.
        package: GuestPackage,
        /// The instance.
        guest: GuestName,
    },
    /// Take away what a removed guest package leaves in libvirt.
    UnregisterGuest {
        /// The package.
        package: GuestPackage,
    },
}

pub use crate::host::libvirt::SYSTEM;

fn system() -> String {
    SYSTEM.to_owned()
}

/// A piece of pending work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is to be done.
    #[serde(flatten)]
    pub kind: PendingKind,
    /// The URI of the libvirt in which it is to be done, and in no other.
    #[serde(default = "system")]
    pub uri: String,
    /// Why it was not done at once.
    pub reason: String,
    /// If it was refused: the digest of all that the refusal depended on. It is tried again when that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Digest>,
}

impl std::fmt::Display for PendingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RegisterGuest {
                package,
                name: Some(name),
                ..
            } => write!(f, "register {package} as {name}"),
            Self::RegisterGuest { package, .. } => write!(f, "register {package}"),
            Self::ResetGuest { guest, .. } => write!(f, "reset {guest}"),
            Self::UnregisterGuest { package } => write!(f, "unregister {package}"),
        }
    }
}

impl PendingKind {
    /// The package that it is about.
    pub const fn package(&self) -> &GuestPackage {
        match self {
            Self::RegisterGuest { package, .. }
            | Self::ResetGuest { package, .. }
            | Self::UnregisterGuest { package } => package,
        }
    }

    /// The instance that it is about, or the first one.
    pub fn guest(&self) -> &GuestName {
        match self {
            Self::RegisterGuest { name: Some(name), .. } | Self::ResetGuest { guest: name, .. } => name,
            _ => self.package().guest(),
        }
    }

    /// One file for both: the later wish replaces the earlier one. An instance beside others has a file of its own.
    fn place(&self, layout: &Layout) -> Place {
        let package = self.package();
        layout.pending().join(match self {
            // No package has this sign in its name.
            Self::RegisterGuest { name: Some(name), .. } => format!("guest-{package}@{name}.json"),
            Self::ResetGuest { guest, .. } => format!("guest-{package}@{guest}@reset.json"),
            _ => format!("guest-{package}.json"),
        })
    }

    /// Notes that this is to be done in the libvirt at `uri`, and why it is not done yet.
    pub fn note(&self, layout: &Layout, uri: &str, reason: &str) -> io::Result<()> {
        Pending {
            kind: self.clone(),
            uri: uri.to_owned(),
            reason: reason.to_owned(),
            refused: None,
        }
        .write(layout)
    }

    /// Forgets it: it is done, or no longer wanted. False if there is nothing to forget, or something else is wanted
    /// meanwhile.
    pub fn forget(&self, layout: &Layout) -> io::Result<bool> {
        let _lock = lock(layout)?;
        let place = self.place(layout);
        match read(place.on_disk())? {
            Some(pending) if pending.kind == *self => files::remove(place.on_disk()),
            _ => Ok(false),
        }
    }
}

impl Pending {
    fn write(&self, layout: &Layout) -> io::Result<()> {
        let _lock = lock(layout)?;
        self.put(layout)
    }

    /// Writes it in place of what it was made from, unless something else, or nothing, is wanted meanwhile.
    pub(super) fn renew(&self, layout: &Layout) -> io::Result<()> {
        let _lock = lock(layout)?;
        match read(self.kind.place(layout).on_disk())? {
            Some(now) if now.kind == self.kind => self.put(layout),
            _ => Ok(()),
        }
    }

    fn put(&self, layout: &Layout) -> io::Result<()> {
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        files::make_dir(layout.pending().on_disk(), 0o755)?;
        files::write(self.kind.place(layout).on_disk(), &content, 0o644).map(drop)
    }
}

/// Keeps others from pending work while a piece is looked at and changed. In another system's root nobody else works.
fn lock(layout: &Layout) -> io::Result<Option<files::Lock>> {
    if !layout.is_live() {
        return Ok(None);
    }
    files::Lock::acquire(layout.pending_lock().on_disk()).map(Some)
}

/// The work in the file at `path`. One that cannot be read is named in the log and counts as none.
fn read(path: &Path) -> io::Result<Option<Pending>> {
    let Some(content) = files::read_if_there(path)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&content) {
        Ok(pending) => Ok(Some(pending)),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "pending work that cannot be read");
            Ok(None)
        }
    }
}

/// All pending work of guests, in the order of the file names. A file that cannot be read is named in the log and passed over.
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
    // Networks have theirs beside these.
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"guest-") && name.ends_with(b".json")
    });
    names.sort();
    let mut all = Vec::new();
    for name in names {
        all.extend(read(dir.join(&name).on_disk())?);
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
            name: None,
            trust: false,
        };
        let unregister = PendingKind::UnregisterGuest { package };
        register.note(&layout, SYSTEM, "libvirt is down").unwrap();
        unregister.note(&layout, "qemu:///session", "still down").unwrap();
        let noted = Pending {
            kind: unregister.clone(),
            uri: "qemu:///session".into(),
            reason: "still down".into(),
            refused: None,
        };
        assert_eq!(list(&layout).unwrap(), [noted]);
        // Whoever has finished the earlier wish has not finished this one.
        assert!(!register.forget(&layout).unwrap());
        let late = Pending {
            kind: register.clone(),
            ..list(&layout).unwrap().remove(0)
        };
        late.renew(&layout).unwrap();
        assert_eq!(list(&layout).unwrap()[0].kind, unregister);
        assert!(unregister.forget(&layout).unwrap());
        assert_eq!(list(&layout).unwrap(), []);
    }

    #[test]
    fn a_note_without_an_address_is_meant_for_the_system() {
        let noted = r#"{ "work": "register-guest", "package": "vm-web", "reason": "r" }"#;
        assert_eq!(serde_json::from_str::<Pending>(noted).unwrap().uri, SYSTEM);
    }
}
