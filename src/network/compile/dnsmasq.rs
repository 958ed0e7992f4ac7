//! What dnsmasq reads (dnsmasq(8), "CONFIG FILE"; 2.90): its configuration, and the three files that it reads again
//! on SIGHUP.
//!
//! Never the `-dir` forms of those files: dnsmasq keeps what was deleted from such a directory.

use super::{ADDN_HOSTS, CompileError, DHCP_HOSTSFILE, DHCP_OPTSFILE, LEASES, rendered};
use crate::network::model::{Mode, Network};
use crate::template::Templates;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

const TEMPLATE: &str = "dnsmasq.conf";

/// The gateway's name in the network's domain.
const GATEWAY: &str = "gateway";

#[derive(Serialize)]
struct Context<'a> {
    name: &'a str,
    bridge: &'a str,
    bus_name: String,
    addn_hosts: String,
    domain: &'a str,
    /// Whose reverse names are answered here.
    subnets: Vec<String>,
    forward_dns: bool,
    dhcp: Option<DhcpContext>,
}

#[derive(Serialize)]
struct DhcpContext {
    ranges: Vec<RangeContext>,
    network: String,
    netmask: String,
    lease_time: String,
    lease_max: u32,
    leases: String,
    hostsfile: String,
    optsfile: String,
}

#[derive(Serialize)]
struct RangeContext {
    start: String,
    end: String,
}

pub(super) fn conf(
    network: &Network,
    path: impl Fn(&str) -> Result<String, CompileError>,
    templates: &Templates,
) -> Result<String, CompileError> {
    let dhcp = match (network.dhcp(), network.ipv4()) {
        (Some(dhcp), Some(ipv4)) => Some(DhcpContext {
            ranges: dhcp
                .ranges
                .iter()
                .map(|range| RangeContext {
                    start: range.start.to_string(),
                    end: range.end.to_string(),
                })
                .collect(),
            network: ipv4.subnet.network().to_string(),
            netmask: ipv4.subnet.netmask().to_string(),
            lease_time: dhcp.lease_time.to_string(),
            lease_max: (1 << (32 - ipv4.subnet.prefix_len())) - 3,
            leases: path(LEASES)?,
            hostsfile: path(DHCP_HOSTSFILE)?,
            optsfile: path(DHCP_OPTSFILE)?,
        }),
        _ => None,
    };
    let context = Context {
        name: network.name().as_str(),
        bridge: network.bridge().as_str(),
        bus_name: network.name().dnsmasq_bus_name(),
        addn_hosts: path(ADDN_HOSTS)?,
        domain: network.domain().map_or("", |domain| domain.as_str()),
        subnets: network
            .ipv4()
            .iter()
            .map(|ipv4| ipv4.subnet.to_string())
            .collect(),
        forward_dns: network.forwards_dns(),
        dhcp,
    };
    let conf = templates.render(TEMPLATE, &context)?;
    let leases = context.dhcp.as_ref().map(|dhcp| dhcp.leases.as_str());
    rendered::check_conf(TEMPLATE, &conf, network, leases)?;
    Ok(conf)
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
    if let Some(ipv4) = network.ipv4().filter(|_| !taken) {
        line(ipv4.gateway.into(), GATEWAY);
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
    if network.mode() == Mode::Isolated {
        text.push_str("# No default route: the gateway leads nowhere.\noption:router\n");
    }
    text
}

fn header(network: &Network) -> String {
    format!(
        "# Made by miniascape from the definition of {}; changes here are lost.\n",
        network.name()
    )
}
