//! What a program that ran to its end left: status, output, and how to look at them in a test.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// What a program that ran to its end left.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The command line, for messages.
    pub(crate) command: String,
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output; what is not UTF-8 is replaced.
    pub(crate) stdout: String,
    /// Its standard error; what is not UTF-8 is replaced.
    pub(crate) stderr: String,
    /// Wall time from start to end.
    pub(crate) elapsed: Duration,
}

impl Output {
    /// The program ended with status 0.
    pub(crate) fn ok(&self) -> bool {
        self.status.success()
    }

    /// The exit status; `None` when a signal ended the program.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts the exit status, showing everything otherwise.
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// Standard output without the white space around it.
    pub(crate) fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}   ({}, {:.1?})", self.command, self.status, self.elapsed)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in text.lines() {
                writeln!(f, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}
