//! How a network is connected.

use crate::name::printable;
use std::fmt;
use std::str::FromStr;

/// How a network is connected to the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Guests reach the outside with the host's address.
    Nat,
    /// Guests reach the outside with their own addresses; libvirt lets through what belongs to the subnet.
    Routed,
    /// Guests reach each other and the host.
    Isolated,
    /// As routed, but libvirt sets no firewall rules: what goes through is the host's own business.
    Open,
    /// Guests are on a bridge that the host has already.
    Bridge,
    /// Every guest has a link of its own to the host, which routes; there is neither a bridge nor a libvirt network.
    Hostroute,
}

/// The text is not a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode")]
pub struct ModeError(String);

impl Mode {
    /// All modes, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Nat,
        Self::Routed,
        Self::Isolated,
        Self::Open,
        Self::Bridge,
        Self::Hostroute,
    ];

    /// The word for it in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
            Self::Isolated => "isolated",
            Self::Open => "open",
            Self::Bridge => "bridge",
            Self::Hostroute => "hostroute",
        }
    }

    /// True if libvirt has a network for it.
    pub const fn in_libvirt(self) -> bool {
        !matches!(self, Self::Hostroute)
    }

    /// True if the network has a bridge that libvirt makes and removes with it.
    pub const fn makes_bridge(self) -> bool {
        !matches!(self, Self::Bridge | Self::Hostroute)
    }

    /// True if the host has to forward packets for it.
    pub const fn forwards(self) -> bool {
        matches!(self, Self::Nat | Self::Routed | Self::Open | Self::Hostroute)
    }

    /// True if guests are seen outside with their own addresses, which others have to find the way to.
    pub const fn shows_addresses(self) -> bool {
        !matches!(self, Self::Nat | Self::Isolated)
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| ModeError(printable(text, 40)))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
