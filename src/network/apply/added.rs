//! Hosts that are only added: the running dnsmasq takes them from new files in two directories that it watches
//! (dnsmasq(8), `--hostsdir` and `--dhcp-hostsdir`), where re-reading everything would take it long. The complete files
//! are written all the same, so that nothing is lost with these; and any other change empties the directories first,
//! because dnsmasq keeps reservations of removed files until it re-reads everything.

use super::{RegisterError, Target, bridge};
use crate::host::dns::{self, Kind};
use crate::host::{Layout, Place, bus, files};
use crate::name::{DnsName, NetworkName};
use crate::network::Network;
use crate::network::compile::{ADDED, ADDED_NAMES, ADDED_RESERVATIONS, ADDN_HOSTS, Compiled};
use fs_err as fs;
use std::collections::HashSet;
use std::io;
use std::iter::Peekable;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// So many files may lie in a directory before everything is read again: a dnsmasq that starts anew reads them beside
/// the complete files, and finds every line twice.
const MOST_FILES: usize = 64;
/// So many lines may come at once; dnsmasq looks at all its names for each.
const MOST_LINES: usize = 100;
/// How often dnsmasq is asked for a new name before everything is read again, and how long it may take to answer.
const ATTEMPTS: usize = 10;
const PATIENCE: Duration = Duration::from_millis(100);

/// The lines that dnsmasq is to take in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Added {
    names: String,
    reservations: String,
}

/// The contents of the two files that list hosts; without DHCP there are no reservations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lists<'a> {
    pub(super) names: &'a str,
    pub(super) reservations: &'a str,
}

impl Added {
    /// What `after` has beyond `before`, if that is all the difference and nothing in it was known before: only then it
    /// makes no difference whether dnsmasq reads everything again.
    pub(super) fn between(before: Lists<'_>, after: Lists<'_>, network: &Network) -> Option<Self> {
        let names = added(before.names, after.names)?;
        let reservations = added(before.reservations, after.reservations)?;
        let count = names.len().max(reservations.len());
        let known: HashSet<&str> = before.names.split_whitespace().collect();
        let new_name = |line: &&str| line.split_whitespace().all(|word| !known.contains(word));
        let known: HashSet<&str> = before.reservations.lines().flat_map(keys).collect();
        let new_machine =
            |line: &&str| !line.ends_with(",ignore") && keys(line).all(|key| !known.contains(key));
        let fine = (1..=MOST_LINES).contains(&count)
            && names.iter().all(|line| new_name(line) && is_local(line, network))
            && reservations.iter().all(new_machine);
        fine.then(|| Self {
            names: lines(&names),
            reservations: lines(&reservations),
        })
    }

    /// Whether `compiled` makes dnsmasq watch the directories; a template of the host's own may not.
    pub(super) fn is_watched(compiled: &Compiled) -> bool {
        let watched = |option: &str, dir: &str| {
            let conf = compiled.dnsmasq_conf().unwrap_or_default();
            let is = |line: &str| {
                let value = line.trim().strip_prefix(option)?.strip_suffix(dir)?;
                value.ends_with('/').then_some(())
            };
            conf.lines().any(|line| is(line).is_some())
        };
        watched("hostsdir=", ADDED_NAMES)
            && (compiled.file(crate::network::compile::DHCP_HOSTSFILE).is_none()
                || watched("dhcp-hostsdir=", ADDED_RESERVATIONS))
    }

    /// The names that come, each with an address.
    pub(super) fn names(&self) -> impl Iterator<Item = (DnsName, IpAddr)> {
        self.names.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            Some((words.next()?.parse().ok()?, address))
        })
    }

    /// Tells the running dnsmasq. If it does not take notice, it reads everything again.
    pub(super) fn tell(&self, network: &Network, target: &Target<'_>) -> Result<(), RegisterError> {
        let name = network.name();
        let number = 1 + last_number(target.layout, name)?;
        // In the order in which dnsmasq hears of them: who has the name has the reservation.
        for (dir, content) in [
            (ADDED_RESERVATIONS, &self.reservations),
            (ADDED_NAMES, &self.names),
        ] {
            if !content.is_empty() {
                // The draft's name begins with a dot, and dnsmasq passes over such files.
                let path = target.layout.network(name).join(dir).join(format!("{number:04}"));
                files::write(path.on_disk(), content.as_bytes(), 0o644)?;
            }
        }
        if self.is_known(network)? {
            return Ok(());
        }
        tracing::warn!(network = %name, "dnsmasq takes no notice of new hosts, so it reads all of them again");
        reload(name, target)
    }

    /// Whether dnsmasq answers for the last name; true where it cannot be asked.
    fn is_known(&self, network: &Network) -> Result<bool, RegisterError> {
        let Some((name, address)) = self.names().last().filter(|_| network.serves_dns()) else {
            return Ok(true);
        };
        let Some(server) = bridge::name_server(network)? else {
            return Ok(true);
        };
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        for attempt in 0..ATTEMPTS {
            if dns::ask(server, &name, kind, PATIENCE).is_ok_and(|answer| answer.contains(&address)) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(1 << attempt.min(5)));
        }
        Ok(false)
    }
}

