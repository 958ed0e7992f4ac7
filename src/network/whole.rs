//! A network from all its files: the definition, people's drop-ins, and what guests brought, checked as one.

use super::auto::{self, Chosen};
use super::definition::{self, Definition, HostEntry};
use super::dropin::Part;
use super::model::{Network, Origin};
use super::{Applied, Finder, Found, Needs, NetworkError, Warning, check, definition_bytes};
use crate::config::Networks;
use crate::host::{Place as FilePlace, links};
use crate::lease;
use crate::name::{HostName, Mac};
use crate::yaml::{At, Attempt, Fault, Place, Problem, Problems, Report, Source};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// What becomes of an entry of a guest that cannot be used.
pub(super) const LEFT_OUT: &str = "this entry of a guest is left out";

/// Reads and checks the definition at `path` with everything that belongs to it, as far as `finder` wants. People's
/// files are beside `source`, of which `path` may be a copy.
pub(super) fn read(finder: &Finder<'_>, path: &Path, source: &Path) -> Result<Found, NetworkError> {
    let name = path.display().to_string();
    let bytes = definition_bytes(path)?;
    let (checked, warnings) = checked(&name, &bytes, Some((finder, source)))?;
    Ok(Found {
        network: checked.network,
        warnings,
        clashes: checked.clashes,
        chosen: checked.chosen,
        is_on_record: checked.is_on_record,
        path: path.to_owned(),
    })
}

/// Reads and checks a definition from memory, and nothing else.
pub(super) fn read_alone(name: &str, bytes: &[u8]) -> Result<(Network, Vec<Warning>), Problems> {
    let (checked, warnings) = checked(name, bytes, None)?;
    Ok((checked.network, warnings))
}

struct Checked {
    network: Network,
    clashes: Vec<Problem>,
    chosen: Chosen,
    is_on_record: bool,
}

