//! The running guests that are plugged into a network.

use super::RegisterError;
use crate::domain::{Domain, InterfaceSource, Plug, plugs};
use crate::host::{Libvirt, LibvirtError, links};
use crate::name::{InterfaceName, NetworkName};
use std::time::Duration;

/// The running guests, each with its live XML.
#[derive(Debug, Default)]
pub(in crate::network) struct Guests(Vec<(String, String)>);

impl Guests {
    /// Those of this libvirt.
    pub(in crate::network) fn running(libvirt: &Libvirt) -> Result<Self, LibvirtError> {
        let running = libvirt.domains()?.into_iter().filter(|d| d.state.is_active());
        let live = |name: String| libvirt.live_domain_xml(&name).map(|xml| (name, xml));
        running
            .map(|record| live(record.name))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Those with an interface in the network, or directly on its bridge.
    pub(in crate::network) fn named(&self, network: &NetworkName, bridge: &str) -> Vec<String> {
        let here = self.0.iter().filter(|(_, xml)| is_in(xml, network, bridge));
        here.map(|(name, _)| name.clone()).collect()
    }

    /// Their interfaces in the network, by guest.
    pub(super) fn plugs(&self, network: &NetworkName) -> Vec<(String, Plug)> {
        let plugs = |(name, xml): &(String, String)| {
            // libvirt's own XML; what cannot be read is in no network that we can name.
            let plugs = plugs(xml, network.as_str()).unwrap_or_default();
            plugs
                .into_iter()
                .map(|plug| (name.clone(), plug))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(plugs).collect()
    }

    /// Those of them whose taps are not in the network's `bridge`: libvirt, stopping a network, takes its bridge away and
    /// starts it again without them.
    pub(in crate::network) fn unplugged(&self, network: &NetworkName, bridge: &str) -> Vec<(String, Plug)> {
        let mut plugs = self.plugs(network);
        plugs.retain(|(_, plug)| {
            plug.tap
                .parse()
                .is_ok_and(|tap| links::exists(&tap) && links::master(&tap).as_deref() != Some(bridge))
        });
        plugs
    }
}

/// The running guests with an interface in the network, or directly on its bridge.
pub fn guests_in(name: &NetworkName, bridge: &str, libvirt: &Libvirt) -> Result<Vec<String>, LibvirtError> {
    Ok(Guests::running(libvirt)?.named(name, bridge))
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