/// The lines of `after` beyond those of `before`; `None` if one of these is not in it any more, or not in its place.
fn added<'a>(before: &str, after: &'a str) -> Option<Vec<&'a str>> {
    let mut old: Peekable<_> = before.lines().peekable();
    let new = after
        .lines()
        .filter(|line| old.next_if_eq(line).is_none())
        .collect();
    old.peek().is_none().then_some(new)
}

fn lines(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// What a machine is told by in a line of reservations, and what it gets: MAC addresses, client identifiers, addresses.
fn keys(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').filter(|word| {
        let is_key = word.contains(':') || word.parse::<Ipv4Addr>().is_ok();
        is_key && !word.starts_with("set:") && *word != "id:*"
    })
}

/// True if nobody else can have been asked for what stands in the line, so that no answer of theirs is kept.
fn is_local(line: &str, network: &Network) -> bool {
    let mut words = line.split_whitespace();
    let in_subnet = match words.next().map(str::parse) {
        Some(Ok(IpAddr::V4(ip))) => network.ipv4().is_some_and(|ipv4| ipv4.subnet.contains(&ip)),
        Some(Ok(IpAddr::V6(ip))) => network.ipv6().is_some_and(|ipv6| ipv6.subnet.contains(&ip)),
        _ => false,
    };
    let below = |name: &str| {
        let rest = network
            .domain()
            .and_then(|domain| name.strip_suffix(domain.as_str()));
        rest.is_some_and(|rest| rest.ends_with('.'))
    };
    in_subnet && words.all(|name| !name.contains('.') || below(name))
}

fn dirs(layout: &Layout, name: &NetworkName) -> [Place; 2] {
    [ADDED_NAMES, ADDED_RESERVATIONS].map(|dir| layout.network(name).join(dir))
}

/// The files in a directory.
fn entries(dir: &Place) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir.on_disk()) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The highest number that a file has.
fn last_number(layout: &Layout, name: &NetworkName) -> io::Result<usize> {
    let mut last = 0;
    for dir in dirs(layout, name) {
        for path in entries(&dir)? {
            let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            last = last.max(number.unwrap_or(0));
        }
    }
    Ok(last)
}

/// Whether there is room for another file, in directories that are there.
pub(super) fn has_room(layout: &Layout, name: &NetworkName) -> io::Result<bool> {
    let all_there = dirs(layout, name).iter().all(|dir| dir.on_disk().is_dir());
    Ok(all_there && last_number(layout, name)? < MOST_FILES)
}

/// Makes the directories, which have to be there before dnsmasq starts. It reads them as a user of its own.
pub(super) fn make(layout: &Layout, name: &NetworkName) -> io::Result<()> {
    files::make_dir(layout.network(name).join(ADDED).on_disk(), 0o755)?;
    for dir in dirs(layout, name) {
        files::make_dir(dir.on_disk(), 0o755)?;
    }
    Ok(())
}

