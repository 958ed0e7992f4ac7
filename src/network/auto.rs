//! What `auto` stands for: `subnet: auto` for a free subnet, `ip: auto` for a free address outside the DHCP ranges.
//!
//! What was chosen is on record, `auto.yaml` in the network's directory, and stays: a network or host that has gone and
//! comes back gets the same again. Where the record was lost, a registered network's files tell. A choice without either
//! depends on names only, through their SHA-256, so that it is very likely the same, too. Nothing is written here but
//! [`Chosen::write`].

use super::Observed;
use super::compile::{ADDN_HOSTS, LIBVIRT_XML};
use super::definition::{Definition, HostEntry};
use super::model::{Network, Origin};
use crate::host::{Layout, files};
use crate::name::{HostName, NetworkName};
use crate::yaml::{At, Fault, Fields, Key, Report, Shape, Source, Value, parse_any};
use ipnet::{IpNet, Ipv4Net};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// What was chosen for a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Chosen {
    /// Its subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Ipv4Net>,
    /// The addresses of hosts, also of some that are not there at present.
    pub hosts: BTreeMap<HostName, Ipv4Addr>,
}

const KEYS: &[Key] = &[
    Key::may("subnet", Shape::SUBNET4, "what `subnet: auto` stands for"),
    Key::may(
        "hosts",
        Shape::Names("[A-Za-z0-9-]+", &Shape::IPV4),
        "what `ip: auto` stands for, by the host's name",
    ),
];

impl Chosen {
    /// True if nothing was ever chosen.
    pub fn is_empty(&self) -> bool {
        self.subnet.is_none() && self.hosts.is_empty()
    }

