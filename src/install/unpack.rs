//! Guest packages that no package manager brought: out of tar files into the places where rpm and dpkg put them, and away
//! again. A record says which packages and images are ours to remove; it is written before anything comes, and goes last.
//!
//! Images keep the names of their digests, so one that is there is shared, and one that a killed run has left is taken by
//! the next. The guest's own directory changes in one step.

use super::managed::{Managed, managed};
use super::record::Instance;
use super::{InstallError, chain, unregister};
use crate::host::{Layout, files};
use crate::name::{Digest, GuestName};
use crate::package::{
    self, Contents, Destination, GuestPackage, ImagePackage, Manifest, Progress, VerifyError, take_out,
};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::io;

const FORMAT: u32 = 1;

/// What is ours of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    package: GuestPackage,
    /// Its images that came out of tar files, for it or for another.
    images: BTreeSet<Digest>,
}

impl Record {
    fn read(layout: &Layout, guest: &GuestName) -> Result<Option<Self>, InstallError> {
        let place = layout.unpacked_record(guest);
        let Some(content) = files::read_if_there(place.on_disk())? else {
            return Ok(None);
        };
        let damaged = |reason: String| InstallError::Record {
            path: place.on_disk().to_owned(),
            reason,
        };
        let record: Self = serde_json::from_slice(&content).map_err(|e| damaged(e.to_string()))?;
        if record.format != FORMAT || record.package.guest() != guest {
            return Err(damaged(format!("it is no record of {guest} in format {FORMAT}")));
        }
        Ok(Some(record))
    }

    fn all(layout: &Layout) -> Result<Vec<Self>, InstallError> {
        let entries = match fs::read_dir(layout.unpacked().on_disk()) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if let Some(name) = name {
                all.extend(Self::read(layout, &name)?);
            }
        }
        Ok(all)
    }

    fn write(&self, layout: &Layout) -> Result<(), InstallError> {
        let mut content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        content.push(b'\n');
        files::write(
            layout.unpacked_record(self.package.guest()).on_disk(),
            &content,
            0o644,
        )?;
        Ok(())
    }
}

/// True if the package came out of a tar file, and what of it is here is ours to remove.
pub fn is_unpacked(layout: &Layout, package: &GuestPackage) -> Result<bool, InstallError> {
    Ok(Record::read(layout, package.guest())?.is_some())
}

