//! What dnsmasq reads (dnsmasq(8), "CONFIG FILE"; 2.90): its configuration, and the three files that it reads again
//! on SIGHUP.
//!
//! Never the `-dir` forms of those files: dnsmasq keeps what was deleted from such a directory.

use super::{ADDN_HOSTS, CompileError, DHCP_HOSTSFILE, DHCP_OPTSFILE, LEASES, rendered};
use crate::name::InterfaceName;
use crate::network::model::{Dhcp, LeaseTime, Mode, Network, Ra};
use crate::template::Templates;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

const TEMPLATE: &str = "dnsmasq.conf";

/// The gateway's name in the network's domain.
const GATEWAY: &str = "gateway";

/// As many IPv6 leases as there may be at once; an IPv6 range has more addresses than any host has memory.
const MAX_LEASES6: u32 = 1 << 16;

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    bridge: Option<&'a str>,
    /// Where there is no bridge: the addresses that are served.
    listen: Vec<String>,
    bus_name: String,
    addn_hosts: String,
    domain: &'a str,
    /// Whose reverse names are answered here.
    subnets: Vec<String>,
    forward_dns: bool,
    dhcp: Option<DhcpContext>,
    ra: Option<RaContext>,
    leases: Option<String>,
}

#[derive(Serialize)]
struct DhcpContext {
    ranges: Vec<RangeContext>,
    /// Subnets without a range.
    static_only: Vec<SubnetContext>,
    lease_time: String,
    lease_max: u32,
    hostsfile: String,
    optsfile: String,
}

#[derive(Serialize)]
struct RangeContext {
    start: String,
    end: String,
    /// IPv4: the netmask. IPv6: the prefix length.
    mask: String,
}

#[derive(Serialize)]
struct SubnetContext {
    network: String,
    mask: String,
}

#[derive(Serialize)]
struct RaContext {
    explanation: &'static str,
    /// The `dhcp-range` that makes them, where no range of addresses does.
    range: Option<String>,
    /// True if they are not to name this host as a router.
    no_route: bool,
}

pub(super) fn conf(
    network: &Network,
    path: impl Fn(&str) -> Result<String, CompileError>,
    templates: &Templates,
) -> Result<String, CompileError> {
    let bridge = network.bridge().map(InterfaceName::as_str);
    let ipv4 = network.ipv4().map(|ipv4| ipv4.subnet.to_string());
    let ipv6 = network.ipv6().map(|ipv6| ipv6.subnet.to_string());
    let context = Context {
        name: network.name().as_str(),
        bridge,
        listen: match bridge {
            Some(_) => Vec::new(),
            None => network.gateways().map(|gateway| gateway.to_string()).collect(),
        },
        bus_name: network.name().dnsmasq_bus_name(),
        addn_hosts: path(ADDN_HOSTS)?,
        domain: network.domain().map_or("", |domain| domain.as_str()),
        subnets: ipv4.into_iter().chain(ipv6).collect(),
        forward_dns: network.forwards_dns(),
        dhcp: match network.dhcp() {
            Some(dhcp) => Some(DhcpContext {
                hostsfile: path(DHCP_HOSTSFILE)?,
                optsfile: path(DHCP_OPTSFILE)?,
                ..dhcp_context(network, dhcp)
            }),
            None => None,
        },
        ra: ra(network),
        // Also where none are kept: dnsmasq would look for those of other servers at its default place.
        leases: if network.dhcp().is_some() || network.ra() != Ra::None {
            Some(path(LEASES)?)
        } else {
            None
        },
    };
    let conf = templates.render(TEMPLATE, &context)?;
    rendered::check_conf(TEMPLATE, &conf, network, context.leases.as_deref())?;
    Ok(conf)
}

