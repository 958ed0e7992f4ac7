//! RPM header structures as they come from anyone: the index is checked before anything is taken from it.

use super::input::{Checked, Fault, Source};
use crate::package::rpm::header::{ENTRY, MAGIC, Value};
use std::collections::BTreeMap;
use std::io::Read;

/// The most entries and data bytes of a header; ours have less than a hundred, and a few kilobytes.
const MAX_ENTRIES: u32 = 1024;
const MAX_DATA: u32 = 16 * 1024 * 1024;

/// A header's tags, and its bytes.
pub(super) struct Tags {
    name: &'static str,
    values: BTreeMap<u32, Value>,
    pub(super) bytes: Vec<u8>,
}

impl Tags {
    /// Reads the header that begins here, whose region is `region`.
    pub(super) fn read<R: Read>(source: &mut Source<R>, name: &'static str, region: u32) -> Checked<Self> {
        let intro = source.exact(ENTRY)?;
        if intro[..8] != MAGIC {
            return Err(source.fault(format!("{name} does not begin as one")));
        }
        let (count, length) = (number(&intro, 8), number(&intro, 12));
        if count == 0 || count > MAX_ENTRIES || length > MAX_DATA {
            return Err(source.fault(format!("{name} has {count} entries and {length} bytes")));
        }
        let index = source.exact(count as usize * ENTRY)?;
        let data = source.exact(length as usize)?;
        let mut tags = Self {
            name,
            values: BTreeMap::new(),
            bytes: [intro, index.clone(), data.clone()].concat(),
        };
        for (at, entry) in index.chunks_exact(ENTRY).enumerate() {
            let [tag, kind, offset, count] = [0, 4, 8, 12].map(|at| number(entry, at));
            let value = value(&data, kind, offset, count)
                .ok_or_else(|| tags.fault(tag, "its value does not lie in the header"))?;
            if at == 0 {
                let whole = matches!(&value, Value::Bytes(trailer) if trailer.len() == ENTRY);
                if tag != region || !whole {
                    return Err(tags.fault(tag, "the header is not one region"));
                }
            } else if tags.values.insert(tag, value).is_some() {
                return Err(tags.fault(tag, "it is there twice"));
            }
        }
        Ok(tags)
    }

    pub(super) fn fault(&self, tag: u32, what: impl Into<String>) -> Fault {
        Fault::new(format!("tag {tag} of {}", self.name), what)
    }

    pub(super) fn has(&self, tag: u32) -> bool {
        self.values.contains_key(&tag)
    }

    /// One piece of text.
    pub(super) fn text(&self, tag: u32) -> Checked<&str> {
        match self.values.get(&tag) {
            Some(Value::Text(text) | Value::Local(text)) => Ok(text),
            _ => Err(self.fault(tag, "a text is missing")),
        }
    }

    /// A list of texts, empty if the tag is missing.
    pub(super) fn texts(&self, tag: u32) -> Checked<&[String]> {
        match self.values.get(&tag) {
            Some(Value::Texts(texts)) => Ok(texts),
            None => Ok(&[]),
            Some(_) => Err(self.fault(tag, "a list of texts is missing")),
        }
    }

    /// Numbers of any width, empty if the tag is missing.
    pub(super) fn numbers(&self, tag: u32) -> Checked<Vec<u64>> {
        match self.values.get(&tag) {
            Some(Value::Int16(values)) => Ok(values.iter().map(|v| (*v).into()).collect()),
            Some(Value::Int32(values)) => Ok(values.iter().map(|v| (*v).into()).collect()),
            Some(Value::Int64(values)) => Ok(values.clone()),
            None => Ok(Vec::new()),
            Some(_) => Err(self.fault(tag, "a list of numbers is missing")),
        }
    }

    /// The number under `long`, or under `short` where the value was small.
    pub(super) fn either(&self, long: u32, short: u32) -> Checked<Vec<u64>> {
        self.numbers(if self.has(long) { long } else { short })
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let four: [u8; 4] = bytes[at..at + 4].try_into().unwrap_or_default();
    u32::from_be_bytes(four)
}

/// The value of an entry; `None` if it is not whole.
fn value(data: &[u8], kind: u32, offset: u32, count: u32) -> Option<Value> {
    let rest = data.get(offset as usize..)?;
    let count = count as usize;
    let part = |width: usize| rest.get(..count.checked_mul(width)?);
    match kind {
        3 => {
            let values = part(2)?.as_chunks::<2>().0.iter();
            Some(Value::Int16(values.map(|v| u16::from_be_bytes(*v)).collect()))
        }
        4 => {
            let values = part(4)?.as_chunks::<4>().0.iter();
            Some(Value::Int32(values.map(|v| u32::from_be_bytes(*v)).collect()))
        }
        5 => {
            let values = part(8)?.as_chunks::<8>().0.iter();
            Some(Value::Int64(values.map(|v| u64::from_be_bytes(*v)).collect()))
        }
        6 | 9 if count == 1 => Some(Value::Text(texts(rest, 1)?.pop()?)),
        7 => Some(Value::Bytes(part(1)?.to_vec())),
        8 => Some(Value::Texts(texts(rest, count)?)),
        _ => None,
    }
}

/// `count` texts, each with a zero at its end.
fn texts(mut rest: &[u8], count: usize) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for _ in 0..count {
        let end = rest.iter().position(|b| *b == 0)?;
        found.push(String::from_utf8(rest[..end].to_vec()).ok()?);
        rest = &rest[end + 1..];
    }
    Some(found)
}
