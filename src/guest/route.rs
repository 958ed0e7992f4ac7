//! An interface in a network of mode `hostroute`: a tap of the guest's own, between the network's gateway on the host
//! and the address that the network keeps for the guest. libvirt makes tap and route when the guest starts, and takes
//! both away when it stops.

use crate::host::Layout;
use crate::name::{InterfaceName, Mac, NameError, NetworkName};
use crate::network::{Applied, Finder, Mode, Network, NetworkError, StateError};
use std::net::IpAddr;

/// Why a guest cannot have an interface in such a network.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// No hardware address was said, by which the guest's address would be known.
    #[error(
        "{0} routes to each guest by the address that it keeps for it, and which of them this guest has was not said"
    )]
    NoMac(NetworkName),
    /// The network keeps no address for it.
    #[error(
        "{network} has no host entry with the hardware address {mac}, so there is no address to route to"
    )]
    NoEntry {
        /// The network.
        network: NetworkName,
        /// The hardware address.
        mac: Mac,
    },
    /// Its definition cannot be read any more.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its record cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The hardware address makes no interface name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The host's side of an interface without a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The tap.
    pub tap: InterfaceName,
    /// Per family the host's address on it and the guest's at its other end.
    pub ends: Vec<(IpAddr, IpAddr)>,
}

/// The record of the network `name`, if it is a registered one of mode `hostroute`.
fn record(layout: &Layout, name: &NetworkName) -> Result<Option<Applied>, StateError> {
    let alone = |applied: &Applied| {
        applied
            .needs
            .as_ref()
            .is_some_and(|needs| needs.mode == Mode::Hostroute)
    };
    Ok(Applied::read(layout, name)?.filter(alone))
}

/// True if `name` is a registered network of mode `hostroute`, of which libvirt knows nothing.
pub(super) fn is_routed_alone(layout: &Layout, name: &NetworkName) -> Result<bool, RouteError> {
    Ok(record(layout, name)?.is_some())
}

/// The route to an interface with the hardware address `mac`, which is the one that was `said` if one was, in the network
/// `name`; `None` if that is no registered network of mode `hostroute`. `given` are the addresses that the network is
/// about to reserve for it; without any, it is known by its hardware address.
pub(super) fn route(
    layout: &Layout,
    name: &NetworkName,
    said: Option<Mac>,
    mac: Mac,
    given: &[IpAddr],
) -> Result<Option<Route>, RouteError> {
    let Some(applied) = record(layout, name)? else {
        return Ok(None);
    };
    let network = Finder::new(layout).read(&applied.source)?.network;
    if !given.is_empty() {
        return Ok(Some(to(&network, given.iter().copied(), mac)?));
    }
    let mac = said.ok_or_else(|| RouteError::NoMac(name.clone()))?;
    match network.host_by_mac(mac) {
        Some(host) => Ok(Some(to(&network, host.addresses(), mac)?)),
        None => Err(RouteError::NoEntry {
            network: name.clone(),
            mac,
        }),
    }
}

fn to(network: &Network, addresses: impl Iterator<Item = IpAddr>, mac: Mac) -> Result<Route, NameError> {
    // `hr-` and the twelve digits are as long as a name may be, and no two interfaces on a host have one address.
    let digits: String = mac.octets().iter().map(|octet| format!("{octet:02x}")).collect();
    let gateway = |address: &IpAddr| network.gateways().find(|own| own.is_ipv4() == address.is_ipv4());
    Ok(Route {
        tap: format!("hr-{digits}").parse()?,
        ends: addresses
            .filter_map(|address| Some((gateway(&address)?, address)))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_own_ends() {
        let text = "network: { name: taps, mode: hostroute, ipv4: { subnet: 10.9.0.0/24 }, \
            ipv6: { subnet: \"fd00:9::/64\" }, hosts: [ \
            { name: one, mac: \"52:54:00:00:09:10\", ip: [ 10.9.0.10, \"fd00:9::10\" ] }, \
            { name: six, mac: \"52:54:00:00:09:11\", ip: \"fd00:9::11\" } ] }";
        let (network, _) = crate::network::read_bytes("taps.yaml", text.as_bytes()).unwrap();
        let route = |mac: &str| {
            let mac = mac.parse().unwrap();
            let host = network.host_by_mac(mac).unwrap();
            let route = to(&network, host.addresses(), mac).unwrap();
            let ends = route.ends.iter().map(|(host, guest)| format!("{host} {guest}"));
            (route.tap.to_string(), ends.collect::<Vec<_>>())
        };
        let (tap, ends) = route("52:54:00:00:09:10");
        assert_eq!(tap, "hr-525400000910");
        assert_eq!(ends, ["10.9.0.1 10.9.0.10", "fd00:9::1 fd00:9::10"]);
        assert_eq!(route("52:54:00:00:09:11").1, ["fd00:9::1 fd00:9::11"]);
    }
}
