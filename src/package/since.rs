//! An earlier package set that a new one goes on from: its images stay as they are, and the new set adds one image on top of
//! those of each disk that has changed. What has changed is told by the digests of the disk's blocks that the earlier guest
//! package has; where it has none, by its images.

use super::contents::{self, MANIFEST};
use super::disks::{DiskPlan, Split};
use super::error::RepackError;
use super::files::{self, FileSection};
use super::installed::Installed;
use super::manifest::{DiskSection, Layer, Manifest};
use super::progress::{Progress, Step};
use super::text::Word;
use super::unpacked::{self, Unpacked};
use crate::host::{self, Layout};
use crate::image::{self, Content, Format, ImageError, ImageInfo};
use crate::name::{Digest, PackageVersion};
use fs_err as fs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads a file of a guest package; none if one may not.
type Read<'a> = &'a dyn Fn(&FileSection) -> Result<Option<Vec<u8>>, RepackError>;

/// An earlier package set.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its manifest.
    pub manifest: Manifest,
    /// What its disks hold, by target, where the package has the digests of their blocks.
    contents: BTreeMap<Word, Arc<Content>>,
    /// Where the images of the other disks are, under the names that their digests give them.
    images: PathBuf,
    /// True if the images' digests were computed just now.
    checked: bool,
}

/// Images of an earlier package set, unpacked from its files. They go with this value, or, if the run is killed, with the
/// next run in that directory.
#[derive(Debug)]
pub struct UnpackedSet {
    _unpacked: Unpacked,
}

/// What a disk goes on from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Below {
    /// The layers as the earlier manifest has them, lowest first.
    pub layers: Vec<Layer>,
    /// Their images, if they have to be read: the uppermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<ImageInfo>,
    /// What a guest reads through them, if that is known without the images.
    #[serde(skip)]
    pub content: Option<Arc<Content>>,
    #[serde(skip)]
    checked: bool,
}

impl Below {
    /// The uppermost layer.
    pub(super) fn top(&self) -> &Layer {
        self.layers.last().expect("a manifest's disk has a layer")
    }

