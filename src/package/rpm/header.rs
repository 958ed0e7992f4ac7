//! RPM header structures: tagged values and their index (rpm's `docs/manual/format_v4.md` and `format_header.md`).
//! Which values a package has is decided in `package`.

use std::collections::BTreeMap;

/// How a header structure begins: magic, version, four reserved bytes.
pub(in crate::package) const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// The region of a signature header.
pub(in crate::package) const SIGNATURES: u32 = 62;
/// The region of a main header.
pub(in crate::package) const IMMUTABLE: u32 = 63;
/// Bytes of an index entry.
pub(in crate::package) const ENTRY: usize = 16;

/// A tag's value. Numbers are arrays with at least one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::package) enum Value {
    Int16(Vec<u16>),
    Int32(Vec<u32>),
    Int64(Vec<u64>),
    Text(String),
    Bytes(Vec<u8>),
    Texts(Vec<String>),
    /// Text that could be translated; one language is all there is.
    Local(String),
}

impl Value {
    /// The type number, the number of elements, and the alignment of the data.
    const fn shape(&self) -> (u32, usize, usize) {
        match self {
            Self::Int16(values) => (3, values.len(), 2),
            Self::Int32(values) => (4, values.len(), 4),
            Self::Int64(values) => (5, values.len(), 8),
            Self::Text(_) => (6, 1, 1),
            Self::Bytes(bytes) => (7, bytes.len(), 1),
            Self::Texts(texts) => (8, texts.len(), 1),
            Self::Local(_) => (9, 1, 1),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut text = |text: &String| {
            out.extend(text.as_bytes());
            out.push(0);
        };
        match self {
            Self::Text(one) | Self::Local(one) => text(one),
            Self::Texts(texts) => texts.iter().for_each(text),
            Self::Int16(values) => values.iter().for_each(|v| out.extend(v.to_be_bytes())),
            Self::Int32(values) => values.iter().for_each(|v| out.extend(v.to_be_bytes())),
            Self::Int64(values) => values.iter().for_each(|v| out.extend(v.to_be_bytes())),
            Self::Bytes(bytes) => out.extend(bytes),
        }
    }
}

/// Tags with their values.
#[derive(Debug, Default)]
pub(in crate::package) struct Header(BTreeMap<u32, Value>);

impl Header {
    /// Adds a tag.
    pub(in crate::package) fn set(&mut self, tag: u32, value: Value) {
        self.0.insert(tag, value);
    }

    /// A tag's value.
    #[cfg(test)]
    pub(super) fn get(&self, tag: u32) -> Option<&Value> {
        self.0.get(&tag)
    }

    /// The header structure with everything in the region `region`.
    pub(in crate::package) fn encode(&self, region: u32) -> Vec<u8> {
        let count = self.0.len() + 1;
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, value) in &self.0 {
            let (kind, count, align) = value.shape();
            data.resize(data.len().next_multiple_of(align), 0);
            entry(&mut index, *tag, kind, number(data.len()), number(count));
            value.write(&mut data);
        }
        let mut out = MAGIC.to_vec();
        out.extend(number(count).to_be_bytes());
        out.extend(number(data.len() + ENTRY).to_be_bytes());
        entry(&mut out, region, 7, number(data.len()), number(ENTRY));
        out.extend(index);
        out.extend(data);
        // The region's trailer says how far back its index begins.
        let back = number(count * ENTRY).wrapping_neg();
        entry(&mut out, region, 7, back, number(ENTRY));
        out
    }
}

fn entry(out: &mut Vec<u8>, tag: u32, kind: u32, offset: u32, count: u32) {
    for number in [tag, kind, offset, count] {
        out.extend(number.to_be_bytes());
    }
}

/// Headers have a few kilobytes.
fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
