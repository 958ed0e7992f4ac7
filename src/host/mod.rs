//! The only door to the outside: files and their places, commands, libvirt, D-Bus, systemd.
//!
//! What lives elsewhere: every decision. The rooms that decide (`network`, `lease`, `guest`, `package`, `install`)
//! hand over what is to be written or run and get back what happened.

pub mod command;
pub mod files;
pub mod layout;

pub use command::{CommandError, Program};
pub use layout::{Layout, Place};
