//! What stands beside a network's definition and is read with it: `NAME.d/*.yaml`, files of people's, and
//! `hosts.d/GUEST.yaml`, what guests brought with them. Here they are found and read into the definition; putting it
//! all together and checking it is `network::whole`'s business.
//!
//! People's files are part of the definition, so that a mistake in one is a mistake in the network. A guest's file was
//! written by a program, perhaps for another network of that name: one that cannot be used is left out with a warning.

mod guests;

pub(super) use guests::take_back;
pub use guests::{Brought, bring, has_brought, networks_of};

use super::definition::{Definition, HOSTS, HostEntry, RECORDS, RecordEntry, hosts, optional, read_records};
use super::model::Origin;
use crate::host::{Layout, Place as FilePlace, files};
use crate::name::NetworkName;
use crate::package::network_parts;
use crate::yaml::{Document, Fault, Fields, Key, MAX_FILE, Place, Report, Source, parse_any};
use fs_err as fs;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// A file that is read with the definition.
#[derive(Debug)]
pub(super) struct Part {
    origin: Origin,
    /// Its path, for messages.
    name: String,
    /// What is in it, or why it cannot be read.
    content: Result<Vec<u8>, String>,
    /// The content as text.
    text: String,
}

/// The files that belong to the network `name` whose definition is at `path`: people's, then the guests', each sorted
/// by name.
///
/// For a definition of this host, in the directory for them or kept from a registration, people's files lie in
/// `/etc/miniascape/networks/NAME.d`; for any other in `NAME.d` beside it. What guests brought belongs to the host: it
/// is read for definitions of this host, for networks that are registered here, and when `register` says that this one
/// is about to be.
///
/// `assumed` are files that are read as if they were there with that content.
pub(super) fn load(
    layout: &Layout,
    path: &Path,
    name: &NetworkName,
    register: bool,
    assumed: &[(PathBuf, String)],
) -> Vec<Part> {
    let own = is_own(layout, path, name);
    let people = if own {
        layout.drop_ins(name)
    } else {
        let beside = path.parent().unwrap_or(Path::new("")).join(format!("{name}.d"));
        FilePlace::given(beside)
    };
    let mut parts = brought(layout, path, name);
    parts.extend(list(&people, Origin::DropIn, &is_part));
    if own || register || layout.applied(name).on_disk().exists() {
        let dir = layout.guests_hosts(name);
        let mut guests = list(&dir, Origin::Guest, &is_part);
        // Behind the others, so that it is these that give way.
        for (path, text) in assumed
            .iter()
            .filter(|(path, _)| path.parent() == Some(dir.on_disk()))
        {
            guests.retain(|part| part.origin.path() != Some(path));
            guests.push(Part::new(
                Origin::Guest(path.clone()),
                Ok(text.clone().into_bytes()),
            ));
        }
        parts.extend(guests);
    }
    parts
}

/// True for a definition of this host: one in the directories for them, or kept from a registration.
pub(super) fn is_own(layout: &Layout, path: &Path, name: &NetworkName) -> bool {
    let Some(dir) = path.parent().and_then(real) else {
        return false;
    };
    if is_packaged(layout, &dir) {
        return true;
    }
    [
        layout.definitions(),
        layout.reference_networks(),
        layout.network(name),
    ]
    .iter()
    .any(|own| real(own.on_disk()).is_some_and(|own| own == dir))
}

/// True for the directory of an installed guest package.
fn is_packaged(layout: &Layout, dir: &Path) -> bool {
    let around = dir.parent().and_then(real);
    around.is_some() && around == real(layout.guest_packages().on_disk())
}

/// What people had put beside the definition on the host where the guest was packed that it came with.
fn brought(layout: &Layout, path: &Path, name: &NetworkName) -> Vec<Part> {
    let Some(dir) = path
        .parent()
        .filter(|dir| real(dir).is_some_and(|dir| is_packaged(layout, &dir)))
    else {
        return Vec::new();
    };
    let prefix = network_parts(name);
    let is_its = |file: &OsString| is_part(file) && file.to_string_lossy().starts_with(&prefix);
    list(&FilePlace::given(dir), Origin::DropIn, &is_its)
}

/// What people have put beside the definition of `name` at `path`, a registered network: file names and contents, in the
/// order in which they are read.
pub fn beside(layout: &Layout, path: &Path, name: &NetworkName) -> io::Result<Vec<(String, Vec<u8>)>> {
    let parts = load(layout, path, name, false, &[]);
    let people = parts.into_iter().filter(|part| !part.is_guests());
    people
        .map(|part| {
            let file = part.origin.path().and_then(Path::file_name).unwrap_or_default();
            let file = file.to_string_lossy();
            // As it was called before it was in a package.
            let own = file.strip_prefix(&network_parts(name));
            let own = own
                .and_then(|own| own.split_once('-'))
                .map_or(&*file, |(_, own)| own);
            Ok((own.to_owned(), part.content.map_err(io::Error::other)?))
        })
        .collect()
}

