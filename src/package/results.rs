//! The last step of a repack: when everything has been made, it goes to the output directory, one complete file
//! after the other.

use super::error::RepackError;
use super::rpm::Built;
use super::target::{OutputFile, Target};
use super::work::{WorkDir, publish};
use crate::image;
use fs_err as fs;
use std::io;
use std::path::{Path, PathBuf};

/// What has been made in the working directory.
#[derive(Debug, Default)]
pub(super) struct Results {
    made: Vec<(Target, Built)>,
}

impl Results {
    /// Finished packages.
    pub(super) fn add(&mut self, kind: Target, built: Vec<Built>) {
        self.made.extend(built.into_iter().map(|built| (kind, built)));
    }

    /// Moves everything to `output`; files get permission bits `mode`. The guest's package comes last: where it is,
    /// the images are that it needs.
    pub(super) fn publish(self, output: &Path, mode: u32) -> Result<Vec<OutputFile>, RepackError> {
        // A run that failed may have taken it away, if it had made it.
        fs::create_dir_all(output)?;
        let mut files = self
            .made
            .into_iter()
            .rev()
            .map(|(kind, built)| {
                let name = built.file.file_name().unwrap_or_default();
                let path = output.join(name);
                let (size, digest) = if kind == Target::BuildTree {
                    let size = size_of_dir(&built.file)?;
                    move_dir(&built.file, &path)?;
                    (size, None)
                } else {
                    let digest = image::sha256_file(&built.file, &mut |_| {})?;
                    let size = fs::metadata(&built.file)?.len();
                    publish(&built.file, &path, mode)?;
                    (size, Some(digest))
                };
                Ok(OutputFile {
                    kind,
                    package: built.package,
                    path,
                    size,
                    digest,
                })
            })
            .collect::<Result<Vec<_>, RepackError>>()?;
        files.reverse();
        Ok(files)
    }
}

fn size_of_dir(dir: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}

/// Moves a flat directory; on another file system its copy gets its name when it is complete.
fn move_dir(source: &PathBuf, target: &Path) -> io::Result<()> {
    match fs::rename(source, target) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let work = WorkDir::create(target.parent().unwrap_or(Path::new(".")))?;
            let copy = work.path().join("tree");
            fs::create_dir(&copy)?;
            fs::set_permissions(&copy, fs::metadata(source)?.permissions())?;
            for entry in fs::read_dir(source)? {
                let entry = entry?;
                fs::copy(entry.path(), copy.join(entry.file_name()))?;
            }
            fs::rename(&copy, target)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_image_there_is_no_guest_package() {
        let dir = tempfile::tempdir().unwrap();
        let (work, output) = (dir.path().join("work"), dir.path().join("output"));
        let mut results = Results::default();
        let built = ["guest.deb", "image.deb"].map(|name| {
            let file = work.join(name);
            fs::create_dir_all(&work).unwrap();
            fs::write(&file, name).unwrap();
            Built {
                file,
                package: name.to_owned(),
            }
        });
        results.add(Target::Deb, built.into());
        // Nothing can be put in its place.
        fs::create_dir_all(output.join("image.deb/in the way")).unwrap();
        results.publish(&output, 0o644).unwrap_err();
        assert!(!output.join("guest.deb").exists());
    }
}