    /// The record of the network `name`. One that cannot be read is named in the log and counts as lost.
    pub(super) fn read(layout: &Layout, name: &NetworkName) -> Self {
        let path = layout.chosen(name);
        let shown = path.on_disk().display().to_string();
        let text = match files::read_if_there(path.on_disk()) {
            Ok(None) => return Self::default(),
            Ok(Some(content)) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) => {
                tracing::warn!("{shown}: cannot be read, so that choices are made anew: {error}");
                return Self::default();
            }
        };
        let mut report = Report::new(Source::new(&shown, &text));
        let chosen = Self::parse(&mut report);
        match report.finish(chosen) {
            Ok((chosen, _)) => chosen,
            Err(problems) => {
                tracing::warn!("choices are made anew: {problems}");
                Self::default()
            }
        }
    }

    /// The record for `definition`, or where that was lost and is needed, what it can be made of again.
    pub(super) fn read_for(definition: &Definition, layout: &Layout) -> Self {
        let name = &definition.name.value;
        let record = Self::read(layout, name);
        let subnet = definition.ipv4.as_ref().is_some_and(|section| section.auto);
        let auto = definition.hosts.iter().filter(|entry| entry.auto.is_some());
        let auto: HashSet<&HostName> = auto.map(|entry| &entry.name.value).collect();
        if !record.is_empty() || !subnet && auto.is_empty() {
            return record;
        }
        let mut applied = Self::applied(layout, name);
        applied.subnet = applied.subnet.filter(|_| subnet);
        applied.hosts.retain(|name, _| auto.contains(name));
        applied
    }

    /// What the files of a registered network say: its subnet, and the addresses of all its hosts. Nothing if it is not
    /// registered.
    fn applied(layout: &Layout, name: &NetworkName) -> Self {
        let text = |file: &str| {
            let place = layout.network(name).join(file);
            let content = files::read_if_there(place.on_disk()).ok().flatten()?;
            Some(String::from_utf8_lossy(&content).into_owned())
        };
        if !layout.applied(name).on_disk().exists() {
            return Self::default();
        }
        let addresses = text(LIBVIRT_XML).map(|xml| Observed::parse(&xml).addresses);
        let subnet = addresses
            .unwrap_or_default()
            .into_iter()
            .find_map(|(address, length)| {
                let net: Ipv4Net = format!("{address}/{length}").parse().ok()?;
                Some(net.trunc())
            });
        // ADDRESS NAME.DOMAIN NAME
        let host = |line: &str| {
            let mut words = line.split_whitespace();
            let address: Ipv4Addr = words.next()?.parse().ok()?;
            Some((words.next_back()?.parse().ok()?, address))
        };
        let hosts = text(ADDN_HOSTS).unwrap_or_default();
        Self {
            subnet,
            hosts: hosts.lines().filter_map(host).collect(),
        }
    }

    fn parse(report: &mut Report<'_>) -> Option<Self> {
        let Some(root) = parse_any(report)? else {
            return Some(Self::default());
        };
        let fields = Fields::read(&root, "the record", KEYS, report)?;
        let mut chosen = Self::default();
        if let Some(node) = fields.get("subnet") {
            chosen.subnet = Some(node.parse("`subnet`", report)?.value);
        }
        if let Some(node) = fields.get("hosts") {
            let Value::Map(entries) = &node.value else {
                report.error(Fault::new(node.place, "`hosts` must be a mapping"));
                return None;
            };
            for (key, value) in entries {
                match key.value.parse() {
                    Ok(name) => drop(chosen.hosts.insert(name, value.ipv4("an address", report)?.value)),
                    Err(error) => {
                        let error: crate::name::NameError = error;
                        report.error(Fault::new(key.place, error.to_string()));
                    }
                }
            }
        }
        Some(chosen)
    }

    /// Writes the record; true if it was not there in this form.
    pub(super) fn write(&self, layout: &Layout, name: &NetworkName) -> io::Result<bool> {
        let path = layout.chosen(name);
        if self.is_empty() && !path.on_disk().exists() {
            return Ok(false);
        }
        files::make_dir_once(layout.networks().on_disk(), 0o755)?;
        files::make_dir_once(layout.network(name).on_disk(), 0o755)?;
        files::write(path.on_disk(), self.to_yaml(name).as_bytes(), 0o644)
    }

    fn to_yaml(&self, name: &NetworkName) -> String {
        let mut text = format!(
            "# Made by miniascape: what `auto` stands for in the network {name}. Without this file it is chosen anew.\n"
        );
        if let Some(subnet) = self.subnet {
            let _ = writeln!(text, "subnet: {subnet}");
        }
        if !self.hosts.is_empty() {
            text.push_str("hosts:\n");
        }
        for (host, address) in &self.hosts {
            let _ = writeln!(text, "  \"{host}\": {address}");
        }
        text
    }

    /// The record as it is to be now that `network` came of `definition`.
    pub(super) fn renewed(&self, definition: &Definition, network: &Network) -> Self {
        let mut new = self.clone();
        if let Some(section) = definition.ipv4.as_ref().filter(|section| section.auto) {
            new.subnet = Some(section.subnet.value);
        }
        let used: HashSet<Ipv4Addr> = network.hosts().iter().filter_map(|host| host.ipv4).collect();
        let subnet = network.ipv4().map(|ipv4| ipv4.subnet);
        // Those of hosts that are not there stay theirs as long as they can.
        new.hosts
            .retain(|_, address| subnet.is_some_and(|s| s.contains(&*address)) && !used.contains(address));
        let auto: HashSet<&HostName> = definition
            .hosts
            .iter()
            .filter(|entry| entry.auto.is_some())
            .map(|entry| &entry.name.value)
            .collect();
        for host in network.hosts() {
            if let Some(address) = host.ipv4.filter(|_| auto.contains(&host.name)) {
                new.hosts.insert(host.name.clone(), address);
            }
        }
        new
    }
}

/// A free subnet of 256 addresses from the pool; `None` if all are taken.
pub(super) fn subnet(name: &NetworkName, pool: &[Ipv4Net], taken: &[IpNet]) -> Option<Ipv4Net> {
    let sizes = pool
        .iter()
        .map(|net| 1u64 << (24u8.saturating_sub(net.prefix_len())));
    let count: u64 = sizes.clone().sum();
    let nth = |mut index: u64| {
        for (net, size) in pool.iter().zip(sizes.clone()) {
            if index < size {
                let offset = u32::try_from(index << 8).ok()?;
                let address = u32::from(net.network()).checked_add(offset)?;
                return Ipv4Net::new(address.into(), 24).ok();
            }
            index -= size;
        }
        None
    };
    let start = number("network", name.as_str()).checked_rem(count)?;
    (0..count)
        .filter_map(|step| nth((start + step) % count))
        .find(|&subnet| is_free(subnet, taken))
}