/// Makes the directories, or empties them, before dnsmasq starts.
pub(super) fn prepare(layout: &Layout, name: &NetworkName) -> io::Result<()> {
    make(layout, name)?;
    for dir in dirs(layout, name) {
        for path in entries(&dir)? {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Removes the directories; false if there were none.
pub(super) fn remove(layout: &Layout, name: &NetworkName) -> io::Result<bool> {
    files::remove_dir(layout.network(name).join(ADDED).on_disk())
}

/// Lets the running dnsmasq read everything again, and empties the directories so that no name is unknown meanwhile:
/// what is still right goes when dnsmasq has it from the complete file.
pub(super) fn reload(name: &NetworkName, target: &Target<'_>) -> Result<(), RegisterError> {
    let [names, reservations] = dirs(target.layout, name);
    for path in entries(&reservations)? {
        files::remove(&path)?;
    }
    let complete = target.layout.network(name).join(ADDN_HOSTS);
    let complete = files::read_if_there(complete.on_disk())?.unwrap_or_default();
    let right: HashSet<&[u8]> = complete.split(|byte| *byte == b'\n').collect();
    for path in entries(&names)? {
        let content = fs::read(&path)?;
        if !content
            .split(|byte| *byte == b'\n')
            .all(|line| right.contains(line))
        {
            files::remove(&path)?;
        }
    }
    target.services.reload(name)?;
    let left = entries(&names)?;
    // dnsmasq takes a SIGHUP before the next message from the bus. What stays does no harm.
    if !left.is_empty() && bus::ping_dnsmasq(name).is_ok() {
        for path in left {
            files::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "# head\n10.9.0.1 gateway.n.internal gateway\n10.9.0.5 a.n.internal a\n";
    const MACHINES: &str = "# head\n52:54:00:00:00:05,id:*,10.9.0.5,a\n";

    fn network() -> Network {
        let yaml = b"network: { name: n, mode: nat, bridge: br9, domain: n.internal, \
            ipv4: { subnet: 10.9.0.0/24 }, dhcp: { ranges: [{ start: 10.9.0.9, end: 10.9.0.20 }] } }";
        crate::network::read_bytes("n.yaml", yaml).unwrap().0
    }

    fn between(names: &str, machines: &str) -> Option<Added> {
        let lists = |names, reservations| Lists { names, reservations };
        Added::between(lists(NAMES, MACHINES), lists(names, machines), &network())
    }

    #[test]
    fn only_what_is_new_in_every_way_is_an_addition() {
        let (name, machine) = ("10.9.0.6 b.n.internal b\n", "52:54:00:00:00:06,id:*,10.9.0.6,b\n");
        let added = between(&format!("{NAMES}{name}"), &format!("{MACHINES}{machine}")).unwrap();
        assert_eq!(
            (added.names.as_str(), added.reservations.as_str()),
            (name, machine)
        );
        let [(told, address)] = added.names().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(
            (told.as_str(), address.to_string().as_str()),
            ("b.n.internal", "10.9.0.6")
        );
        // In between, as a host stands before records.
        assert!(between(&NAMES.replace("10.9.0.5", &format!("{name}10.9.0.5")), MACHINES).is_some());
        for (names, machines, why) in [
            (NAMES.to_owned(), MACHINES.to_owned(), "nothing"),
            (
                NAMES.replace("0.5", "0.6"),
                MACHINES.to_owned(),
                "another address",
            ),
            (
                format!("{NAMES}10.9.0.5 b.n.internal b\n"),
                MACHINES.to_owned(),
                "a second name",
            ),
            (
                format!("{NAMES}10.9.0.6 a.n.internal a\n"),
                MACHINES.to_owned(),
                "a second address",
            ),
            (
                format!("{NAMES}10.8.0.6 b.n.internal b\n"),
                MACHINES.to_owned(),
                "an address elsewhere",
            ),
            (
                format!("{NAMES}10.9.0.6 b.other b\n"),
                MACHINES.to_owned(),
                "a name elsewhere",
            ),
            (
                format!("{NAMES}10.9.0.6 bn.internal\n"),
                MACHINES.to_owned(),
                "a name that only ends so",
            ),
            (
                NAMES.to_owned(),
                format!("{MACHINES}52:54:00:00:00:05,id:*,10.9.0.6,b\n"),
                "a known machine",
            ),
            (
                NAMES.to_owned(),
                format!("{MACHINES}52:54:00:00:00:06,id:*,10.9.0.5,b\n"),
                "a reserved address",
            ),
            (
                NAMES.to_owned(),
                format!("{MACHINES}52:54:00:00:00:06,ignore\n"),
                "a machine to ignore",
            ),
            (
                NAMES.to_owned(),
                MACHINES.replace(",a", ",a,10m"),
                "another lease time",
            ),
        ] {
            assert_eq!(between(&names, &machines), None, "{why}");
        }
        let many: String = (6..200)
            .map(|n| format!("10.9.0.{n} h{n}.n.internal h{n}\n"))
            .collect();
        assert_eq!(between(&format!("{NAMES}{many}"), MACHINES), None, "too many");
    }
}
