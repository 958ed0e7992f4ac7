//! Networks as files: reading a definition, checking it, and compiling it to what libvirt and dnsmasq read.
//!
//! Reading is `find`'s and `whole`'s business, making a network real `apply`'s; what lies between is pure: values in,
//! values out.

mod apply;
mod auto;
mod boot;
mod brought;
pub mod check;
mod clash;
pub mod compile;
pub mod definition;
mod diff;
mod drift;
mod dropin;
pub mod find;
mod finish;
mod firewall;
pub mod import;
mod model;
mod needs;
mod observed;
mod pending;
mod refresh;
mod refusal;
pub mod render;
mod show;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod whole;

pub use apply::{
    AdoptError, Adopted, Deferral, Dropped, RegisterError, Report as Registration, Step, Target, adopt,
    adopt_reservations, follow, guests_in, register, register_later, unregister, unregister_later, update,
    users_of,
};
pub use auto::Chosen;
pub use boot::BootNeeds;
pub use brought::BroughtByPackages;
pub use compile::{CompileError, Compiled, compile};
pub use diff::{Diff, DiffError, Impact, Kind, Line, diff};
pub use drift::{Drift, Remedy};
pub use dropin::{Brought, DOCUMENT as DROP_IN, beside, bring, has_brought, networks_of};
pub use find::{FindError, Finder, Found, defined};
pub use finish::{FinishError, Finished, finish};
pub use firewall::{restore_opening, restore_openings};
pub use model::{
    Boot, BootFile, Dhcp, DhcpOption, Dns, DnsmasqOption, Firmware, Forwarder, Host, HostDhcp, Ipv4, Ipv6,
    LeaseTime, Mode, Network, OptionValue, Origin, Pool, Ra, Range, Record, RecordData, TaggedOption,
    TftpRoot, Title,
};
pub use needs::{Need, Needs, Unmet, unmet_after};
pub use observed::Observed;
pub use pending::{Deferred, Pending, Wait, pending};
pub use refresh::{Landed, RefreshError, leave, preview, refresh};
pub use refusal::refusal;
pub use show::{Entry, From, Shown, show};
pub use state::{Applied, StateError, registered};
pub use status::{Overview, Owner, Status, StatusError, overview, status};

use crate::host::files;
use crate::yaml::{MAX_FILE, Problem, Problems};
use std::io;
use std::path::Path;

/// Something in a definition that works, but is probably not what was meant.
pub type Warning = Problem;

/// Why a network could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The file could not be read; the message names it.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// The file is larger than any definition may be.
    #[error("{file}: larger than {} MiB; a network definition is a small text file", MAX_FILE >> 20)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// What `auto` stands for cannot be put on record.
    #[error("what `auto` stands for cannot be put on record: {0}")]
    Record(io::Error),
    /// The file holds mistakes.
    #[error(transparent)]
    Definition(#[from] Problems),
}

/// Reads and checks the definition in the file `path` alone, without what stands beside it; see [`find`].
pub fn read(path: &Path) -> Result<(Network, Vec<Warning>), NetworkError> {
    let bytes = definition_bytes(path)?;
    Ok(read_bytes(&path.display().to_string(), &bytes)?)
}

fn definition_bytes(path: &Path) -> Result<Vec<u8>, NetworkError> {
    files::read_at_most(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => NetworkError::TooLarge {
            file: crate::name::printable(&path.display().to_string(), 4096),
        },
        _ => NetworkError::Read(error),
    })
}

/// Reads and checks a definition that is already in memory; `name` stands for the file in messages.
pub fn read_bytes(name: &str, bytes: &[u8]) -> Result<(Network, Vec<Warning>), Problems> {
    whole::read_alone(name, bytes)
}
