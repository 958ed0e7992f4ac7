//! A program that runs beside the test: its lines with time-outs, its signals, its end.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};

use super::command::{kill, wait_child};
use super::output::Output;
use super::wait::{patient, poll_for};

/// A running program. Dropping it kills it.
pub(crate) struct Running {
    command: String,
    child: Child,
    /// `child` is nsenter, and the program is the child of that.
    behind_nsenter: bool,
    stdout: Arc<Lines>,
    stderr: Arc<Lines>,
    /// The first line of standard output that no one has taken yet.
    next: usize,
    started: Instant,
}

impl Running {
    pub(super) fn new(command: String, mut child: Child, behind_nsenter: bool) -> Self {
        let stdout = Lines::collect(child.stdout.take());
        let stderr = Lines::collect(child.stderr.take());
        Self {
            command,
            child,
            behind_nsenter,
            stdout,
            stderr,
            next: 0,
            started: Instant::now(),
        }
    }

    /// The next line of standard output; `None` when none came in time or the output ended.
    pub(crate) fn next_line(&mut self, timeout: Duration) -> Option<String> {
        let line = self.stdout.get(self.next, Instant::now() + timeout)?;
        self.next += 1;
        Some(line)
    }

    /// Takes lines until one satisfies `wanted`, and returns it; panics with all output after `timeout`.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patient(timeout);
        while let Some(line) = self.next_line(deadline.saturating_duration_since(Instant::now())) {
            if wanted(&line) {
                return line;
            }
        }
        panic!(
            "the awaited line did not come in {timeout:?}: {}",
            self.transcript()
        );
    }

    /// Asserts that no further line comes on standard output for `duration`.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, duration: Duration) {
        if let Some(line) = self.next_line(duration) {
            panic!("expected silence, got {line:?}: {}", self.transcript());
        }
    }

    /// Writes to standard input (the command must have been built with `stdin_pipe`).
    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        let pipe = self.child.stdin.as_mut().expect("built with stdin_pipe");
        pipe.write_all(text.as_bytes())
            .and_then(|()| pipe.flush())
            .expect("the program reads");
    }

    /// Closes standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// The program has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The program's process, as the machine numbers it; `None` when it is gone.
    pub(crate) fn pid(&self) -> Option<u32> {
        let direct = self.child.id();
        if !self.behind_nsenter {
            return Some(direct);
        }
        // Just after the start nsenter has not forked yet.
        let patience = Duration::from_millis(500).saturating_sub(self.started.elapsed());
        poll_for(patience, || first_child(direct))
    }

    /// The program's process, as its own host numbers it; `None` when it is gone.
    pub(crate) fn pid_inside(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_whitespace().last()?.parse().ok()
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let pid = pid.unwrap_or_else(|| panic!("ended already: {}", self.transcript()));
        kill_process(pid, signal).unwrap_or_else(|error| panic!("signal to {}: {error}", self.command));
    }

    /// Kills the program as `kill -9` does, with what it started in its own process group, and waits for
    /// its end.
    pub(crate) fn kill(&mut self) {
        kill(&mut self.child, self.behind_nsenter);
    }

    /// Waits for the end; panics with all output after `timeout`.
    #[track_caller]
    pub(crate) fn wait(mut self, timeout: Duration) -> Output {
        self.close_stdin();
        match wait_child(&mut self.child, patient(timeout)) {
            Ok(Some(status)) => self.output(status),
            Ok(None) => panic!("did not end in {timeout:?}: {}", self.transcript()),
            Err(error) => panic!("{}: {error}", self.command),
        }
    }

    fn output(&self, status: ExitStatus) -> Output {
        self.stdout.wait_end(Duration::from_millis(500));
        self.stderr.wait_end(Duration::from_millis(500));
        Output {
            command: self.command.clone(),
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            elapsed: self.started.elapsed(),
        }
    }

    /// Everything that was said so far, for messages.
    pub(crate) fn transcript(&self) -> String {
        let mut text = format!("$ {}\n", self.command);
        for (name, lines) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in lines.text().lines() {
                writeln!(text, "  {name}: {line}").expect("a String takes everything");
            }
        }
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}

/// The first child of a process, as the machine numbers it.
pub(super) fn first_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The lines of a pipe, read by a thread.
#[derive(Default)]
struct Lines {
    state: Mutex<LinesState>,
    changed: Condvar,
}

#[derive(Default)]
struct LinesState {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let Some(pipe) = pipe else { return lines };
        let writer = Arc::clone(&lines);
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while let Ok(1..) = reader.read_until(b'\n', &mut bytes) {
                let line = String::from_utf8_lossy(&bytes)
                    .trim_end_matches(['\n', '\r'])
                    .to_owned();
                bytes.clear();
                writer.lock().lines.push(line);
                writer.changed.notify_all();
            }
            writer.lock().ended = true;
            writer.changed.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, LinesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, index: usize, deadline: Instant) -> Option<String> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.get(index) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn wait_end(&self, timeout: Duration) {
        let ended = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |state| !state.ended);
        drop(ended);
    }

    fn text(&self) -> String {
        let mut text = self.lock().lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}
