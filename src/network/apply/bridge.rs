//! Whether a network can have its bridge: one that libvirt is to make must not be somebody else's; one that is not ours, in
//! mode `bridge`, has to be there, and is never made, changed or removed. What is plugged into it is looked at in
//! `network::needs`.

use super::facts::is_leftover;
use super::{RegisterError, Step};
use crate::host::bridges::{self, Kind};
use crate::host::{CommandError, Libvirt, NetworkRecord, links};
use crate::network::{Applied, Mode, Network, Observed, needs};
use std::net::IpAddr;

/// An error unless the host has the bridge that the `network` is about, if it is about one. Another host's cannot be
/// looked at.
fn check_existing(network: &Network, libvirt: &Libvirt) -> Result<(), RegisterError> {
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

/// Refuses `steps` for which the network's bridge is needed and somebody else has it.
pub(super) fn refuse_taken_bridge(
    network: &Network,
    steps: &[Step],
    existing: Option<&NetworkRecord>,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let Some(bridge) = network.own_bridge() else {
        return check_existing(network, libvirt);
    };
    // A network that only goes on has it.
    if !steps
        .iter()
        .any(|step| matches!(step, Step::Define | Step::Start | Step::RemoveBridge))
    {
        return Ok(());
    }
    let of = |record: &NetworkRecord| Observed::parse(&record.xml).bridge;
    let same = |record: &NetworkRecord| of(record).as_deref() == Some(bridge.as_str());
    if let Some(other) = libvirt
        .networks()?
        .into_iter()
        .find(|r| r.name != network.name().as_str() && same(r))
    {
        return Err(RegisterError::BridgeOfNetwork {
            network: network.name().clone(),
            bridge: bridge.clone(),
            owner: other.name,
        });
    }
    let live = |r: &NetworkRecord| r.live_xml.as_deref().and_then(|xml| Observed::parse(xml).bridge);
    let mine = existing.is_some_and(|r| live(r).as_deref() == Some(bridge.as_str()));
    if mine || !libvirt.is_local() || existing.is_some_and(|record| is_leftover(network, record)) {
        return Ok(());
    }
    refuse_interface(network)
}

/// Refuses if the host has an interface with the name of a bridge that libvirt is to make.
pub(super) fn refuse_interface(network: &Network) -> Result<(), RegisterError> {
    if let Some(bridge) = network.own_bridge().filter(|bridge| links::exists(bridge)) {
        return Err(RegisterError::BridgeOfHost {
            network: network.name().clone(),
            bridge: bridge.clone(),
        });
    }
    Ok(())
}

/// True if these steps make the network serve DHCP on a bridge that is not ours, so that it was asked for other servers
/// before.
pub(in crate::network) fn asks_for_servers(network: &Network, steps: &[Step]) -> bool {
    let starts = steps.contains(&Step::StartDnsmasq) || steps.contains(&Step::RestartDnsmasq);
    starts && network.mode() == Mode::Bridge && network.dhcp().is_some() && network.ipv4().is_some()
}

/// Refuses steps that would make the network the second to serve DHCP on a bridge that is not ours. One that does so
/// already goes on: `before` is its record.
pub(super) fn refuse_other_servers(
    network: &Network,
    steps: &[Step],
    before: Option<&Applied>,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let Some(bridge) = network.bridge().filter(|_| asks_for_servers(network, steps)) else {
        return Ok(());
    };
    let serves = |needs: &needs::Needs| needs.dhcp && needs.bridge.as_ref() == Some(bridge);
    let served = before
        .and_then(|record| record.needs.as_ref())
        .is_some_and(serves);
    if !libvirt.is_local() || served && steps.contains(&Step::RestartDnsmasq) {
        return Ok(());
    }
    let servers = needs::other_servers(bridge)?;
    if servers.is_empty() {
        return Ok(());
    }
    Err(RegisterError::OtherDhcp {
        network: network.name().clone(),
        bridge: bridge.clone(),
        servers,
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