fn dhcp_context(network: &Network, dhcp: &Dhcp) -> DhcpContext {
    let mut ranges = Vec::new();
    let mut static_only = Vec::new();
    let mut lease_max = 0;
    if let Some(subnet) = network.ipv4().map(|ipv4| ipv4.subnet) {
        let mask = subnet.netmask().to_string();
        ranges.extend(dhcp.ranges.iter().map(|range| RangeContext {
            start: range.start.to_string(),
            end: range.end.to_string(),
            mask: mask.clone(),
        }));
        if ranges.is_empty() {
            let network = subnet.network().to_string();
            static_only.push(SubnetContext { network, mask });
        }
        lease_max = (1 << (32 - subnet.prefix_len())) - 3;
    }
    if let Some(subnet) = network.ipv6().map(|ipv6| ipv6.subnet)
        && network.serves_dhcpv6()
    {
        let mask = subnet.prefix_len().to_string();
        if dhcp.ranges6.is_empty() {
            let network = subnet.network().to_string();
            let mask = mask.clone();
            static_only.push(SubnetContext { network, mask });
        }
        ranges.extend(dhcp.ranges6.iter().map(|range| RangeContext {
            start: range.start.to_string(),
            end: range.end.to_string(),
            mask: mask.clone(),
        }));
        lease_max += MAX_LEASES6;
    }
    DhcpContext {
        ranges,
        static_only,
        lease_time: dhcp.lease_time.to_string(),
        lease_max,
        hostsfile: String::new(),
        optsfile: String::new(),
    }
}

/// dnsmasq(8), `--dhcp-range`: `ra-names` gives guests that also ask by DHCPv4 their names for the addresses that they
/// make themselves.
fn ra(network: &Network) -> Option<RaContext> {
    let ipv6 = network.ipv6()?;
    let range = |mode: &str| {
        let (address, length) = (ipv6.subnet.network(), ipv6.subnet.prefix_len());
        let time = network.dhcp().map_or(LeaseTime::DEFAULT, |dhcp| dhcp.lease_time);
        Some(format!("{address},{mode},{length},{time}"))
    };
    let (explanation, range) = match ipv6.ra {
        Ra::None => return None,
        Ra::Slaac => ("guests make their own addresses", range("ra-names")),
        Ra::Stateless => (
            "guests make their own addresses and ask DHCPv6 for the rest",
            range("ra-stateless,ra-names"),
        ),
        Ra::Stateful => ("guests ask DHCPv6 for addresses", None),
    };
    Some(RaContext {
        explanation,
        range,
        no_route: matches!(network.mode(), Mode::Isolated | Mode::Bridge),
    })
}

/// Names for addresses (hosts(5)): first the full name, which the address resolves back to, then the short one. The
/// gateway is called `gateway`, unless a host is.
pub(super) fn addn_hosts(network: &Network) -> String {
    let mut text = header(network);
    let mut line = |address: IpAddr, name: &str| {
        let _ = match network.domain() {
            Some(domain) => writeln!(text, "{address} {name}.{domain} {name}"),
            None => writeln!(text, "{address} {name}"),
        };
    };
    let taken = network.hosts().iter().any(|host| host.name.as_str() == GATEWAY);
    for gateway in network.gateways().filter(|_| !taken) {
        line(gateway, GATEWAY);
    }
    for host in network.hosts() {
        for address in host.addresses() {
            line(address, host.name.as_str());
        }
    }
    text
}

/// Reservations: what may stand on the right side of `dhcp-host=`.
pub(super) fn dhcp_hostsfile(network: &Network) -> String {
    let mut text = header(network);
    for host in network.hosts() {
        if host.macs.is_empty() {
            continue;
        }
        for mac in &host.macs {
            let _ = write!(text, "{mac},");
        }
        for address in host.addresses() {
            let _ = match address {
                IpAddr::V4(address) => write!(text, "{address},"),
                IpAddr::V6(address) => write!(text, "[{address}],"),
            };
        }
        let _ = writeln!(text, "{}", host.name);
    }
    text
}

/// Options: what may stand on the right side of `dhcp-option=`.
pub(super) fn dhcp_optsfile(network: &Network) -> String {
    let mut text = header(network);
    match (network.mode(), network.ipv4()) {
        (Mode::Isolated, Some(_)) => {
            text.push_str("# No default route: the gateway leads nowhere.\noption:router\n");
        }
        // dnsmasq would name the host.
        (Mode::Bridge, Some(ipv4)) => {
            let _ = writeln!(
                text,
                "# The router of this network is not this host.\noption:router,{}",
                ipv4.gateway
            );
        }
        _ => {}
    }
    text
}

fn header(network: &Network) -> String {
    format!(
        "# Made by miniascape from the definition of {}; changes here are lost.\n",
        network.name()
    )
}
