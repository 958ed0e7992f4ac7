//! The machines of a network that have a name or a reservation.

use crate::name::{HostName, Mac};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// A machine: it is known by this name, and whoever comes with one of these MAC addresses gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Its name in the network's domain.
    pub name: HostName,
    /// Its MAC addresses; without one the entry is only a name.
    pub macs: Vec<Mac>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Where the entry stands; nothing that is compiled depends on it.
    #[serde(skip)]
    pub origin: Origin,
}

impl Host {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4
            .map(IpAddr::from)
            .into_iter()
            .chain(self.ipv6.map(IpAddr::from))
    }
}

/// Where an entry of a network comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// The network's own definition.
    #[default]
    Definition,
    /// A file of people's beside it, `NAME.d/*.yaml`.
    DropIn(PathBuf),
    /// A file that came with a guest, `hosts.d/GUEST.yaml`.
    Guest(PathBuf),
}

impl Origin {
    /// The file, if it is not the definition itself.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Definition => None,
            Self::DropIn(path) | Self::Guest(path) => Some(path),
        }
    }
}
