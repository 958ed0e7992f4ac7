//! Problems that point at a place in a source file, and the report that collects them.
//!
//! Every mistake of a file, whether in its syntax, the type of a value or its meaning, becomes a [`Problem`] and is
//! shown in one form: `FILE:LINE:COLUMN: message`, the line with the part in question underlined, and a help line.

use super::source::{Excerpt, Place, Source};
use crate::name::printable;
use std::fmt;

/// How many problems of one file are kept; the rest is only counted.
const KEPT: usize = 50;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but is probably not what was meant.
    Warning,
}

/// A problem before it is tied to a source: what is wrong, where, and what to do.
#[derive(Debug, Clone)]
pub struct Fault {
    place: Place,
    message: String,
    help: Option<String>,
    also: Option<(Place, &'static str)>,
}

impl Fault {
    /// Something wrong at `place`.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            help: None,
            also: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds a second place, with a few words on what stands there.
    #[must_use]
    pub const fn also(mut self, place: Place, label: &'static str) -> Self {
        self.also = Some((place, label));
        self
    }
}

/// A second place that a problem has to do with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Also {
    /// The file's name, if it is not the problem's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted in characters from 1.
    pub column: u32,
    /// What stands there, in a few words.
    pub label: &'static str,
    #[serde(skip)]
    excerpt: Excerpt,
    #[serde(skip)]
    place: Place,
}

/// Something wrong in a source file. Its `Display` form is the whole message of several lines, safe for a terminal,
/// without a final line break and without a word for its severity.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The file's name.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted in characters from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that matters.
    pub also: Option<Also>,
    #[serde(skip)]
    excerpt: Excerpt,
    #[serde(skip)]
    place: Place,
}

impl Problem {
    fn new(sources: &[Source<'_>], severity: Severity, fault: Fault) -> Self {
        let source = |place: Place| sources[usize::from(place.file)];
        let own = source(fault.place);
        Self {
            severity,
            file: printable(own.name(), 4096),
            line: fault.place.line,
            column: fault.place.column,
            message: printable(&fault.message, 1000),
            help: fault.help.map(|text| printable(&text, 1000)),
            also: fault.also.map(|(place, label)| Also {
                file: (place.file != fault.place.file).then(|| printable(source(place).name(), 4096)),
                line: place.line,
                column: place.column,
                label,
                excerpt: Excerpt::new(source(place), place),
                place,
            }),
            excerpt: Excerpt::new(own, fault.place),
            place: fault.place,
        }
    }

    /// The places that it is about: its own first, then the second one, if there is one.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        std::iter::once(self.place).chain(self.also.as_ref().map(|also| also.place))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        f.write_str(&self.message)?;
        self.excerpt.show(f, self.line, '^', "")?;
        if let Some(also) = &self.also {
            if let Some(file) = &also.file {
                write!(f, "\n{file}:{}:{}:", also.line, also.column)?;
            }
            also.excerpt.show(f, also.line, '-', also.label)?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

/// All the errors of a report, file by file in the order of their lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// The errors, at most 50 of them.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// How many further errors there were.
    pub const fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more errors"),
        }
    }
}

impl std::error::Error for Problems {}

/// What was found in a part of the work that can be given up; see [`Report::attempt`].
#[derive(Debug)]
pub struct Attempt {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    count: usize,
}

impl Attempt {
    /// Its errors, at most 50 of them, in the order in which they were found.
    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }
}

/// Collects what is wrong with one or several sources while they are read and checked.
#[derive(Debug)]
pub struct Report<'a> {
    sources: Vec<Source<'a>>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    count: usize,
}

impl<'a> Report<'a> {
    /// An empty report on `source`.
    pub fn new(source: Source<'a>) -> Self {
        Self {
            sources: vec![source],
            errors: Vec::new(),
            warnings: Vec::new(),
            count: 0,
        }
    }

    /// Turns to a further source, which is read next; the places of those before stay valid. Past 65,535 files
    /// nothing is added and `None` comes back.
    pub fn turn_to(&mut self, source: Source<'a>) -> Option<u16> {
        let index = u16::try_from(self.sources.len()).ok()?;
        self.sources.push(source);
        Some(index)
    }

    /// The source that is being read, and which of the report's files it is.
    pub fn source(&self) -> (Source<'a>, u16) {
        let last = self.sources.len() - 1;
        (self.sources[last], u16::try_from(last).unwrap_or(u16::MAX))
    }

