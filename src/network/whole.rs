//! A network from all its files: the definition, people's drop-ins, and what guests brought, checked as one.

use super::definition::{self, Definition, HostEntry};
use super::dropin::{self, Part};
use super::model::{Network, Origin};
use super::{NetworkError, Warning, check, definition_bytes};
use crate::host::Layout;
use crate::yaml::{Attempt, Place, Problem, Problems, Report, Source};
use std::cell::OnceCell;
use std::path::Path;

/// What becomes of an entry of a guest that cannot be used.
const LEFT_OUT: &str = "this entry of a guest is left out";

/// Reads and checks the definition at `path` with everything that belongs to it in `layout`, and with people's files
/// beside `source`, of which `path` may be a copy. `register` says that the network is about to become one of this host.
pub(super) fn read(
    layout: &Layout,
    path: &Path,
    source: &Path,
    register: bool,
) -> Result<(Network, Vec<Warning>), NetworkError> {
    let name = path.display().to_string();
    let bytes = definition_bytes(path)?;
    Ok(read_with(&name, &bytes, |definition| {
        dropin::load(layout, source, &definition.name.value, register)
    })?)
}

/// As [`read`], from memory: `parts` gives what belongs to a definition.
pub(super) fn read_with(
    name: &str,
    bytes: &[u8],
    parts: impl FnOnce(&Definition) -> Vec<Part>,
) -> Result<(Network, Vec<Warning>), Problems> {
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
    for part in late.get_or_init(|| parts(&definition)) {
        if part.is_guests() {
            read_guests(part, &mut definition, &mut report);
        } else {
            part.read(&mut definition, &mut report);
        }
    }
    loop {
        let (network, attempt) = report.attempt(|report| check::check(&definition, report));
        let culprits = culprits(&definition, &attempt);
        if culprits.is_empty() {
            report.accept(attempt);
            return report.finish(network);
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
