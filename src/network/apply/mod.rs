//! Making networks real, and taking them away: facts about the host in, a list of steps out, then the steps.
//!
//! Every step can be done twice, and `applied.json` is written last, so a run that was killed is finished by the
//! next one. What the files say is decided in `compile`.

mod added;
mod adopt;
mod bridge;
mod facts;
mod guests;
mod hooked;
mod hostroute;
mod journal;
mod later;
mod register;
mod step;
mod takeover;
mod undo;
mod unregister;
mod update;
mod verify;
mod work;

pub use adopt::{AdoptError, Adopted, Dropped, adopt_reservations};
pub(super) use bridge::asks_for_servers;
pub(super) use guests::Guests;
pub use guests::guests_in;
pub use hooked::{follow, users_of};
pub(super) use hostroute::guests_of;
pub use later::{Deferral, register_later, unregister_later};
pub use register::register;
pub(super) use register::register_locked;
pub use step::Step;
pub use takeover::adopt;
pub use unregister::unregister;
pub(super) use unregister::unregister_locked;
pub use update::update;
pub(super) use update::{Beside, update_beside, update_locked};

use super::{Observed, StateError};
use crate::host::dhcp_probe::Server;
use crate::host::firewall::FirewallError;
use crate::host::{
    CommandError, Layout, Libvirt, LibvirtError, NetworkRecord, ServiceError, Services, files,
};
use crate::name::{InterfaceName, NameError, NetworkName};
use serde::Serialize;
use std::io;

