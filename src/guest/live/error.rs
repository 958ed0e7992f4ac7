//! Why a running guest could not be packed.

use crate::domain::DomainXmlError;
use crate::host::LibvirtError;
use crate::image::{ImageError, NbdError};
use std::io;
use std::path::PathBuf;

/// Why a running guest could not be packed. Unless it says otherwise everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// Only the system's libvirt keeps its domains' directories where we know them.
    #[error(
        "{uri} keeps the sockets of its guests in places of its own: only guests of qemu:///system are packed while they run"
    )]
    OtherLibvirt {
        /// The connection.
        uri: String,
    },
    /// It does not run.
    #[error("the guest {guest} does not run any more")]
    NotRunning {
        /// The guest.
        guest: String,
    },
    /// Another run is at it.
    #[error("another run of miniascape packs the guest {guest}")]
    Busy {
        /// The guest.
        guest: String,
    },
    /// Someone else makes a backup.
    #[error("a backup job of the guest {guest} runs that is not ours")]
    Foreign {
        /// The guest.
        guest: String,
    },
    /// Someone else copies, merges or moves a disk.
    #[error("a job of the disk {target} of the guest {guest} runs that is not ours")]
    ForeignOfDisk {
        /// The guest.
        guest: String,
        /// The disk.
        target: String,
    },
    /// Nothing of what is written to a disk stays.
    #[error("the disk {target} of the guest {guest} is <transient/>, which libvirt makes no backups of")]
    Transient {
        /// The guest.
        guest: String,
        /// The disk.
        target: String,
    },
    /// The running guest has another disk than its definition.
    #[error("the disk {target} of the running guest {guest} is {live}, and its definition says {defined}")]
    OtherDisk {
        /// The guest.
        guest: String,
        /// The disk.
        target: String,
        /// Where the running guest has it.
        live: String,
        /// Where it will have it when it starts the next time.
        defined: String,
    },
    /// The domain's own directory is not where libvirt should have made it.
    #[error("the directory of the guest {guest} in {} is not to be found", dir.display())]
    NoDirectory {
        /// The guest.
        guest: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The guest stands still, and its agent does not thaw it.
    #[error("the file systems of the guest {guest} are still frozen: {reason}")]
    Frozen {
        /// The guest.
        guest: String,
        /// Why.
        reason: String,
    },
    /// Our backup job does not end.
    #[error("the backup job of the guest {guest} was told to end, and still runs")]
    StillRuns {
        /// The guest.
        guest: String,
    },
    /// The job has ended before all was read.
    #[error("the backup job of the guest {guest} has ended before all was read: {reason}")]
    Ended {
        /// The guest.
        guest: String,
        /// Why, as far as one can tell.
        reason: &'static str,
    },
    /// It was stopped by an error before we came.
    #[error("the guest {guest} has been stopped by an I/O error: its disks are in the middle of something")]
    Stopped {
        /// The guest.
        guest: String,
    },
    /// There is hardly any room for what the guest overwrites.
    #[error(
        "{free} bytes are free in {}, where what the guest {guest} overwrites meanwhile is saved: at least {needed} are needed", dir.display()
    )]
    Tight {
        /// The guest.
        guest: String,
        /// Where.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        needed: u64,
    },
    /// The job was ended before there was no more room.
    #[error(
        "there is no more room in {} for what the guest {guest} overwrites while it is packed: the backup job was ended, and the guest goes on", dir.display()
    )]
    NoRoom {
        /// The guest.
        guest: String,
        /// Where.
        dir: PathBuf,
    },
    /// An export cannot be read.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// A dirty bitmap cannot be taken out of a disk.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The XML of the running domain cannot be read.
    #[error("the XML of the running guest: {0}")]
    Xml(#[from] DomainXmlError),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}
