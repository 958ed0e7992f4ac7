//! From what a user types to a definition: a name stands for a file in `/etc/miniascape/networks`, or for a shipped
//! reference network; anything that looks like a path is one.

use super::{Network, NetworkError, Origin, Warning, whole};
use crate::host::Layout;
use crate::name::{NameError, NetworkName, is_path};
use fs_err as fs;
use std::path::{Path, PathBuf};

/// Why there is no definition.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// What was typed is neither a path nor a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No file of that name.
    #[error("there is no definition of a network {name}: neither {} nor {} exists", own.display(), shipped.display())]
    Unknown {
        /// The name.
        name: NetworkName,
        /// Where the user's would be.
        own: PathBuf,
        /// Where a shipped one would be.
        shipped: PathBuf,
    },
    /// The file defines a network of another name.
    #[error("{} defines the network {found}, not {wanted}: the file of a network has its name", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        wanted: NetworkName,
        /// The name in the file.
        found: NetworkName,
    },
    /// The definition has mistakes, or cannot be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A definition that was found and checked.
#[derive(Debug)]
pub struct Found {
    /// The network.
    pub network: Network,
    /// What may not be meant.
    pub warnings: Vec<Warning>,
    /// The file.
    pub path: PathBuf,
}

impl Found {
    /// How many of the network's hosts stand in the definition itself, in people's files beside it, and in guests'.
    pub fn hosts_by_origin(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for host in self.network.hosts() {
            counts[match host.origin {
                Origin::Definition => 0,
                Origin::DropIn(_) => 1,
                Origin::Guest(_) => 2,
            }] += 1;
        }
        counts
    }
}

/// The definition that `text`, a path or a network's name, stands for, with what stands beside it.
pub fn find(layout: &Layout, text: &str) -> Result<Found, FindError> {
    find_for(layout, text, false)
}

/// As [`find`], for a network that is about to be registered on this host, which takes in what guests brought for it.
pub fn find_to_register(layout: &Layout, text: &str) -> Result<Found, FindError> {
    find_for(layout, text, true)
}

/// The definition at `path`, which is `source` or a copy of it, for the work that a registration from `source` left to
/// do. People's files are looked for beside `source`.
pub fn read_source(layout: &Layout, path: &Path, source: &Path) -> Result<Network, NetworkError> {
    whole::read(layout, path, source, true).map(|(network, _)| network)
}

fn found_at(layout: &Layout, path: PathBuf, register: bool) -> Result<Found, NetworkError> {
    let (network, warnings) = whole::read(layout, &path, &path, register)?;
    Ok(Found {
        network,
        warnings,
        path,
    })
}

fn find_for(layout: &Layout, text: &str, register: bool) -> Result<Found, FindError> {
    if is_path(text) {
        return Ok(found_at(layout, PathBuf::from(text), register)?);
    }
    let name: NetworkName = text.parse()?;
    let file = format!("{name}.yaml");
    let [own, shipped] =
        [layout.definitions(), layout.reference_networks()].map(|dir| dir.join(&file).on_disk().to_owned());
    let Some(path) = [&own, &shipped].into_iter().find(|path| path.exists()).cloned() else {
        return Err(FindError::Unknown { name, own, shipped });
    };
    let found = found_at(layout, path, register)?;
    if *found.network.name() != name {
        return Err(FindError::OtherName {
            path: found.path,
            wanted: name,
            found: found.network.name().clone(),
        });
    }
    Ok(found)
}

/// The names that have a definition file, with that file; the user's before the shipped one.
pub fn defined(layout: &Layout) -> Vec<(NetworkName, PathBuf)> {
    let mut all: Vec<(NetworkName, PathBuf)> = Vec::new();
    for dir in [layout.definitions(), layout.reference_networks()] {
        let Ok(entries) = fs::read_dir(dir.on_disk()) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if let Some(name) = name_of(&path)
                && !all.iter().any(|(known, _)| *known == name)
            {
                all.push((name, path));
            }
        }
    }
    all.sort();
    all
}

fn name_of(path: &Path) -> Option<NetworkName> {
    if path.extension()? != "yaml" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
