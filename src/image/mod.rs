//! Disk images: reading them and their chains, planning and writing new ones, digests, and what `qemu-img` does for us.
//!
//! New images are planned before they are written, so that their exact size is known:
//!
//! ```text
//! let disk = Arc::new(Disk::open(path, format, permit)?);        // with all that it stands on
//! let base = Arc::new(disk.bottom()?);                           // the last of its chain by itself
//! let first = Plan::flat(&base, 65536, advance)?;                // one image without a backing file
//! let second = Plan::delta(&disk, &base, 65536, advance)?        // only what differs
//!     .on("sha256-….qcow2", Format::Qcow2)?;                     // the name may be set when it is known
//! first.size();                                                  // bytes, exactly
//! first.write_to(&mut out, advance)?;                            // these bytes, in order; or first.stream(), a `Read`
//! first.write_file(&file, advance)?;                             // the same into a file, on all cores
//! disk.ensure_unchanged()?;                                      // nobody wrote to the sources meanwhile
//! ```
//!
//! Equal disks give equal bytes, however they are stored and whatever the number of cores.
//!
//! Everything in an image's header is untrusted: it is read into typed values, and a file that a header names (a
//! backing file) is opened only after the caller allowed it. What lives elsewhere: which image becomes a base or a
//! delta (`package::plan`), where images lie on a host (`host::layout`).

mod allow;
mod blocks;
mod bytes;
mod digest;
mod disk;
mod draft;
mod extent;
mod guess;
mod header;
mod info;
mod judge;
mod layer;
mod layout;
mod nbd;
mod open;
mod ordered;
mod packed;
mod plan;
mod qemu;
mod snapshots;
mod stream;
mod unpack;
mod verify;
mod write;

pub use allow::Allow;
pub use digest::{Content, ContentDigest, content_digest, sha256_file};
pub use disk::{Disk, DiskReader, MAX_DEPTH};
pub use draft::Draft;
pub use extent::{Extent, Place};
pub use guess::{Guess, guess};
pub use header::{Compression, QcowHeader, peek};
pub use info::{Backing, Chain, ImageInfo, chain, describe, ensure_unused, info};
pub use nbd::{Export, NbdError};
pub use open::Permit;
pub use plan::Plan;
pub use qemu::{
    check, compare, copy_raw, create, create_fine_overlay, create_overlay, rebase, remove_bitmap,
};
pub use stream::PlanStream;
pub use verify::Soundness;

use crate::host::CommandError;
use std::io;
use std::path::PathBuf;

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The guest's bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl Format {
    /// The name that QEMU and libvirt use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }

    /// The format of that name, if it is one of these.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2].into_iter().find(|f| f.as_str() == name)
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an image cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such file.
    #[error("the image {} does not exist", path.display())]
    Missing {
        /// The image.
        path: PathBuf,
    },
    /// The backing file that an image names does not exist.
    #[error("{} needs the backing file {}, which does not exist", image.display(), backing.display())]
    MissingBacking {
        /// The image that names it.
        image: PathBuf,
        /// The file that is not there.
        backing: PathBuf,
    },
    /// A guest or another program has it open for writing.
    #[error("the image {} is in use: shut the guest down that writes to it", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// It is a directory, character device or socket.
    #[error("{} is neither a file nor a block device", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The header breaks the format's rules.
    #[error("{} is not a sound qcow2 image: {reason}", path.display())]
    Header {
        /// The image.
        path: PathBuf,
        /// The broken rule.
        reason: String,
    },
    /// The image is sound, but of a kind that is not handled.
    #[error("{}: {what} is not supported; {hint}", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// What it has or is.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The header names a backing file without saying its format, and guessing is not safe.
    #[error(
        "{} does not record the format of its backing file `{backing}`; record it with \
         `qemu-img rebase -u -b {backing} -F FORMAT {}`", path.display(), path.display()
    )]
    NoBackingFormat {
        /// The image.
        path: PathBuf,
        /// Its backing file as recorded, made printable.
        backing: String,
    },
    /// The caller does not allow the backing or data file to be opened.
    #[error("{} names {} as its {role} file, which lies outside the places allowed for images", image.display(), backing.display())]
    BackingNotAllowed {
        /// The image that names it.
        image: PathBuf,
        /// `backing` or `data`.
        role: &'static str,
        /// The file it names.
        backing: PathBuf,
    },
    /// The two images differ, or one is damaged.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// An NBD server's export cannot be read.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// A dirty bitmap misses what has changed.
    #[error("the dirty bitmap of {} is wrong: the block at byte {at} has changed without it", path.display())]
    WrongBitmap {
        /// The disk.
        path: PathBuf,
        /// Where it shows.
        at: u64,
    },
    /// `qemu-img` is missing or failed.
    #[error(transparent)]
    Tool(#[from] CommandError),
    /// A file was written to while it was read.
    #[error("{} changed while it was read: shut down what writes to it, and start again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}
