//! `cargo bench --bench live`: what it costs to pack a guest while it runs, beside packing the same guest shut off, in turns;
//! and what it costs a guest that writes. On a private host with a real libvirt. Figures are printed; nothing passes or fails
//! by them. Packing only what has changed is the business of the bench `since`.
//!
//! Needs what the lab needs, and 8 GB of memory for the host's disks.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod writing;

use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::{Host, set_under_test};

fn main() -> ExitCode {
    // This executable is also the first process inside a private host.
    if let Some(code) = support::entry() {
        return code;
    }
    set_under_test(env!("CARGO_BIN_EXE_miniascape"));
    match std::env::args().find(|word| ["idle", "writing"].contains(&word.as_str())) {
        Some(word) if word == "idle" => writing::idle(),
        Some(_) => writing::writing(),
        None => {
            writing::idle();
            writing::writing();
        }
    }
    ExitCode::SUCCESS
}

fn sh(host: &Host, script: &str) {
    host.command(["sh", "-e", "-c", script])
        .timeout(Duration::from_secs(300))
        .check();
}

/// Seconds that a pack takes.
fn pack(host: &Host, more: &[&str]) -> f64 {
    let begun = Instant::now();
    let args = ["repack", "big", "--to", "deb", "--progress", "none"];
    host.miniascape_command(args.iter().chain(more))
        .timeout(Duration::from_secs(300))
        .check();
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
