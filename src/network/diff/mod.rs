//! What `net update` would change, told before it is done: the definition with its drop-ins against what was applied, a
//! line for each value, with what that interrupts and where the new value stands.
//!
//! Comparing is pure (`tree`); what the host needs is planned where it is done, in `network::apply`.

pub(super) mod impact;
pub(super) mod kept;
mod machines;
mod place;
pub(super) mod tree;

pub use impact::Impact;
pub(super) use kept::{FILE as KEPT, keep};

use super::apply::{Beside, Guests, RegisterError, Step, Target, update_beside};
use super::compile::{self, Compiled};
use super::drift::{Drift, Look, dnsmasq_pid};
use super::{Applied, Found, Observed, StateError};
use crate::host::{Layout, LibvirtError, ServiceError, files};
use crate::lease::LeaseFileError;
use crate::name::{NetworkName, printable};
pub(super) use impact::Target as Reader;
use machines::{Hosts, Machines};
use place::Places;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use tree::{Change, What};

/// Why a network could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// libvirt cannot be reached, or failed.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// Nobody can tell whether dnsmasq runs.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// The lease file is damaged.
    #[error(transparent)]
    Leases(#[from] LeaseFileError),
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a definition asks for beyond what is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The network.
    pub network: NetworkName,
    /// False if it was never registered: then there is nothing to compare with.
    pub registered: bool,
    /// A line for each change.
    pub lines: Vec<Line>,
    /// What somebody else has changed since the definition was applied.
    pub drift: Vec<Drift>,
    /// What could not be compared, and what stands in the way of an update.
    pub remarks: Vec<String>,
}

/// What kind of difference a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A value or an entry is new.
    Added,
    /// A value or an entry is gone.
    Removed,
    /// A value is another one.
    Changed,
    /// A list is in another order.
    Reordered,
    /// Something is to be done that no change of the definition explains.
    Remaining,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What kind of difference it is.
    pub kind: Kind,
    /// Where: `hosts.web.ip`; of something that remains to be done, what.
    pub what: String,
    /// The value that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The value that is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// What it interrupts.
    pub impact: Impact,
    /// The running guests that it concerns, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
    /// The file with the wanted value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line in that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

/// How much of a value is shown.
const SHOWN: usize = 160;

impl Line {
    /// The change as people read it, without impact and place.
    pub fn text(&self) -> String {
        let value = |value: &Option<Value>| {
            let text = value.as_ref().map(crate::yaml::one_line).unwrap_or_default();
            printable(&text, SHOWN)
        };
        let what = printable(&self.what, SHOWN);
        match self.kind {
            Kind::Added => format!("+ {what}: {}", value(&self.new)),
            Kind::Removed => format!("- {what}: {}", value(&self.old)),
            Kind::Changed => format!("{what}: {} -> {}", value(&self.old), value(&self.new)),
            Kind::Reordered => format!("{what}: in another order"),
            Kind::Remaining => format!("to do: {what}"),
        }
    }
}

impl Diff {
    /// True if there is nothing to update, as far as could be seen.
    pub fn is_empty(&self) -> bool {
        self.registered && self.lines.is_empty() && self.drift.is_empty()
    }
}

