//! Running what is measured, and the figures of several runs.

use fs_err as fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Seconds and peak memory of several runs of one thing.
#[derive(Default)]
pub(crate) struct Run {
    seconds: Vec<f64>,
    peak_kib: u64,
}

impl Run {
    /// Adds a run: seconds, and KiB at its peak.
    pub(crate) fn add(&mut self, (seconds, peak): (f64, u64)) {
        self.seconds.push(seconds);
        self.peak_kib = self.peak_kib.max(peak);
    }

    /// The median of the seconds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// The highest peak of all runs, in MB.
    pub(crate) fn peak_mb(&self) -> u64 {
        self.peak_kib * 1024 / 1_000_000
    }
}

/// This process' own peak of resident memory, in KiB (proc(5), `VmHWM`).
pub(crate) fn own_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .expect("Linux tells VmHWM")
}

/// Runs this executable with two arguments; it prints seconds and KiB.
pub(crate) fn run_child(argument: &str, path: &Path) -> (f64, u64) {
    let program = std::env::current_exe().expect("Linux knows the path of an executable");
    let output = Command::new(program)
        .arg(argument)
        .arg(path)
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("numbers");
    let (seconds, peak) = text.trim().split_once(' ').expect("two numbers");
    (
        seconds.parse().expect("a number"),
        peak.parse().expect("a number"),
    )
}

/// How long a command takes from its start to its end, in seconds.
pub(crate) fn seconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    start.elapsed().as_secs_f64()
}
