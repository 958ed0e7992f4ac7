//! libvirt, through the `virt` crate: connecting, and errors as this program tells them apart. Networks and domains
//! have a file each. What XML is handed over is decided elsewhere.

mod backup;
mod capabilities;
mod domains;
#[cfg(target_arch = "x86_64")]
mod lazy;
mod leases;
mod networks;
mod restore_points;
mod standing;
mod volumes;

pub use backup::{Bitmaps, Freeze};
pub use capabilities::PoolRecord;
pub use domains::{Blocker, DomainRecord, DomainState, GraceError};
pub use leases::NetworkLease;
pub use networks::{DhcpSection, NetworkRecord};
pub use restore_points::RestorePoint;

use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};

/// Why a call to libvirt failed.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// The connection cannot be made, or has broken.
    #[error("cannot reach libvirt at {uri}: {message}")]
    Unreachable {
        /// The URI that was tried.
        uri: String,
        /// libvirt's words.
        message: String,
    },
    /// libvirt's client library is not there, or too old.
    #[error("libvirt's client library cannot be loaded: {message}")]
    Library {
        /// The dynamic loader's words.
        message: String,
    },
    /// A domain cannot be undefined for what libvirt keeps with it.
    #[error("libvirt keeps {blocker} of the guest {name}, so its definition cannot be removed")]
    Blocked {
        /// The domain, made printable.
        name: String,
        /// What it keeps.
        blocker: Blocker,
    },
    /// libvirt refused or failed; `what` was to be done.
    #[error("libvirt could not {what}: {message}")]
    Call {
        /// What was to be done, to which object.
        what: String,
        /// libvirt's words.
        message: String,
    },
}

impl LibvirtError {
    /// True if libvirt is not there now, as opposed to there but not for this user.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Library { .. } => true,
            Self::Unreachable { message, .. } => !is_denial(message),
            _ => false,
        }
    }
}

/// Whether libvirt's words mean that it is there, but not for this user.
fn is_denial(message: &str) -> bool {
    ["Permission denied", "authentication", "authorization", "polkit"]
        .iter()
        .any(|word| message.contains(word))
}

/// The libvirt of the whole system, which work is meant for when nobody has said which.
pub const SYSTEM: &str = "qemu:///system";

/// True if `uri` means libvirt on this host: it has no host part.
pub fn is_local_uri(uri: &str) -> bool {
    uri.split_once("://")
        .is_none_or(|(_, rest)| rest.starts_with('/'))
}

/// A connection to libvirt.
#[derive(Debug, Clone)]
pub struct Libvirt {
    connection: Connect,
    uri: String,
}

impl Libvirt {
    /// Connects to `uri`, with the right to change things.
    pub fn connect(uri: &str) -> Result<Self, LibvirtError> {
        Self::open(uri, |uri| Connect::open(Some(uri)))
    }

    /// Connects to `uri` for reading only, which libvirt allows to more users.
    pub fn connect_read_only(uri: &str) -> Result<Self, LibvirtError> {
        Self::open(uri, |uri| Connect::open_read_only(Some(uri)))
    }

    fn open(uri: &str, open: impl Fn(&str) -> Result<Connect, Error>) -> Result<Self, LibvirtError> {
        #[cfg(target_arch = "x86_64")]
        lazy::load().map_err(|message| LibvirtError::Library { message })?;
        // libvirt would print every error on its own.
        virt::error::clear_error_callback();
        // A daemon without work ends by itself, and may do so between accepting and answering; the next one is at its socket.
        let broke_off =
            |error: &Error| is_local_uri(uri) && error.code().known() == Some(ErrorNumber::SystemError);
        let connection = open(uri).or_else(|error| if broke_off(&error) { open(uri) } else { Err(error) });
        let connection = connection.map_err(|e| LibvirtError::Unreachable {
            uri: uri.to_owned(),
            message: e.message().to_owned(),
        })?;
        // What was asked for may be an alias of libvirt.conf; this is what it stands for.
        let uri = connection.uri().unwrap_or_else(|_| uri.to_owned());
        Ok(Self { connection, uri })
    }

    /// This connection, or a new one if it has broken: libvirt may have been started anew. Waits for it for `patience` at most.
    pub fn or_again(&self, patience: Duration) -> Result<Self, LibvirtError> {
        let begun = Instant::now();
        while !self.connection.is_alive().unwrap_or(false) {
            match Self::connect(&self.uri) {
                Err(error) if error.is_away() && begun.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                result => return result,
            }
        }
        Ok(self.clone())
    }

    /// The URI this is connected to.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// True if libvirt runs on this host and may open our files (a URI without a host part).
    pub fn is_local(&self) -> bool {
        is_local_uri(&self.uri)
    }

    fn error(&self, what: impl Into<String>, error: &Error) -> LibvirtError {
        let message = error.message().to_owned();
        // Where each driver has a daemon of its own, that of the networks can be away while this connection lives.
        let driver_away = message.starts_with("Failed to connect socket to ");
        if driver_away || !self.connection.is_alive().unwrap_or(false) {
            LibvirtError::Unreachable {
                uri: self.uri.clone(),
                message,
            }
        } else {
            LibvirtError::Call {
                what: what.into(),
                message,
            }
        }
    }
}

/// `None` where libvirt says that there is no such object.
fn absent<T>(result: Result<T, Error>, none: ErrorNumber) -> Result<Option<T>, Error> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(e) if e.code().known() == Some(none) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Calls with `flags`, and with `plain` where the driver (libvirt's simulator) does not know them.
fn without_unknown_flags<F, T>(flags: F, plain: F, call: impl Fn(F) -> Result<T, Error>) -> Result<T, Error> {
    match call(flags) {
        Err(e) if e.code().known() == Some(ErrorNumber::InvalidArg) => call(plain),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_daemon_that_ends_while_it_is_connected_to_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let socket = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (connection, _) = socket.accept().unwrap();
            drop(socket);
            drop(connection);
        });
        let uri = format!("qemu+unix:///system?socket={}", path.display());
        let error = Libvirt::connect(&uri).unwrap_err().to_string();
        // Nobody listens any more: what it says of the second time.
        assert!(error.contains("Failed to connect socket"), "{error}");
        daemon.join().unwrap();
    }
}
