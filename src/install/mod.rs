//! What happens on the host that a guest package was installed on: instances are made from packages, kept when a
//! package goes, and found again when it returns; work that cannot be done now is kept for later.
//!
//! The package manager brings images and manifest; nothing here writes to what it owns.

mod chain;
mod define;
mod finish;
mod firmware;
mod hand_over;
mod identity;
mod kept;
mod managed;
mod networks;
mod outcome;
mod overlay;
mod overlooked;
mod pending;
mod preflight;
mod record;
mod register;
mod reset;
mod start;
mod status;
mod trust;
mod unpack;
mod unregister;

#[cfg(test)]
mod tests;

pub use chain::ChainError;
pub use finish::{Finished, finish, note_failure};
pub use hand_over::{install_run, mark_run, remove_run};
pub use kept::after_start;
pub use managed::{Managed, Manager, managed};
pub use outcome::{Outcome, OutcomeGuest, outcome};
pub use overlooked::{is_any_unlinked, link_returned, note_overlooked};
pub use pending::{Pending, PendingKind, SYSTEM, list as pending};
pub use preflight::{Check, Finding, Verdict, preflight};
pub use record::is_marked;
pub use record::{DiskRecord, Identity, ImageRecord, Instance, InstanceState, ResetPhase, Resetting};
pub use register::{Registered, Wish, register};
pub use reset::{Reset, reset};
pub use start::check_images;
pub use status::{DiskStatus, InstanceStatus, status, statuses};
pub use unpack::{Unpacked, Unpacking, is_unpacked, take_away, tidy, unpack};
pub use unregister::{Unregistered, unregister};

use crate::domain::DomainXmlError;
use crate::host::kvm::KvmError;
use crate::host::{CommandError, LibvirtError};
use crate::image::ImageError;
use crate::name::{Digest, GuestName};
use crate::package::{GuestPackage, InstalledError, VerifyError};
use std::io;
use std::path::PathBuf;

