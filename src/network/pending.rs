//! Pending work: networks that are to be registered or unregistered as soon as libvirt can be asked. One JSON file each,
//! beside the pending work of guests: written when it cannot be done now, removed when it is done or no longer wanted.
//! Doing it is `finish`'s business.

use super::StateError;
use crate::host::{Layout, Place, files, libvirt};
use crate::name::NetworkName;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// What was asked for while the system that it is for was not running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deferred {
    /// It is to be registered from the kept copy of its definition.
    RegisterNetwork,
    /// All of it is to go.
    UnregisterNetwork,
}

impl Deferred {
    /// As the verb of the command line.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::RegisterNetwork => "register",
            Self::UnregisterNetwork => "unregister",
        }
    }
}

/// What is to be done with one network. The later wish replaces the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What is to be done.
    pub work: Deferred,
    /// The network.
    pub network: NetworkName,
    /// The libvirt in which it is to be done, and in no other.
    pub uri: String,
    /// The definition's file, when it is to be registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Also when running guests are plugged into it: to unregister it under them; or to go on with an update that was
    /// killed, and plug them in again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Why it is not done yet.
    pub reason: String,
}

/// Why something waits, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Wait<'a> {
    /// The URI of the libvirt that it waits for.
    pub uri: &'a str,
    /// Why that cannot be asked now.
    pub reason: &'a str,
}

impl Wait<'static> {
    /// For the first run in the system whose files these are.
    pub const FIRST_BOOT: Self = Self {
        uri: libvirt::SYSTEM,
        reason: "written into another system's root",
    };
}

impl Pending {
    /// To register the network from its kept definition, which came from `source`.
    pub fn register(network: &NetworkName, source: PathBuf, wait: Wait<'_>) -> Self {
        Self {
            work: Deferred::RegisterNetwork,
            source: Some(source),
            ..Self::unregister(network, false, wait)
        }
    }

    /// To unregister the network; with `force` whoever is plugged into it.
    pub fn unregister(network: &NetworkName, force: bool, wait: Wait<'_>) -> Self {
        Self {
            work: Deferred::UnregisterNetwork,
            network: network.clone(),
            uri: wait.uri.to_owned(),
            source: None,
            force,
            reason: wait.reason.to_owned(),
        }
    }

    /// True if both want the same, whatever the reasons why it was not done.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let wanted = |wish: &Self| Self {
            reason: String::new(),
            ..wish.clone()
        };
        wanted(self) == wanted(other)
    }

    /// What is to be done with the network `name`, if anything. A file that cannot be read is named in the log and
    /// counts as none.
    pub fn read(layout: &Layout, name: &NetworkName) -> io::Result<Option<Self>> {
        let place = place(layout, name);
        let Some(content) = files::read_if_there(place.on_disk())? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Self>(&content) {
            Ok(wish) if wish.network == *name => Ok(Some(wish)),
            Ok(wish) => {
                let path = place.on_disk().display();
                tracing::error!(%path, network = %wish.network, "pending work of another network than its name says");
                Ok(None)
            }
            Err(error) => {
                tracing::error!(path = %place.on_disk().display(), %error, "pending work that cannot be read");
                Ok(None)
            }
        }
    }

    /// Writes it in place of an earlier one. The caller holds the network's lock, as for all that changes wishes.
    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        files::make_dir(layout.pending().on_disk(), 0o755)?;
        files::write(place(layout, &self.network).on_disk(), &content, 0o644).map(drop)
    }

    /// Forgets what is to be done with the network `name`; true if there was anything.
    pub(super) fn forget(layout: &Layout, name: &NetworkName) -> io::Result<bool> {
        files::remove(place(layout, name).on_disk())
    }
}

fn place(layout: &Layout, name: &NetworkName) -> Place {
    layout.pending().join(format!("network-{name}.json"))
}

/// All pending, by name of the network.
pub fn pending(layout: &Layout) -> Result<Vec<Pending>, StateError> {
    let entries = match fs::read_dir(layout.pending().on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut names: Vec<NetworkName> = Vec::new();
    for entry in entries {
        let file = entry?.file_name();
        let name = file
            .to_str()
            .and_then(|file| file.strip_prefix("network-")?.strip_suffix(".json"));
        names.extend(name.and_then(|name| name.parse().ok()));
    }
    names.sort();
    let mut all = Vec::new();
    for name in names {
        all.extend(Pending::read(layout, &name)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Wait<'_> = Wait {
        uri: libvirt::SYSTEM,
        reason: "libvirt is down",
    };

    #[test]
    fn the_later_wish_replaces_the_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        assert_eq!(pending(&layout).unwrap(), []);
        let [one, two]: [NetworkName; 2] = ["net-1".parse().unwrap(), "net-10".parse().unwrap()];
        let register = Pending::register(&one, "/etc/net-1.yaml".into(), DOWN);
        register.write(&layout).unwrap();
        let other = Pending::unregister(&two, true, DOWN);
        other.write(&layout).unwrap();
        assert_eq!(pending(&layout).unwrap(), [register.clone(), other.clone()]);
        let unregister = Pending::unregister(&one, false, DOWN);
        assert!(!unregister.is_same(&register));
        unregister.write(&layout).unwrap();
        assert_eq!(Pending::read(&layout, &one).unwrap(), Some(unregister));
        assert!(Pending::forget(&layout, &one).unwrap());
        assert!(!Pending::forget(&layout, &one).unwrap());
        assert_eq!(pending(&layout).unwrap(), [other]);
    }

    #[test]
    fn another_reason_is_no_other_wish() {
        let name: NetworkName = "net-1".parse().unwrap();
        let now = Pending::unregister(&name, false, DOWN);
        let then = Pending {
            reason: "a guest".into(),
            ..now.clone()
        };
        assert!(now != then && now.is_same(&then));
    }

    #[test]
    fn damaged_and_strange_files_hold_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        let good = Pending::unregister(&"net-1".parse().unwrap(), false, DOWN);
        good.write(&layout).unwrap();
        let text = fs::read(layout.pending().join("network-net-1.json").on_disk()).unwrap();
        for (file, content) in [
            ("network-a.json", &b"{"[..]),
            ("network-b.json", &text),
            ("network-c.json", b"\xff"),
            ("network-\n.json", &text),
            ("guest-vm-web.json", &text),
            ("README", &text),
        ] {
            fs::write(layout.pending().join(file).on_disk(), content).unwrap();
        }
        assert_eq!(pending(&layout).unwrap(), [good]);
    }
}