/// Compares the definition that was `found` with what is applied. Without a `target`, because libvirt cannot be asked,
/// only files are looked at.
pub fn diff(
    found: &Found,
    compiled: &Compiled,
    layout: &Layout,
    target: Option<&Target<'_>>,
) -> Result<Diff, DiffError> {
    let network = &found.network;
    let name = network.name();
    let mut diff = Diff {
        network: name.clone(),
        registered: true,
        lines: Vec::new(),
        drift: Vec::new(),
        remarks: Vec::new(),
    };
    let Some(applied) = Applied::read_sound(layout, name)? else {
        diff.registered = false;
        return Ok(diff);
    };
    let steps = planned(found, compiled, &applied, target, &mut diff)?;
    let impacts = impacts(compiled, &applied, layout, steps.as_deref())?;
    let mut machines = match target {
        Some(target) => Machines::of(&applied, target.libvirt)?,
        None => Machines::default(),
    };
    machines.read_leases(&applied, layout)?;
    if let Some(target) = target {
        diff.drift = drift(&applied, target, steps.as_deref(), &machines)?;
    }
    let mut explained: BTreeSet<Reader> = diff.drift.iter().filter_map(|drift| drift.reader).collect();
    let after = kept::native(network);
    let Some(before) = kept::read(layout, name)? else {
        diff.remarks.push(format!(
            "an earlier version registered {name} and kept no copy of what it applied, so values cannot be compared; \
             `miniascape net update {name}` keeps one"
        ));
        diff.lines
            .extend(remaining(steps.as_deref(), &explained, &machines));
        return Ok(diff);
    };
    let judge = Judge {
        hosts: Hosts::new(&before, &after),
        before: &before,
        after: &after,
        impacts,
        machines: &machines,
    };
    let mut places = Places::new(found);
    let changes = tree::changes(&before, &after);
    explained.extend(changes.iter().flat_map(impact::targets));
    diff.lines.extend(changes.into_iter().map(|change| {
        let (impact, guests) = judge.judge(&change);
        let place = places.of(&change);
        line(change, impact, guests, place)
    }));
    diff.lines
        .extend(remaining(steps.as_deref(), &explained, &machines));
    Ok(diff)
}

/// What somebody else has changed, with the guests that undoing it unplugs.
fn drift(
    applied: &Applied,
    target: &Target<'_>,
    steps: Option<&[Step]>,
    machines: &Machines,
) -> Result<Vec<Drift>, DiffError> {
    let name = &applied.name;
    let record = target.libvirt.network(name.as_str())?;
    let look = Look {
        layout: target.layout,
        applied,
        record: record.as_ref(),
        dnsmasq: dnsmasq_pid(target.layout, target.services, name)?,
        guests: &Guests::running(target.libvirt)?,
        local: target.libvirt.is_local(),
    };
    let mut all = look.drift()?;
    let replugs = steps.is_some_and(|steps| steps.contains(&Step::Replug));
    for drift in all
        .iter_mut()
        .filter(|drift| drift.reader == Some(Reader::Running))
    {
        if replugs {
            drift.impact = Impact::Replug;
        }
        if drift.impact >= Impact::Replug && drift.guests.is_empty() {
            drift.guests = machines.names();
        }
    }
    Ok(all)
}

/// The steps of an update now; `None` if nobody can tell.
fn planned(
    found: &Found,
    compiled: &Compiled,
    applied: &Applied,
    target: Option<&Target<'_>>,
    diff: &mut Diff,
) -> Result<Option<Vec<Step>>, DiffError> {
    let Some(target) = target else {
        return Ok(None);
    };
    for clash in &found.clashes {
        diff.remarks.push(format!("an update is refused now: {clash}"));
    }
    match update_beside(
        &found.network,
        compiled,
        &applied.source,
        target,
        true,
        Beside::Anything,
    ) {
        Ok(report) => Ok(Some(report.steps)),
        Err(RegisterError::Libvirt(error)) => Err(error.into()),
        Err(error) => {
            diff.remarks.push(format!("an update is refused now: {error}"));
            Ok(None)
        }
    }
}

/// What is to be brought up to date, each with what that interrupts: by the planned steps, or, where there are none, by
/// the files.
fn impacts(
    compiled: &Compiled,
    applied: &Applied,
    layout: &Layout,
    steps: Option<&[Step]>,
) -> io::Result<BTreeMap<Reader, Impact>> {
    let mut found = BTreeMap::new();
    if let Some(steps) = steps {
        for step in steps {
            if let Some(reader) = Reader::of(*step) {
                let impact = found.entry(reader).or_insert(Impact::Live);
                *impact = (*impact).max(Impact::of(*step));
            }
        }
        return Ok(found);
    }
    let dir = layout.network(&applied.name);
    for file in compiled.files().iter().filter(|file| !applied.has(file)) {
        let readers: &[Reader] = match file.name {
            compile::LIBVIRT_XML => {
                let old = files::read_if_there(dir.join(file.name).on_disk())?.unwrap_or_default();
                let same = Observed::parse(&String::from_utf8_lossy(&old)) == Observed::parse(&file.content);
                if same {
                    &[Reader::Definition]
                } else {
                    &[Reader::Definition, Reader::Running]
                }
            }
            compile::DNSMASQ_CONF => &[Reader::Conf],
            _ => &[Reader::Data],
        };
        found.extend(readers.iter().map(|reader| (*reader, reader.impact())));
    }
    let gone = |file: &str| applied.files.contains_key(file) && compiled.file(file).is_none();
    if gone(compile::LIBVIRT_XML) {
        found.insert(Reader::Running, Reader::Running.impact());
    }
    if gone(compile::DNSMASQ_CONF) {
        found.insert(Reader::Conf, Reader::Conf.impact());
    }
    Ok(found)
}

