//! Networks: from a YAML definition to a libvirt network with its own dnsmasq.

mod observed;
mod state;

pub use observed::{NAMESPACE, Observed};
pub use state::{Applied, StateError, registered};
