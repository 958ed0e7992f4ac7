//! Guests as packages: the manifest, the plan of a repack, and the writers of what comes out.
//!
//! [`prepare`] looks at a guest and decides; [`build`] carries the plan out; [`Manifest`] describes the result to
//! whoever gets it. What lives elsewhere: reading and editing domain XML (`domain`), reading and writing images
//! (`image`), and everything that happens to a package on the host where it is installed (`install`).

mod archive;
mod base_file;
mod contents;
mod deb;
mod disks;
mod error;
mod estimate;
mod files;
mod firmware;
mod images;
mod installed;
mod make;
mod manifest;
mod name;
mod plan;
mod progress;
mod render;
mod repack;
mod repository;
mod results;
mod rpm;
mod seal;
mod set;
mod shared;
mod since;
mod stream;
mod take_out;
mod target;
mod text;
mod tree;
mod unpacked;
mod verify;
mod work;

pub use base_file::{UnpackedBase, unpack_base};
pub use contents::{Contents, GuestContents, contents, images_beside};
pub use disks::{Base, DiskChoice, DiskPlan, KnownBase, LiveDisk, Selected, Split, Volume};
pub use error::RepackError;
pub use files::{FileRole, FileSection, GuestFile, NetworkFiles, named_network, network_file, network_parts};
pub use installed::{Installed, InstalledError, Presence, image, is_there, list, show};
pub use manifest::{
    CpuSection, DiskSection, DomainSection, FORMAT, FirmwareKind, FirmwareSection, HostSection,
    InterfaceSection, Layer, Manifest, ManifestError, NetworkSection, NotPacked, PackageSection, Role,
    Timestamp,
};
pub use name::{GuestPackage, ImagePackage, PackageNameError, guest_name};
pub use plan::{Activity, Plan, PlanError, Reservation};
pub use progress::{Progress, Step};
pub use repack::{
    Options, Repacked, Request, build, build_while, estimate_packed, prepare, read_beside, repack,
};
pub use repository::index;
pub use seal::Seal;
pub use since::{Below, Earlier, UnpackedSet};
pub use stream::Codec;
pub use take_out::{Destination, take_out};
pub use target::{OutputFile, Target};
pub use text::{Line, TextError, Word};
pub use verify::{PackageKind, Verified, VerifiedFile, VerifyError, kind_of, verify};
