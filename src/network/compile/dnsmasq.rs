//! What dnsmasq reads (dnsmasq(8), "CONFIG FILE"; 2.90): its configuration, and the three files that it reads again
//! on SIGHUP.
//!
//! The `-dir` forms of those files are for hosts that are only added (`apply::added`): dnsmasq keeps what was deleted from
//! such a directory until it reads everything again.

mod boot;
mod options;
mod records;

use super::{
    ADDED_NAMES, ADDED_RESERVATIONS, ADDN_HOSTS, CompileError, DHCP_HOSTSFILE, DHCP_OPTSFILE, LEASES,
    rendered,
};
use crate::name::{InterfaceName, RecordName};
use crate::network::model::{Dhcp, DnsmasqOption, GATEWAY, LeaseTime, Mode, Network, Pool, Ra, RecordData};
use crate::template::Templates;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

const TEMPLATE: &str = "dnsmasq.conf";

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
    added_names: String,
    domain: &'a str,
    /// Whose reverse names are answered here.
    subnets: Vec<String>,
    forward_dns: bool,
    /// Where to; empty: to the host's name servers.
    forwarders: Vec<String>,
    /// Lines for records that do not stand in the file of names.
    records: Vec<String>,
    /// Lines for booting over the network.
    boot: Vec<String>,
    /// Lines for options that the definition passes on.
    options: Vec<String>,
    dhcp: Option<DhcpContext>,
    ra: Option<RaContext>,
    /// True if clients of IPv6 are told the domain: dnsmasq does that unasked for IPv4 only.
    search6: bool,
    leases: Option<String>,
}

#[derive(Serialize)]
struct DhcpContext {
    ranges: Vec<RangeContext>,
    /// Subnets without a range for everyone.
    static_only: Vec<SubnetContext>,
    lease_time: String,
    lease_max: u32,
    /// True if only machines with a reservation are answered.
    known_only: bool,
    hostsfile: String,
    added_reservations: String,
    optsfile: String,
}

#[derive(Serialize)]
struct RangeContext {
    /// Conditions and labels, each with a comma behind it.
    tags: String,
    start: String,
    end: String,
    /// IPv4: the netmask. IPv6: the prefix length.
    mask: String,
    lease_time: String,
}

impl RangeContext {
    fn new<A: ToString>(pool: &Pool<A>, mask: &str, dhcp: &Dhcp) -> Self {
        let mut tags: String = pool.tags.iter().map(|tag| format!("tag:{tag},")).collect();
        if let Some(set) = &pool.set {
            let _ = write!(tags, "set:{set},");
        }
        Self {
            tags,
            start: pool.range.start.to_string(),
            end: pool.range.end.to_string(),
            mask: mask.to_owned(),
            lease_time: pool.lease_time.unwrap_or(dhcp.lease_time).to_string(),
        }
    }
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
        added_names: path(ADDED_NAMES)?,
        domain: network.domain().map_or("", |domain| domain.as_str()),
        subnets: ipv4.into_iter().chain(ipv6).collect(),
        forward_dns: network.forwards_dns(),
        forwarders: network.dns().forwarders.iter().map(ToString::to_string).collect(),
        records: records::lines(network),
        boot: boot::lines(network),
        options: network
            .dnsmasq_options()
            .iter()
            .map(DnsmasqOption::line)
            .collect(),
        dhcp: match network.dhcp() {
            Some(dhcp) => Some(DhcpContext {
                hostsfile: path(DHCP_HOSTSFILE)?,
                added_reservations: path(ADDED_RESERVATIONS)?,
                optsfile: path(DHCP_OPTSFILE)?,
                ..dhcp_context(network, dhcp)
            }),
            None => None,
        },
        ra: ra(network),
        search6: network.serves_dhcpv6() || network.ra() != Ra::None,
        // Also where none are kept: dnsmasq would look for those of other servers at its default place.
        leases: if network.dhcp().is_some() || network.ra() != Ra::None {
            Some(path(LEASES)?)
        } else {
            None
        },
    };
    let conf = templates.render(TEMPLATE, &context)?;
    let servers = context.forwarders.iter().map(|server| format!("server={server}"));
    let lines = context
        .records
        .iter()
        .chain(&context.boot)
        .chain(&context.options)
        .cloned();
    rendered::check_conf(
        TEMPLATE,
        &conf,
        network,
        context.leases.as_deref(),
        servers.chain(lines),
    )?;
    Ok(conf)
}