/// What changes are judged by.
struct Judge<'d> {
    before: &'d Value,
    after: &'d Value,
    hosts: Hosts<'d>,
    impacts: BTreeMap<Reader, Impact>,
    machines: &'d Machines,
}

impl Judge<'_> {
    /// What a change interrupts, and the guests that it concerns.
    fn judge(&self, change: &Change) -> (Impact, Vec<String>) {
        if impact::is_for_guests(change, self.before, self.after) {
            return (Impact::GuestRestart, self.machines.names());
        }
        let readers = impact::targets(change).iter();
        let impact = readers.filter_map(|reader| self.impacts.get(reader)).max();
        match impact.copied().unwrap_or(Impact::Live) {
            Impact::Live => self.renewal(change),
            impact @ Impact::DnsmasqRestart => (impact, Vec::new()),
            impact => (impact, self.machines.names()),
        }
    }

    /// As [`Judge::judge`], for what interrupts nothing: some of it machines notice when they renew.
    fn renewal(&self, change: &Change) -> (Impact, Vec<String>) {
        let served = |network: &Value| network.get("dhcp").is_some();
        if !served(self.before) && !served(self.after) {
            return (Impact::Live, Vec::new());
        }
        match (change.key(0), change.key(1)) {
            (Some("dhcp"), Some("options" | "ignore")) => (Impact::LeaseRenew, self.machines.names()),
            (Some("hosts"), _) => {
                let hosts = self.hosts.of(change);
                let macs = machines::macs(hosts);
                let known = |host: &Value| host.get("mac").is_some() || host.get("client_id").is_some();
                let reserved = hosts.into_iter().flatten().any(known);
                // Of an entry that comes or goes only those hear who are there.
                let concerns = change
                    .key(2)
                    .map_or_else(|| self.machines.know(&macs), |key| key != "name");
                if reserved && concerns {
                    (Impact::LeaseRenew, self.machines.named(&macs))
                } else {
                    (Impact::Live, Vec::new())
                }
            }
            _ => (Impact::Live, Vec::new()),
        }
    }
}

fn line(change: Change, impact: Impact, guests: Vec<String>, place: Option<place::Place>) -> Line {
    let what = change.shown();
    let (kind, old, new) = match change.what {
        What::Added(new) => (Kind::Added, None, Some(new)),
        What::Removed(old) => (Kind::Removed, Some(old), None),
        What::Changed(old, new) => (Kind::Changed, Some(old), Some(new)),
        What::Reordered => (Kind::Reordered, None, None),
    };
    Line {
        kind,
        what,
        old,
        new,
        impact,
        guests,
        line: place.as_ref().and_then(|place| place.line),
        file: place.map(|place| place.file),
    }
}

/// The steps that no change explains, a line for each thing that they bring up to date: the templates or the version of
/// miniascape are others, or an update was interrupted.
fn remaining(steps: Option<&[Step]>, explained: &BTreeSet<Reader>, machines: &Machines) -> Vec<Line> {
    let mut lines: BTreeMap<Reader, Line> = BTreeMap::new();
    for step in steps.unwrap_or_default() {
        let Some(reader) = Reader::of(*step).filter(|reader| !explained.contains(reader)) else {
            continue;
        };
        let impact = Impact::of(*step);
        let line = lines.entry(reader).or_insert_with(|| Line {
            kind: Kind::Remaining,
            what: String::new(),
            old: None,
            new: None,
            impact,
            guests: Vec::new(),
            file: None,
            line: None,
        });
        if !line.what.is_empty() {
            line.what.push_str(", ");
        }
        line.what.push_str(&step.to_string());
        line.impact = line.impact.max(impact);
        if line.impact >= Impact::Replug {
            line.guests = machines.names();
        }
    }
    lines.into_values().collect()
}
