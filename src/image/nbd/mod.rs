//! A client of the NBD protocol, for reading what a server exports: a disk of a running guest, frozen in time by a backup
//! job of its hypervisor, or an image that `qemu-nbd` serves.
//!
//! It speaks the fixed newstyle handshake with structured replies, asks once for all of a disk's block status, and reads
//! only where there is data. What a server says is untrusted: every length is bounded before memory is taken for it, and
//! what does not fit the protocol is an error, never a guess. Nothing is ever written.
//!
//! Format: the NBD protocol, <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>.

mod client;
mod export;
mod marks;
mod wire;

#[cfg(test)]
mod tests;

pub use export::Export;
pub(super) use export::ExportReader;
pub(super) use marks::Kind;

use std::io;
use std::path::PathBuf;

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// Nobody listens there.
    #[error("cannot reach the NBD server at {}: {error}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The server has gone, or does not answer.
    #[error("the NBD server at {} {what}", socket.display())]
    Gone {
        /// The socket.
        socket: PathBuf,
        /// What it did.
        what: String,
    },
    /// The server refuses, or could not read.
    #[error("the NBD server at {} refuses {what}: {message}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        what: String,
        /// Its words, made printable, or the meaning of its error number.
        message: String,
    },
    /// What it says is not the protocol.
    #[error("the NBD server at {} breaks the protocol: {reason}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The broken rule.
        reason: String,
    },
}