/// Why an instance was not made, kept or taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package is not installed, or its manifest is refused.
    #[error(transparent)]
    Package(#[from] InstalledError),
    /// A package file is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A package manager has the package.
    #[error("{package} {version} is installed by {}, to which its files belong; nothing was changed", manager.as_str())]
    Managed {
        /// The package.
        package: GuestPackage,
        /// Who has it.
        manager: Manager,
        /// In which version.
        version: String,
    },
    /// There is no room for images.
    #[error("{}: {needed} bytes are needed, {free} are free; nothing was changed", dir.display())]
    NoSpace {
        /// Where they go.
        dir: PathBuf,
        /// Bytes of the images.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The domain XML is refused.
    #[error("the domain XML of {package}: {source}")]
    Xml {
        /// The package.
        package: GuestPackage,
        /// What is wrong.
        source: DomainXmlError,
    },
    /// The domain XML asks for what no stranger is to have.
    #[error("the domain XML of {package} asks for what a package is not given here without trust: {what}")]
    HostBound {
        /// The package.
        package: GuestPackage,
        /// What it asks for, made printable.
        what: String,
    },
    /// An image of the package is not on the disk.
    #[error("{package} needs the image {}, which is not there; reinstall the package {image}", path.display())]
    ImageMissing {
        /// The guest package.
        package: GuestPackage,
        /// Where the image should be.
        path: PathBuf,
        /// The package that brings it.
        image: String,
    },
    /// A file of the guest package is not what its manifest says.
    #[error("{} is damaged: it is not what the manifest says; reinstall {package}", path.display())]
    File {
        /// The guest package.
        package: GuestPackage,
        /// The file.
        path: PathBuf,
    },
    /// An image is not what its name says.
    #[error("the image {} is damaged: its digest is {found}, not {wanted}", path.display())]
    Digest {
        /// The image.
        path: PathBuf,
        /// The digest that the manifest names.
        wanted: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// A packaged image is not made to stand where the manifest puts it.
    #[error("the image {} stands on {found}, and the manifest says {wanted}: the package is faulty", path.display())]
    Layer {
        /// The image.
        path: PathBuf,
        /// What its header names, made printable.
        found: String,
        /// What the manifest has below it.
        wanted: String,
    },
    /// A layer of an instance was changed after it had been verified.
    #[error(
        "{} has been {what} since it was verified, so {guest} is not started: its digest {}, not {wanted}",
        path.display(),
        found.map_or("is not known".to_owned(), |found| format!("is {found}"))
    )]
    Swapped {
        /// The instance.
        guest: GuestName,
        /// The layer.
        path: PathBuf,
        /// What happened to it: "replaced", "removed", …
        what: &'static str,
        /// The digest that it was verified to have.
        wanted: Box<Digest>,
        /// The digest that it has, if it is there.
        found: Option<Digest>,
    },
    /// A layer of an instance was never verified.
    #[error("{} was never verified, so {guest} is not started", path.display())]
    Unverified {
        /// The instance.
        guest: GuestName,
        /// The layer.
        path: PathBuf,
    },
    /// The overlay of a disk stands on something else than was recorded when it was made.
    #[error(
        "the disk {} of {guest} stands on {found}, not on {wanted}: on another image its content would be destroyed",
        path.display()
    )]
    Overlay {
        /// The instance.
        guest: GuestName,
        /// The overlay.
        path: PathBuf,
        /// What its header names, made printable.
        found: String,
        /// What it was made on.
        wanted: String,
    },
    /// Another guest has the name.
    #[error("libvirt already has a guest {guest}, which was not made from this package")]
    NameTaken {
        /// The name.
        guest: GuestName,
        /// What finishes the work.
        remedy: String,
    },
    /// There is no guest from a package of that name.
    #[error("{0} is no guest from a package")]
    NoInstance(String),
    /// It runs.
    #[error("the guest {0} is running; nothing was changed")]
    Running(String),
    /// A disk of an instance is another file than its overlay, as an external snapshot makes it.
    #[error(
        "the disk {target} of {guest} is {file}, which stands on the disk of its package; nothing was changed"
    )]
    Elsewhere {
        /// The guest, made printable.
        guest: String,
        /// The disk.
        target: String,
        /// Its file.
        file: String,
    },
    /// The record of an instance is damaged.
    #[error("{}: {reason}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Linking images failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An image cannot be read or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It is not known what can run the guest.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl InstallError {
    /// The command that gets round it, where there is one.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::NameTaken { remedy, .. } => Some(remedy),
            _ => None,
        }
    }

    /// True if the records of guests from packages are not for who asks: root only may see them.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// True if there is no such package.
    pub const fn is_not_installed(&self) -> bool {
        matches!(self, Self::Package(InstalledError::Missing(_)))
    }

    /// True if trying again later can help although nobody changes the package or the guest: a service that is down, a
    /// program that is missing, a full disk.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Libvirt(_)
            | Self::Kvm(_)
            | Self::Command(_)
            | Self::Chain(_)
            | Self::NoSpace { .. }
            | Self::Io(_)
            | Self::Image(ImageError::Tool(_) | ImageError::Io(_) | ImageError::InUse { .. })
            | Self::Package(InstalledError::Io(_)) => true,
            Self::Package(_)
            | Self::Verify(_)
            | Self::Managed { .. }
            | Self::Xml { .. }
            | Self::HostBound { .. }
            | Self::ImageMissing { .. }
            | Self::File { .. }
            | Self::Digest { .. }
            | Self::Layer { .. }
            | Self::Swapped { .. }
            | Self::Unverified { .. }
            | Self::Overlay { .. }
            | Self::NameTaken { .. }
            | Self::Record { .. }
            | Self::NoInstance(_)
            | Self::Running(_)
            | Self::Elsewhere { .. }
            | Self::Image(_) => false,
        }
    }
}
