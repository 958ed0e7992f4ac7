//! The line of free text that a network may carry for people.

use std::fmt;
use std::str::FromStr;

/// A line of free text for people: 1 to 128 characters, none of them a control or invisible one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Title(String);

/// The text cannot be a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a title is one line of 1 to 128 visible characters")]
pub struct TitleError;

impl Title {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Title {
    type Err = TitleError;

    fn from_str(text: &str) -> Result<Self, TitleError> {
        let visible = crate::name::printable(text, 128) == text;
        // XML 1.0 (section 2.2) has no way to write these two.
        let writable = !text.contains(['\u{fffe}', '\u{ffff}']);
        if text.trim().is_empty() || !visible || !writable {
            return Err(TitleError);
        }
        Ok(Self(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        assert_eq!(" Lab <1> ".parse::<Title>().unwrap().as_str(), "Lab <1>");
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\u{1b}b",
            "\u{202e}",
            "\u{ffff}",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<Title>().is_err(), "{bad:?}");
        }
    }
}
