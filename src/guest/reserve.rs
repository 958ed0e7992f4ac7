//! The addresses and names that a new guest asks its networks for: looked at before anything is made, then written
//! beside the networks, where registered ones take them up at once.

use super::make::MakeError;
use super::request::{IpRequest, NicRequest};
use crate::host::{Layout, Libvirt};
use crate::name::{GuestName, HostName, Mac, NetworkName};
use crate::network::{self, Brought, Landed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a network reserves for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reserved {
    /// The network.
    pub network: NetworkName,
    /// The host's name in it.
    pub name: HostName,
    /// Its addresses; none if they are chosen when the network is there.
    pub ips: Vec<IpAddr>,
}

/// What a guest asks for.
#[derive(Debug)]
pub(super) struct Wanted(BTreeMap<NetworkName, Vec<Brought>>);

impl Wanted {
    /// What the interfaces ask for, each with its hardware address. Without a name it is the guest's, without an address
    /// one is chosen; an interface with neither asks for nothing.
    pub(super) fn of(guest: &GuestName, nics: &[(&NicRequest, Mac)]) -> Result<Self, MakeError> {
        let mut all: BTreeMap<NetworkName, Vec<Brought>> = BTreeMap::new();
        for (nic, mac) in nics {
            if nic.ip.is_none() && nic.name.is_none() {
                continue;
            }
            let name = match &nic.name {
                Some(name) => name.clone(),
                None => guest.as_str().parse().map_err(MakeError::HostName)?,
            };
            let ips = match nic.ip {
                Some(IpRequest::Given(address)) => vec![address],
                Some(IpRequest::Auto) | None => Vec::new(),
            };
            let entries = all.entry(nic.network.clone()).or_default();
            entries.push(Brought {
                name,
                macs: vec![*mac],
                ips,
            });
        }
        Ok(Self(all))
    }

    /// True if something is asked for in this network.
    pub(super) fn has(&self, network: &NetworkName) -> bool {
        self.0.contains_key(network)
    }

    /// What the networks would reserve; an error if one cannot. Nothing is written.
    pub(super) fn check(
        &self,
        layout: &Layout,
        libvirt: &Libvirt,
        guest: &GuestName,
    ) -> Result<Vec<Reserved>, MakeError> {
        let mut all = Vec::new();
        for (network, entries) in &self.0 {
            all.extend(
                match network::preview(layout, libvirt, network, guest, entries)? {
                    Some(landed) => reserved(network, entries, &landed)?,
                    None => asked(network, entries),
                },
            );
        }
        Ok(all)
    }

    /// Writes down what is asked for, and lets registered networks take it up; what they reserve. After an error nothing
    /// of it is left.
    pub(super) fn reserve(
        &self,
        layout: &Layout,
        libvirt: &Libvirt,
        guest: &GuestName,
    ) -> Result<Vec<Reserved>, MakeError> {
        let mut all = Vec::new();
        for (network, entries) in &self.0 {
            match reserve(layout, libvirt, guest, network, entries) {
                Ok(reserved) => all.extend(reserved),
                Err(error) => {
                    self.take_back(layout, libvirt, guest);
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Takes away what was written down. Failures are told in the log only: the first error is what the user has to know.
    pub(super) fn take_back(&self, layout: &Layout, libvirt: &Libvirt, guest: &GuestName) {
        for network in self.0.keys() {
            let removed = network::bring(layout, guest, network, &[]);
            let removed = removed.map_err(|error| error.to_string()).and_then(|_| {
                network::refresh(layout, libvirt, network, guest, &[]).map_err(|error| error.to_string())
            });
            if let Err(error) = removed {
                tracing::warn!(%network, %guest, %error, "not taken back");
            }
        }
    }
}

fn reserve(
    layout: &Layout,
    libvirt: &Libvirt,
    guest: &GuestName,
    network: &NetworkName,
    entries: &[Brought],
) -> Result<Vec<Reserved>, MakeError> {
    network::bring(layout, guest, network, entries)?;
    match network::refresh(layout, libvirt, network, guest, entries)? {
        Some(landed) => reserved(network, entries, &landed),
        None => Ok(asked(network, entries)),
    }
}

fn reserved(network: &NetworkName, entries: &[Brought], landed: &Landed) -> Result<Vec<Reserved>, MakeError> {
    if landed.hosts.len() < entries.len() {
        let why: Vec<String> = landed.remarks.iter().map(ToString::to_string).collect();
        return Err(MakeError::NoPlace {
            network: network.clone(),
            why: why.join("\n"),
        });
    }
    let hosts = landed.hosts.iter().cloned();
    Ok(hosts
        .map(|(name, ips)| Reserved {
            network: network.clone(),
            name,
            ips,
        })
        .collect())
}

/// What is asked of a network that nobody knows yet.
fn asked(network: &NetworkName, entries: &[Brought]) -> Vec<Reserved> {
    let entries = entries.iter().cloned();
    entries
        .map(|entry| Reserved {
            network: network.clone(),
            name: entry.name,
            ips: entry.ips,
        })
        .collect()
}
