//! Writing YAML as a person would: a line for each thing, short mappings on one line, quotes only where some reader
//! needs them. What is written is told line by line, with the path of its value, so that a comment can be put to it.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write;

/// How wide a line of several values may become, in characters.
const WIDTH: usize = 110;

/// One line of a written document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The value that begins here: keys and positions in lists, joined by dots, as in `network.hosts.0`.
    pub path: String,
    /// The text, without a line break.
    pub text: String,
}

/// The lines of a document with this value, which YAML 1.1 and YAML 1.2 readers take for the same.
pub fn write(value: &Value) -> Vec<Line> {
    within(WIDTH, value)
}

/// As [`write()`], with a line for each single value, so that a place in the text tells the value exactly.
pub fn write_long(value: &Value) -> Vec<Line> {
    within(0, value)
}

/// `value` on one line, as far as it would be written so.
pub fn one_line(value: &Value) -> String {
    flow(value).unwrap_or_else(|| value.to_string())
}

fn within(width: usize, value: &Value) -> Vec<Line> {
    let mut writer = Writer {
        width,
        lines: Vec::new(),
    };
    writer.block("", "", "", value);
    writer.lines
}

/// The lines as one text.
pub fn joined<'l>(lines: impl IntoIterator<Item = &'l Line>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

struct Writer {
    width: usize,
    lines: Vec<Line>,
}

impl Writer {
    /// Writes `value` behind `lead` (a key, or the dash of a list, with its indentation), or below it.
    fn block(&mut self, path: &str, indent: &str, lead: &str, value: &Value) {
        let line = |text: String| Line {
            path: path.to_owned(),
            text,
        };
        if let Some(flow) = flow(value).filter(|flow| self.fits(value, lead, flow)) {
            self.lines.push(line(format!(
                "{lead}{}{flow}",
                if lead.is_empty() { "" } else { " " }
            )));
            return;
        }
        let below = |key: &str| match path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        if !lead.is_empty() {
            self.lines.push(line(lead.to_owned()));
        }
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    let lead = format!("{indent}{}:", scalar(key));
                    self.block(&below(key), &format!("{indent}  "), &lead, value);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = below(&index.to_string());
                    let lead = format!("{indent}-");
                    match item {
                        // The first key stands beside the dash.
                        Value::Object(_) if flow(item).is_none_or(|flow| !self.fits(item, &lead, &flow)) => {
                            let first = self.lines.len();
                            self.block(&path, &format!("{indent}  "), "", item);
                            if let Some(line) = self.lines.get_mut(first) {
                                line.text.replace_range(indent.len()..=indent.len(), "-");
                                line.path = path;
                            }
                        }
                        _ => self.block(&path, &format!("{indent}  "), &lead, item),
                    }
                }
            }
            _ => {}
        }
    }

    /// True if `value` may stand on one line: single values always, others if they fit.
    fn fits(&self, value: &Value, lead: &str, flow: &str) -> bool {
        let single = match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => true,
        };
        // The document itself is never on one line.
        single || !lead.is_empty() && lead.chars().count() + 1 + flow.chars().count() <= self.width
    }
}

/// `value` on one line; `None` for what has a structure worth showing: lists of mappings, and what holds them.
fn flow(value: &Value) -> Option<String> {
    let single = |value: &Value| !matches!(value, Value::Array(_) | Value::Object(_));
    match value {
        Value::Array(items) if items.iter().all(single) => {
            let items: Option<Vec<String>> = items.iter().map(flow).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Object(entries) if entries.is_empty() => Some("{}".to_owned()),
        Value::Object(entries) => {
            let inner = |value: &Value| match value {
                Value::Array(items) => items.iter().all(single),
                value => single(value),
            };
            if !entries.values().all(inner) {
                return None;
            }
            let entries: Option<Vec<String>> = entries
                .iter()
                .map(|(key, value)| Some(format!("{}: {}", scalar(key), flow(value)?)))
                .collect();
            Some(format!("{{ {} }}", entries?.join(", ")))
        }
        Value::Array(_) => None,
        Value::String(text) => Some(scalar(text).into_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

/// `text` as a scalar that every reader takes for this text.
fn scalar(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return text.into();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control()
                || crate::name::printable(c.encode_utf8(&mut [0; 4]), 1).len() > c.len_utf8() =>
            {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted.into()
}

/// True for words, for addresses and subnets of IPv4, and for numbers with a unit of time: nobody takes these for
/// anything but text.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| part(c) || c == ' ')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    let address = text.parse::<std::net::Ipv4Addr>().is_ok() || text.parse::<ipnet::Ipv4Net>().is_ok();
    let time = text
        .strip_suffix(['s', 'm', 'h', 'd', 'w'])
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    word || address || time
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn documents_look_as_people_write_them() {
        let value = json!({ "network": {
            "name": "net-1", "title": "A lab: \"one\"", "mode": "nat", "on": true,
            "ipv4": { "subnet": "10.0.0.0/24", "gateway": "10.0.0.1" },
            "dhcp": { "ranges": [ { "start": "10.0.0.2", "end": "10.0.0.3" } ], "lease_time": "12h" },
            "none": {}, "empty": [], "forbid": ["eth0", "eth1"],
            "hosts": [
                { "name": "a", "mac": "52:54:00:01:00:10", "ip": ["10.0.0.2", "fd00::2"] },
                { "name": "b", "deep": [ { "x": 1 } ], "y": "no" },
            ],
        }});
        insta::assert_snapshot!(joined(&write(&value)), @r#"
        network:
          name: net-1
          title: "A lab: \"one\""
          mode: nat
          "on": true
          ipv4: { subnet: 10.0.0.0/24, gateway: 10.0.0.1 }
          dhcp:
            ranges:
              - { start: 10.0.0.2, end: 10.0.0.3 }
            lease_time: 12h
          none: {}
          empty: []
          forbid: [eth0, eth1]
          hosts:
            - { name: a, mac: "52:54:00:01:00:10", ip: [10.0.0.2, "fd00::2"] }
            - name: b
              deep:
                - { x: 1 }
              "y": "no"
        "#);
    }

    #[test]
    fn lines_know_what_they_are_about() {
        let value = json!({ "a": { "b": [ { "c": 1 }, { "d": [ { "e": 1 } ] } ] } });
        let paths: Vec<_> = write(&value).into_iter().map(|line| line.path).collect();
        assert_eq!(paths, ["a", "a.b", "a.b.0", "a.b.1", "a.b.1.d.0"]);
    }

    fn read_back(text: &str) -> Option<String> {
        let mut report = crate::yaml::Report::new(crate::yaml::Source::new("f", text));
        let root = crate::yaml::parse(&mut report)?;
        let crate::yaml::Value::Map(entries) = root.value else {
            return None;
        };
        match &entries.first()?.1.value {
            crate::yaml::Value::Scalar { text, .. } => Some(text.to_string()),
            _ => None,
        }
    }

    proptest! {
        /// Any text comes back as it was.
        #[test]
        fn any_text_is_read_back(value in "\\PC{0,40}|[-a-z0-9:#'\"\\\\,\\[\\]{} .&*!|>%@`\n\t]{0,12}") {
            let written = joined(&write(&json!({ "key": value })));
            prop_assert_eq!(read_back(&written), Some(value), "{}", written);
        }
    }
}
