//! The rules between the values of one definition: pure, from [`Definition`] to [`Network`].
//!
//! What depends on the host or on other definitions (taken bridges, overlapping subnets) is not looked at here.

mod address;
mod boot;
mod dhcp;
mod dns;
mod dnsmasq;
mod hosts;
mod interfaces;
mod mode;

use super::definition::{Definition, HostEntry};
use super::model::{Mode, Network, Ra};
use crate::name::{DnsName, InterfaceName, NetworkName};
use crate::yaml::{At, Fault, Report};
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;

/// What the rules on names need to know of the rest of the network.
struct Surroundings<'d> {
    domain: Option<&'d DnsName>,
    hosts: &'d [HostEntry],
    subnets: Vec<IpNet>,
    /// The host's own addresses in it.
    gateways: Vec<IpAddr>,
    /// True if DNS is served.
    serves: bool,
    /// True if questions go out unless the definition says otherwise.
    forward_by_default: bool,
    /// True if machines can come that bring a name with them.
    gives_names: bool,
}

/// Checks `definition`; `None` after reporting an error.
pub fn check(definition: &Definition, report: &mut Report<'_>) -> Option<Network> {
    let mode = definition.mode.value;
    let serves = Serves::of(definition);
    mode::check(definition, serves, report);
    let ipv4 = match &definition.ipv4 {
        Some(section) => Some(address::check_ipv4(section, mode, report)?),
        None => None,
    };
    let ipv6 = match &definition.ipv6 {
        Some(section) => Some(address::check_ipv6(section, mode, serves.ra, report)?),
        None => None,
    };
    let domain = check_domain(definition, serves.dns, report);
    let dhcp = definition
        .dhcp
        .as_ref()
        .map(|section| dhcp::check(&section.value, definition, ipv4, ipv6, report));
    let hosts = hosts::check(&definition.hosts, ipv4, ipv6, domain, serves.dhcp, report);
    interfaces::check(definition, report);
    let subnets = [
        ipv4.map(|ipv4| ipv4.subnet.into()),
        ipv6.map(|ipv6| ipv6.subnet.into()),
    ];
    let gateways = [
        ipv4.map(|ipv4| ipv4.gateway.into()),
        ipv6.and_then(|ipv6| ipv6.gateway).map(IpAddr::from),
    ];
    let around = Surroundings {
        domain,
        hosts: &definition.hosts,
        subnets: subnets.into_iter().flatten().collect(),
        gateways: gateways
            .into_iter()
            .flatten()
            .filter(|_| mode != Mode::Bridge)
            .collect(),
        serves: serves.dns,
        forward_by_default: mode != Mode::Isolated,
        gives_names: dhcp.as_ref().is_some_and(|dhcp| serves.dhcp && dhcp.has_ranges()),
    };
    let dns = dns::check(&definition.dns, &around, report);
    let dnsmasq_options = dnsmasq::check(&definition.dnsmasq_options, &around, report);
    let names = |list: &[At<InterfaceName>]| list.iter().map(|name| name.value.clone()).collect();
    Some(Network {
        name: definition.name.value.clone(),
        title: definition.title.as_ref().map(|title| title.value.clone()),
        mode,
        bridge: match &definition.bridge {
            Some(bridge) => Some(bridge.value.clone()),
            None if mode.makes_bridge() => Some(default_bridge(&definition.name.value)?),
            None => None,
        },
        domain: domain.cloned(),
        ipv4,
        ipv6,
        dns,
        dhcp: dhcp.filter(|_| serves.dhcp),
        hosts,
        dnsmasq_options,
        require_interfaces: names(&definition.require_interfaces),
        forbid_interfaces: names(&definition.forbid_interfaces),
    })
}

/// What a definition asks its dnsmasq to serve, with what it leaves open filled in.
#[derive(Debug, Clone, Copy)]
struct Serves {
    dns: bool,
    dhcp: bool,
    ra: Ra,
}

impl Serves {
    /// Where others may have a say, on their bridge or among routed guests, nothing is served that was not asked for.
    fn of(definition: &Definition) -> Self {
        let mode = definition.mode.value;
        let dhcp = definition
            .dhcp
            .as_ref()
            .is_some_and(|dhcp| dhcp.value.serve.map_or(mode != Mode::Bridge, |serve| serve.value));
        let dns = definition
            .dns
            .serve
            .map_or(mode.makes_bridge() || dhcp, |serve| serve.value);
        let ra = match definition.ipv6.as_ref().map(|ipv6| ipv6.ra) {
            Some(Some(ra)) => ra.value,
            Some(None) if mode.makes_bridge() && dns => Ra::Slaac,
            None | Some(None) => Ra::None,
        };
        Self { dns, dhcp, ra }
    }
}

/// The bridge that libvirt is to make for a network: the one that the definition names, or else [`default_bridge`].
pub fn own_bridge(definition: &Definition) -> Option<InterfaceName> {
    if !definition.mode.value.makes_bridge() {
        return None;
    }
    match &definition.bridge {
        Some(bridge) => Some(bridge.value.clone()),
        None => default_bridge(&definition.name.value),
    }
}

/// The bridge of a network that names none: `ms-` and the name, or, where that is longer than an interface name may
/// be, `ms-`, the name's first five characters, `-` and six hexadecimal digits of its SHA-256.
pub fn default_bridge(name: &NetworkName) -> Option<InterfaceName> {
    let plain = format!("ms-{name}");
    plain
        .parse()
        .or_else(|_| {
            let digest = Sha256::digest(name.as_str());
            let start = &name.as_str()[..5];
            format!("ms-{start}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]).parse()
        })
        .ok()
}

fn check_domain<'d>(
    definition: &'d Definition,
    serves_dns: bool,
    report: &mut Report<'_>,
) -> Option<&'d DnsName> {
    let Some(domain) = &definition.domain else {
        if serves_dns {
            let name = &definition.name;
            report.error(
                Fault::new(
                    name.place,
                    "`domain` is missing: DNS needs to know where the names of this network end",
                )
                .help("add `domain: …`, such as `lab.internal`; or `dns: { serve: false }`"),
            );
        }
        return None;
    };
    let text = domain.value.as_str();
    if text.rsplit('.').next() == Some("local") {
        report.warning(
            Fault::new(
                domain.place,
                format!("names in `{text}` are looked up by multicast DNS (RFC 6762), not here"),
            )
            .help("take a domain that ends in `.internal`"),
        );
    }
    Some(&domain.value)
}
