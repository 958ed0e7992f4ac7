//! Two networks in the native form, compared value by value. What a difference costs is `impact`'s business, and where
//! the new value stands `place`'s.

use serde_json::{Map, Value};
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

/// One step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) enum Part {
    /// The value of a key.
    Key(String),
    /// The entry of a list that is told from the others by this.
    Entry(String),
}

/// What became of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) enum What {
    Added(Value),
    Removed(Value),
    Changed(Value, Value),
    /// A list has the same entries in another order.
    Reordered,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) struct Change {
    pub(in crate::network) path: Vec<Part>,
    pub(in crate::network) what: What,
}

impl Change {
    /// The key at that depth.
    pub(in crate::network) fn key(&self, depth: usize) -> Option<&str> {
        match self.path.get(depth) {
            Some(Part::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The entry at that depth.
    pub(in crate::network) fn entry(&self, depth: usize) -> Option<&str> {
        match self.path.get(depth) {
            Some(Part::Entry(label)) => Some(label),
            _ => None,
        }
    }

    /// The path for people: `hosts.web.ip`, `dns.records[cname www].target`.
    pub(in crate::network) fn shown(&self) -> String {
        let mut text = String::new();
        let mut names = false;
        for part in &self.path {
            let _ = match part {
                Part::Key(key) if text.is_empty() => write!(text, "{key}"),
                Part::Key(part) => write!(text, ".{part}"),
                // The names of hosts have neither dots nor blanks.
                Part::Entry(part) if names => write!(text, ".{part}"),
                Part::Entry(label) => write!(text, "[{label}]"),
            };
            names = matches!(part, Part::Key(key) if key == HOSTS);
        }
        text
    }
}

const HOSTS: &str = "hosts";

/// Lists of which each entry is a thing of its own; other lists are one value.
const LISTS: [&str; 7] = [
    HOSTS,
    "records",
    "ranges",
    "options",
    "dnsmasq_options",
    "require_interfaces",
    "forbid_interfaces",
];

/// The differences between two networks in the native form, in the order of that form.
pub(in crate::network) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), before, after, &mut found);
    found
}

fn compare(path: &mut Vec<Part>, before: &Value, after: &Value, found: &mut Vec<Change>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => maps(path, before, after, found),
        (before, after) if before == after => {}
        (before, after) => found.push(Change {
            path: path.clone(),
            what: What::Changed(before.clone(), after.clone()),
        }),
    }
}

fn maps(
    path: &mut Vec<Part>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Change>,
) {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        path.push(Part::Key(key.clone()));
        let (old, new) = (before.get(key), after.get(key));
        if LISTS.contains(&key.as_str()) {
            let entries = |list: Option<&Value>| list.and_then(Value::as_array).cloned().unwrap_or_default();
            lists(path, key, &entries(old), &entries(new), found);
        } else {
            match (old, new) {
                (Some(old), Some(new)) => compare(path, old, new, found),
                (None, Some(new)) => found.push(change(path, What::Added(new.clone()))),
                (Some(old), None) => found.push(change(path, What::Removed(old.clone()))),
                (None, None) => {}
            }
        }
        path.pop();
    }
}

fn change(path: &[Part], what: What) -> Change {
    Change {
        path: path.to_vec(),
        what,
    }
}

/// Entries of the same label belong together, equal ones first; what is left over are hosts with another name, or the
/// only range that is another, and what came and went.
fn lists(path: &mut Vec<Part>, key: &str, before: &[Value], after: &[Value], found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let count = found.len();
    let mut old: HashMap<String, VecDeque<&Value>> = HashMap::new();
    for entry in before {
        old.entry(label(key, entry)).or_default().push_back(entry);
    }
    // Equal ones first, so that of several with one label the changed one is found.
    let mut rest: Vec<&Value> = Vec::new();
    for entry in after {
        let same = old.get_mut(&label(key, entry)).and_then(|list| {
            let at = list.iter().position(|other| *other == entry)?;
            list.remove(at)
        });
        if same.is_none() {
            rest.push(entry);
        }
    }
    let mut pairs: Vec<(Option<&Value>, &Value)> = rest
        .iter()
        .map(|entry| {
            (
                old.get_mut(&label(key, entry)).and_then(VecDeque::pop_front),
                *entry,
            )
        })
        .collect();
    let mut gone: Vec<&Value> = before
        .iter()
        .filter(|entry| {
            let left = old.get_mut(&label(key, entry));
            left.is_some_and(|list| {
                let at = list.iter().position(|other| std::ptr::eq(*other, *entry));
                at.and_then(|at| list.remove(at)).is_some()
            })
        })
        .collect();
    match key {
        HOSTS => pair_by_mac(&mut pairs, &mut gone),
        "ranges" => {
            let new: Vec<usize> = (0..pairs.len()).filter(|i| pairs[*i].0.is_none()).collect();
            if let ([one], [other]) = (new.as_slice(), gone.as_slice()) {
                pairs[*one].0 = Some(*other);
                gone.clear();
            }
        }
        _ => {}
    }
    for (old, new) in pairs {
        path.push(Part::Entry(label(key, old.unwrap_or(new))));
        match old {
            None => found.push(change(path, What::Added(new.clone()))),
            Some(old) => compare(path, old, new, found),
        }
        path.pop();
    }
    for entry in gone {
        path.push(Part::Entry(label(key, entry)));
        found.push(change(path, What::Removed(entry.clone())));
        path.pop();
    }
    if found.len() == count {
        found.push(change(path, What::Reordered));
    }
}

