//! The one line that says what this machine allows.

use fs_err as fs;

use super::screen::Screen;
use crate::support::{self, LabError};

/// Says what the machine allows, and returns what it does not.
pub(crate) fn look(screen: &Screen) -> Vec<LabError> {
    let obstacles = support::obstacles();
    let hosts = if obstacles.is_empty() {
        "private hosts: yes"
    } else if support::missing_packages().is_empty() {
        "private hosts: refused"
    } else {
        "programs are missing"
    };
    let user = if support::needs_user_namespace() {
        "ordinary user"
    } else {
        "root"
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    screen.head(&format!(
        "This machine: {}, {user}, {cores} cores; {hosts}; guests: emulated",
        system_name()
    ));
    obstacles
}

/// The distribution's name for itself.
fn system_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "unknown system".to_owned(),
            |name| name.trim_matches('"').replace(" GNU/Linux", ""),
        )
}
