//! Waiting for a guest: for a state, which libvirt is asked for, or for a lease, which dnsmasq signals.

use super::status::{Address, GuestError};
use crate::domain::{Domain, InterfaceSource};
use crate::host::{DomainState, Layout, Libvirt, LibvirtError};
use crate::lease::{EventKind, Watch, WatchError};
use crate::name::{Mac, NetworkName};
use crate::network::{self, Applied};
use std::time::{Duration, Instant};

/// Why waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Time is up; what is still missing, and what was seen instead.
    #[error("{name}: {missing} within {} s", timeout.as_secs())]
    Timeout {
        /// Which guest.
        name: String,
        /// What did not happen, like "no lease was handed out".
        missing: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// It can never get a lease from us.
    #[error("{0} has no interface in a registered network with DHCP, so no lease of it will be seen")]
    NoNetwork(String),
    /// It went off instead.
    #[error("{name} is {state}: it will not get a lease")]
    NotRunning {
        /// Which guest.
        name: String,
        /// What it is doing.
        state: DomainState,
    },
    /// The guest cannot be worked with.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// Leases cannot be followed.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

impl From<LibvirtError> for WaitError {
    fn from(error: LibvirtError) -> Self {
        Self::Guest(error.into())
    }
}

/// What was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// The guest is in this state.
    State(DomainState),
    /// The guest holds this lease.
    Lease(Address),
}

/// Waiting for a lease: made before the guest is started, so that no signal is missed.
#[derive(Debug)]
pub struct LeaseWait {
    name: String,
    macs: Vec<Mac>,
    watch: Watch,
}

impl LeaseWait {
    /// Begins to follow the leases of the guest `name`. With `present`, a lease that is there counts too; without,
    /// only one that is handed out or renewed from now on.
    pub fn open(layout: &Layout, libvirt: &Libvirt, name: &str, present: bool) -> Result<Self, WaitError> {
        let record = libvirt
            .domain(name)?
            .ok_or_else(|| GuestError::Unknown(name.to_owned()))?;
        let domain = Domain::parse(&record.xml).map_err(|source| GuestError::Xml {
            name: name.to_owned(),
            source,
        })?;
        let registered = network::registered(layout).map_err(GuestError::from)?;
        let (networks, macs) = served(&domain, &registered);
        if networks.is_empty() {
            return Err(WaitError::NoNetwork(name.to_owned()));
        }
        let mut watch = Watch::open(layout, &networks, present)?;
        if !present {
            watch.forget_endless(&macs);
        }
        Ok(Self {
            name: name.to_owned(),
            macs,
            watch,
        })
    }

    /// Waits for the first lease of one of the guest's interfaces.
    pub fn finish(mut self, libvirt: &Libvirt, timeout: Duration) -> Result<Awaited, WaitError> {
        let deadline = Instant::now() + timeout;
        loop {
            // A guest that has gone off is noticed between signals, since nothing will be signalled for it.
            let state = libvirt.domain_state(&self.name)?;
            if !state.is_active() {
                return Err(WaitError::NotRunning {
                    name: self.name,
                    state,
                });
            }
            let pause = deadline.min(Instant::now() + Duration::from_secs(2));
            while let Some(event) = self.watch.next(Some(pause))? {
                let lease = &event.event.lease;
                if event.event.event != EventKind::Deleted
                    && let Some(mac) = lease.mac.filter(|mac| self.macs.contains(mac))
                {
                    return Ok(Awaited::Lease(Address {
                        network: event.network,
                        ip: lease.ip,
                        mac,
                    }));
                }
            }
            if Instant::now() >= deadline {
                let missing = "no lease was handed out".to_owned();
                return Err(WaitError::Timeout {
                    name: self.name,
                    missing,
                    timeout,
                });
            }
        }
    }
}

/// The registered networks with a dnsmasq that the domain is plugged into, by name or by bridge, and the hardware
/// addresses with which it is.
fn served(domain: &Domain, registered: &[Applied]) -> (Vec<NetworkName>, Vec<Mac>) {
    let mut networks = Vec::new();
    let mut macs = Vec::new();
    for interface in &domain.interfaces {
        let into = |network: &&Applied| {
            network.dnsmasq
                && match &interface.source {
                    InterfaceSource::Network(name) => name == network.name.as_str(),
                    InterfaceSource::Bridge(bridge) => bridge == network.bridge.as_str(),
                    _ => false,
                }
        };
        let mac = interface.mac.as_deref().and_then(|mac| mac.parse().ok());
        if let (Some(network), Some(mac)) = (registered.iter().find(into), mac) {
            if !networks.contains(&network.name) {
                networks.push(network.name.clone());
            }
            macs.push(mac);
        }
    }
    (networks, macs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_interfaces_in_networks_with_dnsmasq_count() {
        let applied = |name: &str, bridge: &str, dnsmasq: bool| Applied {
            format: 1,
            name: name.parse().unwrap(),
            bridge: bridge.parse().unwrap(),
            dnsmasq,
            files: std::collections::BTreeMap::new(),
            source: "/x.yaml".into(),
        };
        let registered = [
            applied("lab", "virbr1", true),
            applied("silent", "virbr2", false),
            applied("other", "virbr3", true),
        ];
        let plugged = |source: &str| {
            let xml = format!(
                "<domain type='qemu'><name>g</name><memory>1</memory><os><type>hvm</type></os><devices>\
                 <interface {source}<mac address='52:54:00:00:00:09'/></interface></devices></domain>"
            );
            let (networks, macs) = served(&Domain::parse(&xml).unwrap(), &registered);
            assert_eq!(networks.len(), macs.len());
            networks.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(plugged("type='network'><source network='lab'/>"), ["lab"]);
        assert_eq!(plugged("type='bridge'><source bridge='virbr3'/>"), ["other"]);
        for elsewhere in [
            "type='network'><source network='silent'/>",
            "type='network'><source network='default'/>",
            "type='bridge'><source bridge='br0'/>",
            "type='user'>",
        ] {
            assert!(plugged(elsewhere).is_empty(), "{elsewhere}");
        }
    }
}
