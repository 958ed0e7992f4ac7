//! Running programs, on the machine or inside a private host, with a time-out and nothing left behind.
//!
//! A [`Command`] is built, then either run to its end (an [`Output`]) or spawned (a
//! [`Running`](super::running::Running)). The environment is never inherited: what a program sees is what
//! the test says.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use super::error::{Context, LabError, Result};
use super::output::Output;
use super::running::{self, Running};
use super::wait::patient;

/// The search path of every program that the lab runs.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The time that a program gets when nothing else is said.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Where a command runs.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On the machine itself, as the user who runs the lab.
    Machine,
    /// In the namespaces of this process, by `nsenter`.
    Inside {
        /// The first process of the private host, as the machine numbers it.
        pid: u32,
        /// The host has a user namespace of its own.
        user_namespace: bool,
    },
}

/// What a command reads.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// Nothing: `/dev/null`.
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A pipe held by the test.
    Pipe,
}

impl Input {
    fn stdio(&self) -> Stdio {
        match self {
            Self::Null => Stdio::null(),
            Self::Bytes(_) | Self::Pipe => Stdio::piped(),
        }
    }
}

/// A program with arguments, environment, place and time-out.
#[derive(Debug, Clone)]
#[must_use = "a command does nothing until it is run, checked or spawned"]
pub(crate) struct Command {
    place: Place,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    input: Input,
    timeout: Duration,
}

impl Command {
    /// A command for the machine itself, with the user's HOME.
    pub(crate) fn machine<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Self {
        let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
        let command = Self::at(Place::Machine, argv).env("HOME", home);
        match std::env::var_os("TMPDIR") {
            Some(dir) => command.env("TMPDIR", dir),
            None => command,
        }
    }

    /// A command for `place`.
    pub(crate) fn at<S: AsRef<OsStr>>(place: Place, argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<OsString> = argv.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        assert!(!argv.is_empty(), "a command needs a program");
        let command = Self {
            place,
            argv,
            env: Vec::new(),
            cwd: None,
            input: Input::Null,
            timeout: DEFAULT_TIMEOUT,
        };
        command
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC0")
    }

