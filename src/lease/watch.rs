//! Following leases: subscribe first, read the file second, then signals only.

use super::{Event, LeaseFileError, Signal, Tracker, file};
use crate::host::Layout;
use crate::host::bus::{self, Arrival, BusError};
use crate::name::{Mac, NetworkName};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Why leases cannot be followed (any longer).
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The bus is not there.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A lease file is unreadable.
    #[error(transparent)]
    File(#[from] LeaseFileError),
    /// The connection to the bus has ended.
    #[error("the connection to the D-Bus system bus was lost: {0}")]
    Lost(String),
}

/// An event, and in which network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkEvent {
    /// The network.
    pub network: NetworkName,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Lease events of some networks, as they happen.
#[derive(Debug)]
pub struct Watch {
    arrivals: Receiver<Arrival>,
    networks: BTreeMap<NetworkName, (PathBuf, Tracker)>,
    waiting: VecDeque<NetworkEvent>,
}

impl Watch {
    /// Begins to follow the leases of `networks`. With `initial`, the leases that are there come first as events.
    pub fn open(layout: &Layout, networks: &[NetworkName], initial: bool) -> Result<Self, WatchError> {
        let arrivals = bus::watch_leases(networks)?;
        let mut watch = Self {
            arrivals,
            networks: BTreeMap::new(),
            waiting: VecDeque::new(),
        };
        for network in networks {
            let path = layout.leases(network).on_disk().to_owned();
            let tracker = Tracker::new(file::read(&path)?);
            if initial {
                let named = |event| NetworkEvent {
                    network: network.clone(),
                    event,
                };
                watch.waiting.extend(tracker.present().map(named));
            }
            watch.networks.insert(network.clone(), (path, tracker));
        }
        Ok(watch)
    }

    /// Forgets the leases without end that `macs` hold, so that their renewal is an event.
    pub fn forget_endless(&mut self, macs: &[Mac]) {
        for (_, tracker) in self.networks.values_mut() {
            tracker.forget_endless(macs);
        }
    }

    /// The next event; `None` if there was none until `deadline`. Without a deadline it waits for ever.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<NetworkEvent>, WatchError> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(Some(event));
        }
        loop {
            let left = deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
            let arrival = match self.arrivals.recv_timeout(left) {
                Ok(arrival) => arrival,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(WatchError::Lost("no subscription is left".to_owned()));
                }
            };
            let (network, signal) = match arrival {
                Arrival::Lost(reason) => return Err(WatchError::Lost(reason)),
                Arrival::Signal(network, member, [ip, client, name]) => {
                    (network, Signal::new(&member, &ip, &client, &name))
                }
            };
            let (Some(signal), Some((path, tracker))) = (signal, self.networks.get_mut(&network)) else {
                continue;
            };
            if let Some(event) = tracker.observe(signal, &file::read(path)?) {
                return Ok(Some(NetworkEvent { network, event }));
            }
        }
    }
}
