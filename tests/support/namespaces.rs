//! The namespaces of a private host: who needs which, the processes that hold them, their end.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use fs_err as fs;

use super::command::{PATH, kill, wait_child};
use super::error::{Context, LabError, Result};
use super::init::{INIT_ARGUMENT, InitPlan, READY};
use super::running::first_child;

/// How long a host may take until its tree is built.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A user who is not root needs a user namespace to get the others.
pub(crate) fn needs_user_namespace() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Some files of the machine belong to users that do not exist here: in a user namespace, the one that a
/// host needs or one around the lab.
pub(super) fn has_unmapped_files() -> bool {
    let everyone = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    needs_user_namespace() || !fs::read_to_string("/proc/self/uid_map").is_ok_and(everyone)
}

/// Refuses to go on outside of namespaces made for the lab: what follows covers directories and would cover
/// the machine's. There, `tini` is the first process and starts this one as the second.
pub(super) fn require_own_namespaces() -> Result<()> {
    if std::process::id() == 2 {
        return Ok(());
    }
    Err(LabError::new(
        "the lab starts itself with this argument, in namespaces; it is not for people",
    ))
}

/// The `unshare` command line up to the program that it runs.
pub(crate) fn unshare_argv() -> Vec<&'static str> {
    let mut argv = vec!["unshare"];
    if needs_user_namespace() {
        argv.extend(["--user", "--map-root-user", "--map-auto"]);
    }
    argv.extend([
        "--net",
        "--mount",
        "--uts",
        "--ipc",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    argv
}

/// The namespaces of a host and the processes that hold them.
pub(super) struct Namespaces {
    unshare: Child,
    /// The host lives as long as this pipe is open.
    lifeline: Option<ChildStdin>,
    /// The first process inside, as the machine numbers it.
    pub(super) pid: u32,
    /// One of them is a user namespace.
    pub(super) user_namespace: bool,
}

impl Namespaces {
    /// Makes them, and waits until the first process has built the host's tree.
    pub(super) fn start(plan: &InitPlan) -> Result<Self> {
        let executable = std::env::current_exe().context("cannot find the own executable")?;
        let json = serde_json::to_string(plan).context("cannot write the plan")?;
        let argv = unshare_argv();
        let mut command = std::process::Command::new(argv[0]);
        command
            .args(&argv[1..])
            .args(["tini", "--"])
            .arg(executable)
            .args([INIT_ARGUMENT, &json]);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut unshare = command.spawn().context("cannot start unshare")?;
        let stdout = unshare.stdout.take();
        let mut namespaces = Self {
            lifeline: unshare.stdin.take(),
            unshare,
            pid: 0,
            user_namespace: needs_user_namespace(),
        };
        let answer = stdout
            .and_then(|pipe| first_line(pipe, START_TIMEOUT))
            .unwrap_or_default();
        if answer != READY {
            return Err(namespaces.refusal(&answer));
        }
        namespaces.pid =
            first_child(namespaces.unshare.id()).ok_or_else(|| LabError::new("unshare has no child"))?;
        Ok(namespaces)
    }

    /// Why there is no host: what its first process said, or `unshare`.
    fn refusal(&mut self, answer: &str) -> LabError {
        self.end();
        let mut stderr = String::new();
        if let Some(pipe) = self.unshare.stderr.take() {
            drop(std::io::Read::read_to_string(&mut { pipe }, &mut stderr));
        }
        LabError::new(format!(
            "the host's first process did not come up: {answer} {}",
            stderr.trim()
        ))
    }

    /// Closes the pipe and waits until the kernel has taken everything down.
    fn end(&mut self) {
        self.lifeline = None;
        if !matches!(wait_child(&mut self.unshare, Duration::from_secs(5)), Ok(Some(_))) {
            kill(&mut self.unshare, false);
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.end();
    }
}

/// The first line that comes from `pipe`; whatever follows is read and forgotten.
fn first_line(pipe: impl std::io::Read + Send + 'static, timeout: Duration) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
            drop(sender.send(line));
        }
    });
    receiver.recv_timeout(timeout).ok()
}
