//! Ctrl-C: the private hosts are ended and reaped before the demo is gone.
//!
//! kill -9 needs none of this: the hosts die with the process that started them.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the hosts may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes the signals that mean "stop" from now on.
pub(crate) fn watch() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            say("\ninterrupted; ending the private hosts\n");
            end_children();
            #[expect(clippy::exit, reason = "the main thread is in the middle of a step")]
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Keeps a step from going on, or from complaining that its host is being ended.
pub(crate) fn stay_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Kills what this process has started, and waits until all of it is gone.
fn end_children() {
    let children = children();
    for child in &children {
        // With `unshare` its host goes, and with the host the programs behind the other children.
        if command_line(*child).starts_with("unshare") {
            let _ = kill_process(*child, Signal::KILL);
        }
    }
    let deadline = Instant::now() + PATIENCE;
    for child in children {
        // An error means that the main thread has waited for it.
        while let Ok(None) = waitpid(Some(child), WaitOptions::NOHANG) {
            if Instant::now() > deadline {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut found = Vec::new();
    for list in lists {
        found.extend(
            list.split_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
        );
    }
    found
}

fn command_line(pid: Pid) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn say(text: &str) {
    // A closed terminal is one of the reasons to be here.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
