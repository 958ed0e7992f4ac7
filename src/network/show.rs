//! What `net show` tells of a definition: the network in the native form, where each entry comes from, and which
//! values are defaults. Nothing but files is looked at.

use super::definition::{self, Form};
use super::find::Found;
use super::{NetworkError, Origin, render};
use crate::host::files;
use crate::name::printable;
use crate::yaml::{MAX_FILE, Report, Source};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What a definition means.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The file of the definition itself.
    pub file: PathBuf,
    /// The form that this file is in.
    pub form: Form,
    /// The definition with everything that belongs to it, in the native form: `name`, `mode`, …
    pub network: Value,
    /// The values that are defaults, as paths in `network`: `ipv4.gateway`.
    pub defaults: Vec<&'static str>,
    /// Where the entries come from.
    pub entries: Vec<Entry>,
    #[serde(skip)]
    text: String,
}

/// Where an entry comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// The entry, as a path in the network: `hosts.0`.
    pub path: String,
    /// Whose file that is.
    pub from: From,
    /// The file.
    pub file: PathBuf,
}

/// Whose file an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The definition itself.
    Definition,
    /// A file of people's beside it.
    DropIn,
    /// A file that came with a guest.
    Guest,
}

impl Entry {
    fn new(path: String, origin: &Origin, definition: &Path) -> Self {
        let (from, file) = match origin {
            Origin::Definition => (From::Definition, definition),
            Origin::DropIn(file) => (From::DropIn, file.as_path()),
            Origin::Guest(file) => (From::Guest, file.as_path()),
        };
        Self {
            path,
            from,
            file: file.to_owned(),
        }
    }

    /// A few words for people.
    fn note(&self) -> String {
        let part = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
        let file = part(self.file.file_name());
        printable(
            &match self.from {
                From::Definition => file,
                From::DropIn => format!("{}/{file}", part(self.file.parent().and_then(Path::file_name))),
                From::Guest => format!("guest {}", part(self.file.file_stem())),
            },
            80,
        )
    }
}

impl Shown {
    /// The network as YAML, with comments that say where entries come from and which values are defaults.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What the definition that was `found` means.
pub fn show(found: &Found) -> Result<Shown, NetworkError> {
    let bytes = files::read_at_most(&found.path, MAX_FILE)?;
    let (name, text) = (found.path.display().to_string(), String::from_utf8_lossy(&bytes));
    let mut report = Report::new(Source::new(&name, &text));
    let definition = definition::read(&mut report);
    let (definition, _) = report.finish(definition)?;
    let network = &found.network;
    let records = network
        .dns
        .records
        .iter()
        .map(|record| &record.origin)
        .enumerate();
    let hosts = network.hosts().iter().map(|host| &host.origin).enumerate();
    let entry = |list: &str, index: usize, origin| Entry::new(format!("{list}.{index}"), origin, &found.path);
    let mut shown = Shown {
        file: found.path.clone(),
        form: definition.form,
        network: render::native(&found.network)["network"].take(),
        defaults: render::defaults(&definition),
        entries: records
            .map(|(index, origin)| entry("dns.records", index, origin))
            .chain(hosts.map(|(index, origin)| entry("hosts", index, origin)))
            .collect(),
        text: String::new(),
    };
    shown.text = annotated(&shown, found);
    Ok(shown)
}

/// The lines of the network, with a comment behind each that there is something to say of.
fn annotated(shown: &Shown, found: &Found) -> String {
    let mut text = format!("# {}\n", printable(&shown.file.display().to_string(), 4096));
    if shown.form == Form::Original {
        text.push_str("# in the form of the first releases; `net import` rewrites it in this one\n");
    }
    let entries: HashMap<&str, &Entry> = shown.entries.iter().map(|e| (e.path.as_str(), e)).collect();
    let noted: Vec<(String, String)> = render::lines(&found.network)
        .into_iter()
        .map(|line| {
            let path = line.path.strip_prefix("network.").unwrap_or_default();
            let note = match entries.get(path) {
                Some(entry) => entry.note(),
                None => defaults(shown, path, &line.text),
            };
            (line.text, note)
        })
        .collect();
    let width = noted
        .iter()
        .filter(|(_, note)| !note.is_empty())
        .map(|(line, _)| line.chars().count())
        .max()
        .unwrap_or(0);
    for (line, note) in noted {
        if note.is_empty() {
            text.push_str(&line);
        } else {
            let _ = write!(text, "{line:width$}  # {note}");
        }
        text.push('\n');
    }
    text
}

/// Which defaults the value at `path`, written as `line`, has in it.
fn defaults(shown: &Shown, path: &str, line: &str) -> String {
    // A mapping on one line holds its values, and one on several lines has a line for each.
    let inner: Vec<&str> = shown
        .defaults
        .iter()
        .filter_map(|default| default.strip_prefix(path)?.strip_prefix('.'))
        .collect();
    if shown.defaults.contains(&path) {
        "default".to_owned()
    } else if line.ends_with(':') || inner.is_empty() {
        String::new()
    } else {
        format!("default: {}", inner.join(", "))
    }
}
