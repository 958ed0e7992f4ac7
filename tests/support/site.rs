//! A place where commands run: a private host, or where there is none, a directory on the machine.

use super::command::Command;
use super::host::Host;

/// Where commands run.
pub(crate) trait Site {
    /// A command there, to be refined and run.
    fn at(&self, argv: &[&str]) -> Command;

    /// The home directory of who runs them.
    fn home(&self) -> String {
        "/root".to_owned()
    }
}

impl Site for Host {
    fn at(&self, argv: &[&str]) -> Command {
        self.command(argv)
    }
}
