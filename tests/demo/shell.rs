//! Command lines typed on a private host: shown, run, and their output shown.

use super::screen::{Screen, Show};
use crate::support::{Command, Host, Output, Running};

/// Someone logged in as root on a host.
#[derive(Clone, Copy)]
pub(crate) struct Shell<'a> {
    host: &'a Host,
    prompt: &'a str,
}

impl<'a> Shell<'a> {
    /// A shell whose prompt has this word.
    pub(crate) fn new(host: &'a Host, prompt: &'a str) -> Self {
        Self { host, prompt }
    }

    /// Shows a command line, runs it, and panics unless it succeeds.
    #[track_caller]
    pub(crate) fn run(self, screen: &Screen, line: &str, show: Show<'_>) -> Output {
        let output = self.try_run(screen, line, show);
        assert!(output.ok(), "a command failed on host {}:\n{output}", self.prompt);
        output
    }

    /// Shows a command line and runs it; how it ends is the caller's business.
    #[track_caller]
    pub(crate) fn try_run(self, screen: &Screen, line: &str, show: Show<'_>) -> Output {
        let ticker = screen.command(&self.prompt_text(), line);
        let output = self.command(line).run();
        drop(ticker);
        let show = if output.ok() { show } else { Show::All };
        screen.output(&output.stdout, show, output.elapsed);
        output
    }

    /// Shows a command line and leaves it running in the background.
    #[track_caller]
    pub(crate) fn background(self, screen: &Screen, line: &str) -> Running {
        drop(screen.command(&self.prompt_text(), &format!("{line} &")));
        // The program itself takes signals, not a shell around it.
        self.host.command(line.split_whitespace()).spawn()
    }

    /// The host.
    pub(crate) fn host(self) -> &'a Host {
        self.host
    }

    fn prompt_text(self) -> String {
        format!("{} $", self.prompt)
    }

    fn command(self, line: &str) -> Command {
        // As on a terminal, what goes to standard error is in its place among the rest.
        self.host.command(["sh", "-c", &format!("exec 2>&1\n{line}")])
    }
}
