//! Rules on the machines of a network.

use super::address::unusable;
use crate::name::{DnsName, Mac};
use crate::network::definition::HostEntry;
use crate::network::model::{Host, Ipv4};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

/// The longest host name that Linux keeps (`HOST_NAME_MAX`, limits.h), in characters.
const HOST_NAME_MAX: usize = 64;

/// The prefix of QEMU's addresses with its first octets the wrong way round, as in definitions of old.
const SWAPPED_PREFIX: [u8; 3] = [0x54, 0x52, 0x00];

pub(super) fn check(
    entries: &[HostEntry],
    ipv4: Ipv4,
    domain: Option<&DnsName>,
    report: &mut Report<'_>,
) -> Vec<Host> {
    let mut names = HashMap::with_capacity(entries.len());
    let mut macs = HashMap::with_capacity(entries.len());
    let mut addresses = HashMap::with_capacity(entries.len());
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
            ipv4: entry.ips.iter().find_map(v4),
            ipv6: entry.ips.iter().find_map(v6),
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
