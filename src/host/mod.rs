//! The only door to the outside: files and their places, commands, libvirt, D-Bus, systemd.
//!
//! What lives elsewhere: every decision. The rooms that decide (`network`, `lease`, `guest`, `package`, `install`)
//! hand over what is to be written or run and get back what happened.

pub mod access;
pub mod bridges;
pub mod bus;
pub mod command;
pub mod daemons;
pub mod denials;
pub mod dhcp_probe;
pub mod distribution;
pub mod dns;
pub mod files;
pub mod firewall;
mod inside;
pub mod instance_dir;
pub mod kvm;
pub mod layout;
pub mod libvirt;
pub mod links;
pub mod listeners;
pub mod packet_filter;
pub mod routes;
pub mod services;
pub mod standing;
pub mod sysctl;
pub mod tpm_dir;

pub use command::{CommandError, Program};
pub use daemons::Daemons;
pub use distribution::Distribution;
pub use layout::{Layout, Place};
pub use libvirt::{DomainRecord, DomainState, Libvirt, LibvirtError, NetworkRecord};
pub use services::{ServiceError, Services};