/// A host that came with the hardware address of one that went is that one, with another name.
fn pair_by_mac<'v>(pairs: &mut [(Option<&'v Value>, &'v Value)], gone: &mut Vec<&'v Value>) {
    let mut by_mac: HashMap<String, usize> = HashMap::new();
    for (index, host) in gone.iter().enumerate() {
        if let Some(mac) = host.get("mac") {
            by_mac.insert(mac.to_string(), index);
        }
    }
    let mut renamed = Vec::new();
    for (old, new) in pairs.iter_mut().filter(|(old, _)| old.is_none()) {
        if let Some(index) = new.get("mac").and_then(|mac| by_mac.remove(&mac.to_string())) {
            *old = gone.get(index).copied();
            renamed.push(index);
        }
    }
    let mut index = 0..;
    gone.retain(|_| index.next().is_none_or(|i| !renamed.contains(&i)));
}

/// What tells an entry from the others of its list.
pub(in crate::network) fn label(list: &str, entry: &Value) -> String {
    let Value::Object(fields) = entry else {
        return text(entry);
    };
    let field = |key: &str| fields.get(key).map(text).unwrap_or_default();
    match list {
        HOSTS => field("name"),
        "ranges" => field("start"),
        "options" => match fields.get("tag") {
            Some(tag) => format!("{} for {}", field("option"), text(tag)),
            None => field("option"),
        },
        // The kind of a record is its first key.
        _ => fields
            .iter()
            .next()
            .map(|(key, value)| format!("{key} {}", text(value)))
            .unwrap_or_default(),
    }
}

/// A single value as it is, others as YAML on one line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => crate::yaml::one_line(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(before: &Value, after: &Value) -> Vec<String> {
        changes(before, after)
            .iter()
            .map(|change| match &change.what {
                What::Added(new) => format!("+ {}: {}", change.shown(), text(new)),
                What::Removed(old) => format!("- {}: {}", change.shown(), text(old)),
                What::Changed(old, new) => format!("{}: {} -> {}", change.shown(), text(old), text(new)),
                What::Reordered => format!("{}: order", change.shown()),
            })
            .collect()
    }

    #[test]
    fn hosts_are_known_by_name_and_renamed_ones_by_mac() {
        let before = json!({ "hosts": [
            { "name": "a", "mac": "m1", "ip": "10.0.0.1" },
            { "name": "b", "mac": "m2", "ip": "10.0.0.2" },
            { "name": "c", "ip": "10.0.0.3" },
        ] });
        let after = json!({ "hosts": [
            { "name": "bb", "mac": "m2", "ip": "10.0.0.2" },
            { "name": "a", "mac": "m1", "ip": "10.0.0.9" },
            { "name": "d", "ip": "10.0.0.4" },
        ] });
        assert_eq!(
            shown(&before, &after),
            [
                "hosts.b.name: b -> bb",
                "hosts.a.ip: 10.0.0.1 -> 10.0.0.9",
                "+ hosts.d: { name: d, ip: 10.0.0.4 }",
                "- hosts.c: { name: c, ip: 10.0.0.3 }",
            ]
        );
        assert_eq!(shown(&before, &json!({})).len(), 3);
    }

    #[test]
    fn records_of_one_name_ranges_and_order() {
        let record = |port: u16| json!({ "srv": "_x._tcp", "target": "a", "port": port });
        let before = json!({ "dns": { "records": [record(1), record(2), { "cname": "w", "target": "a" }] } });
        let after = json!({ "dns": { "records": [record(2), record(3), { "txt": "t", "text": "x" }] } });
        assert_eq!(
            shown(&before, &after),
            [
                "dns.records[srv _x._tcp].port: 1 -> 3",
                "+ dns.records[txt t]: { txt: t, text: x }",
                "- dns.records[cname w]: { cname: w, target: a }",
            ]
        );
        let turned = json!({ "dns": { "records": [record(2), record(1), { "cname": "w", "target": "a" }] } });
        assert_eq!(shown(&before, &turned), ["dns.records: order"]);
        let ranges = |start: u8, end: u8| json!({ "dhcp": { "ranges": [{ "start": start, "end": end }] } });
        assert_eq!(
            shown(&ranges(1, 5), &ranges(1, 6)),
            ["dhcp.ranges[1].end: 5 -> 6"]
        );
        assert_eq!(
            shown(&ranges(1, 5), &ranges(2, 5)),
            ["dhcp.ranges[1].start: 1 -> 2"]
        );
        let one = json!({ "mac": ["a", "b"] });
        assert_eq!(shown(&one, &json!({ "mac": "a" })), ["mac: [a, b] -> a"]);
        assert_eq!(shown(&one, &one), [""; 0]);
    }
}
