//! What is registered on this host: one `applied.json` per network, written when `net register` has done its work.
//! What a definition says, making it real, and what is
//! still to be done live next door.

use super::Network;
use super::compile::{Compiled, DNSMASQ_CONF, File};
use super::needs::Needs;
use crate::host::{Layout, files};
use crate::name::{Digest, InterfaceName, NetworkName};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The version of `applied.json`.
const FORMAT: u32 = 1;

/// Why the record of registered networks could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system's words.
    #[error("cannot read the record of registered networks: {0}")]
    Io(#[from] io::Error),
    /// A record is damaged, or from a later version.
    #[error("{}: {reason}; `miniascape net register` writes it anew", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The record of a registered network, `applied.json` in its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The version of this form, 1.
    pub format: u32,
    /// The network.
    pub name: NetworkName,
    /// Its bridge; a network of mode `hostroute` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<InterfaceName>,
    /// True if a dnsmasq of ours serves it.
    pub dnsmasq: bool,
    /// The digest of each generated file as libvirt and dnsmasq were last made to read it. The files on the disk may
    /// be newer, if a run was killed between writing and telling.
    pub files: BTreeMap<String, Digest>,
    /// The definition this was made from.
    pub source: PathBuf,
    /// What it needs of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
}

impl Applied {
    /// The record of `network` in the present format.
    pub fn new(network: &Network, compiled: &Compiled, source: PathBuf) -> Self {
        Self {
            format: FORMAT,
            name: network.name().clone(),
            bridge: network.bridge().cloned(),
            dnsmasq: network.needs_dnsmasq(),
            files: compiled
                .files()
                .iter()
                .map(|file| (file.name.to_owned(), file.digest()))
                .collect(),
            source,
            needs: Some(Needs::of(network)),
        }
    }

    /// True if the file of this name was applied with this content.
    pub fn has(&self, file: &File) -> bool {
        self.files.get(file.name) == Some(&file.digest())
    }

    /// True if the file `name` was applied with this content.
    pub fn has_content(&self, name: &str, content: &[u8]) -> bool {
        let digest = Digest::from_bytes(sha2::Sha256::digest(content).into());
        self.files.get(name) == Some(&digest)
    }

    /// True if no run has begun to change what dnsmasq reads, and was killed.
    pub(super) fn is_whole(&self) -> bool {
        self.files.contains_key(DNSMASQ_CONF)
    }

    /// The record of the network `name`; `None` if it is not registered.
    pub fn read(layout: &Layout, name: &NetworkName) -> Result<Option<Self>, StateError> {
        let place = layout.applied(name);
        let Some(content) = files::read_if_there(place.on_disk())? else {
            return Ok(None);
        };
        let damaged = |reason: String| StateError::Damaged {
            path: place.on_disk().to_owned(),
            reason,
        };
        let applied: Self = serde_json::from_slice(&content).map_err(|e| damaged(e.to_string()))?;
        if applied.format != FORMAT {
            return Err(damaged(format!(
                "format {} is from a later version of miniascape",
                applied.format
            )));
        }
        if applied.name != *name {
            return Err(damaged(format!("it is the record of {}", applied.name)));
        }
        Ok(Some(applied))
    }

    /// As [`Applied::read`], with a damaged record as good as none: registering writes it anew.
    pub(super) fn read_sound(layout: &Layout, name: &NetworkName) -> Result<Option<Self>, StateError> {
        match Self::read(layout, name) {
            Err(error @ StateError::Damaged { .. }) => {
                tracing::warn!("{error}");
                Ok(None)
            }
            result => result,
        }
    }

    /// Takes out of the record what is about to change to `compiled`, so that a run which is killed in between is
    /// made up for whatever is wanted next; true if that was anything.
    pub(super) fn begin(&mut self, compiled: &Compiled) -> bool {
        let before = self.files.len();
        self.files.retain(|name, digest| {
            compiled
                .files()
                .iter()
                .any(|file| file.name == name && file.digest() == *digest)
        });
        self.files.len() != before
    }

    /// Writes the record; true if it was not there in this form.
    pub fn write(&self, layout: &Layout) -> Result<bool, StateError> {
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        Ok(files::write(
            layout.applied(&self.name).on_disk(),
            &content,
            0o644,
        )?)
    }
}

/// All registered networks, by name. A damaged record is told in the log and passed over, so that it does not hold up
/// work with the others.
pub fn registered(layout: &Layout) -> Result<Vec<Applied>, StateError> {
    let dir = layout.networks();
    let entries = match fs::read_dir(dir.on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut all = Vec::new();
    for entry in entries {
        // Anything that cannot be a network's directory is not ours to judge.
        let Ok(name) = entry?.file_name().to_string_lossy().parse::<NetworkName>() else {
            continue;
        };
        match Applied::read(layout, &name) {
            Ok(applied) => all.extend(applied),
            Err(error @ StateError::Damaged { .. }) => tracing::error!("{error}"),
            Err(error) => return Err(error),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::state_dir(dir.path());
        assert!(registered(&layout).unwrap().is_empty());
        let name: NetworkName = "net-1".parse().unwrap();
        let yaml =
            "network: { name: net-1, mode: isolated, domain: a.internal, ipv4: { subnet: 10.9.0.0/24 } }";
        let (network, _) = crate::network::read_bytes("net-1.yaml", yaml.as_bytes()).unwrap();
        let templates = crate::template::Templates::shipped().unwrap();
        let compiled = crate::network::compile(&network, &layout, &templates).unwrap();
        let applied = Applied::new(&network, &compiled, "net-1.yaml".into());
        assert!(compiled.files().iter().all(|file| applied.has(file)));
        assert!(applied.write(&layout).unwrap());
        assert!(!applied.write(&layout).unwrap());
        assert_eq!(registered(&layout).unwrap(), [applied]);
        fs::write(layout.applied(&name).on_disk(), "{").unwrap();
        assert_eq!(registered(&layout).unwrap(), []);
        let error = Applied::read(&layout, &name).unwrap_err().to_string();
        assert!(error.contains("net-1/applied.json"), "{error}");
        assert_eq!(Applied::read_sound(&layout, &name).unwrap(), None);
    }
}
