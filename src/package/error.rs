//! Why packing fails. What a failure means to the user is the program's business.

use super::plan::PlanError;
use super::verify::VerifyError;
use crate::host::CommandError;
use crate::image::ImageError;
use std::io;
use std::path::PathBuf;

/// Why a guest could not be packed. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// It cannot be packed as it is; nothing was written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A package set cannot be gone on from.
    #[error("{package} cannot be gone on from: {reason}")]
    NoEarlier {
        /// The guest package, or its file.
        package: String,
        /// Why not.
        reason: String,
    },
    /// A package file holds nothing that a disk could stand on.
    #[error("{} cannot be the base: {reason}", path.display())]
    NoBase {
        /// The package file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The images in package files do not fit where they have to be unpacked.
    #[error(
        "what is needed of {} takes {needed} bytes while the guest is packed, and {} has {free} bytes free",
        path.display(), dir.display()
    )]
    NoSpace {
        /// The package file.
        path: PathBuf,
        /// Bytes of the images.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Where it would be.
        dir: PathBuf,
    },
    /// A package file is damaged, or not miniascape's.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A file that belongs to the guest cannot be packed.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why it cannot.
        reason: String,
    },
    /// The TPM's state was asked for, and there is none.
    #[error("the guest has no emulated TPM whose state could be packed: {reason}")]
    NoTpm {
        /// What there is instead.
        reason: &'static str,
    },
    /// A Debian package cannot hold an image.
    #[error(
        "the disk {target} would take about {packed} bytes in a Debian package, which holds at most {}",
        super::deb::ar::MAX_MEMBER
    )]
    TooLargeForDeb {
        /// The disk.
        target: String,
        /// Bytes that its images would take.
        packed: u64,
    },
    /// Someone wrote to a source while it was packed.
    #[error("{} has changed or gone while it was read: nothing was made of it", path.display())]
    SourceChanged {
        /// The image.
        path: PathBuf,
    },
    /// What exported the disks as they were at one moment has ended.
    #[error("the disks are not to be read any more as they were: nothing was made of them")]
    SourceGone,
    /// An image could not be read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A program is missing or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The build tree is there already; it may hold someone's work.
    #[error("{} is there already: remove it or choose another output directory", path.display())]
    TreeExists {
        /// The tree.
        path: PathBuf,
    },
    /// Someone else could change what root makes there.
    #[error("the directory {} {reason}: root makes no packages there", path.display())]
    OtherHands {
        /// The output or working directory.
        path: PathBuf,
        /// Who has his hands in it.
        reason: &'static str,
    },
    /// A compiled-in template is broken.
    #[error("a text of the package could not be made: {0}")]
    Template(#[from] tera::Error),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}
