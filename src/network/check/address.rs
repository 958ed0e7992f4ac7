//! Rules on the addresses of a network: which subnets can be used, and which addresses in them.

use crate::network::definition::{Ipv4Section, Ipv6Section};
use crate::network::model::{Ipv4, Ipv6, Mode, Ra};
use crate::yaml::{At, Fault, Report};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn check_ipv4(section: &Ipv4Section, mode: Mode, report: &mut Report<'_>) -> Option<Ipv4> {
    let At { value: subnet, place } = section.subnet;
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
    if !is_private(subnet) && !mode.shows_addresses() {
        report.warning(
            Fault::new(
                place,
                format!("{subnet} belongs to someone on the Internet, who will be out of reach"),
            )
            .help("take a subnet of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
        );
    }
    let first = subnet.hosts().next()?;
    let gateway = match section.gateway {
        Some(gateway) => {
            if let Some(fault) = unusable(gateway, subnet) {
                report.error(fault);
                return None;
            }
            gateway.value
        }
        None if mode == Mode::Bridge => {
            report.error(
                Fault::new(
                    place,
                    "`gateway` is missing: on a bridge that is not ours the router is not either",
                )
                .help("add `gateway: …`, the address of that network's router"),
            );
            return None;
        }
        None => first,
    };
    Some(Ipv4 { subnet, gateway })
}

/// Checks `ipv6`; `ra` is what router advertisements say if the section leaves it open.
pub(super) fn check_ipv6(section: &Ipv6Section, mode: Mode, ra: Ra, report: &mut Report<'_>) -> Option<Ipv6> {
    let At { value: subnet, place } = section.subnet;
    if subnet.trunc() != subnet {
        report.error(
            Fault::new(place, format!("{subnet} is an address in a subnet, not a subnet"))
                .help(format!("write {}", subnet.trunc())),
        );
        return None;
    }
    let length = subnet.prefix_len();
    if !(32..=126).contains(&length) {
        report.error(
            Fault::new(place, format!("a /{length} network is not possible"))
                .help("the prefix length goes from 32 to 126; 64 is the usual one"),
        );
        return None;
    }
    if let Some(purpose) = reserved6(subnet) {
        report.error(
            Fault::new(place, format!("{subnet} is reserved for {purpose}"))
                .help("take a unique local subnet, such as fd00:151::/64"),
        );
        return None;
    }
    if !is_private6(subnet) && !mode.shows_addresses() {
        let why = if mode == Mode::Nat {
            "belongs to the Internet and is not translated: answers come only if it is routed to this host"
        } else {
            "belongs to someone on the Internet, who will be out of reach"
        };
        report.warning(
            Fault::new(place, format!("{subnet} {why}"))
                .help("take a unique local subnet, such as fd00:151::/64"),
        );
    }
    let gateway = match section.gateway {
        Some(gateway) => {
            if let Some(fault) = unusable6(gateway, subnet) {
                report.error(fault);
                return None;
            }
            Some(gateway.value)
        }
        None if mode == Mode::Bridge => None,
        None => subnet.hosts().nth(1),
    };
    let ra = check_ra(section, ra, report)?;
    Some(Ipv6 { subnet, gateway, ra })
}

/// What router advertisements say, if the prefix length allows it: addresses that guests make themselves fill 64 bits
/// (RFC 4862, section 5.5.3, with RFC 4291, section 2.5.1), and dnsmasq hands out none from a larger subnet.
fn check_ra(section: &Ipv6Section, left_open: Ra, report: &mut Report<'_>) -> Option<Ra> {
    let At { value: subnet, place } = section.subnet;
    let ra = section.ra.map_or(left_open, |ra| ra.value);
    let length = subnet.prefix_len();
    let help = match ra {
        Ra::Slaac | Ra::Stateless if length != 64 => "write /64, or `ra: stateful` or `ra: none`",
        Ra::Stateful if length < 64 => "write /64, or `ra: none`",
        _ => return Some(ra),
    };
    let fault = Fault::new(
        place,
        format!("`ra: {ra}` does not go with the prefix length {length}"),
    )
    .help(help);
    report.error(match section.ra {
        Some(ra) => fault.also(ra.place, "asked for here"),
        None => fault,
    });
    None
}

/// What an IPv6 subnet that no network can use is meant for (IANA's special-purpose address registry).
fn reserved6(subnet: Ipv6Net) -> Option<&'static str> {
    [
        ("::/8", "special addresses, such as the loopback interface's"),
        ("64:ff9b::/96", "translation to IPv4"),
        ("fe80::/10", "link-local addresses"),
        ("fec0::/10", "nothing any more"),
        ("ff00::/8", "multicast"),
    ]
    .into_iter()
    .find(|(other, _)| {
        let other = net6(other);
        other.contains(&subnet) || subnet.contains(&other)
    })
    .map(|(_, purpose)| purpose)
}

/// True if nobody on the Internet has addresses of `subnet`: unique local ones (RFC 4193) and those for examples.
fn is_private6(subnet: Ipv6Net) -> bool {
    ["fc00::/7", "2001:db8::/32", "3fff::/20"]
        .iter()
        .any(|net| net6(net).contains(&subnet))
}

fn net6(text: &str) -> Ipv6Net {
    text.parse().unwrap_or_default()
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
pub(super) fn unusable(address: At<Ipv4Addr>, subnet: Ipv4Net) -> Option<Fault> {
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

/// The same for IPv6, where the first address belongs to all routers (RFC 4291, section 2.6.1).
pub(super) fn unusable6(address: At<Ipv6Addr>, subnet: Ipv6Net) -> Option<Fault> {
    let At { value, place } = address;
    let what = if !subnet.contains(&value) {
        format!("address {value} is outside the subnet {subnet}")
    } else if value == subnet.network() {
        format!("{value} is the address of the subnet itself")
    } else {
        return None;
    };
    let (first, last) = (subnet.hosts().nth(1)?, subnet.broadcast());
    Some(Fault::new(place, what).help(format!("use an address from {first} to {last}")))
}
