//! The demo: the main job before the user's eyes, on private hosts, with the same harness as the lab tests.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

/// Exit status when a needed part of the machine is missing, as the program's own.
const MISSING: u8 = 4;

fn main() -> ExitCode {
    // This executable is also the first process inside each private host.
    if let Some(code) = support::entry() {
        return code;
    }
    if let Some(program) = std::env::args_os().nth(1) {
        support::set_under_test(program);
    }
    let obstacles = support::obstacles();
    for obstacle in &obstacles {
        support::note(obstacle);
    }
    if obstacles.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSING)
    }
}
