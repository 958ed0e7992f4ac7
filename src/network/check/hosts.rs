//! Rules on the machines of a network.

use super::address::{unusable, unusable6};
use crate::name::{DnsName, Mac};
use crate::network::definition::HostEntry;
use crate::network::model::{Host, Ipv4, Ipv6};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

/// The longest host name that Linux keeps (`HOST_NAME_MAX`, limits.h), in characters.
const HOST_NAME_MAX: usize = 64;

/// The prefix of QEMU's addresses with its first octets the wrong way round, as in definitions of old.
const SWAPPED_PREFIX: [u8; 3] = [0x54, 0x52, 0x00];

pub(super) fn check(
    entries: &[HostEntry],
    ipv4: Option<Ipv4>,
    ipv6: Option<Ipv6>,
    domain: Option<&DnsName>,
    report: &mut Report<'_>,
) -> Vec<Host> {
    let mut names = HashMap::with_capacity(entries.len());
    let mut macs = HashMap::with_capacity(entries.len());
    let mut addresses = HashMap::with_capacity(entries.len());
    let mut swapped = None;
    let mut given_by_nobody = None;
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
            check_host_address(ip, ipv4, ipv6, report);
        }
        check_families(&entry.ips, report);
        let v4 = |ip: &At<IpAddr>| match ip.value {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let v6 = |ip: &At<IpAddr>| match ip.value {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        };
        if let Some(place) = made_by_guest(entry, ipv6) {
            let (_, count) = given_by_nobody.get_or_insert((place, 0));
            *count += 1;
        }
        hosts.push(Host {
            name: name.value.clone(),
            macs: entry.macs.iter().map(|mac| mac.value).collect(),
            ipv4: entry.ips.iter().find_map(v4),
            ipv6: entry.ips.iter().find_map(v6),
            origin: entry.origin.clone(),
        });
    }
    let several = |count: i32| {
        if count > 1 {
            format!(" ({count} entries)")
        } else {
            String::new()
        }
    };
    if let Some((place, count)) = given_by_nobody {
        let those = several(count);
        report.warning(
            Fault::new(
                place,
                format!("guests make their own IPv6 addresses: nobody gives them this one{those}"),
            )
            .help("write `ra: stateful`, or set the address in the guest itself"),
        );
    }
    if let Some((place, count)) = swapped {
        let those = several(count);
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

fn check_host_address(address: At<IpAddr>, ipv4: Option<Ipv4>, ipv6: Option<Ipv6>, report: &mut Report<'_>) {
    let At { value, place } = address;
    let (fault, gateway, family) = match value {
        IpAddr::V4(v4) => (
            ipv4.map(|ipv4| unusable(At::new(v4, place), ipv4.subnet)),
            ipv4.map(|ipv4| ipv4.gateway.into()),
            "IPv4",
        ),
        IpAddr::V6(v6) => (
            ipv6.map(|ipv6| unusable6(At::new(v6, place), ipv6.subnet)),
            ipv6.and_then(|ipv6| ipv6.gateway).map(IpAddr::from),
            "IPv6",
        ),
    };
    let Some(fault) = fault else {
        report.error(
            Fault::new(place, format!("{value}: the network has no {family} subnet")).help(format!(
                "add `{}: …` to the network, or remove the address",
                family.to_ascii_lowercase()
            )),
        );
        return;
    };
    if let Some(fault) = fault {
        report.error(fault);
    } else if gateway == Some(value) {
        report.error(
            Fault::new(place, format!("{value} is the gateway's address"))
                .help("give the host another address"),
        );
    }
}

/// A host has one address of each family at most.
fn check_families(ips: &[At<IpAddr>], report: &mut Report<'_>) {
    for (at, ip) in ips.iter().enumerate() {
        let same = |other: &&At<IpAddr>| other.value.is_ipv4() == ip.value.is_ipv4();
        if let Some(first) = ips[..at].iter().find(same) {
            let family = if ip.value.is_ipv4() { "IPv4" } else { "IPv6" };
            report.error(
                Fault::new(ip.place, format!("a second {family} address for one host"))
                    .help("write an entry of its own, with another MAC address, for another interface")
                    .also(first.place, "the first one"),
            );
        }
    }
}

/// The place of an IPv6 address in `entry` which its guest will not make for itself, though it makes its own.
fn made_by_guest(entry: &HostEntry, ipv6: Option<Ipv6>) -> Option<Place> {
    let ipv6 = ipv6.filter(|ipv6| ipv6.ra.autoconfigures())?;
    let ip = entry.ips.iter().find(|ip| ip.value.is_ipv6())?;
    let own = |mac: &At<Mac>| ip.value == interface_address(ipv6, mac.value);
    (!entry.macs.is_empty() && !entry.macs.iter().any(own)).then_some(ip.place)
}

/// The address that a machine makes of its hardware address (RFC 4291, appendix A).
fn interface_address(ipv6: Ipv6, mac: Mac) -> Ipv6Addr {
    let [first, maker @ .., x, y, z] = mac.octets();
    let [second, third] = maker;
    let identifier = u64::from_be_bytes([first ^ 2, second, third, 0xff, 0xfe, x, y, z]);
    (u128::from(ipv6.subnet.network()) | u128::from(identifier)).into()
}