fn dhcp_context(network: &Network, dhcp: &Dhcp) -> DhcpContext {
    let mut ranges = Vec::new();
    let mut static_only = Vec::new();
    let mut lease_max = 0;
    if let Some(subnet) = network.ipv4().map(|ipv4| ipv4.subnet) {
        let mask = subnet.netmask().to_string();
        ranges.extend(
            dhcp.ranges
                .iter()
                .map(|pool| RangeContext::new(pool, &mask, dhcp)),
        );
        if !is_open(&dhcp.ranges) {
            let network = subnet.network().to_string();
            static_only.push(SubnetContext { network, mask });
        }
        lease_max = (1 << (32 - subnet.prefix_len())) - 3;
    }
    if let Some(subnet) = network.ipv6().map(|ipv6| ipv6.subnet)
        && network.serves_dhcpv6()
    {
        let mask = subnet.prefix_len().to_string();
        ranges.extend(
            dhcp.ranges6
                .iter()
                .map(|pool| RangeContext::new(pool, &mask, dhcp)),
        );
        if !is_open(&dhcp.ranges6) {
            let network = subnet.network().to_string();
            static_only.push(SubnetContext { network, mask });
        }
        lease_max += MAX_LEASES6;
    }
    DhcpContext {
        known_only: dhcp.known_only,
        ranges,
        static_only,
        lease_time: dhcp.lease_time.to_string(),
        lease_max,
        hostsfile: String::new(),
        added_reservations: String::new(),
        optsfile: String::new(),
    }
}

/// True if there is a range for everyone. Where there is none, a reservation needs the subnet named by itself.
fn is_open<A>(pools: &[Pool<A>]) -> bool {
    pools.iter().any(|pool| pool.tags.is_empty())
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
/// gateway is called `gateway`, unless something else is. Records come last, so that an address resolves back to the
/// name of its host.
pub(super) fn addn_hosts(network: &Network) -> String {
    let mut text = header(network);
    let mut line = |address: IpAddr, name: &str| {
        let _ = match network.domain() {
            Some(domain) => writeln!(text, "{address} {name}.{domain} {name}"),
            None => writeln!(text, "{address} {name}"),
        };
    };
    let taken = gateway_is_taken(network);
    for gateway in network.gateways().filter(|_| !taken) {
        line(gateway, GATEWAY);
    }
    for host in network.hosts() {
        for address in host.addresses() {
            line(address, host.name.as_str());
        }
    }
    let suffix = network
        .domain()
        .map_or_else(String::new, |domain| format!(".{domain}"));
    for record in &network.dns().records {
        if let RecordData::Address { name, addresses } = &record.data {
            let short = name
                .as_str()
                .strip_suffix(&suffix)
                .filter(|short| !short.contains('.'));
            for address in addresses {
                let _ = match short {
                    Some(short) => writeln!(text, "{address} {name} {short}"),
                    None => writeln!(text, "{address} {name}"),
                };
            }
        }
    }
    text
}

/// True if a host, a record or an alias is called as the gateway is by default.
fn gateway_is_taken(network: &Network) -> bool {
    let called = |name: &RecordName| {
        let rest = name
            .as_str()
            .strip_prefix(GATEWAY)
            .and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| network.domain().is_some_and(|domain| domain.as_str() == rest))
    };
    network.hosts().iter().any(|host| host.name.as_str() == GATEWAY)
        || network.dns().records.iter().any(|record| match &record.data {
            RecordData::Address { name, .. } | RecordData::Cname { name, .. } => called(name),
            _ => false,
        })
}

/// Reservations: what may stand on the right side of `dhcp-host=`. A machine is told by its MAC address whatever
/// client identifier it brings, so that one with another operating system, or in its boot firmware, keeps its lease;
/// only where the definition gives a client identifier does that count too.
pub(super) fn dhcp_hostsfile(network: &Network) -> String {
    let mut text = header(network);
    for host in network.hosts().iter().filter(|host| host.has_reservation()) {
        for mac in &host.macs {
            let _ = write!(text, "{mac},");
        }
        let _ = match &host.client_id {
            Some(id) => write!(text, "id:{id},"),
            None => write!(text, "id:*,"),
        };
        let own = host.dhcp.as_deref();
        for tag in own.iter().flat_map(|own| &own.tags) {
            let _ = write!(text, "set:{tag},");
        }
        if !host.options().is_empty() {
            let _ = write!(text, "set:{},", options::host_tag(&host.name));
        }
        for address in host.addresses() {
            let _ = match address {
                IpAddr::V4(address) => write!(text, "{address},"),
                IpAddr::V6(address) => write!(text, "[{address}],"),
            };
        }
        let _ = match own.and_then(|own| own.lease_time) {
            Some(time) => writeln!(text, "{},{time}", host.name),
            None => writeln!(text, "{}", host.name),
        };
    }
    for mac in network.dhcp().iter().flat_map(|dhcp| &dhcp.ignore) {
        let _ = writeln!(text, "{mac},ignore");
    }
    text
}

/// Options: what may stand on the right side of `dhcp-option=`.
pub(super) fn dhcp_optsfile(network: &Network) -> String {
    header(network) + &options::lines(network)
}

fn header(network: &Network) -> String {
    format!(
        "# Made by miniascape from the definition of {}; changes here are lost.\n",
        network.name()
    )
}
