//! Running other programs: the one place where processes are started.
//!
//! A program is looked for in fixed directories, never along the caller's PATH; it gets an environment of its own,
//! an empty standard input and no shell; its last lines on standard error end up in the error. It gets SIGTERM when
//! we die, unless it has changed its user or group by then, as dnsmasq may: Linux forgets the wish at that moment. A
//! package manager is let go on to its end.
//! What the arguments mean is the callers' business.

use super::Distribution;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Where programs are looked for, in this order.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What programs find of our own environment. All else could change what they do: `TAR_OPTIONS`, `RPM_CONFIGDIR`,
/// `XDG_CONFIG_HOME`, `LD_PRELOAD` and the like.
const PASSED_ON: [&str; 2] = ["DBUS_SYSTEM_BUS_ADDRESS", "TMPDIR"];

/// How much of a failed program's standard error is kept for the message, in bytes from its end.
const STDERR_KEPT: usize = 2048;

/// Why a program could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("`{name}` is not installed (looked in {}); it is in the package {}", DIRECTORIES.join(", "), Distribution::here().package(package))]
    Missing {
        /// The program's name.
        name: &'static str,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// The operating system refused to start it or to talk to it.
    #[error("cannot run `{command}`: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// The reason.
        source: io::Error,
    },
    /// It ran and ended with a status other than 0.
    #[error("`{command}` failed ({status}){}", tail(stderr))]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// It succeeded, but its output is not what it should be.
    #[error("`{command}` gave an answer that cannot be read: {reason}")]
    Answer {
        /// The command line.
        command: String,
        /// What is wrong with the output.
        reason: String,
    },
}

impl CommandError {
    /// True if the program is not installed.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

fn tail(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// An installed program.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// Finds the program `name`; `package` is the Debian package to name when it is missing.
    pub fn find(name: &'static str, package: &'static str) -> Result<Self, CommandError> {
        DIRECTORIES
            .iter()
            .map(|dir| Path::new(dir).join(name))
            .find(|path| path.is_file())
            .map(|path| Self { path })
            .ok_or(CommandError::Missing { name, package })
    }

    /// A run of it, to be given arguments.
    pub fn run(&self) -> Run {
        Run {
            program: self.path.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
            dir: None,
            to_its_end: false,
        }
    }
}

/// One run of a program, before it is started.
#[derive(Debug, Clone)]
pub struct Run {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    dir: Option<PathBuf>,
    to_its_end: bool,
}

impl Run {
    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable, beside `PATH` and `LC_ALL`, which are always there.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    /// Runs it in the directory `dir` instead of our own.
    #[must_use]
    pub fn within(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Lets it go on to its end when we die: what it does must not stop half-way.
    #[must_use]
    pub const fn to_its_end(mut self) -> Self {
        self.to_its_end = true;
        self
    }

    /// The program and its arguments.
    pub fn words(&self) -> Vec<String> {
        let arguments = self
            .arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        std::iter::once(self.program.display().to_string())
            .chain(arguments)
            .collect()
    }

    /// The command line for messages; arguments with spaces in quotes.
    pub fn line(&self) -> String {
        let mut line = self.program.display().to_string();
        for argument in &self.arguments {
            let text = argument.to_string_lossy();
            let plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
            let _ = if plain {
                write!(line, " {text}")
            } else {
                write!(line, " {text:?}")
            };
        }
        line
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", DIRECTORIES.join(":"))
            .env("LC_ALL", "C.UTF-8")
            .envs(
                PASSED_ON
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .stdin(Stdio::null());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if !self.to_its_end {
            // SAFETY: the closure runs between fork and exec and makes a single prctl system call.
            unsafe {
                command.pre_exec(|| {
                    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
                    Ok(())
                });
            }
        }
        tracing::debug!(command = %self.line(), "run");
        command
    }

    /// Starts the program and leaves it running, its output going where the caller says.
    pub fn start_with(&self, stdout: Stdio, stderr: Stdio) -> Result<Child, CommandError> {
        self.command()
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| self.spawn_error(source))
    }

    /// Runs the program to its end, its output going where the caller says; a status other than 0 is an error.
    pub fn run_with(&self, stdout: Stdio, stderr: Stdio) -> Result<(), CommandError> {
        let mut child = self.start_with(stdout, stderr)?;
        let status = child.wait().map_err(|source| self.spawn_error(source))?;
        if status.success() {
            return Ok(());
        }
        Err(CommandError::Failed {
            command: self.line(),
            status,
            stderr: String::new(),
        })
    }

    /// Runs the program to its end, whatever status that is.
    pub fn finish(&self) -> Result<Finished, CommandError> {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.spawn_error(source))?;
        let errors = child.stderr.take();
        let collector = std::thread::spawn(move || last_bytes(errors));
        let mut stdout = Vec::new();
        let read = child
            .stdout
            .take()
            .map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stdout));
        let status = child.wait().map_err(|source| self.spawn_error(source))?;
        read.map_err(|source| self.spawn_error(source))?;
        let stderr = collector.join().unwrap_or_default();
        Ok(Finished {
            command: self.line(),
            status,
            stdout,
            stderr,
        })
    }

    /// Runs the program to its end; a status other than 0 is an error.
    pub fn output(&self) -> Result<Finished, CommandError> {
        let finished = self.finish()?;
        if finished.status.success() {
            return Ok(finished);
        }
        Err(CommandError::Failed {
            command: finished.command,
            status: finished.status,
            stderr: finished.stderr,
        })
    }

    /// Runs the program without looking at what it writes; it is killed, and the answer is `None`, when it has not
    /// ended within `limit`.
    pub fn status_within(&self, limit: Duration) -> Result<Option<ExitStatus>, CommandError> {
        let mut child = self.start_with(Stdio::null(), Stdio::null())?;
        let deadline = Instant::now() + limit;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(Some(status)),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let killed = child.kill().and_then(|()| child.wait());
                    return killed.map(|_| None).map_err(|source| self.spawn_error(source));
                }
                Err(source) => return Err(self.spawn_error(source)),
            }
        }
    }

    fn spawn_error(&self, source: io::Error) -> CommandError {
        CommandError::Spawn {
            command: self.line(),
            source,
        }
    }
}