    /// Refuses images that are not what their names say: what is made of a difference to them would be nonsense elsewhere.
    pub(super) fn check(&self, progress: &dyn Progress) -> Result<(), ImageError> {
        if self.checked {
            return Ok(());
        }
        for (image, layer) in self.chain.iter().zip(self.layers.iter().rev()) {
            progress.step(&Step {
                name: "check",
                title: format!("digest of {}", image.path.display()),
                bytes: Some(image.file_size),
            });
            let found = image::sha256_file(&image.path, &mut |bytes| progress.advance(bytes))?;
            if found != layer.digest {
                return Err(ImageError::Damaged {
                    path: image.path.clone(),
                    reason: "it is not what its name says; reinstall its package".to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl Earlier {
    /// An installed package set.
    pub fn installed(layout: &Layout, installed: &Installed) -> Result<Self, RepackError> {
        let dir = layout.guest_package(installed.package.guest());
        let read = |file: &FileSection| {
            let path = dir.join(file.name.as_str());
            match host::files::read_at_most(path.on_disk(), files::MAX_FILE) {
                // Only root may read it, as it is with the images.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(None),
                Err(e) => Err(e.into()),
                Ok(list) if file.is_of(&list) => Ok(Some(list)),
                Ok(_) => Err(RepackError::NoEarlier {
                    package: installed.package.to_string(),
                    reason: format!("its file {} is damaged; reinstall it", path.on_disk().display()),
                }),
            }
        };
        Ok(Self {
            contents: block_digests(&installed.manifest, &read)?,
            manifest: installed.manifest.clone(),
            images: layout.packaged_images().on_disk().to_owned(),
            checked: false,
        })
    }

    /// The package set of the guest package `package` (RPM or DEB). Images that are needed, because it does not have the
    /// digests of their blocks, are unpacked below `dir`: their packages have to lie beside it then. `caller` is the user
    /// on whose behalf root runs this.
    pub fn of_file(
        package: &Path,
        dir: &Path,
        caller: Option<u32>,
        progress: &dyn Progress,
    ) -> Result<(Self, Option<UnpackedSet>), RepackError> {
        let bad = |reason: String| RepackError::NoEarlier {
            package: package.display().to_string(),
            reason,
        };
        let found = unpacked::checked(package, progress)?;
        if !contents::has(&found, MANIFEST) {
            return Err(bad("it is no guest package".to_owned()));
        }
        let manifest = contents::text(package, &found, MANIFEST)?;
        let manifest = Manifest::parse(manifest.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let read = |file: &FileSection| {
            Ok(Some(contents::bytes(
                package,
                &found,
                file.name.as_str(),
                files::MAX_FILE,
            )?))
        };
        let mut earlier = Self {
            contents: block_digests(&manifest, &read)?,
            manifest,
            images: PathBuf::new(),
            checked: true,
        };
        let mut needed: Vec<&Layer> = Vec::new();
        for layer in earlier.disks_by_image().flat_map(|disk| &disk.layers) {
            if !needed.iter().any(|other| other.digest == layer.digest) {
                needed.push(layer);
            }
        }
        if needed.is_empty() {
            return Ok((earlier, None));
        }
        let unpacked = Unpacked::create(dir, caller)?;
        unpacked.ensure_room(package, needed.iter().map(|layer| layer.file_size).sum())?;
        for layer in needed {
            let file = beside(package, layer)?.ok_or_else(|| {
                bad(format!(
                    "the package {} of one of its images is not beside it",
                    layer.package
                ))
            })?;
            unpack_image(&file, layer.digest, &unpacked, progress)?;
        }
        unpacked.path().clone_into(&mut earlier.images);
        Ok((earlier, Some(UnpackedSet { _unpacked: unpacked })))
    }

    /// The disks of whose content nothing is known but by their images.
    fn disks_by_image(&self) -> impl Iterator<Item = &DiskSection> {
        let disks = self.manifest.disks.iter();
        disks.filter(|disk| !self.contents.contains_key(&disk.target))
    }

    /// Has the disk go on from the earlier one of its name, if there is one.
    pub(super) fn go_on(&self, disk: &mut DiskPlan) -> Result<(), RepackError> {
        let Some(section) = self
            .manifest
            .disks
            .iter()
            .find(|section| section.target == disk.target)
        else {
            return Ok(());
        };
        let layers = section.layers.clone();
        if let Some(content) = self.contents.get(&disk.target) {
            disk.split = Split::Since(Box::new(Below {
                layers,
                chain: Vec::new(),
                content: Some(Arc::clone(content)),
                checked: true,
            }));
            return Ok(());
        }
        let Some(top) = layers.last() else { return Ok(()) };
        let file = |digest: &Digest| self.images.join(digest.file_name());
        let ours: Vec<PathBuf> = layers.iter().map(|layer| file(&layer.digest)).collect();
        let chain = image::chain(&file(&top.digest), Format::Qcow2, &|path, _| {
            ours.iter().any(|own| own == path)
        })?;
        let named = chain.0.iter().map(|image| image.path.clone());
        if !named.eq(ours.iter().rev().cloned()) {
            return Err(RepackError::NoEarlier {
                package: self.manifest.package.name.to_string(),
                reason: format!(
                    "the images of the disk {} do not stand on each other as its manifest says",
                    disk.target
                ),
            });
        }
        disk.split = Split::Since(Box::new(Below {
            layers,
            chain: chain.0,
            content: None,
            checked: self.checked,
        }));
        Ok(())
    }

    /// Why a package of that name and version cannot go on from this one.
    pub(super) fn refuse(
        &self,
        name: &super::GuestPackage,
        renamed_from: &[super::GuestPackage],
        version: &PackageVersion,
    ) -> Result<(), RepackError> {
        let own = &self.manifest.package;
        let no = |reason: String| {
            Err(RepackError::NoEarlier {
                package: own.name.to_string(),
                reason,
            })
        };
        if own.name != *name && !renamed_from.contains(&own.name) {
            return no(format!("the guest's package is {name}"));
        }
        if own.version == *version {
            return no(format!(
                "it has the version {version} itself; give a later one with --package-version"
            ));
        }
        if self.manifest.sealed {
            return no(
                "it was sealed, and the difference to the guest would bring back what was taken out"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// What the disks hold whose blocks' digests are in the guest package, where `read` gets its files from.
fn block_digests(manifest: &Manifest, read: Read<'_>) -> Result<BTreeMap<Word, Arc<Content>>, RepackError> {
    let mut contents = BTreeMap::new();
    for disk in &manifest.disks {
        let name = files::blocks_file(&disk.target);
        let file = manifest.files.iter().find(|file| file.name.as_str() == name);
        let (Some(file), Some(top)) = (file, disk.layers.last()) else {
            continue;
        };
        let Some(list) = read(file)? else { continue };
        let bad = |reason: &str| RepackError::NoEarlier {
            package: manifest.package.name.to_string(),
            reason: format!("{name}: {reason}"),
        };
        let content = Content::from_list(&list).map_err(|reason| bad(&reason))?;
        if content.digest() != top.content_digest {
            return Err(bad("it is not the list of the disk's blocks"));
        }
        contents.insert(disk.target.clone(), Arc::new(content));
    }
    Ok(contents)
}

/// The package of an image, in the directory and of the kind of `package`.
fn beside(package: &Path, layer: &Layer) -> io::Result<Option<PathBuf>> {
    let dir = match package.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let rest = name.strip_prefix(&layer.package.to_string());
        if rest.is_some_and(|rest| rest.starts_with(['-', '_'])) && path.extension() == package.extension() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn unpack_image(
    package: &Path,
    digest: Digest,
    unpacked: &Unpacked,
    progress: &dyn Progress,
) -> Result<(), RepackError> {
    let found = unpacked::checked(package, progress)?;
    let image = found.files.iter().find(|file| file.digest == digest);
    let image = image.ok_or_else(|| RepackError::NoEarlier {
        package: package.display().to_string(),
        reason: format!("it does not hold the image {digest}"),
    })?;
    unpacked.take(package, &found, &image.path, &digest.file_name(), progress)
}