fn real(dir: &Path) -> Option<PathBuf> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    fs::canonicalize(dir).ok()
}

/// The parts in a directory, in the order of their names; one that says why, if the directory cannot be read.
fn list(dir: &FilePlace, origin: fn(PathBuf) -> Origin, is_part: &dyn Fn(&OsString) -> bool) -> Vec<Part> {
    let names = || -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(dir.on_disk())?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    let mut names = match names() {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![Part::new(origin(dir.on_disk().to_owned()), Err(e))],
    };
    names.retain(|name| is_part(name));
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let path = dir.join(name).on_disk().to_owned();
            let content = files::read_at_most(&path, MAX_FILE);
            Part::new(origin(path), content)
        })
        .collect()
}

/// `*.yaml`, and no hidden file, as editors leave them.
fn is_part(name: &OsString) -> bool {
    let name = Path::new(name);
    name.extension().is_some_and(|extension| extension == "yaml")
        && !name.as_os_str().as_encoded_bytes().starts_with(b".")
}

impl Part {
    fn new(origin: Origin, content: io::Result<Vec<u8>>) -> Self {
        let path = origin.path().unwrap_or(Path::new(""));
        Self {
            name: path.display().to_string(),
            text: content
                .as_ref()
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .unwrap_or_default(),
            content: content.map_err(|e| e.to_string()),
            origin,
        }
    }

    /// True if it is a guest's, without which the network can do.
    pub(super) const fn is_guests(&self) -> bool {
        matches!(self.origin, Origin::Guest(_))
    }

    /// Reads it into the definition. What cannot be read is reported.
    pub(super) fn read<'a>(&'a self, definition: &mut Definition, report: &mut Report<'a>) {
        if report.turn_to(Source::new(&self.name, &self.text)).is_none() {
            let fault = Fault::new(definition.name.place, "too many files belong to this network");
            report.error(fault.help("put the entries of several files into one"));
            return;
        }
        let start = Place {
            file: report.source().1,
            line: 1,
            column: 1,
            length: 1,
        };
        match &self.content {
            Err(reason) => {
                return report.error(Fault::new(start, format!("the file cannot be read: {reason}")));
            }
            Ok(bytes) => {
                if let Some(chunk) = bytes.utf8_chunks().find(|chunk| !chunk.invalid().is_empty()) {
                    return report.not_utf8(chunk.valid());
                }
            }
        }
        let Some(Some(root)) = parse_any(report) else {
            return;
        };
        let keys: &[Key] = if self.is_guests() { GUEST } else { DROP_IN };
        let Some(fields) = Fields::read(&root, "the file", keys, report) else {
            return;
        };
        let entries = optional(fields.get("hosts"), |n| n.items("`hosts`", report));
        let entries = entries.flatten().unwrap_or_default();
        for node in entries {
            if let Some(entry) = hosts::read(node, report) {
                let origin = self.origin.clone();
                definition.hosts.push(HostEntry { origin, ..entry });
            }
        }
        if !self.is_guests()
            && let Some(node) = fields.get("records")
        {
            let origin = || self.origin.clone();
            let records = read_records(node, report).into_iter();
            let records = records.map(|entry| RecordEntry {
                origin: origin(),
                ..entry
            });
            definition.dns.records.extend(records);
        }
    }
}

const WHOLE: &str = "a file beside a definition has `hosts:` or `records:` at its top";

const DROP_IN: &[Key] = &[
    Key::may(
        "hosts",
        HOSTS,
        "machines that have a name or a reservation, as in the definition",
    ),
    Key::may(
        "records",
        RECORDS,
        "what is answered beside the names of hosts, as in `dns.records`",
    ),
    Key::Instead("network", WHOLE),
    Key::Instead("dns", "write `records:` at the top of the file"),
];

/// Files beside network definitions. Those of guests are of the same form, without `records`.
pub const DOCUMENT: Document = Document {
    name: "network-drop-in",
    title: "hosts and records of a network, in a file beside its definition",
    files: &[
        "/etc/miniascape/networks/NAME.d/*.yaml",
        "/var/lib/miniascape/networks/NAME/hosts.d/*.yaml",
    ],
    keys: DROP_IN,
    old_keys: &[],
    example: include_str!("../../../data/examples/network-drop-in.yaml"),
};

const GUEST: &[Key] = &[
    Key::may("hosts", HOSTS, "the guest's entries"),
    Key::Instead("network", "a guest's file has `hosts:` at its top"),
];
