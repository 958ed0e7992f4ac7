//! Failures as the user meets them: message, hints, exit status. Every library error is turned into one here, so
//! that the meaning of an exit status is decided in one place.

mod from;

use super::{Format, terminal};
use miniascape::name::{NetworkName, printable, shell_word};
use miniascape::network::{self, RegisterError};
use miniascape::yaml::Problem;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    /// What is wrong in an input file; shown in place of the message, which only counts them.
    problems: Vec<Problem>,
    /// The message says more than the problems do.
    all: bool,
}

/// The kinds of failure and their exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 1: it was tried and did not work.
    Failed = 1,
    /// 2: wrong usage or an invalid input file; nothing was changed.
    Usage = 2,
    /// 3: refused for safety; nothing was changed.
    Refused = 3,
    /// 4: a needed part of the host is missing.
    Missing = 4,
    /// The reader of our output has gone: end without a word.
    ReaderGone = 141,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
            problems: Vec::new(),
            all: false,
        }
    }

    /// It was tried and did not work (status 1).
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Wrong usage or invalid input (status 2).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Refused for safety (status 3).
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// A needed part of the host is missing (status 4).
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(Kind::Missing, message)
    }

    /// The network cannot be made real beside what the host has (status 3).
    pub(crate) fn clashes(network: &NetworkName, clashes: Vec<Problem>) -> Self {
        let mut failure = Self::refused(format!(
            "{network} clashes with what this host has; nothing was changed"
        ));
        failure.problems = clashes;
        failure
    }

    /// A network that was not registered or updated; what libvirt refused is told with its place in the definition at
    /// `path`.
    pub(crate) fn of_network(error: RegisterError, path: &Path) -> Self {
        let problem = network::refusal(&error, path);
        // What became of the network is behind libvirt's words.
        let told = problem.is_some() && !matches!(error, RegisterError::RolledBack { .. });
        let mut failure = Self::from(error);
        failure.problems.extend(problem);
        failure.all = !told && !failure.problems.is_empty();
        failure
    }

    pub(super) fn reader_gone() -> Self {
        Self::new(Kind::ReaderGone, "")
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// True if a needed part of the host is missing.
    pub(crate) fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    /// Adds what the user can do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the command line as root has to give it; nothing for root.
    #[must_use]
    pub(crate) fn for_root(self) -> Self {
        if rustix::process::geteuid().is_root() {
            return self;
        }
        let words: Vec<String> = std::env::args_os()
            .skip(1)
            .map(|word| shell_word(&printable(&word.to_string_lossy(), 400)))
            .collect();
        self.hint(format!("run it as root: `sudo miniascape {}`", words.join(" ")))
    }

    /// Prints the failure on standard error (as one JSON object when asked for) and gives the exit status.
    pub(crate) fn report(&self, format: Format) -> ExitCode {
        if self.kind != Kind::ReaderGone {
            // Nothing is left to do if standard error is closed.
            let _ = std::io::stderr().lock().write_all(self.text(format).as_bytes());
        }
        ExitCode::from(self.kind as u8)
    }

    /// Prints a failure that does not end the program, with what it is about.
    pub(crate) fn tell(&self, format: Format, about: &str) {
        let mut text = self.text(format);
        if format == Format::Text {
            text.insert_str(0, &format!("{about}:\n"));
        }
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// What programs are told.
    pub(crate) fn json(&self) -> serde_json::Value {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let mut error = serde_json::json!({ "kind": kind, "message": self.message, "hints": self.hints });
        if !self.problems.is_empty() {
            error["problems"] = serde_json::json!(self.problems);
        }
        error
    }

    fn text(&self, format: Format) -> String {
        if format == Format::Json {
            let json = serde_json::json!({ "error": self.json() }).to_string();
            return terminal::json(json) + "\n";
        }
        let prefix = if self.message.starts_with("error") {
            ""
        } else {
            "error: "
        };
        let mut text = String::new();
        for problem in &self.problems {
            text.extend(["error: ", &problem.to_string(), "\n"]);
        }
        if self.problems.len() != 1 || self.kind == Kind::Refused || self.all {
            text.extend([prefix, self.message.trim_end(), "\n"]);
        }
        for hint in &self.hints {
            text.extend(["hint: ", hint, "\n"]);
        }
        terminal::text(&text).into_owned()
    }
}