    /// Sets an environment variable; the last word counts.
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != key.as_ref());
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes an environment variable away.
    pub(crate) fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != key.as_ref());
        self
    }

    /// Runs it by another program, whose command line ends with this one's.
    pub(crate) fn behind(mut self, argv: &[&str]) -> Self {
        let rest = std::mem::take(&mut self.argv);
        self.argv = argv.iter().map(OsString::from).chain(rest).collect();
        self
    }

    /// Runs in `dir`, a path as the program sees it.
    pub(crate) fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives the program these bytes to read.
    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = Input::Bytes(bytes.as_ref().to_vec());
        self
    }

    /// Keeps the program's standard input open for [`Running::send`].
    pub(crate) fn stdin_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Changes the time that the program gets.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs to the end. A program that fails is an `Output` like any other; one that cannot be started or
    /// that runs out of time is a panic.
    #[track_caller]
    pub(crate) fn run(&self) -> Output {
        self.try_run().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs to the end and panics, showing everything, unless the status is 0.
    #[track_caller]
    pub(crate) fn check(&self) -> Output {
        let output = self.run();
        assert!(output.ok(), "{output}");
        output
    }

    /// [`check`](Self::check) for those who can go on without.
    pub(crate) fn try_check(&self) -> Result<Output> {
        let output = self.try_run()?;
        if output.ok() {
            Ok(output)
        } else {
            Err(LabError::new(output.to_string()))
        }
    }

    /// Runs to the end; the time-out and a program that cannot be started are errors.
    pub(crate) fn try_run(&self) -> Result<Output> {
        let child = self.start(self.input.stdio(), Stdio::piped(), Stdio::piped())?;
        self.end(child)
    }

    /// Feeds a started child and waits for its end.
    fn end(&self, mut child: Child) -> Result<Output> {
        let started = Instant::now();
        self.feed(&mut child);
        let stdout = Collector::start(child.stdout.take());
        let stderr = Collector::start(child.stderr.take());
        let ended = wait_child(&mut child, patient(self.timeout)).context(self)?;
        let Some(status) = ended else {
            kill(&mut child, matches!(self.place, Place::Inside { .. }));
            let partial = Output {
                command: self.to_string(),
                status: ExitStatus::default(),
                stdout: stdout.finish(),
                stderr: stderr.finish(),
                elapsed: started.elapsed(),
            };
            return Err(LabError::new(format!(
                "ran out of time after {:?}: {partial}",
                self.timeout
            )));
        };
        Ok(Output {
            command: self.to_string(),
            status,
            stdout: stdout.finish(),
            stderr: stderr.finish(),
            elapsed: started.elapsed(),
        })
    }

    /// Runs to the end with the output of the lab itself, and without time-out.
    pub(crate) fn run_in_foreground(&self) -> Result<ExitStatus> {
        self.start(Stdio::null(), Stdio::inherit(), Stdio::inherit())?
            .wait()
            .context(self)
    }

    /// Runs this command and `reader` with a pipe between them, and panics unless both succeed.
    #[track_caller]
    pub(crate) fn check_into(&self, reader: &Self) {
        let mut writer = self
            .start(Stdio::null(), Stdio::piped(), Stdio::piped())
            .unwrap_or_else(|error| panic!("{error}"));
        let pipe = writer.stdout.take().expect("was piped");
        let read = reader
            .start(pipe.into(), Stdio::piped(), Stdio::piped())
            .and_then(|child| reader.end(child));
        let written = self.end(writer);
        // A writer whose reader is gone is not the cause.
        for output in [read, written] {
            let output = output.unwrap_or_else(|error| panic!("{error}"));
            assert!(output.ok(), "{output}");
        }
    }

    /// Starts the program and leaves it running; it is killed when the [`Running`] is dropped.
    #[track_caller]
    pub(crate) fn spawn(&self) -> Running {
        self.try_spawn().unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`spawn`](Self::spawn) with an error instead of a panic.
    pub(crate) fn try_spawn(&self) -> Result<Running> {
        let mut child = self.start(self.input.stdio(), Stdio::piped(), Stdio::piped())?;
        self.feed(&mut child);
        Ok(Running::new(
            self.to_string(),
            child,
            matches!(self.place, Place::Inside { .. }),
        ))
    }

    /// Writes the input in a thread; a program that does not read all of it is its own business.
    fn feed(&self, child: &mut Child) {
        if let Input::Bytes(bytes) = &self.input
            && let Some(mut pipe) = child.stdin.take()
        {
            let bytes = bytes.clone();
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
    }

    fn start(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let mut command = match &self.place {
            Place::Machine => {
                let mut command = std::process::Command::new(&self.argv[0]);
                if let Some(dir) = &self.cwd {
                    command.current_dir(dir);
                }
                command
            }
            Place::Inside { pid, user_namespace } => {
                let mut command = std::process::Command::new("nsenter");
                command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--target"]);
                command.arg(pid.to_string());
                if *user_namespace {
                    command.args(["--user", "--preserve-credentials"]);
                }
                let dir = self.cwd.as_deref().unwrap_or(Path::new("/root"));
                let mut wdns = OsString::from("--wdns=");
                wdns.push(dir);
                command.arg(wdns).arg("--").arg(&self.argv[0]);
                command
            }
        };
        command
            .args(&self.argv[1..])
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        // A group of its own, so that a time-out reaches the program behind nsenter too.
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        command.spawn().context(format_args!("cannot start {self}"))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, arg) in self.argv.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let arg = arg.to_string_lossy();
            if arg.is_empty() || arg.contains(|c: char| c.is_whitespace() || "'\"$&|;<>".contains(c)) {
                write!(f, "{arg:?}")?;
            } else {
                f.write_str(&arg)?;
            }
        }
        Ok(())
    }
}

/// Waits for the end of `child`; `None` when `timeout` passed first.
pub(super) fn wait_child(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    let pidfd = pidfd(child)?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec::try_from(left).map_err(std::io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn pidfd(child: &Child) -> std::io::Result<OwnedFd> {
    Ok(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?)
}

/// Kills a child that was started in a process group of its own, with everything in the group, and waits
/// for its end.
pub(super) fn kill(child: &mut Child, behind_nsenter: bool) {
    // What is gone already is as good, here and below.
    if behind_nsenter && let Some(inside) = running::first_child(child.id()) {
        // First the program, so that nsenter reaps it: an orphan would go to the machine's first process,
        // which in some containers reaps nothing.
        let _ = Pid::from_raw(inside.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
        if let Ok(pidfd) = pidfd(child) {
            let patience = Timespec {
                tv_sec: 2,
                tv_nsec: 0,
            };
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience));
        }
    }
    // The child is not waited for yet, so the number of the group is no one else's.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    drop(child.wait());
}

/// Reads a pipe to its end in a thread.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let thread = pipe.map(|mut pipe| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    bytes
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&buffer[..count]);
                }
            })
        });
        Self { bytes, thread }
    }

    /// What was read. A daemon that the program left behind may hold the pipe open for ever, so the end
    /// of the pipe is awaited for a moment only.
    fn finish(self) -> String {
        let deadline = Instant::now() + Duration::from_millis(500);
        if let Some(thread) = self.thread {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
