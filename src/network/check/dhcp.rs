//! Rules on what is handed out by DHCP.

use super::address::{unusable, unusable6};
use crate::network::definition::{DhcpSection, RangeEntry};
use crate::network::model::{Dhcp, Ipv4, Ipv6, LeaseTime, Ra, Range};
use crate::yaml::{At, Fault, Place, Report};
use std::fmt::Display;
use std::net::IpAddr;

/// Checks `dhcp` of a network with these subnets.
pub(super) fn check(
    section: &DhcpSection,
    ipv4: Option<Ipv4>,
    ipv6: Option<Ipv6>,
    report: &mut Report<'_>,
) -> Dhcp {
    let mut ranges = Vec::new();
    let mut ranges6 = Vec::new();
    for entry in &section.ranges {
        let RangeEntry { start, end } = *entry;
        match (start.value, end.value) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let Some(ipv4) = ipv4 else {
                    report.error(no_subnet(start.place, "IPv4"));
                    continue;
                };
                let ends = (At::new(first, start.place), At::new(last, end.place));
                let check = |address| unusable(address, ipv4.subnet);
                ranges.extend(check_range(ends, check, Some(ipv4.gateway), report));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let Some(ipv6) = ipv6 else {
                    report.error(no_subnet(start.place, "IPv6"));
                    continue;
                };
                if let Some(fault) = no_dhcpv6(ipv6, start.place) {
                    report.error(fault);
                    continue;
                }
                let ends = (At::new(first, start.place), At::new(last, end.place));
                let check = |address| unusable6(address, ipv6.subnet);
                ranges6.extend(check_range(ends, check, ipv6.gateway, report));
            }
            _ => report.error(
                Fault::new(
                    end.place,
                    "a range does not go from one family of addresses to the other",
                )
                .help("write a range for IPv4 and another for IPv6"),
            ),
        }
    }
    if let (Some(ipv6), Some((_, place))) = (ipv6, ranges6.first())
        && ipv6.ra == Ra::None
    {
        report.warning(
            Fault::new(
                *place,
                "few guests ask by DHCPv6 unless router advertisements tell them to",
            )
            .help("write `ra: stateful` in `ipv6`"),
        );
    }
    Dhcp {
        ranges: in_order(ranges, report),
        ranges6: in_order(ranges6, report),
        lease_time: section.lease_time.map_or(LeaseTime::DEFAULT, |time| time.value),
    }
}

fn no_subnet(place: Place, family: &str) -> Fault {
    Fault::new(
        place,
        format!("the network has no {family} subnet that this could be in"),
    )
    .help(format!(
        "add `{}: …` to the network, or remove the range",
        family.to_ascii_lowercase()
    ))
}

/// Why the network cannot hand out addresses by DHCPv6.
fn no_dhcpv6(ipv6: Ipv6, place: Place) -> Option<Fault> {
    if ipv6.ra.autoconfigures() {
        let fault = format!(
            "with `ra: {}` guests make their own IPv6 addresses and take none from a range",
            ipv6.ra
        );
        return Some(Fault::new(place, fault).help("write `ra: stateful`, or remove the range"));
    }
    let length = ipv6.subnet.prefix_len();
    (length < 64).then(|| {
        Fault::new(
            place,
            format!("no DHCPv6 is served in a subnet as large as /{length}"),
        )
        .help("write a subnet of /64, or remove the range")
    })
}

/// The ranges in ascending order; reports those that overlap.
fn in_order<A: Ord + Copy>(mut ranges: Vec<(Range<A>, Place)>, report: &mut Report<'_>) -> Vec<Range<A>> {
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
    ranges.into_iter().map(|(range, _)| range).collect()
}

fn check_range<A: Ord + Copy + Display>(
    (start, end): (At<A>, At<A>),
    unusable: impl Fn(At<A>) -> Option<Fault>,
    gateway: Option<A>,
    report: &mut Report<'_>,
) -> Option<(Range<A>, Place)> {
    let faults = [start, end].map(unusable);
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
    if let Some(gateway) = gateway.filter(|gateway| range.contains(*gateway)) {
        report.error(
            Fault::new(
                start.place,
                format!("the range holds the gateway's address {gateway}"),
            )
            .help("begin the range after it, or write two ranges around it"),
        );
        return None;
    }
    Some((range, start.place))
}
