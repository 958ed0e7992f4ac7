//! A source text, places in it, and the excerpt of it that a message shows.

use crate::name::printable;
use std::fmt::{self, Write};

/// How many characters of a source line are shown.
const SHOWN: usize = 100;

/// A place in one of the source files of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Which of the report's files, counted from 0.
    pub file: u16,
    /// The line, counted from 1.
    pub line: u32,
    /// The column of the first character, counted in characters from 1.
    pub column: u32,
    /// How many characters belong to it; may reach past the end of the line.
    pub length: u32,
}

/// A value with the place it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> At<T> {
    /// `value`, read at `place`.
    pub const fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// A text and the name of the file it came from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// The text of the file `name`; a byte order mark at its start is skipped.
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
        }
    }

    /// The file's name, for messages.
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The whole text.
    pub const fn text(&self) -> &'a str {
        self.text
    }

    /// Line `number`, counted from 1, without its line break; empty when there is no such line.
    fn line(&self, number: u32) -> &'a str {
        let mut rest = self.text;
        let mut current = 1;
        loop {
            let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            if current == number {
                return &rest[..end];
            }
            let skip = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
            match rest.get(end + skip..) {
                Some(next) => rest = next,
                None => return "",
            }
            current += 1;
        }
    }
}

/// A piece of a source line, escaped, and which of its characters to underline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    text: String,
    start: usize,
    length: usize,
}

impl Excerpt {
    pub(super) fn new(source: Source<'_>, place: Place) -> Self {
        let line = source.line(place.line);
        let column = (place.column.max(1) - 1) as usize;
        let from = if column < SHOWN * 2 / 3 {
            0
        } else {
            column - SHOWN / 2
        };
        let mut excerpt = Self {
            text: if from > 0 { "…".into() } else { String::new() },
            start: 0,
            length: 0,
        };
        let end = column.saturating_add(place.length as usize);
        let mut count = from;
        for (index, c) in line.chars().enumerate().skip(from).take(SHOWN) {
            count = index + 1;
            let shown = if c == '\t' {
                " ".into()
            } else {
                printable(c.encode_utf8(&mut [0; 4]), 1)
            };
            let width = shown.chars().count();
            if index < column {
                excerpt.start += width;
            } else if index < end {
                excerpt.length += width;
            }
            excerpt.text.push_str(&shown);
        }
        excerpt.start += usize::from(from > 0);
        excerpt.length = excerpt.length.max(1);
        if line.chars().nth(count).is_some() {
            excerpt.text.push('…');
        }
        excerpt.text.truncate(excerpt.text.trim_end().len());
        excerpt
    }

    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>, line: u32, mark: char, label: &str) -> fmt::Result {
        write!(f, "\n{line:>5} | {}\n      | ", self.text)?;
        let mut under = " ".repeat(self.start);
        under.extend(std::iter::repeat_n(mark, self.length));
        if !label.is_empty() {
            write!(under, " {label}")?;
        }
        f.write_str(&under)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_whatever_ends_them() {
        let source = Source::new("f", "\u{feff}one\r\ntwo\rthree\n");
        assert_eq!(
            [1, 2, 3, 4, 5].map(|n| source.line(n)),
            ["one", "two", "three", "", ""]
        );
    }
}