/// Why a network was not registered or unregistered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// libvirt has a network of this name that miniascape did not make.
    #[error("libvirt already has a network {0}, and it was not made by miniascape; nothing was changed")]
    Foreign(NetworkName),
    /// Another libvirt network has the bridge.
    #[error("the bridge {bridge} of {network} belongs to the libvirt network {owner}; nothing was changed")]
    BridgeOfNetwork {
        /// The network to be registered.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
        /// Who has it.
        owner: String,
    },
    /// The host has an interface of that name.
    #[error(
        "the host already has an interface {bridge}, which {network} wants as its bridge; nothing was changed"
    )]
    BridgeOfHost {
        /// The network to be registered.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
    },
    /// The bridge that the network is about does not exist.
    #[error("{network} is about the bridge {bridge}, and {what}; nothing was changed")]
    NoBridge {
        /// The network.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
        /// What there is instead, as a clause.
        what: &'static str,
    },
    /// Somebody else serves DHCP on a bridge that is not ours.
    #[error(
        "on the bridge {bridge}, where {network} is to serve DHCP, {} already; nothing was changed",
        answering(servers)
    )]
    OtherDhcp {
        /// The network.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
        /// Who does.
        servers: Vec<Server>,
    },
    /// Somebody has written DHCP entries into libvirt's network, which would be lost.
    #[error(
        "libvirt's network {network} has DHCP entries that miniascape did not write, with a dnsmasq of libvirt's own: {}; \
         nothing was changed",
        entries.join(", ")
    )]
    OwnDhcp {
        /// The network.
        network: NetworkName,
        /// The entries.
        entries: Vec<String>,
    },
    /// Guests would lose their network.
    #[error(
        "{} plugged into the network {network}, which would have to be stopped; nothing was changed",
        plugged(guests)
    )]
    InUse {
        /// The network.
        network: NetworkName,
        /// Running guests with an interface in it.
        guests: Vec<String>,
    },
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// libvirt does not take the network as it is defined.
    #[error("libvirt could not {what}: {words}")]
    Refused {
        /// What was to be done, to which network.
        what: String,
        /// libvirt's words.
        words: String,
        /// True if it took the definition, and could not start the network.
        started: bool,
    },
    /// dnsmasq cannot be started or stopped.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// libvirt has no such network to be adopted.
    #[error("libvirt has no network {0}")]
    Absent(NetworkName),
    /// A network that is to be adopted is another one than its definition describes.
    #[error("the definition of {network} has {what}, which libvirt's network has not; nothing was changed")]
    Differs {
        /// The network.
        network: NetworkName,
        /// What differs.
        what: String,
    },
    /// It was never registered.
    #[error("the network {0} is not registered")]
    NotRegistered(NetworkName),
    /// The interface of a guest has a name that is none.
    #[error(transparent)]
    Interface(#[from] NameError),
    /// A program could not be run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// After all steps, something is still not as it should be.
    #[error("after the update of {network}, {what}")]
    Unverified {
        /// The network.
        network: NetworkName,
        /// What is wrong, as a sentence.
        what: String,
    },
    /// The update failed, and the network is as it was before.
    #[error("{cause}; {network} was put back to what it was")]
    RolledBack {
        /// The network.
        network: NetworkName,
        /// Why the update failed.
        cause: Box<RegisterError>,
    },
    /// The update failed, and so did putting things back.
    #[error("{cause}; putting {network} back failed too: {rollback}")]
    RollbackFailed {
        /// The network.
        network: NetworkName,
        /// Why the update failed.
        cause: Box<RegisterError>,
        /// Why it could not be taken back.
        rollback: Box<RegisterError>,
    },
    /// The host's firewall could not be opened or closed.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// A file cannot be written or removed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

fn answering(servers: &[Server]) -> String {
    let servers: Vec<String> = servers
        .iter()
        .map(|server| format!("the server {} ({})", server.address, server.mac))
        .collect();
    let verb = if servers.len() == 1 { "does" } else { "do" };
    format!("{} {verb}", servers.join(", "))
}

fn plugged(guests: &[String]) -> String {
    match guests {
        [one] => format!("the guest {one} is"),
        many => format!("the guests {} are", many.join(", ")),
    }
}

impl RegisterError {
    /// This failure of a change of the network `name`, with what became of taking it back.
    fn taken_back(self, name: &NetworkName, back: Result<(), Self>) -> Self {
        let (network, cause) = (name.clone(), Box::new(self));
        match back {
            Ok(()) => Self::RolledBack { network, cause },
            Err(rollback) => Self::RollbackFailed {
                network,
                cause,
                rollback: Box::new(rollback),
            },
        }
    }

    /// Of an error of libvirt's with a network: whether that is libvirt's refusal to define it or, if `started`, to start
    /// it.
    fn of_network(error: LibvirtError, started: bool) -> Self {
        match error {
            LibvirtError::Call { what, message } => Self::Refused {
                what,
                words: message,
                started,
            },
            other => other.into(),
        }
    }

    /// What libvirt refused to do with the network, and its words, also if that was taken back.
    pub(super) fn refusal(&self) -> Option<(&str, &str)> {
        match self {
            Self::Refused { what, words, .. } => Some((what, words)),
            Self::RolledBack { cause, .. } => cause.refusal(),
            _ => None,
        }
    }

    /// True if libvirt did not even take the definition, and everything is as it was.
    pub fn is_bad_definition(&self) -> bool {
        match self {
            Self::Refused { started, .. } => !started,
            Self::RolledBack { cause, .. } => cause.is_bad_definition(),
            _ => false,
        }
    }

    /// True if libvirt could not be asked, or not to the end: it can be done when libvirt is back.
    pub fn is_libvirt_away(&self) -> bool {
        matches!(self, Self::Libvirt(error) if error.is_away())
    }
}

/// What was done, or with `--dry-run` would be done; nothing if all was as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The network.
    pub network: NetworkName,
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

/// Where a network is to be made real.
#[derive(Debug)]
pub struct Target<'a> {
    /// Where files live.
    pub layout: &'a Layout,
    /// A connection to libvirt.
    pub libvirt: &'a Libvirt,
    /// Who runs dnsmasq.
    pub services: &'a Services,
}

fn lock(layout: &Layout, name: &NetworkName, dry_run: bool) -> Result<Option<files::Lock>, io::Error> {
    if dry_run {
        Ok(None)
    } else {
        files::Lock::acquire(layout.network_lock(name).on_disk()).map(Some)
    }
}

/// libvirt's network of this name, if there is one; an error if it is not ours.
fn owned(libvirt: &Libvirt, name: &NetworkName) -> Result<Option<NetworkRecord>, RegisterError> {
    let existing = libvirt.network(name.as_str())?;
    match &existing {
        Some(record) if !Observed::parse(&record.xml).ours => Err(RegisterError::Foreign(name.clone())),
        _ => Ok(existing),
    }
}