/// True if nothing of `taken` overlaps the subnet.
pub(super) fn is_free(subnet: Ipv4Net, taken: &[IpNet]) -> bool {
    let subnet = IpNet::V4(subnet);
    !taken
        .iter()
        .any(|net| net.contains(&subnet) || subnet.contains(net))
}

/// Gives every host with `ip: auto` its address, reporting those for which none is free.
///
/// `leased` tells the addresses that machines have now: none of these is chosen for another one.
pub(super) fn hosts(
    definition: &mut Definition,
    record: &Chosen,
    leased: impl FnOnce() -> Vec<Ipv4Addr>,
    report: &mut Report<'_>,
) {
    if definition.hosts.iter().all(|entry| entry.auto.is_none()) {
        return;
    }
    let Some(section) = definition.ipv4 else {
        for place in definition.hosts.iter().filter_map(|entry| entry.auto) {
            report.error(
                Fault::new(
                    place,
                    "`ip: auto` chooses an IPv4 address, and the network has no `ipv4`",
                )
                .help("write the address, or add `ipv4: { subnet: … }`"),
            );
        }
        return;
    };
    let Some(mut space) = Space::new(section.subnet.value) else {
        // The check tells what is wrong with such a subnet.
        return;
    };
    let gateway = section
        .gateway
        .map_or(Ipv4Addr::from(space.first), |gateway| gateway.value);
    space.used.insert(gateway);
    if let Some(dhcp) = &definition.dhcp {
        let ranges = dhcp.value.ranges.iter();
        space.ranges = ranges
            .filter_map(|range| match (range.start.value, range.end.value) {
                (IpAddr::V4(start), IpAddr::V4(end)) => Some((start.into(), end.into())),
                _ => None,
            })
            .collect();
    }
    let wanted: BTreeSet<HostName> = definition
        .hosts
        .iter()
        .filter(|entry| entry.auto.is_some())
        .map(|entry| entry.name.value.clone())
        .collect();
    leave_out_intruders(definition, record, &wanted, &space, report);
    space.used.extend(definition.hosts.iter().flat_map(addresses));
    let known = |address: &Ipv4Addr| record.hosts.values().any(|chosen| chosen == address);
    space.leased = leased().into_iter().filter(|address| !known(address)).collect();
    let mut found = space.assign(&wanted, &record.hosts);
    for entry in &mut definition.hosts {
        let Some(place) = entry.auto else { continue };
        // Taken out, so that a second host of that name, which is a mistake, has no address rather than the same.
        match found.remove(&entry.name.value) {
            Some(Some(address)) => entry.ips.insert(0, At::new(address.into(), place)),
            Some(None) => report.error(
                Fault::new(
                    place,
                    format!(
                        "no address of {} is free outside the DHCP ranges",
                        section.subnet.value
                    ),
                )
                .help("make the ranges smaller, or the subnet larger"),
            ),
            None => {}
        }
    }
}

