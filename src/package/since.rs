//! An earlier package set that a new one goes on from: its images stay as they are, and the new set adds one image on top of
//! those of each disk that has changed.

use super::contents::{self, MANIFEST};
use super::disks::{DiskPlan, Split};
use super::error::RepackError;
use super::installed::Installed;
use super::manifest::{Layer, Manifest};
use super::progress::{Progress, Step};
use super::unpacked::{self, Unpacked};
use crate::host::Layout;
use crate::image::{self, Format, ImageError, ImageInfo};
use crate::name::{Digest, PackageVersion};
use fs_err as fs;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// An earlier package set whose images are at hand.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its manifest.
    pub manifest: Manifest,
    /// Where its images are, under the names that their digests give them.
    pub images: PathBuf,
    /// True if the images' digests were computed just now.
    checked: bool,
}

/// Images of an earlier package set, unpacked from its files. They go with this value, or, if the run is killed, with the
/// next run in that directory.
#[derive(Debug)]
pub struct UnpackedSet {
    _unpacked: Unpacked,
}

/// What a disk of an earlier package set stands on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Below {
    /// The layers as the earlier manifest has them, lowest first.
    pub layers: Vec<Layer>,
    /// Their images: the uppermost first.
    pub chain: Vec<ImageInfo>,
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
    pub fn installed(layout: &Layout, installed: &Installed) -> Self {
        Self {
            manifest: installed.manifest.clone(),
            images: layout.packaged_images().on_disk().to_owned(),
            checked: false,
        }
    }

    /// The package set of the guest package `package` (RPM or DEB, with the packages of its images beside it), unpacked
    /// below `dir`. `caller` is the user on whose behalf root runs this.
    pub fn unpack(
        package: &Path,
        dir: &Path,
        caller: Option<u32>,
        progress: &dyn Progress,
    ) -> Result<(Self, UnpackedSet), RepackError> {
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
        let unpacked = Unpacked::create(dir, caller)?;
        let needed = manifest.images().iter().map(|layer| layer.file_size).sum();
        unpacked.ensure_room(package, needed)?;
        for layer in manifest.images() {
            let file = beside(package, layer)?.ok_or_else(|| {
                bad(format!(
                    "the package {} of one of its images is not beside it",
                    layer.package
                ))
            })?;
            unpack_image(&file, layer.digest, &unpacked, progress)?;
        }
        let earlier = Self {
            manifest,
            images: unpacked.path().to_owned(),
            checked: true,
        };
        Ok((earlier, UnpackedSet { _unpacked: unpacked }))
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
