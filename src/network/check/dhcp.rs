//! Rules on what is handed out by DHCP.

use super::address::unusable;
use super::hosts::{check_free, check_mac};
use crate::name::{Mac, Tag, TagMatch};
use crate::network::definition::{Definition, DhcpSection, OptionEntry, RangeEntry};
use crate::network::model::{Dhcp, Ipv4, LeaseTime, Pool, Range, TaggedOption};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::{HashMap, HashSet};

pub(super) fn check(
    section: &DhcpSection,
    definition: &Definition,
    ipv4: Ipv4,
    report: &mut Report<'_>,
) -> Dhcp {
    let mut ranges: Vec<(Range, Place, &RangeEntry)> = section
        .ranges
        .iter()
        .filter_map(|entry| check_range(entry, ipv4, report).map(|(range, place)| (range, place, entry)))
        .collect();
    ranges.sort_unstable_by_key(|(range, place, _)| (*range, *place));
    for pair in ranges.windows(2) {
        let [(before, first, _), (after, second, _)] = [pair[0], pair[1]];
        if after.start <= before.end {
            report.error(
                Fault::new(second.max(first), "two DHCP ranges overlap")
                    .help("make one range of them, or keep them apart")
                    .also(second.min(first), "the other range begins here"),
            );
        }
    }
    for entry in &section.ranges {
        if let Some(set) = &entry.set {
            check_free(set, report);
        }
    }
    check_tags(section, definition, report);
    let pool = |(range, _, entry): (Range, Place, &RangeEntry)| Pool {
        range,
        tags: values(&entry.tags),
        set: entry.set.as_ref().map(|set| set.value.clone()),
        lease_time: entry.lease_time.map(|time| time.value),
    };
    Dhcp {
        ranges: ranges.into_iter().map(pool).collect(),
        lease_time: section.lease_time.map_or(LeaseTime::DEFAULT, |time| time.value),
        options: check_options(&section.options, report),
        ignore: check_ignored(&section.ignore, definition, report),
        known_only: section.known_only.is_some_and(|known_only| known_only.value),
    }
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

fn check_range(entry: &RangeEntry, ipv4: Ipv4, report: &mut Report<'_>) -> Option<(Range, Place)> {
    let (start, end) = (entry.start, entry.end);
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
