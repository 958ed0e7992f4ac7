//! Rules on what the name server answers and whom it asks: records that dnsmasq can serve and resolvers can use, and no
//! question about the network that leaves it.

use super::Surroundings;
use crate::name::{DnsName, PlainText, RecordName, ZoneName};
use crate::network::definition::{DnsSection, RecordEntry, RecordFields, SrvFields};
use crate::network::model::{Dns, Forwarder, GATEWAY, Record, RecordData};
use crate::yaml::{At, Fault, Place, Report};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The longest text of a TXT record as written, so that it fits on a line of dnsmasq's with its name.
const MAX_TEXT: usize = 700;

pub(super) fn check(section: &DnsSection, around: &Surroundings<'_>, report: &mut Report<'_>) -> Dns {
    let serve = around.serves;
    let forward = check_forwarders(section, around, report);
    let mut records = Vec::with_capacity(section.records.len());
    if let (false, Some(first)) = (serve, section.records.first()) {
        report.error(
            Fault::new(
                first.place,
                "nobody answers for these records: this network serves no DNS",
            )
            .help("remove `records`, or set `serve: true`"),
        );
    } else if let Some(domain) = around.domain {
        let mut origins = Vec::with_capacity(section.records.len());
        let read = |entry: &RecordEntry| {
            let full = full(&entry.data, domain, report)?;
            origins.push(entry.origin.clone());
            Some((entry.place, full))
        };
        let full: Vec<(Place, Full)> = section.records.iter().filter_map(read).collect();
        check_records(&full, domain, around, report);
        records.extend(full.into_iter().zip(origins).map(|((_, full), origin)| Record {
            data: full.data,
            origin,
        }));
    }
    Dns {
        serve,
        forward,
        forwarders: section
            .forwarders
            .iter()
            .map(|forwarder| forwarder.value)
            .collect(),
        records,
    }
}

/// Whether questions go out; checks where to.
fn check_forwarders(section: &DnsSection, around: &Surroundings<'_>, report: &mut Report<'_>) -> bool {
    let mut seen: HashMap<Forwarder, Place> = HashMap::new();
    for &At { value, place } in &section.forwarders {
        if let Some(fault) = useless(value, place, around) {
            report.error(fault);
        }
        if let Some(first) = seen.insert(value, place) {
            report.error(
                Fault::new(place, format!("the name server {value} is given twice"))
                    .help("remove one of the two")
                    .also(first, "first given here"),
            );
        }
    }
    match (section.forward, section.forwarders.first()) {
        (Some(forward), Some(first)) if !forward.value => {
            report.error(
                Fault::new(
                    first.place,
                    "nothing is passed on to this name server: `forward` is false",
                )
                .help("remove `forwarders`, or set `forward: true`")
                .also(forward.place, "forwarding is switched off here"),
            );
            false
        }
        (Some(forward), _) => forward.value,
        (None, Some(_)) => true,
        (None, None) => around.forward_by_default,
    }
}

/// Why nothing can be asked of `forwarder`.
fn useless(forwarder: Forwarder, place: Place, around: &Surroundings<'_>) -> Option<Fault> {
    let address = forwarder.address;
    if around.gateways.contains(&address) && forwarder.port == 53 {
        let fault = Fault::new(
            place,
            format!("{address} is this network's own name server: it would ask itself"),
        );
        return Some(fault.help("give another name server"));
    }
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::from([255; 4]) {
        let fault = Fault::new(place, format!("{address} is not the address of a name server"));
        return Some(fault.help("give the address of one machine"));
    }
    None
}

/// A record with full names, and where the parts stand that rules point at.
struct Full {
    data: RecordData,
    name: Place,
    /// The places of the addresses, or of the target.
    parts: Vec<Place>,
}

