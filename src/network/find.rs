//! From what a user types to a definition: a name stands for a file in `/etc/miniascape/networks`, or for a shipped
//! reference network; anything that looks like a path is one.

use super::{Network, NetworkError, Warning, read};
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

/// The definition that `text`, a path or a network's name, stands for.
pub fn find(layout: &Layout, text: &str) -> Result<Found, FindError> {
    if is_path(text) {
        let path = PathBuf::from(text);
        let (network, warnings) = read(&path)?;
        return Ok(Found {
            network,
            warnings,
            path,
        });
    }
    let name: NetworkName = text.parse()?;
    let file = format!("{name}.yaml");
    let [own, shipped] =
        [layout.definitions(), layout.reference_networks()].map(|dir| dir.join(&file).on_disk().to_owned());
    let Some(path) = [&own, &shipped].into_iter().find(|path| path.exists()).cloned() else {
        return Err(FindError::Unknown { name, own, shipped });
    };
    let (network, warnings) = read(&path)?;
    if *network.name() != name {
        return Err(FindError::OtherName {
            path,
            wanted: name,
            found: network.name().clone(),
        });
    }
    Ok(Found {
        network,
        warnings,
        path,
    })
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
