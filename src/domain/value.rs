//! The one door through which values enter XML: checked once, escaped always.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use uuid::Uuid;

use super::error::{DomainXmlError, shown};

/// Text that may be written into XML, as an attribute or as content: no control characters, nothing that XML 1.0
/// has no place for. It is kept unescaped; escaping happens when it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XmlValue(Cow<'static, str>);

impl XmlValue {
    /// Checks a value. Refused are all control characters (newline and tab too) and non-characters.
    pub fn new(value: impl Into<String>) -> Result<Self, DomainXmlError> {
        let value = value.into();
        if value.chars().any(|c| c.is_control() || !is_xml_char(c)) {
            return Err(DomainXmlError::ControlCharacter { value: shown(&value) });
        }
        Ok(XmlValue(Cow::Owned(value)))
    }

    /// Checks a path, which must also be UTF-8.
    pub fn path(path: &Path) -> Result<Self, DomainXmlError> {
        match path.to_str() {
            Some(text) => Self::new(text),
            None => Err(DomainXmlError::NotUtf8 {
                path: path.to_string_lossy().into_owned(),
            }),
        }
    }

    /// A word of our own.
    pub(crate) const fn constant(value: &'static str) -> Self {
        XmlValue(Cow::Borrowed(value))
    }

    /// The value as it was given, not escaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value escaped for both kinds of attribute quotes and for content.
    pub(super) fn escaped(&self) -> String {
        quick_xml::escape::escape(self.0.as_ref()).into_owned()
    }
}

impl From<Uuid> for XmlValue {
    fn from(uuid: Uuid) -> Self {
        XmlValue(Cow::Owned(uuid.hyphenated().to_string()))
    }
}

impl From<u64> for XmlValue {
    fn from(number: u64) -> Self {
        XmlValue(Cow::Owned(number.to_string()))
    }
}

impl TryFrom<&str> for XmlValue {
    type Error = DomainXmlError;

    fn try_from(value: &str) -> Result<Self, DomainXmlError> {
        Self::new(value)
    }
}

impl fmt::Display for XmlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether XML 1.0 allows the character at all (production `Char`).
pub(super) fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Whether a name without its prefix can start with the character (XML 1.0 `NameStartChar` without the colon).
pub(super) fn starts_name(c: char) -> bool {
    const RANGES: [(char, char); 12] = [
        ('\u{C0}', '\u{D6}'),
        ('\u{D8}', '\u{F6}'),
        ('\u{F8}', '\u{2FF}'),
        ('\u{370}', '\u{37D}'),
        ('\u{37F}', '\u{1FFF}'),
        ('\u{200C}', '\u{200D}'),
        ('\u{2070}', '\u{218F}'),
        ('\u{2C00}', '\u{2FEF}'),
        ('\u{3001}', '\u{D7FF}'),
        ('\u{F900}', '\u{FDCF}'),
        ('\u{FDF0}', '\u{FFFD}'),
        ('\u{10000}', '\u{EFFFF}'),
    ];
    c.is_ascii_alphabetic() || c == '_' || RANGES.iter().any(|&(first, last)| (first..=last).contains(&c))
}

/// Whether a name can go on with the character (the rest of XML 1.0 `NameChar`).
pub(super) fn continues_name(c: char) -> bool {
    matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}
