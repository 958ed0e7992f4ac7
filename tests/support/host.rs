//! A private host: its start, its end, its files, and commands inside it.
//!
//! The daemons that run in it are in [`services`](super::services); how its file tree is built is in
//! [`init`](super::init).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::command::{Command, Place};
use super::error::Result;
use super::init::{CopyIn, InitPlan};
use super::namespaces::{Namespaces, has_unmapped_files};
use super::output::Output;
use super::program;
use super::running::Running;
use super::services::{BusPolicy, QemuUser, Services};
use super::wait::patient;

/// Where the program under test is in a host.
pub(crate) const MINIASCAPE: &str = "/usr/bin/miniascape";

/// How long the program waits for a guest when nothing else is said.
const GUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// What a private host has.
#[derive(Debug, Clone)]
pub(crate) struct HostOptions {
    pub(super) name: Option<String>,
    pub(super) miniascape: bool,
    pub(super) bus: Option<BusPolicy>,
    pub(super) libvirtd: bool,
    pub(super) qemu_user: QemuUser,
    pub(super) env: Vec<(String, String)>,
    pub(super) copies: Vec<CopyIn>,
}

impl Default for HostOptions {
    /// The program under test, a message bus that allows everything, and libvirtd.
    fn default() -> Self {
        Self {
            name: None,
            miniascape: true,
            bus: Some(BusPolicy::Open),
            libvirtd: true,
            qemu_user: QemuUser::Distribution,
            env: Vec::new(),
            copies: Vec::new(),
        }
    }
}

impl HostOptions {
    /// A host without daemons: file tree and network only.
    pub(crate) fn bare() -> Self {
        Self {
            bus: None,
            libvirtd: false,
            ..Self::default()
        }
    }

    /// Names the host; by default `lab-` and a number.
    pub(crate) fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Leaves the program under test out: the host gets it from a package.
    pub(crate) fn without_miniascape(mut self) -> Self {
        self.miniascape = false;
        self
    }

    /// Leaves libvirtd out; [`Host::start_libvirtd`] starts it later.
    pub(crate) fn without_libvirtd(mut self) -> Self {
        self.libvirtd = false;
        self
    }

    /// Says what the message bus allows.
    pub(crate) fn bus_policy(mut self, policy: BusPolicy) -> Self {
        self.bus = Some(policy);
        self
    }

    /// Says as which user libvirt runs QEMU.
    pub(crate) fn qemu_user(mut self, user: QemuUser) -> Self {
        self.qemu_user = user;
        self
    }

    /// Sets an environment variable for every command in the host.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Copies a file of the machine into the host before anything runs.
    pub(crate) fn copy_in(mut self, from: impl Into<PathBuf>, to: impl Into<PathBuf>, mode: u32) -> Self {
        self.copies.push(CopyIn {
            machine_path: from.into(),
            host_path: to.into(),
            mode,
        });
        self
    }
}

/// A running private host. Dropping it ends it with everything in it.
pub(crate) struct Host {
    name: String,
    namespaces: Namespaces,
    pub(super) options: HostOptions,
    pub(super) services: Services,
}

