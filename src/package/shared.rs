//! Image packages that a repository directory holds already: whoever needs one of these images shares its package. None
//! is trusted by its name.

use super::name::ImagePackage;
use super::progress::{Progress, Step};
use super::target::{OutputFile, Target};
use super::verify::{PackageKind, verify};
use crate::name::Digest;
use fs_err as fs;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The image packages in a directory.
pub(super) struct Shared {
    dir: PathBuf,
    /// Version and revision, as packages' files have them in their names.
    version: String,
    found: Vec<OutputFile>,
    /// Packages that are not what they should be, which need not be read again.
    bad: HashSet<PathBuf>,
}

impl Shared {
    pub(super) fn new(dir: &Path, release: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            version: format!("{}-{release}", ImagePackage::VERSION),
            found: Vec::new(),
            bad: HashSet::new(),
        }
    }

    /// False if there is no image package at all, so that looking for one needs no digest.
    pub(super) fn any(&self) -> bool {
        let Ok(mut entries) = fs::read_dir(&self.dir) else {
            return false;
        };
        entries.any(|entry| {
            entry.is_ok_and(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(ImagePackage::PREFIX)
            })
        })
    }

    /// Whether the directory holds a package of this kind with the image of `digest`, whole: it is read to its end.
    pub(super) fn has(&mut self, kind: Target, digest: &Digest, progress: &dyn Progress) -> bool {
        let package = ImagePackage::of(digest);
        let (package, version) = (package.as_str(), &self.version);
        let (name, form) = match kind {
            Target::Rpm => (format!("{package}-{version}.noarch.rpm"), PackageKind::Rpm),
            Target::Deb => (format!("{package}_{version}_all.deb"), PackageKind::Deb),
            _ => return false,
        };
        let path = self.dir.join(name);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            return false;
        };
        if self.bad.contains(&path) {
            return false;
        }
        progress.step(&Step {
            name: "share",
            title: format!("check {}", path.display()),
            bytes: Some(meta.len()),
        });
        let reason = match verify(&path, &mut |bytes| progress.advance(bytes)) {
            Ok(found) => {
                let holds = found.files.iter().any(|file| {
                    file.digest == *digest && file.path.ends_with(&format!("/{}", digest.file_name()))
                });
                if holds && found.kind == form && found.package == package {
                    self.found.push(OutputFile {
                        kind,
                        package: package.to_owned(),
                        path,
                        size: meta.len(),
                    });
                    return true;
                }
                format!("{} does not hold the image of its name", path.display())
            }
            Err(error) => error.to_string(),
        };
        progress.warn(&format!("an image package is made again: {reason}"));
        self.bad.insert(path);
        false
    }

    /// The packages of this image are made anew, because one of them is not there.
    pub(super) fn forget(&mut self, digest: &Digest) {
        let package = ImagePackage::of(digest);
        self.found.retain(|file| file.package != package.as_str());
    }

    /// What was found.
    pub(super) fn into_found(self) -> Vec<OutputFile> {
        self.found
    }
}
