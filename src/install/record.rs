//! The record of an instance, `instance.json`: which package it came from, its identity, and the images that were
//! verified for it.

use super::InstallError;
use crate::domain::Domain;
use crate::host::{Layout, files};
use crate::name::{Digest, GuestName, Mac, NetworkName, PackageVersion};
use crate::package::{GuestPackage, Word};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FORMAT: u32 = 1;

/// Whether libvirt is to know the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Its package is installed, and libvirt has the domain.
    Registered,
    /// Its package has gone; disks and firmware variables are kept.
    Unregistered,
}

/// Whose addresses and names an instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// The package's, as far as nobody else here has them.
    #[default]
    Packaged,
    /// Its own: it was made beside others (`--as`).
    Own,
}

/// A reset that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resetting {
    /// How far it has come.
    pub phase: ResetPhase,
    /// What is added to the names of the old disks, if they are put aside.
    pub aside: Option<String>,
    /// The disks that it gets. Their overlays are made before the old ones go.
    #[serde(default)]
    pub disks: Vec<DiskRecord>,
}

/// How far a reset has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetPhase {
    /// What was written is being taken away, and new disks take its place.
    Removing,
    /// It is gone, and the domain is being defined anew.
    Making,
}

/// A guest made from a package on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The version of this form, 1.
    pub format: u32,
    /// Its name, and the name of its domain.
    pub name: GuestName,
    /// The package it was made from.
    pub package: GuestPackage,
    /// Its identity in libvirt.
    pub uuid: Uuid,
    /// Whether libvirt is to know it.
    pub state: InstanceState,
    /// SHA-256 of the packaged domain XML that it was last defined from.
    pub domain_xml: Option<Digest>,
    /// The version of the package that it was last defined from.
    #[serde(default)]
    pub version: Option<PackageVersion>,
    /// Whose addresses it has.
    #[serde(default)]
    pub identity: Identity,
    /// The hardware addresses of its interfaces, by that in the package, or by `#` and the interface's number where
    /// the package says none.
    #[serde(default)]
    pub macs: BTreeMap<String, Mac>,
    /// The networks in which its addresses are chosen here, since somebody else has those of the package.
    #[serde(default)]
    pub chosen: BTreeSet<NetworkName>,
    /// What it was given on `--trust` although its package does not declare it.
    #[serde(default)]
    pub trusted: BTreeSet<String>,
    /// A reset that was begun and is to be finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resetting: Option<Resetting>,
    /// Its disks, as they were when their overlays were made. An upgrade of the package does not change them.
    #[serde(default)]
    pub disks: Vec<DiskRecord>,
    /// The images that it stands on, as they were when their digests were checked.
    pub images: Vec<ImageRecord>,
    /// Packaged files of images that it holds otherwise, for they cannot be linked or are damaged: not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<ImageRecord>,
}

/// What the overlay of one disk was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The disk's target, like `vda`.
    pub target: Word,
    /// The images below the overlay, from the base upwards.
    pub layers: Vec<Digest>,
    /// The version of the package that had them on top; not known of an overlay that was found.
    #[serde(default)]
    pub version: Option<PackageVersion>,
}

/// An image as it was when its digest was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its digest.
    pub digest: Digest,
    /// The file's inode number.
    pub inode: u64,
    /// The file's length, in bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub mtime: i128,
}

impl ImageRecord {
    /// The file at `path` as it is now, taken to have `digest`.
    pub(super) fn of(path: &Path, digest: Digest) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let mtime = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(Self {
            digest,
            inode: meta.ino(),
            size: meta.len(),
            mtime,
        })
    }
}

impl Instance {
    pub(super) fn new(name: GuestName, package: GuestPackage, identity: Identity) -> Self {
        Self {
            format: FORMAT,
            name,
            package,
            uuid: Uuid::new_v4(),
            state: InstanceState::Unregistered,
            domain_xml: None,
            version: None,
            identity,
            macs: BTreeMap::new(),
            chosen: BTreeSet::new(),
            trusted: BTreeSet::new(),
            resetting: None,
            disks: Vec::new(),
            images: Vec::new(),
            left: Vec::new(),
        }
    }

    /// The file of each of its disks, whether it is there or not.
    pub(super) fn disk_files(&self, layout: &Layout) -> impl Iterator<Item = PathBuf> {
        self.disks.iter().map(|disk| {
            layout
                .instance_disk(&self.name, &disk.target)
                .on_disk()
                .to_owned()
        })
    }

    /// The images that its disks stand on, each once.
    pub fn layers(&self) -> Vec<Digest> {
        let mut all: Vec<Digest> = Vec::new();
        for layer in self.disks.iter().flat_map(|disk| &disk.layers) {
            if !all.contains(layer) {
                all.push(*layer);
            }
        }
        all
    }

    /// The disk `target` as its overlay was made.
    pub fn disk(&self, target: &Word) -> Option<&DiskRecord> {
        self.disks.iter().find(|disk| disk.target == *target)
    }

    /// The record of the instance `name`; `None` if there is none.
    pub fn read(layout: &Layout, name: &GuestName) -> Result<Option<Self>, InstallError> {
        let place = layout.instance_record(name);
        let Some(content) = files::read_if_there(place.on_disk())? else {
            return Ok(None);
        };
        let damaged = |reason| InstallError::Record {
            path: place.on_disk().to_owned(),
            reason,
        };
        let instance: Self = serde_json::from_slice(&content).map_err(|e| damaged(e.to_string()))?;
        if instance.format != FORMAT || instance.name != *name {
            return Err(damaged(format!(
                "it is not a record of {name} in format {FORMAT}"
            )));
        }
        Ok(Some(instance))
    }

    /// All instances, by name.
    pub fn all(layout: &Layout) -> Result<Vec<Self>, InstallError> {
        let entries = match fs::read_dir(layout.instances().on_disk()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut all = Vec::new();
        for entry in entries {
            let Ok(name) = entry?.file_name().to_string_lossy().parse::<GuestName>() else {
                continue;
            };
            all.extend(Self::read(layout, &name)?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The instance whose domain has this identity, whatever it is called.
    pub fn of_domain(layout: &Layout, uuid: Uuid) -> Result<Option<Self>, InstallError> {
        Ok(Self::all(layout)?
            .into_iter()
            .find(|instance| instance.uuid == uuid))
    }

    /// Writes the record.
    pub(super) fn write(&self, layout: &Layout) -> Result<(), InstallError> {
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        files::make_dir(layout.instance(&self.name).on_disk(), 0o755)?;
        files::write(layout.instance_record(&self.name).on_disk(), &content, 0o600)?;
        Ok(())
    }
}

/// True if the domain says itself that it was made from a package, as libvirt tells everyone whom it trusts.
pub fn is_marked(xml: &str) -> bool {
    Domain::parse(xml).is_ok_and(|domain| domain.mark("guest").is_some())
}