fn full(fields: &RecordFields, domain: &DnsName, report: &mut Report<'_>) -> Option<Full> {
    let mut in_zone = |name: &At<ZoneName>| {
        let full = name.value.in_zone(domain).ok();
        if full.is_none() {
            report.error(
                Fault::new(
                    name.place,
                    "the name and the domain together are longer than 253 characters",
                )
                .help("shorten the name or the domain"),
            );
        }
        full
    };
    let places = |ips: &[At<IpAddr>]| ips.iter().map(|ip| ip.place).collect();
    let values = |ips: &[At<IpAddr>]| ips.iter().map(|ip| ip.value).collect();
    let (data, name, parts) = match fields {
        RecordFields::Address(name, ips) => {
            let addresses = values(ips);
            let owner = in_zone(name)?;
            (
                RecordData::Address {
                    name: owner,
                    addresses,
                },
                name.place,
                places(ips),
            )
        }
        RecordFields::Wildcard(name, ips) => {
            let addresses = values(ips);
            let owner = in_zone(name)?;
            (
                RecordData::Wildcard {
                    name: owner,
                    addresses,
                },
                name.place,
                places(ips),
            )
        }
        RecordFields::Cname(name, target) => {
            let (owner, to) = (in_zone(name), in_zone(target));
            let data = RecordData::Cname {
                name: owner?,
                target: to?,
            };
            (data, name.place, vec![target.place])
        }
        RecordFields::Srv(srv) => {
            let owner = in_zone(&srv.name);
            let target = srv.target.as_ref().map(&mut in_zone);
            let port = check_port(srv, report)?;
            let target = match target {
                Some(target) => Some((target?, port)),
                None => None,
            };
            let data = RecordData::Srv {
                name: owner?,
                target,
                priority: srv.priority.map_or(0, |priority| priority.value),
                weight: srv.weight.map_or(0, |weight| weight.value),
            };
            (
                data,
                srv.name.place,
                srv.target.iter().map(|target| target.place).collect(),
            )
        }
        RecordFields::Txt(name, text) => {
            let strings = text.iter().map(|text| text.value.clone()).collect();
            let data = RecordData::Txt {
                name: in_zone(name)?,
                text: strings,
            };
            (data, name.place, text.iter().map(|text| text.place).collect())
        }
        RecordFields::Ptr(address, name) => {
            let data = RecordData::Ptr {
                address: address.value,
                name: in_zone(name)?,
            };
            (data, address.place, vec![name.place])
        }
    };
    Some(Full { data, name, parts })
}

/// The port of a service, 0 for one that is not available.
fn check_port(srv: &SrvFields, report: &mut Report<'_>) -> Option<u16> {
    let fault = match (&srv.target, srv.port) {
        (Some(_), Some(port)) if port.value != 0 => return Some(port.value),
        (None, None) => return Some(0),
        (Some(_), Some(port)) => Fault::new(port.place, "nothing can be reached at port 0").help(
            "give the port of the service; one that is not available in this domain has neither `target` nor `port`",
        ),
        (Some(target), None) => Fault::new(target.place, "the service has a target, but no port").help("add `port: …`"),
        (None, Some(port)) => Fault::new(port.place, "the service has a port, but no target")
            .help("add `target: …`; one that is not available in this domain has neither"),
    };
    report.error(fault);
    None
}

/// What stands under a name.
#[derive(Default)]
struct Under<'a> {
    /// An alias: its target, and where it stands.
    cname: Option<(&'a RecordName, Place)>,
    /// The first thing that is not an alias.
    other: Option<Place>,
}

fn check_records(
    records: &[(Place, Full)],
    domain: &DnsName,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) {
    if records.is_empty() {
        return;
    }
    let mut names: HashMap<String, Under<'_>> = HashMap::new();
    for host in around.hosts {
        let under = names.entry(format!("{}.{domain}", host.name.value)).or_default();
        under.other = under.other.or(Some(host.name.place));
    }
    let mut wildcards = Vec::new();
    for (place, full) in records {
        check_form(full, report);
        match &full.data {
            RecordData::Ptr { .. } => continue,
            RecordData::Wildcard { name, .. } => {
                wildcards.push(name.as_str());
                continue;
            }
            _ => {}
        }
        let under = names.entry(full.data.owner()).or_default();
        if let RecordData::Cname { target, .. } = &full.data {
            if let Some((_, first)) = under.cname {
                report.error(
                    Fault::new(
                        full.name,
                        format!("a second alias of the name `{}`", full.data.owner()),
                    )
                    .help("a name stands for one other name at most")
                    .also(first, "the first one"),
                );
            } else {
                under.cname = Some((target, full.name));
            }
        } else {
            under.other = under.other.or(Some(*place));
        }
    }
    for (_, full) in records {
        if let RecordData::Cname { name, .. } = &full.data
            && let Some(other) = names.get(name.as_str()).and_then(|under| under.other)
        {
            report.error(
                Fault::new(
                    full.name,
                    format!("`{name}` cannot be an alias: it has data of its own"),
                )
                .help(
                    "a name with a CNAME has no other record (RFC 1034 section 3.6.2): remove one of the two",
                )
                .also(other, "the other data"),
            );
        }
    }
    check_loops(records, &names, report);
    let gateway = format!("{GATEWAY}.{domain}");
    let known = |name: &RecordName| {
        names.contains_key(name.as_str())
            || name.as_str() == gateway
            || wildcards.iter().any(|zone| name.is_in(zone))
    };
    for (_, full) in records {
        let (target, alias) = match &full.data {
            RecordData::Cname { target, .. } => (target, true),
            RecordData::Srv {
                target: Some((target, _)),
                ..
            } => (target, false),
            _ => continue,
        };
        let place = full.parts[0];
        if !alias && let Some((_, also)) = names.get(target.as_str()).and_then(|under| under.cname) {
            report.error(
                Fault::new(place, format!("the target `{target}` is an alias"))
                    .help("name the machine itself (RFC 2782)")
                    .also(also, "the alias"),
            );
        }
        if known(target) {
            continue;
        }
        if target.is_in(domain.as_str()) {
            let fault = Fault::new(place, format!("the network has no name `{target}`"));
            if around.gives_names {
                report
                    .warning(fault.help("it is found only while a machine that calls itself so has a lease"));
            } else {
                report.error(fault.help("give the name of a host or of another record"));
            }
        } else if alias {
            report.error(
                Fault::new(place, format!("`{target}` is outside the network's domain {domain}"))
                    .help("an alias can only stand for a name that is known here: add a record with its address, or use `ip`"),
            );
        }
    }
    check_duplicates(records, around, domain, report);
}

