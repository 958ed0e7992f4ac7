//! Strict reading of a tree: known keys only, each value of the type that is asked for.
//!
//! A reader that meets a mistake reports it and returns `None`, so that the caller can go on and find the next one.

use super::{At, Fault, Node, Report, Shape, Value};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A key that may turn up in a mapping.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// A key that is read.
    Known(Known),
    /// A key of another tool or another form, with the help for who writes it.
    Instead(&'static str, &'static str),
}

/// A key that is read.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The key.
    pub name: &'static str,
    /// True if the mapping is incomplete without it.
    pub needed: bool,
    /// What it holds.
    pub shape: Shape,
    /// What it means, for the manual: begins in lower case, ends without full stop.
    pub about: &'static str,
}

impl Key {
    /// A key that may be left out.
    pub const fn may(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self::Known(Known {
            name,
            needed: false,
            shape,
            about,
        })
    }

    /// A key that has to be there.
    pub const fn must(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self::Known(Known {
            name,
            needed: true,
            shape,
            about,
        })
    }

    /// The key if it is one that is read.
    pub const fn known(&self) -> Option<&Known> {
        match self {
            Self::Known(known) => Some(known),
            Self::Instead(..) => None,
        }
    }
}

/// The entries of a mapping.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'n, 'a> {
    node: &'n Node<'a>,
    what: &'static str,
    keys: &'static [Key],
}

impl<'n, 'a> Fields<'n, 'a> {
    /// Reads `node` as a mapping with these keys. `what` names it in messages: "`network`", "this host entry".
    pub fn read(
        node: &'n Node<'a>,
        what: &'static str,
        keys: &'static [Key],
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            report.error(wrong_type(node, what, "a mapping of keys to values"));
            return None;
        };
        for (key, _) in entries {
            if let Some(fault) = key_fault(key, keys, what) {
                report.error(fault);
            }
        }
        Some(Self { node, what, keys })
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&'n Node<'a>> {
        debug_assert!(
            self.known(key).is_some(),
            "`{key}` is not among the keys of {}",
            self.what
        );
        let Value::Map(entries) = &self.node.value else {
            return None;
        };
        entries.iter().find(|(k, _)| k.value == key).map(|(_, v)| v)
    }

    /// The value of `key`; reports when it is missing.
    pub fn need(&self, key: &str, report: &mut Report<'_>) -> Option<&'n Node<'a>> {
        debug_assert!(
            self.known(key).is_some_and(|known| known.needed),
            "`{key}` is needed in {}",
            self.what
        );
        let value = self.get(key);
        if value.is_none() {
            let mut place = self.node.place;
            place.length = 1;
            report.error(
                Fault::new(place, format!("`{key}` is missing from {}", self.what))
                    .help(format!("add `{key}: …`")),
            );
        }
        value
    }

    fn known(&self, key: &str) -> Option<&'static Known> {
        self.keys
            .iter()
            .filter_map(Key::known)
            .find(|known| known.name == key)
    }
}

/// What is wrong with the key `key`, if anything.
fn key_fault(key: &At<std::borrow::Cow<'_, str>>, keys: &[Key], what: &str) -> Option<Fault> {
    for known in keys {
        match *known {
            Key::Known(known) if known.name == key.value => return None,
            Key::Instead(name, help) if name == key.value => {
                let fault = Fault::new(key.place, format!("unknown key `{name}` in {what}"));
                return Some(fault.help(help));
            }
            _ => {}
        }
    }
    let names = || keys.iter().filter_map(Key::known).map(|known| known.name);
    let help = nearest(&key.value, names()).map_or_else(
        || {
            let known: Vec<_> = names().map(|name| format!("`{name}`")).collect();
            format!("known keys are {}", known.join(", "))
        },
        |name| format!("did you mean `{name}`?"),
    );
    let shown = crate::name::printable(&key.value, 60);
    Some(Fault::new(key.place, format!("unknown key `{shown}` in {what}")).help(help))
}