    /// The name of the file that `place` is in.
    pub fn file_name(&self, place: Place) -> &'a str {
        self.sources[usize::from(place.file)].name()
    }

    /// True once there was an error.
    pub const fn failed(&self) -> bool {
        self.count > 0
    }

    /// Adds an error.
    pub fn error(&mut self, fault: Fault) {
        self.count += 1;
        if self.errors.len() < KEPT {
            self.errors
                .push(Problem::new(&self.sources, Severity::Error, fault));
        }
    }

    /// Adds a warning; after the first fifty, warnings are dropped.
    pub fn warning(&mut self, fault: Fault) {
        if self.warnings.len() < KEPT {
            self.warnings
                .push(Problem::new(&self.sources, Severity::Warning, fault));
        }
    }

    /// Does `work`, and keeps apart what it reports: [`Report::accept`] takes that in, dropping it forgets it.
    pub fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> (T, Attempt) {
        let mut before = Attempt {
            errors: std::mem::take(&mut self.errors),
            warnings: std::mem::take(&mut self.warnings),
            count: std::mem::take(&mut self.count),
        };
        let value = work(self);
        std::mem::swap(&mut self.errors, &mut before.errors);
        std::mem::swap(&mut self.warnings, &mut before.warnings);
        std::mem::swap(&mut self.count, &mut before.count);
        (value, before)
    }

    /// Takes in what was found in an attempt.
    pub fn accept(&mut self, attempt: Attempt) {
        self.count += attempt.count;
        self.errors.extend(attempt.errors);
        self.errors.truncate(KEPT);
        self.warnings.extend(attempt.warnings);
        self.warnings.truncate(KEPT);
    }

    /// Takes in the warnings of an attempt, and hands over its errors, which are no mistakes in the sources.
    pub fn set_aside(&mut self, attempt: Attempt) -> Vec<Problem> {
        self.warnings.extend(attempt.warnings);
        self.warnings.truncate(KEPT);
        attempt.errors
    }

    /// Adds an error of an attempt as a warning; `consequence` says what is done without.
    pub fn excuse(&mut self, mut error: Problem, consequence: &str) {
        if self.warnings.len() < KEPT {
            error.severity = Severity::Warning;
            error.help = Some(match error.help {
                Some(help) => format!("{consequence}; {help}"),
                None => consequence.to_owned(),
            });
            self.warnings.push(error);
        }
    }

    /// Adds the error that the source's bytes are UTF-8 only as far as `valid` goes.
    pub fn not_utf8(&mut self, valid: &str) {
        let before = Source::new("", valid).text().replace("\r\n", "\n");
        let mut lines = before.split(['\n', '\r']);
        let last = lines.next_back().unwrap_or_default();
        let place = Place {
            file: self.source().1,
            line: u32::try_from(lines.count() + 1).unwrap_or(u32::MAX),
            column: u32::try_from(last.chars().count() + 1).unwrap_or(u32::MAX),
            length: 1,
        };
        self.error(Fault::new(place, "the file is not UTF-8 text").help("save it in the encoding UTF-8"));
    }

    /// `value` with the warnings, unless there were errors.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Problem>), Problems> {
        match value {
            Some(value) if self.count == 0 => {
                self.warnings.sort_by_key(|p| p.place);
                Ok((value, self.warnings))
            }
            _ => {
                debug_assert!(self.count > 0, "nothing was read and nobody said why");
                self.errors.sort_by_key(|p| p.place);
                Err(Problems {
                    more: self.count - self.errors.len(),
                    list: self.errors,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32, length: u32) -> Place {
        Place {
            file: 0,
            line,
            column,
            length,
        }
    }

    #[test]
    fn a_problem_underlines_its_place_and_is_safe_to_print() {
        let source = Source::new("lab.yaml", "a: 1\nb:\t\u{1b}[31m bad\u{202e}ness # end");
        let mut report = Report::new(source);
        report.error(
            Fault::new(place(2, 4, 7), "\u{1b} is wrong")
                .help("do better")
                .also(place(1, 1, 1), "see here"),
        );
        let problems = report.finish::<()>(None).unwrap_err().to_string();
        insta::assert_snapshot!(problems, @r"
        lab.yaml:2:4: \u{1b} is wrong
            2 | b: \u{1b}[31m bad\u{202e}ness # end
              |    ^^^^^^^^^^^^
            1 | a: 1
              | - see here
        help: do better
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let mut report = Report::new(Source::new("f", &text));
        report.error(Fault::new(place(1, 301, 1), "here"));
        let shown = report.finish::<()>(None).unwrap_err().to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines[1].chars().position(|c| c == 'X'),
            lines[2].chars().position(|c| c == '^')
        );
        assert!(lines[1].ends_with('…') && lines[1].chars().count() < 120);
    }

    #[test]
    fn many_errors_are_counted_not_kept() {
        let mut report = Report::new(Source::new("f", "x"));
        for _ in 0..60 {
            report.error(Fault::new(place(1, 1, 1), "no"));
        }
        let problems = report.finish::<()>(None).unwrap_err();
        assert_eq!((problems.list().len(), problems.more()), (50, 10));
        assert!(problems.to_string().ends_with("and 10 more errors"));
    }
}
