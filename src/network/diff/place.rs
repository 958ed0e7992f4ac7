//! Where the values of a definition stand: file and line, found by reading the files once more as mere YAML.

use super::tree::{Change, Part, What, label};
use crate::host::files;
use crate::network::{Found, render};
use crate::yaml::{MAX_FILE, Node, Report, Source, Value, parse_any};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const HOSTS: &str = "hosts";
const RECORDS: &str = "records";

/// A file, and the line in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// `None` if the file cannot be read any more.
    pub(super) line: Option<u32>,
}

/// The lines of the values of the files that belong to a definition, each read when it is first asked for.
pub(super) struct Places<'f> {
    found: &'f Found,
    /// The files of hosts and records that do not stand in the definition itself, by list and label.
    elsewhere: HashMap<(&'static str, String), &'f Path>,
    files: HashMap<PathBuf, HashMap<String, u32>>,
}

/// What the native form calls by these paths, the form of the first releases calls so.
const ORIGINAL: [(&str, &[&str]); 4] = [
    ("mode", &["forward"]),
    ("ipv4", &["netmask", "gateway"]),
    ("dhcp", &["dhcp_start", "libvirt_network_dhcp_enabled"]),
    ("ipv4.gateway", &["gateway"]),
];

impl<'f> Places<'f> {
    pub(super) fn new(found: &'f Found) -> Self {
        let network = &found.network;
        let hosts = network.hosts().iter();
        let hosts = hosts.filter_map(|host| Some(((HOSTS, host.name.to_string()), host.origin.path()?)));
        let mut elsewhere: HashMap<_, _> = hosts.collect();
        let origins = network.dns.records.iter().map(|record| record.origin.path());
        if origins.clone().any(|path| path.is_some()) {
            let native = render::native(network);
            let records = native["network"]["dns"][RECORDS].as_array().into_iter().flatten();
            elsewhere.extend(
                records
                    .zip(origins)
                    .filter_map(|(record, path)| Some(((RECORDS, label(RECORDS, record)), path?))),
            );
        }
        Self {
            found,
            elsewhere,
            files: HashMap::new(),
        }
    }

    /// Where the new value of a change stands; `None` for what is only gone.
    pub(super) fn of(&mut self, change: &Change) -> Option<Place> {
        if matches!(change.what, What::Removed(_)) {
            return None;
        }
        let mut path: Vec<String> = change
            .path
            .iter()
            .map(|part| match part {
                Part::Key(part) | Part::Entry(part) => part.clone(),
            })
            .collect();
        // A host with another name stands there under its new one.
        if let (Some("hosts"), Some("name"), What::Changed(_, new)) =
            (change.key(0), change.key(2), &change.what)
            && let Some(new) = new.as_str()
        {
            new.clone_into(&mut path[1]);
        }
        // A file beside the definition has the lists at its top.
        let list = match (change.key(0), change.key(1)) {
            (Some(HOSTS), _) => Some((HOSTS, 0)),
            (_, Some(RECORDS)) => Some((RECORDS, 1)),
            _ => None,
        };
        let elsewhere = list.and_then(|(list, depth)| {
            let file = self.elsewhere.get(&(list, path.get(depth + 1)?.clone()))?;
            path.drain(..depth);
            Some(*file)
        });
        let file = elsewhere.unwrap_or(&self.found.path).to_owned();
        let lines = self.files.entry(file.clone()).or_insert_with(|| lines(&file));
        let line = (1..=path.len()).rev().find_map(|length| {
            let path = path[..length].join("\n");
            let original = ORIGINAL
                .iter()
                .find(|(native, _)| native.replace('.', "\n") == path);
            let others = original.map_or(&[][..], |(_, others)| others);
            std::iter::once(path.as_str())
                .chain(others.iter().copied())
                .find_map(|path| lines.get(path))
                .copied()
        });
        Some(Place {
            line: line.or_else(|| lines.get("").copied()),
            file,
        })
    }
}

/// The lines of a file's values by their paths, parts with a line break between them.
fn lines(file: &Path) -> HashMap<String, u32> {
    let mut found = HashMap::new();
    // The file was read before; whoever changes it meanwhile loses the lines only.
    let Ok(bytes) = files::read_at_most(file, MAX_FILE) else {
        return found;
    };
    let (name, text) = (file.display().to_string(), String::from_utf8_lossy(&bytes));
    let mut report = Report::new(Source::new(&name, &text));
    if let Some(Some(root)) = parse_any(&mut report) {
        let network = match &root.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.value == "network"),
            _ => None,
        };
        note(
            String::new(),
            "",
            network.map_or(&root, |(_, node)| node),
            &mut found,
        );
    }
    found
}

fn note(path: String, key: &str, node: &Node<'_>, found: &mut HashMap<String, u32>) {
    let below = |part: &str| match path.as_str() {
        "" => part.to_owned(),
        path => format!("{path}\n{part}"),
    };
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Map(entries) => {
            for (key, value) in entries {
                found.entry(below(&key.value)).or_insert(key.place.line);
                note(below(&key.value), &key.value, value, found);
            }
        }
        Value::List(items) => {
            for item in items {
                note(below(&label(key, &plain(item))), "", item, found);
            }
        }
    }
    found.entry(path).or_insert(node.place.line);
}

/// The value as the native form has it, as far as labels are made of it.
fn plain(node: &Node<'_>) -> serde_json::Value {
    match &node.value {
        Value::Scalar { text, .. } => text.as_ref().into(),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.value.to_string(), plain(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
