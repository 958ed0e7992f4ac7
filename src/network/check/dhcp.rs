//! Rules on what is handed out by DHCP.

use super::address::{unusable, unusable6};
use super::hosts::{check_free, check_mac};
use crate::name::{Mac, Tag, TagMatch};
use crate::network::definition::{Definition, DhcpSection, OptionEntry, RangeEntry};
use crate::network::model::{Dhcp, Ipv4, Ipv6, LeaseTime, Pool, Ra, Range, TaggedOption};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::net::IpAddr;

/// Checks `dhcp` of a network with these subnets.
pub(super) fn check(
    section: &DhcpSection,
    definition: &Definition,
    ipv4: Option<Ipv4>,
    ipv6: Option<Ipv6>,
    report: &mut Report<'_>,
) -> Dhcp {
    let mut ranges = Vec::new();
    let mut ranges6 = Vec::new();
    for entry in &section.ranges {
        let (start, end) = (entry.start, entry.end);
        if let Some(set) = &entry.set {
            check_free(set, report);
        }
        match (start.value, end.value) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let Some(ipv4) = ipv4 else {
                    report.error(no_subnet(start.place, "IPv4"));
                    continue;
                };
                let ends = (At::new(first, start.place), At::new(last, end.place));
                let check = |address| unusable(address, ipv4.subnet);
                ranges.extend(
                    check_range(ends, check, Some(ipv4.gateway), report).map(|range| pool(range, entry)),
                );
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
                ranges6
                    .extend(check_range(ends, check, ipv6.gateway, report).map(|range| pool(range, entry)));
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
    check_tags(section, definition, report);
    Dhcp {
        ranges: in_order(ranges, report),
        ranges6: in_order(ranges6, report),
        lease_time: section.lease_time.map_or(LeaseTime::DEFAULT, |time| time.value),
        options: check_options(&section.options, report),
        ignore: check_ignored(&section.ignore, definition, report),
        boot: section
            .boot
            .as_ref()
            .map(|boot| super::boot::check(boot, ipv4.is_some(), report)),
        known_only: section.known_only.is_some_and(|known_only| known_only.value),
    }
}

/// A range with what `entry` says of it.
fn pool<A>((range, place): (Range<A>, Place), entry: &RangeEntry) -> (Pool<A>, Place) {
    let pool = Pool {
        range,
        tags: values(&entry.tags),
        set: entry.set.as_ref().map(|set| set.value.clone()),
        lease_time: entry.lease_time.map(|time| time.value),
    };
    (pool, place)
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
fn in_order<A: Ord + Copy>(mut ranges: Vec<(Pool<A>, Place)>, report: &mut Report<'_>) -> Vec<Pool<A>> {
    ranges.sort_by_key(|(pool, place)| (pool.range, *place));
    for pair in ranges.windows(2) {
        let [(before, first), (after, second)] = pair else {
            continue;
        };
        if after.range.start <= before.range.end {
            report.error(
                Fault::new(*second.max(first), "two DHCP ranges overlap")
                    .help("make one range of them, or keep them apart")
                    .also(*second.min(first), "the other range begins here"),
            );
        }
    }
    ranges.into_iter().map(|(pool, _)| pool).collect()
}

fn values<T: Clone>(all: &[At<T>]) -> Vec<T> {
    all.iter().map(|at| at.value.clone()).collect()
}

/// Conditions on tags that nothing ever sets.
fn check_tags(section: &DhcpSection, definition: &Definition, report: &mut Report<'_>) {
    let conditions = section.ranges.iter().flat_map(|range| &range.tags);
    let conditions = conditions.chain(section.options.iter().flat_map(|option| &option.tags));
    let conditions: Vec<&At<TagMatch>> = conditions.collect();
    if conditions.is_empty() {
        return;
    }
    let of_hosts = definition.hosts.iter().flat_map(|host| &host.tags);
    let of_ranges = section.ranges.iter().filter_map(|range| range.set.as_ref());
    let of_options = definition
        .dnsmasq_options
        .iter()
        .filter_map(|option| option.value.tag());
    let set: HashSet<&Tag> = of_hosts
        .chain(of_ranges)
        .map(|tag| &tag.value)
        .chain(of_options)
        .collect();
    for condition in conditions {
        let tag = &condition.value.tag;
        if !set.contains(tag) && !Tag::BUILT_IN.contains(&tag.as_str()) {
            report.warning(
                Fault::new(condition.place, format!("nothing sets the tag `{tag}`"))
                    .help("`tags` of a host set tags, and `set` of a range"),
            );
        }
    }
}

fn check_options(entries: &[OptionEntry], report: &mut Report<'_>) -> Vec<TaggedOption> {
    let mut seen: HashMap<(u8, Vec<TagMatch>), Place> = HashMap::new();
    let mut options = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut tags = values(&entry.tags);
        tags.sort_unstable();
        let At { value: option, place } = &entry.option;
        if let Some(first) = seen.insert((option.code, tags), *place) {
            report.error(
                Fault::new(
                    *place,
                    format!("option {} is given twice for the same machines", option.code),
                )
                .help("write all its values in one entry, or give the two different tags")
                .also(first, "first given here"),
            );
        }
        options.push(TaggedOption {
            option: option.clone(),
            tags: values(&entry.tags),
        });
    }
    options
}

fn check_ignored(macs: &[At<Mac>], definition: &Definition, report: &mut Report<'_>) -> Vec<Mac> {
    let mut ignored: HashMap<Mac, Place> = HashMap::new();
    for mac in macs {
        check_mac(*mac, report);
        if let Some(first) = ignored.insert(mac.value, mac.place) {
            report.error(
                Fault::new(mac.place, format!("{} is to be ignored twice", mac.value))
                    .help("remove one of the two")
                    .also(first, "first given here"),
            );
        }
    }
    if !ignored.is_empty() {
        for mac in definition.hosts.iter().flat_map(|host| &host.macs) {
            if let Some(place) = ignored.get(&mac.value) {
                report.error(
                    Fault::new(
                        *place,
                        format!("{} has a reservation and cannot be ignored", mac.value),
                    )
                    .help("remove one of the two")
                    .also(mac.place, "the reservation"),
                );
            }
        }
    }
    values(macs)
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