impl Host {
    /// Starts a host and waits until its daemons answer; panics with the reason otherwise.
    #[track_caller]
    pub(crate) fn start(options: HostOptions) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("no private host: {error}"))
    }

    /// Starts a host and waits until its daemons answer.
    pub(crate) fn try_start(options: HostOptions) -> Result<Self> {
        let name = options.name.clone().unwrap_or_else(next_name);
        let mut copies = options.copies.clone();
        if options.miniascape {
            let machine_path = program::under_test()?;
            copies.push(CopyIn {
                machine_path,
                host_path: MINIASCAPE.into(),
                mode: 0o755,
            });
        }
        let namespaces = Namespaces::start(&InitPlan {
            name: name.clone(),
            unmapped_files: has_unmapped_files(),
            copies,
            files: Services::files(&options),
        })?;
        let mut host = Self {
            name,
            namespaces,
            options,
            services: Services::default(),
        };
        host.start_services()?;
        Ok(host)
    }

    /// The host's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The host's first process, as the machine numbers it.
    pub(crate) fn pid(&self) -> u32 {
        self.namespaces.pid
    }

    /// A command inside the host, to be refined and run.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Command {
        let place = Place::Inside {
            pid: self.namespaces.pid,
            user_namespace: self.namespaces.user_namespace,
        };
        let command = Command::at(place, argv)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("TERM", "dumb");
        let command = match patient(GUEST_TIMEOUT) {
            GUEST_TIMEOUT => command,
            longer => command.env("MINIASCAPE_TIMEOUT", format!("{}s", longer.as_secs())),
        };
        self.options
            .env
            .iter()
            .fold(command, |command, (key, value)| command.env(key, value))
    }

    /// Runs a command inside the host to its end.
    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Output {
        self.command(argv).run()
    }

    /// Runs a command inside the host, and panics with everything shown unless it succeeds.
    #[track_caller]
    pub(crate) fn check<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Output {
        self.command(argv).check()
    }

    /// Starts a command inside the host and leaves it running.
    #[track_caller]
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, argv: impl IntoIterator<Item = S>) -> Running {
        self.command(argv).spawn()
    }

    /// The program under test with these arguments, to be refined and run.
    pub(crate) fn miniascape_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.command(std::iter::once(MINIASCAPE.into()).chain(args))
    }

    /// Runs the program under test with these arguments to its end.
    #[track_caller]
    pub(crate) fn miniascape<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.miniascape_command(args).run()
    }

    /// Runs the program under test, and panics with everything shown unless it succeeds.
    #[track_caller]
    pub(crate) fn miniascape_check<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.miniascape_command(args).check()
    }

    /// Writes a file (0644) in the host; its directory is made if need be.
    #[track_caller]
    pub(crate) fn write_file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let argv = [
            OsStr::new("install"),
            "-D".as_ref(),
            "-m644".as_ref(),
            "/dev/stdin".as_ref(),
            path.as_ref().as_ref(),
        ];
        self.command(argv).stdin(content).check();
    }

    /// Reads a text file of the host.
    #[track_caller]
    pub(crate) fn read_file(&self, path: impl AsRef<Path>) -> String {
        self.check([OsStr::new("cat"), "--".as_ref(), path.as_ref().as_ref()])
            .stdout
    }

    /// Something is at `path` (a dangling link counts).
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        let path = path.as_ref().as_os_str();
        self.run([
            OsStr::new("test"),
            "-e".as_ref(),
            path,
            "-o".as_ref(),
            "-L".as_ref(),
            path,
        ])
        .ok()
    }

    /// Removes a file or a directory with everything in it; nothing there is as good.
    #[track_caller]
    pub(crate) fn remove(&self, path: impl AsRef<Path>) {
        self.check([
            OsStr::new("rm"),
            "-rf".as_ref(),
            "--".as_ref(),
            path.as_ref().as_ref(),
        ]);
    }

    /// The names in a directory of the host, sorted; empty when there is none.
    pub(crate) fn list_dir(&self, dir: impl AsRef<Path>) -> Vec<String> {
        self.run([
            OsStr::new("ls"),
            "-1A".as_ref(),
            "--".as_ref(),
            dir.as_ref().as_ref(),
        ])
        .stdout
        .lines()
        .map(str::to_owned)
        .collect()
    }

    /// Copies files or directories to the same absolute paths of another host, modes and holes kept.
    #[track_caller]
    pub(crate) fn copy_to(&self, other: &Self, paths: &[&str]) {
        let relative = paths.iter().map(|path| path.trim_start_matches('/'));
        let pack = ["tar", "-C", "/", "-c", "--sparse", "--"]
            .into_iter()
            .chain(relative);
        self.command(pack)
            .check_into(&other.command(["tar", "-C", "/", "-x", "-p"]));
    }

    /// Copies a file of the machine into the host.
    #[track_caller]
    pub(crate) fn copy_from_machine(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (from.as_ref(), to.as_ref());
        if let Some(dir) = to.parent() {
            self.check([OsStr::new("mkdir"), "-p".as_ref(), dir.as_ref()]);
        }
        let read = Command::machine([OsStr::new("cat"), "--".as_ref(), from.as_ref()]);
        read.check_into(&self.command([
            OsStr::new("cp"),
            "--sparse=always".as_ref(),
            "/dev/stdin".as_ref(),
            to.as_ref(),
        ]));
    }

    /// Copies a file of the host to the machine.
    #[track_caller]
    pub(crate) fn copy_to_machine(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let write = Command::machine([
            OsStr::new("cp"),
            "--sparse=always".as_ref(),
            "/dev/stdin".as_ref(),
            to.as_ref().as_ref(),
        ]);
        self.command([OsStr::new("cat"), "--".as_ref(), from.as_ref().as_ref()])
            .check_into(&write);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dump_logs();
        }
        self.services.stop();
    }
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("lab-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
