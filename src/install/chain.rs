//! An instance's own links to the images below its overlay.
//!
//! The package manager may replace or remove a packaged file at any time, also under a running guest, so an overlay
//! never points at one: it stands on `chain/`, whose links keep the images alive. The link count is the reference
//! count.

use crate::host::files;
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

/// Makes `chain` hold the image of `digest`, which the package keeps at `packaged`: as a hard link; where that is
/// refused, as a reflink; as a copy only where the two are on different file systems. True if that changed anything.
///
/// A link to an earlier copy of the same image is replaced, so that space is not used twice after a reinstallation.
pub(super) fn link(packaged: &Path, chain: &Path, digest: &Digest) -> Result<bool, ChainError> {
    let target = chain.join(digest.file_name());
    let fail = |source| ChainError::Link {
        image: packaged.to_owned(),
        chain: chain.to_owned(),
        source,
    };
    let image = fs::metadata(packaged).map_err(fail)?;
    if let Ok(there) = fs::metadata(&target)
        && (there.dev(), there.ino()) == (image.dev(), image.ino())
    {
        return Ok(false);
    }
    // A name of our own: whatever a killed run left under it is worthless.
    let draft = chain.join(".linking");
    files::remove(&draft).map_err(fail)?;
    if let Err(error) = fs::hard_link(packaged, &draft) {
        duplicate(packaged, &draft, &error).map_err(fail)?;
    }
    fs::rename(&draft, &target).map_err(fail)?;
    files::sync_dir(chain).map_err(fail)?;
    Ok(true)
}

/// Reflinks, or copies across file systems, after a hard link was refused with `refusal`.
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

    #[test]
    fn links_once_and_follows_a_reinstallation() {
        let dir = tempfile::tempdir().unwrap();
        let packaged = dir.path().join("image");
        let digest: Digest = "ab".repeat(32).parse().unwrap();
        fs::write(&packaged, "one").unwrap();
        assert!(link(&packaged, dir.path(), &digest).unwrap());
        assert!(!link(&packaged, dir.path(), &digest).unwrap());
        assert_eq!(fs::metadata(&packaged).unwrap().nlink(), 2);
        fs::remove_file(&packaged).unwrap();
        fs::write(&packaged, "one").unwrap();
        assert!(link(&packaged, dir.path(), &digest).unwrap());
        assert_eq!(fs::metadata(&packaged).unwrap().nlink(), 2);
    }
}
