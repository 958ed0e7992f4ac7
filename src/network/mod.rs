//! Networks as files: reading a definition, checking it, and compiling it to what libvirt and dnsmasq read.
//!
//! Everything here is pure apart from [`read`], which opens one file. Making a network real is `network::register`'s
//! business, and finding the file for a name the caller's.

mod apply;
pub mod check;
pub mod compile;
pub mod definition;
pub mod find;
mod finish;
pub mod import;
mod model;
mod observed;
pub mod render;
mod show;
mod state;
mod status;
#[cfg(test)]
mod tests;

pub use apply::{
    RegisterError, Report as Registration, Step, Target, guests_in, register, register_offline, unregister,
    unregister_offline, update,
};
pub use compile::{CompileError, Compiled, compile};
pub use find::{FindError, Found};
pub use finish::{FinishError, Finished, finish};
pub use model::{Dhcp, Dns, Host, Ipv4, LeaseTime, Mode, Network, Origin, Range, Title};
pub use observed::Observed;
pub use show::{Entry, From, Shown, show};
pub use state::{Applied, Deferred, StateError, registered};
pub use status::{Overview, Owner, Status, StatusError, overview, status};

use crate::host::files;
use crate::yaml::{MAX_FILE, Problem, Problems, Report, Source};
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
    /// The file holds mistakes.
    #[error(transparent)]
    Definition(#[from] Problems),
}

/// Reads and checks the definition in the file `path`.
pub fn read(path: &Path) -> Result<(Network, Vec<Warning>), NetworkError> {
    let name = path.display().to_string();
    let bytes = files::read_at_most(path, MAX_FILE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => NetworkError::TooLarge {
            file: crate::name::printable(&name, 4096),
        },
        _ => NetworkError::Read(error),
    })?;
    Ok(read_bytes(&name, &bytes)?)
}

/// Reads and checks a definition that is already in memory; `name` stands for the file in messages.
pub fn read_bytes(name: &str, bytes: &[u8]) -> Result<(Network, Vec<Warning>), Problems> {
    let lossy = String::from_utf8_lossy(bytes);
    let source = Source::new(name, &lossy);
    let mut report = Report::new(source);
    if let Some(chunk) = bytes.utf8_chunks().find(|chunk| !chunk.invalid().is_empty()) {
        report.not_utf8(chunk.valid());
        return report.finish(None);
    }
    let network = definition::read(&mut report).and_then(|definition| check::check(&definition, &mut report));
    report.finish(network)
}
