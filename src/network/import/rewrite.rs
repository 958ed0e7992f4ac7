//! A file in the form of the first releases, written anew in the native form. Comments stay with what they stood at;
//! defaults stay defaults, and the hosts in their order.

use super::{ImportError, Imported};
use crate::network::definition::{self, Definition, Form};
use crate::network::{read_bytes, render};
use crate::schema;
use crate::yaml::{self, Comment, Line, Node, Report, Source};
use serde_json::Value;
use std::collections::HashMap;

/// Where the keys of the original's form have gone; others are where they were.
const MOVED: [(&str, &str); 6] = [
    ("forward", "mode"),
    ("gateway", "ipv4"),
    ("netmask", "ipv4"),
    ("libvirt_network_dhcp_enabled", "dhcp"),
    ("dhcp_start", "dhcp"),
    ("dhcp_end", "dhcp"),
];

/// The definition in `bytes`, which is in the original's form, in the native one. `name` stands for the file in
/// messages.
pub fn rewrite(name: &str, bytes: &[u8]) -> Result<Imported, ImportError> {
    let (network, warnings) = read_bytes(name, bytes)?;
    let text = String::from_utf8_lossy(bytes);
    let mut report = Report::new(Source::new(name, &text));
    let definition = definition::read(&mut report);
    let (definition, _) = report.finish(definition)?;
    if definition.form == Form::Native {
        return Err(ImportError::Native(crate::name::printable(name, 4096)));
    }
    let mut value = render::native(&network);
    if let Some(hosts) = value["network"].get_mut("hosts") {
        restore_order(hosts, &definition);
    }
    for default in render::defaults(&definition) {
        prune(&mut value["network"], default);
    }
    let mut lost = Vec::new();
    let anchors = anchors(name, &text);
    let written = commented(&yaml::write(&value), &anchors, &text, &mut lost);
    match read_bytes(name, written.as_bytes()) {
        Ok((again, _)) if again == network => Ok(Imported {
            network,
            text: schema::with_modeline(&definition::DOCUMENT, &written),
            lost,
            warnings,
        }),
        _ => Err(ImportError::Differs(crate::name::printable(name, 4096))),
    }
}

/// Puts the hosts of the native form, which are in the order of their addresses, into that of the file.
fn restore_order(hosts: &mut Value, definition: &Definition) {
    let order: HashMap<&str, usize> = definition
        .hosts
        .iter()
        .enumerate()
        .map(|(index, host)| (host.name.value.as_str(), index))
        .collect();
    if let Value::Array(hosts) = hosts {
        hosts.sort_by_key(|host| host["name"].as_str().and_then(|name| order.get(name)).copied());
    }
}

/// Removes the value at `path`, and a mapping that had only this one; `dhcp` means something without any.
fn prune(value: &mut Value, path: &str) {
    let Value::Object(entries) = value else { return };
    match path.split_once('.') {
        None => drop(entries.shift_remove(path)),
        Some((key, rest)) => {
            if let Some(inner) = entries.get_mut(key) {
                prune(inner, rest);
                if key != "dhcp" && inner.as_object().is_some_and(serde_json::Map::is_empty) {
                    entries.shift_remove(key);
                }
            }
        }
    }
}

/// The lines at which something begins, with the path of what has become of it.
fn anchors(name: &str, text: &str) -> HashMap<usize, String> {
    let mut report = Report::new(Source::new(name, text));
    let mut anchors = HashMap::new();
    let Some(root) = yaml::parse(&mut report) else {
        return anchors;
    };
    let mut put = |line: u32, path: String| {
        anchors.entry(line as usize).or_insert(path);
    };
    for (key, network) in entries(&root) {
        put(key.place.line, "network".to_owned());
        for (key, value) in entries(network) {
            let moved = MOVED.iter().find(|(old, _)| *old == key.value);
            let path = moved.map_or(key.value.as_ref(), |(_, new)| new);
            put(key.place.line, format!("network.{path}"));
            if let yaml::Value::List(items) = &value.value {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("network.{path}.{index}");
                    let keys = entries(item).iter().map(|(key, _)| key.place.line);
                    for line in std::iter::once(item.place.line).chain(keys) {
                        put(line, path.clone());
                    }
                }
            }
        }
    }
    anchors
}

fn entries<'n, 'a>(node: &'n Node<'a>) -> &'n [(yaml::At<std::borrow::Cow<'a, str>>, Node<'a>)] {
    match &node.value {
        yaml::Value::Map(entries) => entries,
        _ => &[],
    }
}

/// What stands around a line: lines above it, empty ones included, and words behind it.
#[derive(Default)]
struct Around {
    above: Vec<String>,
    behind: Vec<String>,
}

/// The `lines` with the comments and empty lines of `text`.
fn commented(lines: &[Line], anchors: &HashMap<usize, String>, text: &str, lost: &mut Vec<String>) -> String {
    let comments: HashMap<usize, Comment> = yaml::comments(text)
        .into_iter()
        .map(|comment| (comment.line, comment))
        .collect();
    let mut around: HashMap<&str, Around> = HashMap::new();
    let mut pending = Vec::new();
    let mut last = "";
    for (number, line) in (1..).zip(text.lines()) {
        let comment = comments.get(&number);
        if let Some(path) = anchors.get(&number) {
            last = path;
            around.entry(path).or_default().above.append(&mut pending);
        }
        match comment {
            Some(comment) if comment.own_line => pending.push(format!("#{}", comment.text.trim_end())),
            Some(comment) => {
                let behind = &mut around.entry(last).or_default().behind;
                behind.push(comment.text.trim().to_owned());
            }
            None if line.trim().is_empty() && pending.last().is_none_or(|line| !line.is_empty()) => {
                pending.push(String::new());
            }
            None => {}
        }
    }
    let mut out = Vec::new();
    for line in lines {
        let Around { above, behind } = around.remove(line.path.as_str()).unwrap_or_default();
        let indent = line.text.len() - line.text.trim_start().len();
        out.extend(above.iter().map(|above| match above.as_str() {
            "" => String::new(),
            above => format!("{:indent$}{above}", ""),
        }));
        let behind: String = behind.join("; ");
        let separator = if behind.is_empty() { "" } else { "  # " };
        out.push(format!("{}{separator}{behind}", line.text));
    }
    // What was said of keys that are no more.
    let mut left: Vec<(&str, Around)> = around.into_iter().collect();
    left.sort_by_key(|(path, _)| *path);
    for (path, Around { above, behind }) in left {
        let key = path.rsplit('.').next().unwrap_or(path);
        let said = above.into_iter().filter(|line| !line.is_empty());
        let said: Vec<String> = said
            .chain(behind.iter().map(|text| format!("# {text}")))
            .collect();
        if !said.is_empty() {
            lost.push(format!(
                "comments at what would be `{key}`, which there is no more, stand at the end"
            ));
            out.extend(said);
        }
    }
    out.extend(pending);
    // What stood between two empty lines may have gone.
    out.dedup_by(|line, above| line.is_empty() && above.is_empty());
    let text = out.join("\n");
    format!("{}\n", text.trim_matches('\n'))
}