fn addresses(entry: &HostEntry) -> impl Iterator<Item = Ipv4Addr> {
    entry.ips.iter().filter_map(|ip| match ip.value {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// Leaves out entries of guests that ask for an address which was chosen for another host before: that one may be
/// running with it. People's entries get what they ask for, and the other host another address.
fn leave_out_intruders(
    definition: &mut Definition,
    record: &Chosen,
    wanted: &BTreeSet<HostName>,
    space: &Space,
    report: &mut Report<'_>,
) {
    let people: HashSet<Ipv4Addr> = definition
        .hosts
        .iter()
        .filter(|entry| !matches!(entry.origin, Origin::Guest(_)))
        .flat_map(addresses)
        .collect();
    let kept: HashSet<Ipv4Addr> = wanted
        .iter()
        .filter_map(|name| record.hosts.get(name).copied())
        .filter(|address| space.has(*address) && !people.contains(address))
        .collect();
    definition.hosts.retain(|entry| {
        let guests = matches!(entry.origin, Origin::Guest(_));
        let clash = entry.ips.iter().find(|ip| match ip.value {
            IpAddr::V4(address) => kept.contains(&address),
            IpAddr::V6(_) => false,
        });
        let Some(ip) = clash.filter(|_| guests) else {
            return true;
        };
        let fault = Fault::new(
            ip.place,
            format!("the address {} was chosen for another host", ip.value),
        );
        let ((), attempt) = report.attempt(|report| report.error(fault.help("take another, or `auto`")));
        for error in attempt.errors() {
            report.excuse(error.clone(), super::whole::LEFT_OUT);
        }
        false
    });
}

/// The addresses of a subnet that hosts can have.
#[derive(Debug)]
struct Space {
    first: u32,
    last: u32,
    /// First and last address of each DHCP range.
    ranges: Vec<(u32, u32)>,
    used: HashSet<Ipv4Addr>,
    /// Addresses that machines have by DHCP.
    leased: HashSet<Ipv4Addr>,
}

impl Space {
    fn new(subnet: Ipv4Net) -> Option<Self> {
        let usable = subnet.trunc() == subnet && (8..=30).contains(&subnet.prefix_len());
        usable.then(|| Self {
            first: u32::from(subnet.network()) + 1,
            last: u32::from(subnet.broadcast()) - 1,
            ranges: Vec::new(),
            used: HashSet::new(),
            leased: HashSet::new(),
        })
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.into())
    }

    /// An address for each of `wanted`: the recorded one, if nobody else has it, also inside a range, which then leaves it
    /// out; else a new one.
    fn assign(
        &mut self,
        wanted: &BTreeSet<HostName>,
        record: &BTreeMap<HostName, Ipv4Addr>,
    ) -> BTreeMap<HostName, Option<Ipv4Addr>> {
        let mut found = BTreeMap::new();
        for name in wanted {
            if let Some(&address) = record.get(name)
                && self.has(address)
                && self.used.insert(address)
            {
                found.insert(name.clone(), Some(address));
            }
        }
        let absent: HashSet<Ipv4Addr> = record
            .iter()
            .filter(|(name, _)| !wanted.contains(*name))
            .map(|(_, address)| *address)
            .collect();
        for name in wanted {
            if !found.contains_key(name) {
                let address = self
                    .free(name, &absent)
                    .or_else(|| self.free(name, &HashSet::new()));
                self.used.extend(address);
                found.insert(name.clone(), address);
            }
        }
        found
    }

    /// A free address, not one of `spared`: where the name's digest points, else where it does with a number behind it, and
    /// so on, so that few hosts meet; in a crowded subnet at last the next one that is free.
    fn free(&self, name: &HostName, spared: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let size = u64::from(self.last - self.first) + 1;
        let nth = |index: u64| u32::try_from(index % size).map_or(self.first, |index| self.first + index);
        let is_free = |number: u32| {
            let address = Ipv4Addr::from(number);
            [&self.used, &self.leased, spared]
                .iter()
                .all(|taken| !taken.contains(&address))
        };
        let range = |number: u32| {
            let mut ranges = self.ranges.iter();
            ranges.find(|(start, end)| (*start..=*end).contains(&number))
        };
        let start = number("host", name.as_str());
        let others = (1..TRIES).map(|again| number(&format!("host {again}"), name.as_str()));
        let tried = std::iter::once(start).chain(others).map(nth);
        for number in tried {
            if range(number).is_none() && is_free(number) {
                return Some(number.into());
            }
        }
        let mut step = 0;
        while step < size {
            let number = nth(start % size + step);
            match range(number) {
                // Over the range in one step, but not over the end of the subnet.
                Some((_, end)) => step += u64::from((*end).min(self.last) - number) + 1,
                None if is_free(number) => return Some(number.into()),
                None => step += 1,
            }
        }
        None
    }
}

/// How often a name's digest is asked for an address before the subnet is searched.
const TRIES: u32 = 16;

/// A number that depends on the text alone.
fn number(kind: &str, text: &str) -> u64 {
    let digest = Sha256::digest(format!("{kind}:{text}"));
    digest[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
