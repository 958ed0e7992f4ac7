//! miniascape turns a libvirt host into a lab that can be described, shipped and rebuilt.
//!
//! The library does the work and never touches a terminal, never exits, and reads no environment variable;
//! the program in `main.rs` and `cli/` does those things. Data flows one way: a definition is read, checked,
//! compiled to a plan, and only the last step, apply, reaches the host, through [`host`].

pub mod config;
pub mod doctor;
pub mod domain;
pub mod guest;
pub mod host;
pub mod image;
pub mod install;
pub mod lease;
pub mod name;
pub mod network;
pub mod package;
pub mod schema;
pub mod setup;
pub mod template;
pub mod yaml;

/// The XML namespace of miniascape's marks in the `<metadata>` of libvirt's networks and domains.
pub const XML_NAMESPACE: &str = "https://miniascape.org/xmlns/1";
