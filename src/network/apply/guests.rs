//! The running guests that are plugged into a network.

use super::RegisterError;
use crate::domain::{Domain, InterfaceSource, Plug, plugs};
use crate::host::{Libvirt, LibvirtError, links};
use crate::name::{InterfaceName, NetworkName};
use std::time::Duration;

/// The running guests with an interface in the network, or directly on its bridge.
pub fn guests_in(name: &NetworkName, bridge: &str, libvirt: &Libvirt) -> Result<Vec<String>, LibvirtError> {
    let mut guests = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        if is_in(&libvirt.live_domain_xml(&record.name)?, name, bridge) {
            guests.push(record.name);
        }
    }
    Ok(guests)
}

/// As [`guests_in`], with those that are off and would have such an interface when they start.
pub(super) fn users(
    name: &NetworkName,
    bridge: &str,
    libvirt: &Libvirt,
) -> Result<Vec<String>, LibvirtError> {
    let mut guests = guests_in(name, bridge, libvirt)?;
    for record in libvirt.domains()? {
        // A guest without a definition is running, and was seen.
        if !guests.contains(&record.name)
            && let Some(xml) = libvirt.definition(record.uuid)?
            && is_in(&xml, name, bridge)
        {
            guests.push(record.name);
        }
    }
    guests.sort();
    Ok(guests)
}

/// True if the domain `xml` has an interface in the network, or directly on its bridge. One that cannot be read counts:
/// better a question too many than a guest cut off.
fn is_in(xml: &str, name: &NetworkName, bridge: &str) -> bool {
    Domain::parse(xml).map_or(true, |domain| {
        domain.interfaces.iter().any(|interface| match &interface.source {
            InterfaceSource::Network(network) => network == name.as_str(),
            InterfaceSource::Bridge(host) => host == bridge,
            _ => false,
        })
    })
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

/// The interfaces of running guests in the network, by guest; noted before the network is stopped.
pub(super) fn plugged(name: &NetworkName, libvirt: &Libvirt) -> Result<Vec<(String, Plug)>, LibvirtError> {
    let mut all = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        let xml = libvirt.live_domain_xml(&record.name)?;
        // libvirt's own XML; what cannot be read is in no network that we can name.
        for plug in plugs(&xml, name.as_str()).unwrap_or_default() {
            all.push((record.name.clone(), plug));
        }
    }
    Ok(all)
}

/// How long links stay down: long enough for a guest's system to notice.
const LINK_PAUSE: Duration = Duration::from_millis(500);

/// Puts the guests' taps on the network's new bridge, with their links down for a moment, so that their DHCP clients
/// ask again. All are tried; the first failure is told.
pub(super) fn replug(
    guests: &[(String, Plug)],
    bridge: &InterfaceName,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let down = |guest: &str, plug: &Plug| -> Result<(), RegisterError> {
        // libvirt moves a tap by itself, if the network's bridge has another name than before, and then only one that is
        // in no bridge yet.
        libvirt.update_live_device(guest, &plug.down)?;
        let tap: InterfaceName = plug.tap.parse()?;
        if links::master(&tap).as_deref() != Some(bridge.as_str()) {
            links::set_master(&tap, bridge)?;
        }
        Ok(())
    };
    let up = |guest: &str, plug: &Plug| Ok(libvirt.update_live_device(guest, &plug.up)?);
    let downs = each(guests, down);
    std::thread::sleep(LINK_PAUSE);
    downs.and(each(guests, up))
}

/// Does `act` to every interface, also when one fails; the first failure.
fn each(
    guests: &[(String, Plug)],
    act: impl Fn(&str, &Plug) -> Result<(), RegisterError>,
) -> Result<(), RegisterError> {
    let mut first = Ok(());
    for (guest, plug) in guests {
        if let Err(error) = act(guest, plug) {
            tracing::warn!(%guest, tap = %plug.tap, %error, "not plugged in again");
            first = first.and(Err(error));
        }
    }
    first
}
