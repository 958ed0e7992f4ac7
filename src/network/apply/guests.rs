//! The running guests that are plugged into a network.

use super::RegisterError;
use crate::domain::{Domain, InterfaceSource};
use crate::host::{Libvirt, LibvirtError};
use crate::name::NetworkName;

/// The running guests with an interface in the network, or directly on its bridge.
pub fn guests_in(name: &NetworkName, bridge: &str, libvirt: &Libvirt) -> Result<Vec<String>, LibvirtError> {
    let mut guests = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        let xml = libvirt.live_domain_xml(&record.name)?;
        let plugged = Domain::parse(&xml).is_ok_and(|domain| {
            domain.interfaces.iter().any(|interface| match &interface.source {
                InterfaceSource::Network(network) => network == name.as_str(),
                InterfaceSource::Bridge(host) => host == bridge,
                _ => false,
            })
        });
        if plugged {
            guests.push(record.name);
        }
    }
    Ok(guests)
}

pub(super) fn refuse_in_use(
    name: &NetworkName,
    bridge: &str,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let guests = guests_in(name, bridge, libvirt)?;
    if guests.is_empty() {
        Ok(())
    } else {
        Err(RegisterError::InUse {
            network: name.clone(),
            guests,
        })
    }
}
