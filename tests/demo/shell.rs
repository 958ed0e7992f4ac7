//! Command lines typed on a private host: shown, run, and their output shown.

use super::screen::{Screen, Show};
use crate::support::{Command, Host, Output, Running, Site};

/// Someone who types commands at a site.
pub(crate) struct Shell<'a, S: Site = Host> {
    site: &'a S,
    prompt: &'a str,
}

impl<S: Site> Clone for Shell<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Site> Copy for Shell<'_, S> {}

impl<'a, S: Site> Shell<'a, S> {
    /// A shell with this prompt.
    pub(crate) fn new(site: &'a S, prompt: &'a str) -> Self {
        Self { site, prompt }
    }

    /// Shows a command line, runs it, and panics unless it succeeds.
    #[track_caller]
    pub(crate) fn run(self, screen: &Screen, line: &str, show: Show<'_>) -> Output {
        let output = self.try_run(screen, line, show);
        assert!(
            output.ok(),
            "this command ended with {}, after what is shown above:\n{} {line}",
            output.status,
            self.prompt
        );
        output
    }

    /// Shows a command line and runs it; how it ends is the caller's business.
    #[track_caller]
    pub(crate) fn try_run(self, screen: &Screen, line: &str, show: Show<'_>) -> Output {
        let ticker = screen.command(self.prompt, line);
        let output = self.command(line).run();
        drop(ticker);
        let show = if output.ok() { show } else { Show::All };
        let home = format!("{}/", self.site.home());
        screen.output(&output.stdout.replace(&home, "~/"), show, output.elapsed);
        output
    }

    /// Shows a command line and leaves it running in the background.
    #[track_caller]
    pub(crate) fn background(self, screen: &Screen, line: &str) -> Running {
        self.told(screen, &format!("{line} &"));
        // The program itself takes signals, not a shell around it.
        self.site.at(&line.split_whitespace().collect::<Vec<_>>()).spawn()
    }

    /// Shows a command line that is run in another way.
    pub(crate) fn told(self, screen: &Screen, line: &str) {
        drop(screen.command(self.prompt, line));
    }

    /// The site.
    pub(crate) fn site(self) -> &'a S {
        self.site
    }

    fn command(self, line: &str) -> Command {
        // What goes to standard error is in its place among the rest. In a session of its own, so that virsh does
        // not look for an authentication agent on the user's terminal.
        self.site
            .at(&["setsid", "--wait", "sh", "-c", &format!("exec 2>&1\n{line}")])
    }
}
