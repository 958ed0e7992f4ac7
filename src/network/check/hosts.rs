//! Rules on the machines of a network.

use super::address::unusable;
use crate::name::{DnsName, Mac, Tag};
use crate::network::definition::HostEntry;
use crate::network::model::{Host, HostDhcp, Ipv4};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

/// The longest host name that Linux keeps (`HOST_NAME_MAX`, limits.h), in characters.
const HOST_NAME_MAX: usize = 64;

/// The prefix of QEMU's addresses with its first octets the wrong way round, as in definitions of old.
const SWAPPED_PREFIX: [u8; 3] = [0x54, 0x52, 0x00];

/// How many MAC addresses an entry may have, so that it fits on a line of dnsmasq's.
const MAX_MACS: usize = 16;
/// How many tags an entry may have.
const MAX_TAGS: usize = 8;

pub(super) fn check(
    entries: &[HostEntry],
    ipv4: Ipv4,
    domain: Option<&DnsName>,
    dhcp: bool,
    report: &mut Report<'_>,
) -> Vec<Host> {
    let mut names = HashMap::with_capacity(entries.len());
    let mut macs = HashMap::with_capacity(entries.len());
    let mut addresses = HashMap::with_capacity(entries.len());
    let mut client_ids = HashMap::new();
    let mut swapped = None;
    let mut hosts = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = &entry.name;
        unique(&mut names, &name.value, name.place, "name", report);
        check_host_name(name, domain, report);
        for &mac in &entry.macs {
            unique(&mut macs, mac.value, mac.place, "MAC address", report);
            check_mac(mac, report);
            if mac.value.octets().starts_with(&SWAPPED_PREFIX) {
                let (_, count) = swapped.get_or_insert((mac.place, 0));
                *count += 1;
            }
        }
        if let Some(id) = &entry.client_id {
            unique(
                &mut client_ids,
                id.value.clone(),
                id.place,
                "client identifier",
                report,
            );
        }
        check_dhcp(entry, dhcp, report);
        for &ip in &entry.ips {
            unique(&mut addresses, ip.value, ip.place, "address", report);
            if let IpAddr::V4(address) = ip.value {
                check_host_address(At::new(address, ip.place), ipv4, report);
            }
        }
        let v4 = |ip: &At<IpAddr>| match ip.value {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let v6 = |ip: &At<IpAddr>| match ip.value {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        };
        hosts.push(Host {
            name: name.value.clone(),
            macs: entry.macs.iter().map(|mac| mac.value).collect(),
            client_id: entry.client_id.as_ref().map(|id| id.value.clone()),
            ipv4: entry.ips.iter().find_map(v4),
            ipv6: entry.ips.iter().find_map(v6),
            dhcp: host_dhcp(entry).map(Box::new),
            origin: entry.origin.clone(),
        });
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
    hosts.sort_by_key(|host| (host.ipv4, host.ipv6));
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

/// What an entry says beside name and addresses.
fn host_dhcp(entry: &HostEntry) -> Option<HostDhcp> {
    let dhcp = HostDhcp {
        tags: entry.tags.iter().map(|tag| tag.value.clone()).collect(),
        lease_time: entry.lease_time.map(|time| time.value),
        options: entry.options.iter().map(|option| option.value.clone()).collect(),
    };
    (dhcp != HostDhcp::default()).then_some(dhcp)
}

/// Rules on what DHCP is to do for a machine.
fn check_dhcp(entry: &HostEntry, dhcp: bool, report: &mut Report<'_>) {
    let tag = entry.tags.first().map(|tag| (tag.place, "tags"));
    let time = entry.lease_time.map(|time| (time.place, "a lease time"));
    let option = entry.options.first().map(|option| (option.place, "options"));
    let id = entry
        .client_id
        .as_ref()
        .map(|id| (id.place, "a client identifier"));
    for (place, what) in [tag, time, option].into_iter().flatten() {
        if entry.macs.is_empty() && id.is_none() {
            report.error(
                Fault::new(place, format!("{what} of a host that DHCP does not know"))
                    .help("add `mac: …`, or remove this"),
            );
        }
    }
    for (place, what) in [id, tag, time, option].into_iter().flatten() {
        if !dhcp {
            report.error(
                Fault::new(place, format!("{what} of a host, in a network without DHCP"))
                    .help("add `dhcp: {}` to the network, or remove this"),
            );
        }
    }
    if let Some(mac) = entry.macs.get(MAX_MACS) {
        report.error(
            Fault::new(
                mac.place,
                format!("more than {MAX_MACS} MAC addresses for one host"),
            )
            .help("dnsmasq reads no longer line: write several entries"),
        );
    }
    if let Some(tag) = entry.tags.get(MAX_TAGS) {
        report.error(
            Fault::new(tag.place, format!("more than {MAX_TAGS} tags for one host")).help("remove some"),
        );
    }
    for (at, tag) in entry.tags.iter().enumerate() {
        check_free(tag, report);
        if let Some(first) = entry.tags[..at].iter().find(|other| other.value == tag.value) {
            report.error(
                Fault::new(tag.place, format!("the tag `{}` is given twice", tag.value))
                    .help("remove one of the two")
                    .also(first.place, "first given here"),
            );
        }
    }
    for (at, option) in entry.options.iter().enumerate() {
        let code = option.value.code;
        if let Some(first) = entry.options[..at].iter().find(|other| other.value.code == code) {
            report.error(
                Fault::new(
                    option.place,
                    format!("option {code} is given twice for this host"),
                )
                .help("write all its values in one entry")
                .also(first.place, "first given here"),
            );
        }
    }
}

/// Some tags are set by dnsmasq or by miniascape itself.
pub(super) fn check_free(tag: &At<Tag>, report: &mut Report<'_>) {
    if !tag.value.is_free() {
        report.error(
            Fault::new(
                tag.place,
                format!("the tag `{}` is not free to be set", tag.value),
            )
            .help("take another name: dnsmasq or miniascape sets this one itself"),
        );
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

pub(super) fn check_mac(mac: At<Mac>, report: &mut Report<'_>) {
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
