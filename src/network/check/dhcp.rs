//! Rules on what is handed out by DHCP.

use super::address::unusable;
use crate::network::definition::{DhcpSection, RangeEntry};
use crate::network::model::{Dhcp, Ipv4, LeaseTime, Range};
use crate::yaml::{Fault, Place, Report};

pub(super) fn check(section: &DhcpSection, ipv4: Ipv4, report: &mut Report<'_>) -> Dhcp {
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
