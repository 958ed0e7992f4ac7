//! A directory on the machine for those who have no private host: gone, with every process that works in it,
//! whenever its maker ends, by kill -9 too.
//!
//! The guard is this executable again, in a process of its own. It makes the directory, and lives as long as
//! its standard input is open.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use super::command::Command;
use super::error::{Context, LabError, Result};
use super::running::Running;

/// The first argument that makes the executable a guard; the user who is to own the directory follows, or `-`.
pub(crate) const GUARD_ARGUMENT: &str = "--lab-guard";

/// How long starting and ending may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that is guarded. Dropping it removes it.
pub(crate) struct GuardedDir {
    path: PathBuf,
    guard: Option<Running>,
}

impl GuardedDir {
    /// Makes the directory, for this user if one is named (only root can).
    pub(crate) fn make(owner: Option<u32>) -> Result<Self> {
        let owner = owner.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let executable = super::own_executable();
        let argv = [executable.as_os_str(), GUARD_ARGUMENT.as_ref(), owner.as_ref()];
        let mut guard = Command::machine(argv).stdin_pipe().try_spawn()?;
        let path = guard
            .next_line(PATIENCE)
            .ok_or_else(|| LabError::new(format!("no directory to work in: {}", guard.transcript())))?;
        Ok(Self {
            path: path.into(),
            guard: Some(guard),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for GuardedDir {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.close_stdin();
            // Killed only if it does not manage in time.
            super::poll_for(PATIENCE, || (!guard.is_running()).then_some(()));
        }
    }
}

/// Runs as the guard, with the arguments after [`GUARD_ARGUMENT`].
pub(super) fn main(owner: Option<&str>) -> ExitCode {
    match guard(owner.and_then(|id| id.parse().ok())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::note(error);
            ExitCode::FAILURE
        }
    }
}

fn guard(owner: Option<u32>) -> Result<()> {
    let (sender, receiver) = channel();
    let ended = sender.clone();
    // Caught before there is anything to be left behind.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals")?;
    thread::spawn(move || signals.forever().next().map(|_| ended.send(())));
    let dir = tempfile::Builder::new()
        .prefix("miniascape-lab-")
        .tempdir()
        .context("no directory to work in")?;
    if owner.is_some() {
        std::os::unix::fs::chown(dir.path(), owner, owner).context("the directory to work in")?;
    }
    thread::spawn(move || {
        let mut sink = [0; 64];
        while matches!(std::io::stdin().read(&mut sink), Ok(1..)) {}
        sender.send(())
    });
    let mut stdout = std::io::stdout();
    // No one listens: then the end of standard input comes at once.
    drop(writeln!(stdout, "{}", dir.path().display()).and_then(|()| stdout.flush()));
    let _ = receiver.recv();

    clear(dir)
}

/// Ends what works in the directory, and removes it. What was about to end may write a last file meanwhile.
fn clear(dir: TempDir) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let dir = dir.keep();
    loop {
        let left = processes_in(&dir);
        for pid in &left {
            let _ = kill_process(*pid, Signal::KILL);
        }
        let removed = match fs::remove_dir_all(&dir) {
            // By the turn before.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        if Instant::now() > deadline || (left.is_empty() && removed.is_ok()) {
            return removed.context("the directory to work in");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that name the directory in their arguments or their environment.
fn processes_in(dir: &Path) -> Vec<Pid> {
    let mut name = dir.as_os_str().as_encoded_bytes().to_vec();
    name.push(b'/');
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse::<i32>().ok()) else {
            continue;
        };
        let names_it = |file: &str| {
            fs::read(entry.path().join(file))
                .is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name))
        };
        if u32::try_from(pid).is_ok_and(|pid| pid != own) && (names_it("cmdline") || names_it("environ")) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}
