//! The machines of a network that a change can concern: running guests, and whoever has a lease.

use super::tree::Change;
use crate::domain::{Domain, InterfaceSource};
use crate::host::{Layout, Libvirt, LibvirtError};
use crate::lease::{self, LeaseFileError};
use crate::name::{InterfaceName, Mac};
use crate::network::Applied;
use crate::network::apply::guests_of;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Default)]
pub(super) struct Machines {
    /// Running guests with the hardware addresses that they have in the network.
    guests: Vec<(String, Vec<Mac>)>,
    leased: HashSet<Mac>,
}

impl Machines {
    /// Those in the network that `applied` is the record of.
    pub(super) fn of(applied: &Applied, libvirt: &Libvirt) -> Result<Self, LibvirtError> {
        let bridge = applied.bridge.as_ref().map(InterfaceName::as_str);
        let mut guests = Vec::new();
        for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
            // As everywhere, one whose XML cannot be read is in no network that could be named.
            let Ok(domain) = Domain::parse(&libvirt.live_domain_xml(&record.name)?) else {
                continue;
            };
            let plugged = domain
                .interfaces
                .iter()
                .filter(|interface| match &interface.source {
                    InterfaceSource::Network(network) => network == applied.name.as_str(),
                    InterfaceSource::Bridge(host) => Some(host.as_str()) == bridge,
                    _ => false,
                });
            let macs: Vec<Option<Mac>> = plugged
                .map(|interface| interface.mac.as_ref()?.parse().ok())
                .collect();
            if !macs.is_empty() {
                guests.push((record.name, macs.into_iter().flatten().collect()));
            }
        }
        guests.extend(
            guests_of(applied, libvirt)?
                .into_iter()
                .map(|guest| (guest, Vec::new())),
        );
        Ok(Self {
            guests,
            ..Self::default()
        })
    }

    /// Takes in who has a lease.
    pub(super) fn read_leases(&mut self, applied: &Applied, layout: &Layout) -> Result<(), LeaseFileError> {
        let leases = lease::read(layout.leases(&applied.name).on_disk())?;
        self.leased = leases.into_iter().filter_map(|lease| lease.mac).collect();
        Ok(())
    }

    /// All running guests.
    pub(super) fn names(&self) -> Vec<String> {
        self.guests.iter().map(|(guest, _)| guest.clone()).collect()
    }

    /// The running guests among `macs`.
    pub(super) fn named(&self, macs: &[Mac]) -> Vec<String> {
        self.guests
            .iter()
            .filter(|(_, own)| own.iter().any(|mac| macs.contains(mac)))
            .map(|(guest, _)| guest.clone())
            .collect()
    }

    /// True if one of `macs` is a running guest's, or has a lease.
    pub(super) fn know(&self, macs: &[Mac]) -> bool {
        macs.iter().any(|mac| self.leased.contains(mac)) || !self.named(macs).is_empty()
    }
}

/// The hosts of both sides, by name.
pub(super) struct Hosts<'v> {
    before: HashMap<&'v str, &'v Value>,
    after: HashMap<&'v str, &'v Value>,
}

impl<'v> Hosts<'v> {
    pub(super) fn new(before: &'v Value, after: &'v Value) -> Self {
        let by_name = |network: &'v Value| {
            let hosts = network["hosts"].as_array().into_iter().flatten();
            hosts
                .filter_map(|host| Some((host["name"].as_str()?, host)))
                .collect()
        };
        Self {
            before: by_name(before),
            after: by_name(after),
        }
    }

    /// The entries that a change of a host is about: as it was, and as it is to be.
    pub(super) fn of(&self, change: &Change) -> [Option<&'v Value>; 2] {
        let Some(name) = change.entry(1).filter(|_| change.key(0) == Some("hosts")) else {
            return [None, None];
        };
        [self.before.get(name).copied(), self.after.get(name).copied()]
    }
}

/// The hardware addresses of host entries.
pub(super) fn macs(hosts: [Option<&Value>; 2]) -> Vec<Mac> {
    let of = |host: &Value| match &host["mac"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    hosts
        .into_iter()
        .flatten()
        .flat_map(of)
        .filter_map(|mac| mac.as_str()?.parse().ok())
        .collect()
}
