//! An instance's own links to the images below its overlay.
//!
//! The package manager may replace or remove a packaged file at any time, also under a running guest, so an overlay
//! never points at one: it stands on `chain/`, whose links keep the images alive. The link count is the reference
//! count. A link gets its name only when its content was verified, and a good one is never given up for another.

use super::InstallError;
use super::record::ImageRecord;
use crate::host::files;
use crate::image;
use crate::name::Digest;
use fs_err as fs;
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why an image could not be linked.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The operating system's words.
    #[error("cannot link {} into {}: {source}", image.display(), chain.display())]
    Link {
        /// The packaged image.
        image: PathBuf,
        /// The directory of links.
        chain: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// An image in the chain, verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Linked {
    /// The image as it is now.
    pub(super) image: ImageRecord,
    /// True if the link is new or another one than before.
    pub(super) changed: bool,
}

/// Makes `chain` hold the image of `digest`, which the package keeps at `packaged`: as a hard link; where that is
/// refused, as a reflink; as a copy only where the two are on different file systems. `None` if the image is in
/// neither place. `known` are the images that were verified before, and need not be again.
///
/// A verified link to an earlier copy of the same image is replaced if it can be a hard link, so that space is not
/// used twice after a reinstallation. It is kept if the new copy is damaged.
pub(super) fn link(
    packaged: &Path,
    chain: &Path,
    digest: &Digest,
    known: &[ImageRecord],
) -> Result<Option<Linked>, InstallError> {
    let fail = |source| ChainError::Link {
        image: packaged.to_owned(),
        chain: chain.to_owned(),
        source,
    };
    let target = chain.join(digest.file_name());
    let kept = |image| Linked {
        image,
        changed: false,
    };
    let there = stat(&target).map_err(fail)?;
    let good = match &there {
        Some(_) => Some(ImageRecord::of(&target, *digest)?).filter(|image| known.contains(image)),
        None => None,
    };
    let Some(source) = stat(packaged).map_err(fail)? else {
        return match (good, there) {
            (Some(image), _) => Ok(Some(kept(image))),
            (None, Some(_)) => Ok(Some(kept(verify(&target, &target, digest)?))),
            (None, None) => Ok(None),
        };
    };
    if there.is_some_and(|there| (there.dev(), there.ino()) == (source.dev(), source.ino())) {
        return Ok(Some(kept(match good {
            Some(image) => image,
            None => verify(&target, packaged, digest)?,
        })));
    }
    // A name of our own: whatever a killed run left under it is worthless.
    let draft = chain.join(".linking");
    files::remove(&draft).map_err(fail)?;
    if let Err(refusal) = fs::hard_link(packaged, &draft) {
        if let Some(image) = good {
            return Ok(Some(kept(image)));
        }
        duplicate(packaged, &draft, &refusal).map_err(fail)?;
    }
    // What was verified under another name needs no second reading; a copy is a file of its own.
    let now = ImageRecord::of(&draft, *digest)?;
    let verified = if known.contains(&now) {
        Ok(now)
    } else {
        verify(&draft, packaged, digest)
    };
    match verified {
        Ok(image) => {
            fs::rename(&draft, &target).map_err(fail)?;
            files::sync_dir(chain).map_err(fail)?;
            Ok(Some(Linked { image, changed: true }))
        }
        Err(error) => {
            files::remove(&draft).map_err(fail)?;
            match good {
                Some(image) => {
                    tracing::warn!(%error, "the good copy in {} is kept", chain.display());
                    Ok(Some(kept(image)))
                }
                None => Err(error),
            }
        }
    }
}

/// The digests of the images in `chain`.
pub(super) fn held(chain: &Path) -> io::Result<Vec<Digest>> {
    let entries = match fs::read_dir(chain) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(Digest::of_file_name(&entry?.file_name().to_string_lossy()));
    }
    all.sort();
    Ok(all)
}

fn stat(path: &Path) -> io::Result<Option<std::fs::Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The record of `file` if it has `digest`; an error that blames `origin` if not.
fn verify(file: &Path, origin: &Path, digest: &Digest) -> Result<ImageRecord, InstallError> {
    // Looked at first: what changes while it is read is not what the record says.
    let image = ImageRecord::of(file, *digest)?;
    let found = image::sha256_file(file, &mut |_| {})?;
    if found == *digest {
        return Ok(image);
    }
    Err(InstallError::Digest {
        path: origin.to_owned(),
        wanted: *digest,
        found,
    })
}

