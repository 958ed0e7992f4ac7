//! Where there are no private hosts: a directory, and an ordinary user who has a libvirt of its own in it.
//!
//! Everything is gone when the demo ends, however it ends.

use std::path::Path;
use std::time::Duration;

use crate::support::{
    Command, GuardedDir, LabError, Result, Running, Site, needs_user_namespace, poll_for, under_test,
};

/// Whom root becomes here: "nobody", whom every container knows.
const NOBODY: u32 = 65_534;
/// Named on the command line, so that the guard knows the daemon.
const LIBVIRTD_CONFIG: &str = "config/libvirt/libvirtd.conf";
const LIBVIRT_START: Duration = Duration::from_secs(60);

/// A user with a directory and a libvirt session of its own.
pub(crate) struct Cell {
    dir: GuardedDir,
    user: Option<u32>,
}

impl Cell {
    /// Makes the directory and what belongs into it.
    pub(crate) fn make() -> Result<Self> {
        // A container can be so poor that root cannot become anyone else.
        let user = Some(NOBODY).filter(|id| !needs_user_namespace() && can_become(*id));
        let cell = Self {
            dir: GuardedDir::make(user)?,
            user,
        };
        for dir in ["bin", "config/libvirt", "one", "run", "tmp"] {
            cell.at(&["install", "-d", "-m700", dir]).try_check()?;
        }
        cell.copy(&under_test()?, "bin/miniascape");
        cell.at(&["chmod", "755", "bin/miniascape"]).try_check()?;
        cell.write(
            "config/libvirt/qemu.conf",
            "security_driver = \"none\"\nstdio_handler = \"file\"\n",
        );
        cell.write(LIBVIRTD_CONFIG, "");
        cell.write("net-1.yaml", include_str!("../../networks/net-1.yaml"));
        cell.write("build-rpm-stub", include_str!("../../packaging/build-rpm-stub"));
        Ok(cell)
    }

    /// Writes a file in the directory.
    pub(crate) fn write(&self, file: &str, content: &str) {
        self.writer(file).stdin(content).check();
    }

    /// Copies a file of the machine into the directory, and returns its name.
    pub(crate) fn bring(&self, file: &Path) -> String {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.copy(file, &name);
        name
    }

    fn copy(&self, file: &Path, to: &str) {
        Command::machine(["cat".as_ref(), "--".as_ref(), file.as_os_str()]).check_into(&self.writer(to));
    }

    /// Writes what it reads. A pipe of another user's cannot be opened by its name, so none is.
    fn writer(&self, file: &str) -> Command {
        self.at(&["dd", "status=none", &format!("of={file}")])
    }

    /// The absolute path of something in the directory.
    pub(crate) fn path(&self, inside: &str) -> String {
        self.dir.path().join(inside).display().to_string()
    }

    /// Starts the user's libvirt and waits until it answers.
    pub(crate) fn libvirt(&self) -> Result<Running> {
        if self.user.is_none() && !needs_user_namespace() {
            return Err(LabError::new(
                "root cannot become another user here, and libvirt is only started as one",
            )
            .remedy("run the demo as an ordinary user"));
        }
        let mut libvirtd = self
            .at(&["libvirtd", "--config", &self.path(LIBVIRTD_CONFIG)])
            .try_spawn()?;
        let answered = poll_for(LIBVIRT_START, || {
            let up = self.at(&["virsh", "uri"]).try_run();
            (up.is_ok_and(|output| output.ok()) || !libvirtd.is_running()).then_some(())
        });
        if answered.is_some() && libvirtd.is_running() {
            return Ok(libvirtd);
        }
        Err(LabError::new(format!(
            "an ordinary user's libvirt does not start: {}",
            libvirtd.transcript()
        )))
    }
}

/// Root can run programs as this user.
fn can_become(id: u32) -> bool {
    Command::machine(become_user(&id.to_string()).iter().chain(&["true"]))
        .try_run()
        .is_ok_and(|tried| tried.ok())
}

/// The start of a command line that runs the rest of it as another user.
fn become_user(id: &str) -> [&str; 7] {
    ["setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"]
}

impl Site for Cell {
    fn at(&self, argv: &[&str]) -> Command {
        let user = self.user.map(|id| id.to_string());
        let prefix = user.as_deref().map(become_user);
        let argv = prefix.iter().flatten().chain(argv);
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.path("bin")
        );
        Command::machine(argv)
            .cwd(self.dir.path())
            .env("HOME", self.dir.path())
            .env("PATH", path)
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("LIBVIRT_DEFAULT_URI", "qemu:///session")
            // No client starts a daemon that no one would stop.
            .env("LIBVIRT_AUTOSTART", "0")
    }

    fn home(&self) -> String {
        self.dir.path().display().to_string()
    }
}
