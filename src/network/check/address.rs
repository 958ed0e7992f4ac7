//! Rules on the addresses of a network: which subnets can be used, and which addresses in them.

use crate::network::definition::Ipv4Section;
use crate::network::model::Ipv4;
use crate::yaml::{At, Fault, Report};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

pub(super) fn check_ipv4(section: &Ipv4Section, report: &mut Report<'_>) -> Option<Ipv4> {
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
    let gateway = match section.gateway {
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
