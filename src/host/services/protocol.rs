//! How the program asks the daemon: one JSON line there, one JSON line back, over a Unix socket that only root (or
//! whoever runs the daemon) can open.

use super::ServiceError;
use crate::name::NetworkName;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest line that either side reads, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// A start waits for dnsmasq to answer on the bus, so an answer may take a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the daemon is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Answer.
    Ping,
    /// Start a network's dnsmasq.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Send it SIGHUP.
    Reload,
    /// Tell whether it runs.
    Status,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// With which network; every verb but `ping` needs one.
    pub network: Option<NetworkName>,
}

impl Request {
    /// A request.
    pub fn new(verb: Verb, network: Option<&NetworkName>) -> Self {
        Self {
            verb,
            network: network.cloned(),
        }
    }
}

/// One answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// What went wrong, if anything.
    pub(super) error: Option<String>,
    /// True if something was started or stopped.
    pub(super) changed: bool,
    /// dnsmasq's process, if it runs.
    pub(super) pid: Option<u32>,
}

/// Asks the daemon at `socket`.
pub(super) fn ask(socket: &Path, request: &Request) -> Result<Reply, ServiceError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| {
        let socket = socket.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ServiceError::NotForUs(socket)
        } else {
            ServiceError::NoManager { socket, source }
        }
    })?;
    let reply: Reply = exchange(&mut stream, request).map_err(ServiceError::Talk)?;
    match reply.error {
        Some(error) => Err(ServiceError::Refused(error)),
        None => Ok(reply),
    }
}

fn exchange(stream: &mut UnixStream, request: &Request) -> io::Result<Reply> {
    stream.set_read_timeout(Some(PATIENCE))?;
    send(stream, request)?;
    receive(stream)
}

/// Writes one line.
pub(super) fn send<T: Serialize>(stream: &mut UnixStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads one line.
pub(super) fn receive<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::from)
}
