//! Runs one command and says what it took.

use fs_err as fs;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::path::Path;
use std::process::Command;

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    /// Processor seconds, of all threads and programs that it started.
    processor: f64,
    /// The largest resident set of a single process, in MB.
    peak: f64,
    /// All that was handed to the kernel to be written, in bytes, wherever it went.
    written: u64,
    /// Bytes of the files that are there now.
    result: u64,
}

/// Runs a command in `dir`, with an empty directory `out` in it.
pub(crate) fn run(dir: &Path, command: &[String]) -> Figures {
    let out = dir.join("out");
    if out.exists() {
        fs::remove_dir_all(&out).expect("the results of before");
    }
    fs::create_dir(&out).expect("a directory");
    fs::create_dir(out.join("tmp")).expect("a directory");
    // What earlier runs left to be written must not hold up this one.
    rustix::fs::sync();
    let told = dir.join("time");
    let mut child = Command::new("time")
        .args(["-f", "%e %U %S %M", "-o"])
        .arg(&told)
        .args(command)
        .current_dir(dir)
        .spawn()
        .expect("GNU time");
    // The kernel adds what children wrote to their parent's figures, and keeps those until somebody asks for the status.
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process")).expect("a process");
    let stay = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), stay).expect("our child");
    let io = fs::read_to_string(format!("/proc/{}/io", child.id())).expect("its figures");
    let status = child.wait().expect("our child");
    assert!(status.success(), "{command:?}");
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    let text = fs::read_to_string(&told).expect("figures");
    let [seconds, user, system, peak] = text
        .split_whitespace()
        .map(|word| word.parse::<f64>().expect("a number"))
        .collect::<Vec<_>>()[..]
    else {
        panic!("GNU time told {text}");
    };
    Figures {
        seconds,
        processor: user + system,
        peak: peak * 1024.0 / 1e6,
        written: written.and_then(|text| text.parse().ok()).expect("a number"),
        result: bytes(&out),
    }
}

/// Packages and archives below `dir`.
fn bytes(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    files
        .filter(|entry| {
            let is = |ending: &&str| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == *ending)
            };
            entry.file_type().is_file() && ["rpm", "deb", "zst"].iter().any(is)
        })
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians, and how much was written for each byte of the result.
pub(crate) fn line(runs: &[Figures]) -> String {
    let of = |field: fn(&Figures) -> f64| median(runs.iter().map(field));
    let Figures { written, result, .. } = runs[runs.len() - 1];
    format!(
        "{:>7.2}  {:>9.2}  {:>7.0}  {:>10}  {:>9}  {:>5.3}",
        of(|run| run.seconds),
        of(|run| run.processor),
        of(|run| run.peak),
        written / 1_000_000,
        result / 1_000_000,
        ratio(written, result)
    )
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}
