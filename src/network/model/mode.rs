//! How a network is connected.

use std::fmt;

/// How a network is connected to the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Guests reach the outside with the host's address.
    Nat,
    /// Guests reach each other and the host.
    Isolated,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nat => "nat",
            Self::Isolated => "isolated",
        })
    }
}
