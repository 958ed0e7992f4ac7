//! Networks: from a YAML definition to a libvirt network with its own dnsmasq.

mod state;

pub use state::{Applied, StateError, registered};
