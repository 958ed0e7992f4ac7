//! `make demo`: the main job before the user's eyes, on private hosts, with the same harness as the lab tests.

#[path = "mod.rs"]
mod demo;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    // This executable is also the first process inside each private host.
    support::entry().unwrap_or_else(|| demo::main(std::env::args_os()))
}