/// The name that `text` is probably a mistyped form of.
pub(crate) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let text: String = text.chars().take(40).collect::<String>().to_ascii_lowercase();
    names
        .map(|name| (strsim::osa_distance(&text, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn wrong_type(node: &Node<'_>, what: &str, wanted: &str) -> Fault {
    let found = match &node.value {
        Value::Scalar { plain: true, text } if is_null(text) => {
            return Fault::new(node.place, format!("{what} has no value"))
                .help(format!("write {wanted}, or remove the key"));
        }
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    };
    let mut place = node.place;
    if !matches!(node.value, Value::Scalar { .. }) {
        place.length = 1;
    }
    Fault::new(place, format!("{what} must be {wanted}, not {found}"))
}

/// True for the plain scalars that YAML 1.2 resolves to null (core schema, section 10.3.2).
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

impl<'a> Node<'a> {
    /// The text of a single value. `what` names it in messages: "`name`".
    pub fn text(&self, what: &str, report: &mut Report<'_>) -> Option<At<&str>> {
        match &self.value {
            Value::Scalar { text, plain } if !(*plain && is_null(text)) => Some(At::new(text, self.place)),
            _ => {
                report.error(wrong_type(self, what, "a single value"));
                None
            }
        }
    }

    /// True if it is this word, which stands where another kind of value is the usual one.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(&self.value, Value::Scalar { text, .. } if text == word)
    }

    /// A single value parsed as `T`, whose error becomes the message.
    pub fn parse<T>(&self, what: &str, report: &mut Report<'_>) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(what, report)?;
        match text.value.parse() {
            Ok(value) => Some(At::new(value, self.place)),
            Err(error) => {
                report.error(Fault::new(self.place, format!("{error}")));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, what: &str, report: &mut Report<'_>) -> Option<At<bool>> {
        let text = self.text(what, report)?;
        let quoted = matches!(&self.value, Value::Scalar { plain: false, .. });
        let value = match text.value {
            "true" if !quoted => true,
            "false" if !quoted => false,
            other => {
                let meant = match other.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" | "true" => "write `true`",
                    "no" | "off" | "n" | "0" | "false" => "write `false`",
                    _ => "write `true` or `false`",
                };
                let shown = crate::name::printable(other, 60);
                report.error(
                    Fault::new(self.place, format!("{what} must be true or false, not `{shown}`"))
                        .help(format!("{meant}, without quotes")),
                );
                return None;
            }
        };
        Some(At::new(value, self.place))
    }

    /// A whole number in decimal digits within `range`, which has to fit `T`.
    pub fn number<T: TryFrom<i64>>(
        &self,
        what: &str,
        range: RangeInclusive<i64>,
        report: &mut Report<'_>,
    ) -> Option<At<T>> {
        let text = self.text(what, report)?.value;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| text.parse::<i64>().ok()).flatten();
        let value = number
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok());
        if value.is_none() {
            let shown = crate::name::printable(text, 40);
            report.error(
                Fault::new(self.place, format!("{what} cannot be `{shown}`")).help(format!(
                    "write a whole number from {} to {}",
                    range.start(),
                    range.end()
                )),
            );
        }
        value.map(|value| At::new(value, self.place))
    }

    /// True for a mapping with this key.
    pub fn has_key(&self, key: &str) -> bool {
        matches!(&self.value, Value::Map(entries) if entries.iter().any(|(k, _)| k.value == key))
    }

    /// An IPv4 address in its usual form of four numbers.
    pub fn ipv4(&self, what: &str, report: &mut Report<'_>) -> Option<At<Ipv4Addr>> {
        let text = self.text(what, report)?.value;
        if let Ok(address) = text.parse() {
            return Some(At::new(address, self.place));
        }
        let shown = crate::name::printable(text, 60);
        let fault = Fault::new(self.place, format!("`{shown}` is not an IPv4 address"));
        let parts: Vec<&str> = text.split('.').collect();
        let numbers = parts.iter().all(|p| p.parse::<u32>().is_ok());
        report.error(if numbers && parts.len() != 4 {
            fault.help(format!("it has {} numbers; four are needed", parts.len()))
        } else if numbers && parts.iter().any(|p| p.len() > 1 && p.starts_with('0')) {
            fault.help("write the numbers without leading zeros")
        } else if numbers {
            fault.help("each of the four numbers goes from 0 to 255")
        } else {
            fault.help("write four numbers joined by dots, as in 192.168.151.10")
        });
        None
    }

    /// An IPv6 address (RFC 4291, section 2.2), without a zone.
    pub fn ipv6(&self, what: &str, report: &mut Report<'_>) -> Option<At<Ipv6Addr>> {
        let text = self.text(what, report)?.value;
        if let Ok(address) = text.parse() {
            return Some(At::new(address, self.place));
        }
        let shown = crate::name::printable(text, 60);
        let fault = Fault::new(self.place, format!("`{shown}` is not an IPv6 address"));
        report.error(if text.contains('/') {
            fault.help("write the address alone, without a prefix length")
        } else if text.contains('%') {
            fault.help("write the address alone, without an interface")
        } else {
            fault.help("write up to eight groups joined by colons, as in fd00:151::10")
        });
        None
    }

    /// An address of either family.
    pub fn ip(&self, what: &str, report: &mut Report<'_>) -> Option<At<IpAddr>> {
        if self.text(what, report)?.value.contains(':') {
            self.ipv6(what, report)
                .map(|ip| At::new(ip.value.into(), ip.place))
        } else {
            self.ipv4(what, report)
                .map(|ip| At::new(ip.value.into(), ip.place))
        }
    }

    /// The items of a list, or the one item that stands in its place.
    pub fn one_or_more(&self) -> &[Node<'a>] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The items of a list.
    pub fn items(&self, what: &str, report: &mut Report<'_>) -> Option<&[Node<'a>]> {
        if let Value::List(items) = &self.value {
            return Some(items);
        }
        report.error(wrong_type(self, what, "a list"));
        None
    }
}
