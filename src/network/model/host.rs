//! The machines of a network that have a name or a reservation.

use super::{DhcpOption, LeaseTime};
use crate::name::{ClientId, HostName, Mac, Tag};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// A machine: it is known by this name, and whoever comes with one of these MAC addresses, or with this client
/// identifier, gets its addresses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Host {
    /// Its name in the network's domain.
    pub name: HostName,
    /// Its MAC addresses; without one, and without a client identifier, the entry is only a name.
    pub macs: Vec<Mac>,
    /// Its DHCP client identifier, if it is to be known by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// What it has beside name and addresses; most have nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Box<HostDhcp>>,
    /// Where the entry stands; nothing that is compiled depends on it.
    #[serde(skip)]
    pub origin: Origin,
}

/// What DHCP does for one machine otherwise than for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct HostDhcp {
    /// Its labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// How long its lease lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<LeaseTime>,
    /// Its own options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<DhcpOption>,
}

impl Host {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4
            .map(IpAddr::from)
            .into_iter()
            .chain(self.ipv6.map(IpAddr::from))
    }

    /// True if DHCP knows it, by MAC address or client identifier.
    pub fn has_reservation(&self) -> bool {
        !self.macs.is_empty() || self.client_id.is_some()
    }

    /// Its own DHCP options.
    pub fn options(&self) -> &[DhcpOption] {
        self.dhcp.as_ref().map_or(&[], |dhcp| &dhcp.options)
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
