//! `cargo bench --bench start`: how long small commands take from exec to exit, beside libvirt's own `virsh` and a program
//! that does nothing, in turns. Figures are printed; nothing passes or fails by them.

#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds; in each one everything is run once.
const ROUNDS: usize = 60;

fn main() {
    let ours = env!("CARGO_BIN_EXE_miniascape");
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/networks/net-1.yaml");
    let test = "test:///default";
    let commands: [&[&str]; 6] = [
        &["true"],
        &[ours, "--version"],
        &["virsh", "--version"],
        &[ours, "net", "validate", definition],
        &[ours, "--connect", test, "net", "list"],
        &["virsh", "--connect", test, "net-list", "--all"],
    ];
    let mut times = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for (command, times) in commands.iter().zip(&mut times) {
            times.push(run(command));
        }
    }
    println!("{:>8} {:>8}  ms, median and least of {ROUNDS}", "median", "least");
    for (command, mut times) in commands.iter().zip(times) {
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let words = command
            .join(" ")
            .replace(ours, "miniascape")
            .replace(definition, "net-1.yaml");
        println!("{:8.1} {:8.1}  {words}", ms(times[ROUNDS / 2]), ms(times[0]));
    }
}

/// How long one run takes; it has to succeed.
fn run(command: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect(command[0]);
    assert!(status.success(), "{command:?}: {status}");
    begun.elapsed()
}
