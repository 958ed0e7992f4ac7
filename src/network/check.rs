//! The rules between the values of one definition: pure, from [`Definition`] to [`Network`].
//!
//! What depends on the host or on other definitions (taken bridges, overlapping subnets) is not looked at here.

use super::definition::{Definition, DhcpSection, HostEntry, RangeEntry};
use super::model::{Dhcp, Host, Ipv4, LeaseTime, Mode, Network, Range};
use crate::name::{DnsName, InterfaceName, Mac, NetworkName};
use crate::yaml::{At, Fault, Place, Report};
use ipnet::Ipv4Net;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

/// The longest host name that Linux keeps (`HOST_NAME_MAX`, limits.h), in characters.
const HOST_NAME_MAX: usize = 64;

/// The prefix of QEMU's addresses with its first octets the wrong way round, as in definitions of old.
const SWAPPED_PREFIX: [u8; 3] = [0x54, 0x52, 0x00];

/// Checks `definition`; `None` after reporting an error.
pub fn check(definition: &Definition, report: &mut Report<'_>) -> Option<Network> {
    let ipv4 = check_ipv4(definition, report)?;
    let domain = check_domain(definition, report);
    let dhcp = definition
        .dhcp
        .as_ref()
        .map(|section| check_dhcp(&section.value, ipv4, report));
    if let (Some(dhcp), Some(serve)) = (&definition.dhcp, definition.dns.serve)
        && !serve.value
    {
        report.error(
            Fault::new(
                serve.place,
                "DHCP needs DNS: `serve` cannot be false beside `dhcp`",
            )
            .help("remove `dhcp`, or set `serve: true`")
            .also(dhcp.place, "DHCP is asked for here"),
        );
    }
    let hosts = check_hosts(&definition.hosts, ipv4, domain, report);
    let bridge = match &definition.bridge {
        Some(bridge) => bridge.value.clone(),
        None => default_bridge(&definition.name.value)?,
    };
    Some(Network {
        name: definition.name.value.clone(),
        title: definition.title.as_ref().map(|title| title.value.clone()),
        mode: definition.mode.value,
        bridge,
        domain: domain.cloned(),
        ipv4,
        dns_serve: definition.dns.serve.is_none_or(|serve| serve.value),
        dns_forward: definition
            .dns
            .forward
            .map_or(definition.mode.value != Mode::Isolated, |forward| forward.value),
        dhcp,
        hosts,
    })
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

fn check_ipv4(definition: &Definition, report: &mut Report<'_>) -> Option<Ipv4> {
    let At { value: subnet, place } = definition.ipv4.subnet;
    if subnet.trunc() != subnet {
        report.error(
            Fault::new(place, format!("{subnet} is an address in a subnet, not a subnet"))
                .help(format!("write {}", subnet.trunc())),
        );
        return None;
    }
    if !(8..=30).contains(&subnet.prefix_len()) {
        report.error(
            Fault::new(
                place,
                format!("a /{} network is not possible", subnet.prefix_len()),
            )
            .help("the prefix length goes from 8 to 30"),
        );
        return None;
    }
    if let Some(purpose) = reserved(subnet) {
        report.error(
            Fault::new(place, format!("{subnet} is reserved for {purpose}"))
                .help("take a private subnet, such as 192.168.151.0/24"),
        );
        return None;
    }
    if !is_private(subnet) {
        report.warning(
            Fault::new(
                place,
                format!("{subnet} belongs to someone on the Internet, who will be out of reach"),
            )
            .help("take a subnet of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
        );
    }
    let first = subnet.hosts().next()?;
    let gateway = match definition.ipv4.gateway {
        Some(gateway) => {
            if let Some(fault) = unusable(gateway, subnet) {
                report.error(fault);
                return None;
            }
            gateway.value
        }
        None => first,
    };
    Some(Ipv4 { subnet, gateway })
}

/// What a subnet that no network can use is meant for (RFC 6890).
fn reserved(subnet: Ipv4Net) -> Option<&'static str> {
    [
        ([0, 0, 0, 0], 8, "\"this network\""),
        ([127, 0, 0, 0], 8, "the loopback interface"),
        ([169, 254, 0, 0], 16, "link-local addresses"),
        ([224, 0, 0, 0], 4, "multicast"),
        ([240, 0, 0, 0], 4, "future use"),
    ]
    .into_iter()
    .find(|&(address, length, _)| overlaps(subnet, address, length))
    .map(|(_, _, purpose)| purpose)
}

/// True if nobody on the Internet has addresses of `subnet`: private, shared, benchmark and example ranges.
fn is_private(subnet: Ipv4Net) -> bool {
    [
        ([10, 0, 0, 0], 8),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([100, 64, 0, 0], 10),
        ([198, 18, 0, 0], 15),
        ([192, 0, 2, 0], 24),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
    ]
    .into_iter()
    .any(|(address, length)| net(address, length).contains(&subnet))
}

fn net(address: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address.into(), length)
}

