//! A bridge that is not ours, in mode `bridge`: it has to be there, and is never made, changed or removed. What is
//! plugged into it is looked at in `network::needs`.

use super::RegisterError;
use crate::host::bridges::{self, Kind};
use crate::host::{CommandError, Libvirt};
use crate::network::{Mode, Network};
use std::net::IpAddr;

/// An error unless the host has the bridge that the `network` is about, if it is about one. Another host's cannot be
/// looked at.
pub(super) fn check_existing(network: &Network, libvirt: &Libvirt) -> Result<(), RegisterError> {
    let Some(bridge) = network.bridge().filter(|_| libvirt.is_local()) else {
        return Ok(());
    };
    let what = match bridges::kind(bridge) {
        Kind::Bridge => return Ok(()),
        Kind::Absent => "this host has no interface of that name",
        Kind::Other => "the interface of that name is not a bridge",
    };
    Err(RegisterError::NoBridge {
        network: network.name().clone(),
        bridge: bridge.clone(),
        what,
    })
}

/// An address at which the network's dnsmasq can be asked; `None` if it has none that is known to answer now: a bridge
/// of somebody else's without addresses, or taps that come with the guests.
pub(super) fn name_server(network: &Network) -> Result<Option<IpAddr>, CommandError> {
    match (network.mode(), network.bridge()) {
        (Mode::Hostroute, _) | (_, None) => Ok(None),
        (Mode::Bridge, Some(bridge)) => {
            let all = bridges::addresses()?;
            let own = all.iter().filter(|link| link.interface == bridge.as_str());
            // One of the link alone cannot be asked without saying which link that is.
            let usable = |address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            Ok(own
                .flat_map(|link| link.list.iter().filter_map(|address| address.local))
                .find(usable))
        }
        _ => Ok(network.gateways().next()),
    }
}