/// Reflinks, or copies across file systems, after a hard link was refused with `refusal`.
/// True if `file` is there and has `digest`, which is taken unless it is that of an image in `known`.
pub(super) fn is_sound(file: &Path, digest: &Digest, known: &[ImageRecord]) -> Result<bool, InstallError> {
    if stat(file)?.is_none_or(|meta| !meta.is_file()) {
        return Ok(false);
    }
    if known.contains(&ImageRecord::of(file, *digest)?) {
        return Ok(true);
    }
    match verify(file, file, digest) {
        Ok(_) => Ok(true),
        Err(InstallError::Digest { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn duplicate(packaged: &Path, draft: &Path, refusal: &io::Error) -> io::Result<()> {
    let mut source = fs::File::open(packaged)?;
    let mut target = fs::File::create(draft)?;
    match rustix::fs::ioctl_ficlone(&target, &source) {
        Ok(()) => {}
        Err(Errno::XDEV) => drop(io::copy(&mut source, &mut target)?),
        Err(error) if refusal.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            // Two mounts of one file system refuse links but may still share extents; other pairs are copied.
            tracing::debug!(%error, "no reflink across file systems");
            io::copy(&mut source, &mut target)?;
        }
        Err(error) => {
            files::remove(draft)?;
            return Err(io::Error::other(format!(
                "the file system refuses a hard link ({refusal}) and a reflink ({error})"
            )));
        }
    }
    target.set_permissions(std::fs::Permissions::from_mode(0o444))?;
    target.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    struct Place {
        dir: tempfile::TempDir,
        packaged: PathBuf,
        digest: Digest,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let packaged = dir.path().join("image");
            fs::write(&packaged, "one").unwrap();
            let digest = Digest::from_bytes(Sha256::digest("one").into());
            Self {
                dir,
                packaged,
                digest,
            }
        }

        fn link(&self, known: &[ImageRecord]) -> Result<Option<Linked>, InstallError> {
            let linked = link(&self.packaged, self.dir.path(), &self.digest, known);
            assert!(!self.dir.path().join(".linking").exists());
            linked
        }

        fn target(&self) -> PathBuf {
            self.dir.path().join(self.digest.file_name())
        }

        /// The packaged file becomes another one with this content.
        fn reinstall(&self, content: &str) {
            let other = self.dir.path().join("other");
            fs::write(&other, content).unwrap();
            fs::rename(other, &self.packaged).unwrap();
        }
    }

    #[test]
    fn links_once_and_follows_a_reinstallation() {
        let place = Place::new();
        let first = place.link(&[]).unwrap().unwrap();
        assert!(first.changed);
        assert!(!place.link(&[]).unwrap().unwrap().changed);
        assert_eq!(fs::metadata(&place.packaged).unwrap().nlink(), 2);
        place.reinstall("one");
        assert!(place.link(&[first.image]).unwrap().unwrap().changed);
        assert_eq!(fs::metadata(&place.packaged).unwrap().nlink(), 2);
    }

    #[test]
    fn a_good_link_is_not_given_up_for_a_damaged_file() {
        let place = Place::new();
        let good = place.link(&[]).unwrap().unwrap().image;
        place.reinstall("bad");
        let again = place.link(std::slice::from_ref(&good)).unwrap().unwrap();
        assert_eq!((&again.image, again.changed), (&good, false));
        assert_eq!(fs::read_to_string(place.target()).unwrap(), "one");
        // Also where nobody remembers that it is good: the damaged file is told, the link stays.
        assert!(matches!(place.link(&[]), Err(InstallError::Digest { path, .. }) if path == place.packaged));
        assert_eq!(fs::read_to_string(place.target()).unwrap(), "one");
    }

    #[test]
    fn a_damaged_file_is_never_linked() {
        let place = Place::new();
        place.reinstall("bad");
        assert!(matches!(place.link(&[]), Err(InstallError::Digest { .. })));
        assert!(!place.target().exists());
    }

    #[test]
    fn a_copy_is_made_and_verified_once() {
        // Another file system than the usual TMPDIR; on the same one this is a link, which is made once too.
        let shm = tempfile::tempdir_in("/dev/shm").unwrap();
        let place = Place::new();
        let link = |known: &[ImageRecord]| link(&place.packaged, shm.path(), &place.digest, known);
        let first = link(&[]).unwrap().unwrap();
        assert!(first.changed);
        let again = link(std::slice::from_ref(&first.image)).unwrap().unwrap();
        assert_eq!((again.image, again.changed), (first.image, false));
    }

    #[test]
    fn a_link_outlives_the_package() {
        let place = Place::new();
        let good = place.link(&[]).unwrap().unwrap().image;
        fs::remove_file(&place.packaged).unwrap();
        assert_eq!(place.link(&[]).unwrap().unwrap().image, good);
        fs::remove_file(place.target()).unwrap();
        assert_eq!(place.link(&[good]).unwrap(), None);
    }
}
