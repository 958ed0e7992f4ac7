//! DHCP leases: what dnsmasq has handed out, from its lease file and from its signals.
//!
//! The file says what is, the signals say what happens. Receiving signals is the host's business (`host::bus`);
//! here they are typed, compared with what is known, and false repeats dropped.

mod event;
mod file;
mod watch;

pub use event::{Event, EventKind, Signal, SignalKind, Tracker};
pub use file::{LeaseFileError, Parsed, parse, read};
pub use watch::{NetworkEvent, Watch, WatchError};

use crate::name::Mac;
use serde::Serialize;
use std::net::IpAddr;

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The address handed out.
    pub ip: IpAddr,
    /// Whom it was handed to; absent for DHCPv6 leases, which know their clients by DUID, and
    /// for hardware other than Ethernet.
    pub mac: Option<Mac>,
    /// The client's name as dnsmasq keeps it. Names are chosen by strangers: anything but letters, digits, `-`, `_`
    /// and `.` is shown escaped.
    pub name: Option<String>,
    /// When it ends, in seconds since 1970; `None` for a lease without end.
    pub expires: Option<u64>,
}

/// A client's name made safe to show, or `None` where there is none.
fn client_name(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text {
        "" | "*" => None,
        _ if text.len() <= 253 && text.chars().all(plain) => Some(text.to_owned()),
        _ => Some(
            text.chars()
                .take(253)
                .flat_map(|c| {
                    if plain(c) {
                        vec![c]
                    } else {
                        c.escape_unicode().collect()
                    }
                })
                .collect(),
        ),
    }
}
