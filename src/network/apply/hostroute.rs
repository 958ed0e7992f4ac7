//! The guests of a network of mode `hostroute`, of which libvirt knows nothing but their interfaces: those whose taps have
//! the network's gateway at the host's end.

use super::RegisterError;
use crate::domain::host_addresses;
use crate::host::{Libvirt, LibvirtError};
use crate::name::NetworkName;
use crate::network::{Applied, Mode};
use std::net::IpAddr;

/// The running guests that are routed to with one of these gateways.
fn guests_behind(gateways: &[IpAddr], libvirt: &Libvirt) -> Result<Vec<String>, LibvirtError> {
    let mut guests = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        let xml = libvirt.live_domain_xml(&record.name)?;
        // As for other networks, one whose XML cannot be read counts.
        let behind = host_addresses(&xml).map_or(true, |ends| ends.iter().any(|end| gateways.contains(end)));
        if behind {
            guests.push(record.name);
        }
    }
    Ok(guests)
}

/// The running guests in the network with the record `applied`; none if it is of another mode.
pub(in crate::network) fn guests_of(
    applied: &Applied,
    libvirt: &Libvirt,
) -> Result<Vec<String>, LibvirtError> {
    match &applied.needs {
        Some(needs) if needs.mode == Mode::Hostroute => guests_behind(&needs.gateways, libvirt),
        _ => Ok(Vec::new()),
    }
}

/// Refuses to take away a network of this mode while guests run in it: nobody would answer for their names.
pub(super) fn refuse_in_use(
    name: &NetworkName,
    applied: Option<&Applied>,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let guests = match applied {
        Some(applied) => guests_of(applied, libvirt)?,
        None => Vec::new(),
    };
    if guests.is_empty() {
        return Ok(());
    }
    Err(RegisterError::InUse {
        network: name.clone(),
        guests,
    })
}
