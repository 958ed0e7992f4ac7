//! What a guest is doing and where it can be reached: libvirt's state joined with the leases of its MAC addresses.

use crate::domain::{Domain, DomainXmlError, InterfaceSource};
use crate::host::{DomainRecord, DomainState, Layout, Libvirt, LibvirtError};
use crate::lease::{self, Lease, LeaseFileError};
use crate::name::{Mac, NetworkName};
use crate::network::{self, StateError};
use serde::Serialize;
use std::net::IpAddr;
use uuid::Uuid;

/// Why guests could not be listed, or a guest could not be worked with.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// libvirt has no such guest.
    #[error("there is no guest {0}")]
    Unknown(String),
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// A guest's XML cannot be read.
    #[error("the domain XML of {name}: {source}")]
    Xml {
        /// Which guest.
        name: String,
        /// What is wrong with it.
        source: DomainXmlError,
    },
    /// The record of registered networks is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// A lease file is damaged.
    #[error(transparent)]
    Leases(#[from] LeaseFileError),
}

/// An address that a guest holds by a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// In which registered network.
    pub network: NetworkName,
    /// The address.
    pub ip: IpAddr,
    /// The interface that it was given to.
    pub mac: Mac,
}

/// What is known of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuestStatus {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// What it is doing.
    pub state: DomainState,
    /// True if it carries miniascape's mark.
    pub ours: bool,
    /// The networks and bridges it is plugged into.
    pub networks: Vec<String>,
    /// The leases of its interfaces.
    pub addresses: Vec<Address>,
    /// Why its details (mark, networks, addresses) are not known: its XML cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// All guests, by name.
pub fn list(layout: &Layout, libvirt: &Libvirt) -> Result<Vec<GuestStatus>, GuestError> {
    let leases = leases(layout)?;
    Ok(libvirt
        .domains()?
        .iter()
        .map(|record| describe(record, &leases))
        .collect())
}

/// One guest.
pub fn status(layout: &Layout, libvirt: &Libvirt, name: &str) -> Result<GuestStatus, GuestError> {
    let record = libvirt
        .domain(name)?
        .ok_or_else(|| GuestError::Unknown(name.to_owned()))?;
    Ok(describe(&record, &leases(layout)?))
}

fn leases(layout: &Layout) -> Result<Vec<(NetworkName, Lease)>, GuestError> {
    let mut all = Vec::new();
    for network in network::registered(layout)?.into_iter().filter(|n| n.dnsmasq) {
        let leases = lease::read(layout.leases(&network.name).on_disk())?;
        all.extend(leases.into_iter().map(|lease| (network.name.clone(), lease)));
    }
    Ok(all)
}

fn describe(record: &DomainRecord, leases: &[(NetworkName, Lease)]) -> GuestStatus {
    let domain = match Domain::parse(&record.xml) {
        Ok(domain) => domain,
        // One guest that nobody understands hides no other.
        Err(error) => {
            return GuestStatus {
                name: record.name.clone(),
                uuid: record.uuid,
                state: record.state,
                ours: false,
                networks: Vec::new(),
                addresses: Vec::new(),
                unknown: Some(error.to_string()),
            };
        }
    };
    let macs = macs(&domain);
    let held = |(network, lease): &(NetworkName, Lease)| {
        let mac = lease.mac.filter(|mac| macs.contains(mac))?;
        Some(Address {
            network: network.clone(),
            ip: lease.ip,
            mac,
        })
    };
    GuestStatus {
        name: record.name.clone(),
        uuid: record.uuid,
        state: record.state,
        ours: domain.mark("guest").is_some(),
        networks: domain
            .interfaces
            .iter()
            .map(|interface| plug(&interface.source))
            .collect(),
        // A lease outlives the guest's run; a guest that is off has no address.
        addresses: if record.state.is_active() {
            leases.iter().filter_map(held).collect()
        } else {
            Vec::new()
        },
        unknown: None,
    }
}

/// The MAC addresses of a domain's interfaces.
fn macs(domain: &Domain) -> Vec<Mac> {
    domain
        .interfaces
        .iter()
        .filter_map(|interface| interface.mac.as_deref()?.parse().ok())
        .collect()
}

fn plug(source: &InterfaceSource) -> String {
    match source {
        InterfaceSource::Network(name) => name.clone(),
        InterfaceSource::Bridge(name) => format!("bridge:{name}"),
        InterfaceSource::Direct(name) => format!("direct:{name}"),
        InterfaceSource::User => "user".to_owned(),
        InterfaceSource::Ethernet => "ethernet".to_owned(),
        InterfaceSource::Other(kind) => kind.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_with_unreadable_xml_is_listed_without_details() {
        let record = DomainRecord {
            name: "odd".into(),
            uuid: Uuid::nil(),
            state: DomainState::Running,
            persistent: true,
            xml: "<domain><unclosed>".into(),
        };
        let status = describe(&record, &[]);
        assert_eq!(
            (status.name.as_str(), status.state),
            ("odd", DomainState::Running)
        );
        assert!(status.unknown.is_some());
    }
}
