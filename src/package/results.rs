//! The last step of a repack: when everything has been made, it goes to the places that it was made for, one complete
//! file after the other.

use super::error::RepackError;
use super::name::ImagePackage;
use super::set::Built;
use super::target::{OutputFile, Target};
use super::work::publish;
use fs_err as fs;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What has been made in the working directories, in the order of publishing: the guest's packages after their images.
#[derive(Debug, Default)]
pub(super) struct Results {
    made: Vec<(Target, Built)>,
}

impl Results {
    /// A finished result.
    pub(super) fn add(&mut self, kind: Target, built: Built) {
        self.made.push((kind, built));
    }

    /// Moves everything to `output`, a tree to `trees`; files get permission bits `mode`. Where a guest's package is,
    /// the images are that it needs. The list that is returned begins with the guest's package of each kind.
    pub(super) fn publish(
        self,
        output: &Path,
        trees: &Path,
        mode: u32,
    ) -> Result<Vec<OutputFile>, RepackError> {
        // A run that failed may have taken it away, if it had made it.
        fs::create_dir_all(output)?;
        let mut files = Vec::new();
        for (kind, built) in self.made {
            let (path, size) = if kind == Target::BuildTree {
                let path = trees.join(&built.name);
                let size = size_of_dir(&built.file)?;
                // It was made on the same file system.
                fs::rename(&built.file, &path)?;
                (path, size)
            } else {
                let path = output.join(&built.name);
                let size = fs::metadata(&built.file)?.len();
                publish(&built.file, &path, mode)?;
                (path, size)
            };
            files.push(OutputFile {
                kind,
                package: built.package,
                path,
                size,
            });
        }
        files.sort_by_key(|file| (file.kind, file.package.parse::<ImagePackage>().is_ok()));
        Ok(files)
    }
}

/// Bytes of all files in a directory, each file once.
fn size_of_dir(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    let mut seen = HashSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                dirs.push(entry.path());
            } else if seen.insert(meta.ino()) {
                size += meta.len();
            }
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_image_there_is_no_guest_package() {
        let dir = tempfile::tempdir().unwrap();
        let (work, output) = (dir.path().join("work"), dir.path().join("output"));
        let mut results = Results::default();
        for name in ["image.deb", "guest.deb"] {
            let file = work.join(name);
            fs::create_dir_all(&work).unwrap();
            fs::write(&file, name).unwrap();
            let built = Built {
                file,
                name: name.to_owned(),
                package: name.to_owned(),
            };
            results.add(Target::Deb, built);
        }
        // Nothing can be put in its place.
        fs::create_dir_all(output.join("image.deb/in the way")).unwrap();
        results.publish(&output, &output, 0o644).unwrap_err();
        assert!(!output.join("guest.deb").exists());
    }
}
