//! Two bounded kinds of text for manifests: words, which generated files may hold, and lines, which people read.

use crate::name::printable;
use std::str::FromStr;

/// Why a piece of text is not a word or a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}")]
pub struct TextError {
    text: String,
    what: &'static str,
}

/// 1 to 128 of `[A-Za-z0-9_.+:-]`, the first a letter or digit: an architecture, a machine type, a disk's target.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word(String);

/// 1 to 1024 characters without control characters or anything else that a terminal obeys.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line(String);

/// The longest line, in characters.
const MAX_LINE: usize = 1024;

impl Word {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.+:-".contains(&b);
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if starts && text.len() <= 128 && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError {
                text: printable(text, 80),
                what: "a word: 1 to 128 letters, digits, `_`, `.`, `+`, `:` or `-` are needed, the first a \
                       letter or digit",
            })
        }
    }
}

impl Line {
    /// The line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a line of any text: what a line cannot hold is escaped, and what is too long is cut.
    pub fn lossy(text: &str) -> Self {
        let line: String = printable(text, MAX_LINE).chars().take(MAX_LINE).collect();
        Self(if line.is_empty() { "?".into() } else { line })
    }
}

impl FromStr for Line {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if !text.is_empty() && printable(text, MAX_LINE) == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError {
                text: printable(text, 80),
                what: "a line: 1 to 1024 characters, none of them a control character, are needed",
            })
        }
    }
}

crate::name::text_type!(Word);
crate::name::text_type!(Line);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_nothing_that_acts() {
        assert!("pc-q35-7.2".parse::<Word>().is_ok());
        for text in ["", "a b", "a%b", "a\n", "-a", "a/b", "a,b", "é"] {
            assert!(text.parse::<Word>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn lines_are_printable() {
        assert!("Größe 10 %, `x`".parse::<Line>().is_ok());
        for text in ["", "a\nb", "\u{1b}[31m", "\u{202e}", &"a".repeat(1025)] {
            assert!(text.parse::<Line>().is_err(), "{text:?}");
            let made = Line::lossy(text);
            assert_eq!(made.as_str().parse::<Line>().unwrap(), made);
        }
        assert_eq!(Line::lossy(&"\u{1b}".repeat(2000)).as_str().chars().count(), 1024);
    }
}