fn checked(
    name: &str,
    bytes: &[u8],
    place: Option<(&Finder<'_>, &Path)>,
) -> Result<(Checked, Vec<Warning>), Problems> {
    let lossy = String::from_utf8_lossy(bytes);
    // Before the report, which refers to what is in it.
    let late = OnceCell::new();
    let mut report = Report::new(Source::new(name, &lossy));
    if let Some(chunk) = bytes.utf8_chunks().find(|chunk| !chunk.invalid().is_empty()) {
        report.not_utf8(chunk.valid());
        return report.finish(None);
    }
    let Some(mut definition) = definition::read(&mut report) else {
        return report.finish(None);
    };
    let parts = late.get_or_init(|| match place {
        Some((finder, path)) => {
            let name = &definition.name.value;
            finder.parts(path, name)
        }
        None => Vec::new(),
    });
    for part in parts {
        if part.is_guests() {
            read_guests(part, &mut definition, &mut report);
        } else {
            part.read(&mut definition, &mut report);
        }
    }
    drop_repeated(&mut definition);
    let record = match place {
        Some((finder, _)) => Chosen::read_for(&definition, finder.layout()),
        None => Chosen::default(),
    };
    let definition_name = definition.name.value.clone();
    if !choose_subnet(&mut definition, &record, place, &mut report)? {
        return report.finish(None);
    }
    let leased = || {
        let leases = place.map(|(finder, _)| finder.layout().leases(&definition_name));
        leases.map(|file| addresses_in(&file)).unwrap_or_default()
    };
    auto::hosts(&mut definition, &record, leased, &mut report);
    let network = check_without_culprits(&mut definition, &mut report);
    let mut clashes = Vec::new();
    if let Some((finder, path)) = place
        && let Some(network) = &network
    {
        let (files, host) = finder.checks(path, &definition.name.value);
        if files {
            finder.around(path)?.check_files(&definition, &mut report);
        }
        if host
            && !is_there(network, finder)
            && let Some(host) = finder.host()
        {
            let own = own_bridges(&definition, finder);
            let ((), attempt) = report.attempt(|report| host.check(&definition, &own, report));
            clashes = report.set_aside(attempt);
        }
    }
    report.finish(network.map(|network| {
        let chosen = record.renewed(&definition, &network);
        Checked {
            is_on_record: chosen == record,
            chosen,
            network,
            clashes,
        }
    }))
}

/// Takes out what guests brought and people have written just so: a guest that was packed here comes back with what the
/// definition says of it.
fn drop_repeated(definition: &mut Definition) {
    let is_guests = |entry: &HostEntry| matches!(entry.origin, Origin::Guest(_));
    // Guests come last.
    let Some(first) = definition.hosts.iter().position(is_guests) else {
        return;
    };
    let guests = definition.hosts.split_off(first);
    let people = &mut definition.hosts;
    let covers = |theirs: &HostEntry, entry: &HostEntry| {
        let has = |ip: &At<IpAddr>| theirs.ips.iter().any(|own| own.value == ip.value);
        let is = |mac: &At<Mac>| theirs.macs.iter().any(|own| own.value == mac.value);
        entry.macs.iter().all(is) && entry.ips.iter().all(has)
    };
    let by_name: HashMap<&HostName, &HostEntry> =
        people.iter().map(|entry| (&entry.name.value, entry)).collect();
    let new: Vec<HostEntry> = guests
        .into_iter()
        .filter(|entry| {
            !by_name
                .get(&entry.name.value)
                .is_some_and(|theirs| covers(theirs, entry))
        })
        .collect();
    people.extend(new);
}

/// Gives a definition with `subnet: auto` its subnet; false after reporting that there is none.
fn choose_subnet(
    definition: &mut Definition,
    record: &Chosen,
    place: Option<(&Finder<'_>, &Path)>,
    report: &mut Report<'_>,
) -> Result<bool, Problems> {
    let name = &definition.name.value;
    let Some(section) = definition.ipv4.filter(|section| section.auto) else {
        return Ok(true);
    };
    let registered = place.is_some_and(|(finder, _)| finder.layout().applied(name).on_disk().exists());
    let chosen = match (record.subnet, place) {
        // Guests may have addresses in it.
        (Some(recorded), _) if registered => Some(recorded),
        (_, Some((finder, path))) => {
            let around = finder.around(path)?;
            let taken = around.taken(finder.host(), name, &own_bridges(definition, finder));
            let pool = around.pool();
            match record.subnet {
                Some(recorded) if auto::is_free(recorded, &taken) => Some(recorded),
                _ => auto::subnet(name, pool, &taken),
            }
        }
        (_, None) => auto::subnet(name, &Networks::default().pool, &[]),
    };
    match (chosen, &mut definition.ipv4) {
        (Some(subnet), Some(section)) => section.subnet.value = subnet,
        _ => report.error(
            Fault::new(section.subnet.place, "no subnet is free to be chosen")
                .help("write one, or make `networks.pool` in the configuration larger"),
        ),
    }
    Ok(chosen.is_some())
}

/// True if the network is registered with the same place on this host, and has it now: whatever clashes with it came
/// later, and is no reason to leave its hosts as they are.
fn is_there(network: &Network, finder: &Finder<'_>) -> bool {
    let record = Applied::read(finder.layout(), network.name()).ok().flatten();
    let same = record.and_then(|record| record.needs).is_some_and(|needs| {
        let now = Needs::of(network);
        (needs.mode, needs.bridge, needs.ipv4, needs.ipv6) == (now.mode, now.bridge, now.ipv4, now.ipv6)
    });
    same && finder.layout().is_live() && network.own_bridge().is_some_and(links::exists)
}

/// The addresses that are leased according to a lease file; none if there is none that can be read.
fn addresses_in(file: &FilePlace) -> Vec<Ipv4Addr> {
    let leases = lease::read(file.on_disk()).unwrap_or_default();
    leases
        .iter()
        .filter_map(|lease| match lease.ip {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect()
}

/// The bridges that are the network's own: the one that it is to have, and the one that it has.
fn own_bridges(definition: &Definition, finder: &Finder<'_>) -> Vec<String> {
    let name = &definition.name.value;
    let named = definition.bridge.as_ref().map(|bridge| bridge.value.clone());
    let wanted = named.or_else(|| check::own_bridge(definition));
    let present = Applied::read(finder.layout(), name).ok().flatten();
    wanted
        .into_iter()
        .chain(present.and_then(|applied| applied.bridge))
        .map(|bridge| bridge.to_string())
        .collect()
}

/// Checks the definition, leaving out what guests brought and cannot be used.
fn check_without_culprits(definition: &mut Definition, report: &mut Report<'_>) -> Option<Network> {
    loop {
        let (network, attempt) = report.attempt(|report| check::check(definition, report));
        let culprits = culprits(definition, &attempt);
        if culprits.is_empty() {
            report.accept(attempt);
            return network;
        }
        let mut index = 0..;
        definition.hosts.retain(|_| {
            index
                .next()
                .is_none_or(|i| culprits.iter().all(|(culprit, _)| *culprit != i))
        });
        for (_, problem) in culprits {
            report.excuse(problem, LEFT_OUT);
        }
    }
}

/// Reads what a guest brought, or nothing of it.
fn read_guests<'a>(part: &'a Part, definition: &mut Definition, report: &mut Report<'a>) {
    let before = definition.hosts.len();
    let ((), attempt) = report.attempt(|report| part.read(definition, report));
    match attempt.errors().first() {
        None => report.accept(attempt),
        Some(error) => {
            report.excuse(error.clone(), "this file of a guest is left out");
            definition.hosts.truncate(before);
        }
    }
}

/// The entries of guests that errors are about, by their index in `definition.hosts`, each with the first error. People's
/// entries come first and guests' in the order of their files, so that of two that clash it is the later guest's of
/// which the check says so.
fn culprits(definition: &Definition, attempt: &Attempt) -> Vec<(usize, Problem)> {
    let guests = |hit: &dyn Fn(&HostEntry) -> bool| -> Vec<usize> {
        let entries = definition.hosts.iter().enumerate();
        entries
            .filter(|(_, entry)| matches!(entry.origin, Origin::Guest(_)) && hit(entry))
            .map(|(index, _)| index)
            .collect()
    };
    let mut all: Vec<(usize, Problem)> = Vec::new();
    for error in attempt.errors() {
        let hits = error.places().map(|place| {
            let exact = guests(&|entry| stands_at(entry, place));
            if exact.is_empty() {
                guests(&|entry| entry.name.place.file == place.file)
            } else {
                exact
            }
        });
        for index in hits.into_iter().find(|hits| !hits.is_empty()).unwrap_or_default() {
            if all.iter().all(|(known, _)| *known != index) {
                all.push((index, error.clone()));
            }
        }
    }
    all
}

fn stands_at(entry: &HostEntry, place: Place) -> bool {
    entry.name.place == place
        || entry.macs.iter().any(|mac| mac.place == place)
        || entry.ips.iter().any(|ip| ip.place == place)
}
