//! Domain XML: a typed read-only view, and edits that leave every other byte as it was.
//!
//! [`Domain::parse`] reads what miniascape acts on. [`for_package`] and [`for_instance`] are the two edits that a
//! guest goes through on its way from one host to another; [`merge`] brings a new package and a user's edits together.
//! All of them are pure: text in, text out. Nothing here
//! talks to libvirt, and nothing here writes a whole document: libvirt's own formatting, comments, and elements
//! that miniascape has never heard of stay as they are.

mod ambiguous;
mod carried;
mod disk_edit;
mod edit;
mod error;
mod finder;
mod host_bound;
mod host_device;
mod identity;
mod instance;
mod merge;
mod package;
mod plug;
mod read;
pub mod scan;
mod scanner;
mod value;
mod view;

#[cfg(test)]
mod tests;

pub use error::{DomainXmlError, Place};
pub use host_bound::{Fate, HostBound, HostBoundKind};
pub use instance::{
    Instance, InstanceDisk, InstanceNote, InstanceSpec, VirtType, for_instance, with_identity,
};
pub use merge::{Change, Edit, Merged, differences, merge};
pub use package::{PackageSpec, Packaged, PackedDisk, Report, for_package};
pub use plug::{Plug, host_addresses, plugs, taps};
pub use value::XmlValue;
pub use view::{
    BackingLayer, Disk, DiskDevice, DiskSource, Domain, DomainType, Firmware, Interface, InterfaceSource,
    Loader, Mark, Nvram, Tpm,
};

use crate::XML_NAMESPACE as NAMESPACE;