/// Reads a pipe to its end and keeps the last [`STDERR_KEPT`] bytes as printable text.
fn last_bytes(pipe: Option<impl Read>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut block = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut block) {
        kept.extend_from_slice(&block[..n]);
        if kept.len() > 4 * STDERR_KEPT {
            kept.drain(..kept.len() - STDERR_KEPT);
        }
    }
    let start = kept.len().saturating_sub(STDERR_KEPT);
    let text = String::from_utf8_lossy(&kept[start..]);
    text.lines()
        .map(|line| crate::name::printable(line, 400))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output read as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, CommandError> {
        serde_json::from_slice(&self.stdout).map_err(|e| CommandError::Answer {
            command: self.command.clone(),
            reason: e.to_string(),
        })
    }

    /// Standard output as text without its last newline.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Program::find("no-such-program", "some-package")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no-such-program") && error.contains("some-package"),
            "{error}"
        );
    }

    #[test]
    fn the_environment_is_not_ours() {
        assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
        let env = Program::find("env", "coreutils").unwrap();
        let text = env.run().env("HOME", "/nowhere").output().unwrap().text();
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !PASSED_ON.iter().any(|name| line.starts_with(name)))
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "HOME=/nowhere",
                "LC_ALL=C.UTF-8",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
            ]
        );
    }

    #[test]
    fn failure_carries_the_command_and_its_last_words() {
        let ls = Program::find("ls", "coreutils").unwrap();
        let error = ls.run().arg("/nonexistent dir").output().unwrap_err().to_string();
        assert!(
            error.contains("ls \"/nonexistent dir\"") && error.contains("No such file"),
            "{error}"
        );
    }
}