/// Keeps other runs from unpacking and removing. In another system's root nobody else works.
#[derive(Debug)]
pub struct Unpacking(#[expect(dead_code, reason = "held")] Option<files::Lock>);

impl Unpacking {
    /// Waits until nobody else unpacks or removes.
    pub fn begin(layout: &Layout) -> Result<Self, InstallError> {
        let lock = layout
            .is_live()
            .then(|| files::Lock::acquire(layout.unpack_lock().on_disk()));
        Ok(Self(lock.transpose()?))
    }
}

/// A tar file's content on the disk, as drafts. They go with this value.
#[derive(Debug)]
pub struct Unpacked {
    manifest: Manifest,
    images: Vec<(Digest, tempfile::NamedTempFile)>,
    guest: tempfile::TempDir,
}

/// Takes out of the tar file that `contents` was read from what is not here yet.
pub fn unpack(
    layout: &Layout,
    _: &Unpacking,
    contents: &Contents,
    progress: &dyn Progress,
) -> Result<Unpacked, InstallError> {
    let manifest = contents.guest.as_ref().map(|guest| guest.manifest.clone());
    let manifest = manifest.ok_or_else(|| VerifyError::Refused {
        path: contents.path.clone(),
        place: "the file".to_owned(),
        fault: "there is no guest in it".to_owned(),
    })?;
    let package = &manifest.package.name;
    if let Some(Managed { manager, version }) =
        managed(layout, &[package.to_string()])?.remove(package.as_str())
    {
        return Err(InstallError::Managed {
            package: package.clone(),
            manager,
            version,
        });
    }
    let (images, packaged, guests) = (layout.images(), layout.packaged_images(), layout.guest_packages());
    files::make_dir_once(images.on_disk(), 0o711)?;
    files::make_dir_once(packaged.on_disk(), 0o700)?;
    files::make_dir_once(guests.on_disk(), 0o755)?;
    // What killed runs left: nobody else is at it.
    files::remove_drafts(packaged.on_disk())?;
    let around = guests.on_disk().parent().unwrap_or(guests.on_disk());
    files::remove_draft_dirs(around)?;
    let known: Vec<_> = Instance::all(layout)?
        .into_iter()
        .flat_map(|other| other.images)
        .collect();
    let mut there = HashSet::new();
    for layer in manifest.images() {
        let path = layout.packaged_image(&layer.digest);
        if chain::is_sound(path.on_disk(), &layer.digest, &known)? {
            there.insert(layer.digest);
        }
    }
    let missing = manifest
        .images()
        .into_iter()
        .filter(|layer| !there.contains(&layer.digest));
    let needed = missing.fold(0_u64, |sum, layer| sum.saturating_add(layer.file_size));
    let free = files::free_space(packaged.on_disk())?;
    if needed > free {
        let dir = packaged.on_disk().to_owned();
        return Err(InstallError::NoSpace { dir, needed, free });
    }
    let ours: HashSet<Digest> = Record::all(layout)?
        .into_iter()
        .flat_map(|record| record.images)
        .collect();
    let brought = manifest.images().into_iter().map(|layer| layer.digest);
    let brought = brought.filter(|digest| ours.contains(digest) || !there.contains(digest));
    let mut record = Record::read(layout, package.guest())?.unwrap_or(Record {
        format: FORMAT,
        package: package.clone(),
        images: BTreeSet::new(),
    });
    record.images.extend(brought);
    record.write(layout)?;
    let unpacked = (|| {
        let guest = files::draft_dir(around)?;
        let to = Destination {
            images: packaged.on_disk(),
            guest: guest.path(),
        };
        let images = take_out(contents, to, &|digest| !there.contains(digest), progress)?;
        Ok(Unpacked {
            manifest: manifest.clone(),
            images,
            guest,
        })
    })();
    if unpacked.is_err() {
        // The record of what did not come goes again.
        tidy(layout)?;
    }
    unpacked
}

impl Unpacked {
    /// The package.
    pub const fn package(&self) -> &GuestPackage {
        &self.manifest.package.name
    }

    /// Gives everything its name: from here on the package is installed. What it replaces goes.
    pub fn put(self, layout: &Layout, _: &Unpacking) -> Result<(), InstallError> {
        for (digest, draft) in self.images {
            let path = layout.packaged_image(&digest);
            draft.persist(path.on_disk()).map_err(|e| e.error)?;
        }
        files::sync_dir(layout.packaged_images().on_disk())?;
        let dir = layout.guest_package(self.manifest.package.name.guest());
        files::make_dir(self.guest.path(), 0o755)?;
        files::put_dir(self.guest, dir.on_disk(), "manifest.json")?;
        for earlier in &self.manifest.renamed_from {
            if is_unpacked(layout, earlier)? {
                take_away(layout, earlier)?;
            }
        }
        Ok(())
    }
}

/// Takes a package away that was unpacked: from here on it is not installed. Its images go with [`tidy`].
pub fn take_away(layout: &Layout, package: &GuestPackage) -> Result<(), InstallError> {
    let dir = layout.guest_package(package.guest());
    // Without it there is no package.
    files::remove(dir.join("manifest.json").on_disk())?;
    files::remove_dir(dir.on_disk())?;
    Ok(())
}

/// Removes images that came out of tar files and that no package needs any more, and what is left of packages that are
/// gone. Returns the images that went. To be called under [`Unpacking`].
pub fn tidy(layout: &Layout) -> Result<Vec<Digest>, InstallError> {
    let records = Record::all(layout)?;
    let mut needed = HashSet::new();
    for installed in package::list(layout)? {
        // One whose needs are not known may need any of them.
        needed.extend(installed?.manifest.images().iter().map(|layer| layer.digest));
    }
    let ours: BTreeSet<Digest> = records
        .iter()
        .flat_map(|record| record.images.iter().copied())
        .collect();
    let unneeded: Vec<Digest> = ours
        .into_iter()
        .filter(|digest| !needed.contains(digest))
        .collect();
    let names: Vec<String> = unneeded
        .iter()
        .map(|digest| ImagePackage::of(digest).to_string())
        .collect();
    let managed = managed(layout, &names)?;
    let mut gone = Vec::new();
    for (digest, name) in unneeded.iter().zip(&names) {
        if !managed.contains_key(name) && files::remove(layout.packaged_image(digest).on_disk())? {
            gone.push(*digest);
        }
    }
    for mut record in records {
        let guest = record.package.guest().clone();
        if unregister::is_installed(layout, &record.package) {
            let before = record.images.len();
            record.images.retain(|digest| needed.contains(digest));
            if record.images.len() != before {
                record.write(layout)?;
            }
        } else {
            files::remove_dir(layout.guest_package(&guest).on_disk())?;
            files::remove(layout.unpacked_record(&guest).on_disk())?;
        }
    }
    Ok(gone)
}