/// What is wrong with a record by itself.
fn check_form(full: &Full, report: &mut Report<'_>) {
    match &full.data {
        RecordData::Address { name, .. } | RecordData::Wildcard { name, .. } if !name.is_host() => report
            .error(
                Fault::new(
                    full.name,
                    format!("`{name}` has an underscore, which no machine's name has"),
                )
                .help("use letters, digits and hyphens"),
            ),
        RecordData::Srv { name, target, .. } => {
            let mut labels = name.as_str().split('.');
            let special = |label: Option<&str>| label.is_some_and(|label| label.starts_with('_'));
            if !special(labels.next()) || !special(labels.next()) {
                report.error(
                    Fault::new(full.name, format!("`{name}` is not the name of a service")).help(
                        "write the service and the protocol, both with an underscore, as in `_ldap._tcp`",
                    ),
                );
            }
            if let Some((target, _)) = target
                && !target.is_host()
            {
                report.error(
                    Fault::new(
                        full.parts[0],
                        format!("`{target}` has an underscore, which no machine's name has"),
                    )
                    .help("give the name of the machine that has the service"),
                );
            }
        }
        RecordData::Txt { text, .. } => {
            let length: usize = text.iter().map(|text| PlainText::quoted(text).len() + 1).sum();
            if length > MAX_TEXT {
                report.error(
                    Fault::new(
                        full.name,
                        format!("the strings of this record are longer than {MAX_TEXT} characters together"),
                    )
                    .help("dnsmasq reads no longer line: shorten them, or write several records"),
                );
            }
        }
        _ => {}
    }
}

/// Aliases that lead back to themselves, each circle once.
fn check_loops(records: &[(Place, Full)], names: &HashMap<String, Under<'_>>, report: &mut Report<'_>) {
    let mut done: HashSet<&str> = HashSet::new();
    for (_, full) in records {
        let RecordData::Cname { name, target } = &full.data else {
            continue;
        };
        let mut path: HashSet<&str> = HashSet::from([name.as_str()]);
        let mut at = target;
        while !done.contains(at.as_str()) {
            if !path.insert(at.as_str()) {
                report.error(
                    Fault::new(
                        full.parts[0],
                        format!("the alias `{name}` leads in a circle, over `{at}`"),
                    )
                    .help("one of these aliases has to stand for the name of a machine"),
                );
                break;
            }
            let Some((next, _)) = names.get(at.as_str()).and_then(|under| under.cname) else {
                break;
            };
            at = next;
        }
        done.extend(path);
    }
}

/// Records that are there twice.
fn check_duplicates(
    records: &[(Place, Full)],
    around: &Surroundings<'_>,
    domain: &DnsName,
    report: &mut Report<'_>,
) {
    let mut seen: HashMap<String, Place> = HashMap::new();
    for host in around.hosts {
        for ip in &host.ips {
            seen.insert(format!("A {}.{domain} {}", host.name.value, ip.value), ip.place);
        }
    }
    let mut twice = |key: String, place: Place| {
        if let Some(first) = seen.get(&key) {
            report.error(
                Fault::new(place, "this is given twice")
                    .help("remove one of the two")
                    .also(*first, "first given here"),
            );
        } else {
            seen.insert(key, place);
        }
    };
    for (_, full) in records {
        match &full.data {
            RecordData::Address { name, addresses } => {
                for (address, place) in addresses.iter().zip(&full.parts) {
                    twice(format!("A {name} {address}"), *place);
                }
            }
            RecordData::Wildcard { name, addresses } => {
                for (address, place) in addresses.iter().zip(&full.parts) {
                    twice(format!("* {name} {address}"), *place);
                }
            }
            RecordData::Srv { name, target, .. } => twice(format!("SRV {name} {target:?}"), full.name),
            RecordData::Txt { name, text } => twice(format!("TXT {name} {text:?}"), full.name),
            RecordData::Ptr { address, .. } => twice(format!("PTR {address}"), full.name),
            // Told apart before, by name.
            RecordData::Cname { .. } => {}
        }
    }
}