fn overlaps(subnet: Ipv4Net, address: [u8; 4], length: u8) -> bool {
    let other = net(address, length);
    other.contains(&subnet) || subnet.contains(&other)
}

/// Why no machine of `subnet` can have this address.
fn unusable(address: At<Ipv4Addr>, subnet: Ipv4Net) -> Option<Fault> {
    let At { value, place } = address;
    let what = if !subnet.contains(&value) {
        format!("address {value} is outside the subnet {subnet}")
    } else if value == subnet.network() {
        format!("{value} is the address of the subnet itself")
    } else if value == subnet.broadcast() {
        format!("{value} is the broadcast address of {subnet}")
    } else {
        return None;
    };
    let (first, last) = (subnet.hosts().next()?, subnet.hosts().next_back()?);
    Some(Fault::new(place, what).help(format!("use an address from {first} to {last}")))
}

fn check_domain<'d>(definition: &'d Definition, report: &mut Report<'_>) -> Option<&'d DnsName> {
    let Some(domain) = &definition.domain else {
        if definition.dns.serve.is_none_or(|serve| serve.value) {
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

fn check_dhcp(section: &DhcpSection, ipv4: Ipv4, report: &mut Report<'_>) -> Dhcp {
    let mut ranges: Vec<(Range, Place)> = section
        .ranges
        .iter()
        .filter_map(|entry| check_range(entry, ipv4, report))
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let [(before, first), (after, second)] = [pair[0], pair[1]];
        if after.start <= before.end {
            report.error(
                Fault::new(second.max(first), "two DHCP ranges overlap")
                    .help("make one range of them, or keep them apart")
                    .also(second.min(first), "the other range begins here"),
            );
        }
    }
    Dhcp {
        ranges: ranges.into_iter().map(|(range, _)| range).collect(),
        lease_time: section.lease_time.map_or(LeaseTime::DEFAULT, |time| time.value),
    }
}

fn check_range(entry: &RangeEntry, ipv4: Ipv4, report: &mut Report<'_>) -> Option<(Range, Place)> {
    let RangeEntry { start, end } = *entry;
    let faults = [start, end].map(|address| unusable(address, ipv4.subnet));
    let usable = faults.iter().all(Option::is_none);
    faults.into_iter().flatten().for_each(|fault| report.error(fault));
    if !usable {
        return None;
    }
    if start.value > end.value {
        report.error(
            Fault::new(
                end.place,
                format!(
                    "the range ends at {}, before its start {}",
                    end.value, start.value
                ),
            )
            .help("swap the two addresses"),
        );
        return None;
    }
    let range = Range {
        start: start.value,
        end: end.value,
    };
    if range.contains(ipv4.gateway) {
        report.error(
            Fault::new(
                start.place,
                format!("the range holds the gateway's address {}", ipv4.gateway),
            )
            .help("begin the range after it, or write two ranges around it"),
        );
        return None;
    }
    Some((range, start.place))
}

fn check_hosts(
    entries: &[HostEntry],
    ipv4: Ipv4,
    domain: Option<&DnsName>,
    report: &mut Report<'_>,
) -> Vec<Host> {
    let mut names = HashMap::with_capacity(entries.len());
    let mut macs = HashMap::with_capacity(entries.len());
    let mut addresses = HashMap::with_capacity(entries.len());
    let mut swapped = None;
    for HostEntry { name, mac, ip } in entries {
        unique(&mut names, &name.value, name.place, "name", report);
        unique(&mut macs, mac.value, mac.place, "MAC address", report);
        unique(&mut addresses, ip.value, ip.place, "address", report);
        check_host_name(name, domain, report);
        check_mac(*mac, report);
        check_host_address(*ip, ipv4, report);
        if mac.value.octets().starts_with(&SWAPPED_PREFIX) {
            let (_, count) = swapped.get_or_insert((mac.place, 0));
            *count += 1;
        }
    }
    if let Some((place, count)) = swapped {
        let those = if count > 1 {
            format!(" ({count} entries)")
        } else {
            String::new()
        };
        report.warning(
            Fault::new(
                place,
                format!("54:52:00 is not a prefix for virtual machines{those}"),
            )
            .help("QEMU's is 52:54:00; change the guests along with the file"),
        );
    }
    let mut hosts: Vec<Host> = entries
        .iter()
        .map(|entry| Host {
            name: entry.name.value.clone(),
            mac: entry.mac.value,
            address: entry.ip.value,
        })
        .collect();
    hosts.sort_unstable_by_key(|host| host.address);
    hosts
}

fn unique<T: Hash + Eq + std::fmt::Display + Clone>(
    seen: &mut HashMap<T, Place>,
    value: T,
    place: Place,
    what: &str,
    report: &mut Report<'_>,
) {
    if let Some(first) = seen.get(&value) {
        report.error(
            Fault::new(place, format!("the {what} {value} is given to two hosts"))
                .help(format!("no two hosts can have the same {what}"))
                .also(*first, "first given here"),
        );
    } else {
        seen.insert(value, place);
    }
}

fn check_host_name(name: &At<crate::name::HostName>, domain: Option<&DnsName>, report: &mut Report<'_>) {
    if name.value.as_str() == "localhost" {
        report.error(
            Fault::new(name.place, "`localhost` is every machine's own name").help("take another name"),
        );
    }
    let Some(domain) = domain else { return };
    match domain.with_host(&name.value) {
        Err(_) => report.error(
            Fault::new(
                name.place,
                format!(
                    "`{}` and the domain together are longer than 253 characters",
                    name.value
                ),
            )
            .help("shorten the name or the domain"),
        ),
        Ok(full) if full.as_str().len() > HOST_NAME_MAX => report.warning(
            Fault::new(
                name.place,
                format!("`{full}` is longer than the {HOST_NAME_MAX} characters of a Linux host name"),
            )
            .help("a guest that takes its full name from DHCP will not be able to; shorten it"),
        ),
        Ok(_) => {}
    }
}

fn check_mac(mac: At<Mac>, report: &mut Report<'_>) {
    let At { value, place } = mac;
    let fault = if value.octets() == [0; 6] {
        Fault::new(place, "the MAC address is all zeros")
    } else if value.is_multicast() {
        Fault::new(
            place,
            format!("{value} is a multicast address: the first octet is odd"),
        )
    } else if value.octets()[0] == 0xfe {
        Fault::new(
            place,
            format!("{value} cannot be a guest's: libvirt gives fe:… to its own side"),
        )
    } else {
        return;
    };
    report.error(fault.help("take one that begins with 52:54:00"));
}

fn check_host_address(address: At<Ipv4Addr>, ipv4: Ipv4, report: &mut Report<'_>) {
    if let Some(fault) = unusable(address, ipv4.subnet) {
        report.error(fault);
    } else if address.value == ipv4.gateway {
        report.error(
            Fault::new(
                address.place,
                format!("{} is the gateway's address", address.value),
            )
            .help("give the host another address"),
        );
    }
}
