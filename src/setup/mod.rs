//! Setting a host up: the user and the bus policy of dnsmasq, directories, the group whose members libvirt trusts, and
//! definitions of first networks made from those that come with miniascape.
//!
//! First all is looked at and planned (`plan`, which changes nothing and refuses what cannot be done), then each step is
//! made; a step that is made already is none. Making a network real is `network`'s business.

mod adapt;
mod spec;
mod steps;

pub use adapt::{Wanted, want};
pub use spec::{Spec, SpecError};
pub use steps::{GROUP, Step, plan};

use crate::host::CommandError;
use crate::name::NetworkName;
use crate::network::{FindError, NetworkError};
use crate::yaml::Problem;
use std::io;
use std::path::PathBuf;

/// Why a host could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No network of that name comes with miniascape.
    #[error("no network {name} comes with miniascape: those are {}", known.join(", "))]
    NoReference {
        /// The name.
        name: NetworkName,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Two of the wanted networks cannot live side by side.
    #[error("{one} and {two} would both have {what}")]
    Both {
        /// One of them.
        one: NetworkName,
        /// The other.
        two: NetworkName,
        /// What only one can have.
        what: String,
    },
    /// The host has a definition of that network already, and it is another.
    #[error("{} is there already, and is not what was asked for", path.display())]
    Other {
        /// The network.
        name: NetworkName,
        /// Its file.
        path: PathBuf,
    },
    /// The network would clash with what this host has.
    #[error("{name} clashes with what this host has; nothing was changed")]
    Clashes {
        /// The network.
        name: NetworkName,
        /// What with.
        clashes: Vec<Problem>,
    },
    /// There is no such user.
    #[error("there is no user {0} on this host")]
    NoUser(String),
    /// The definition that would be written is wrong.
    #[error(transparent)]
    Definition(#[from] NetworkError),
    /// A definition cannot be found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A program is missing or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}
