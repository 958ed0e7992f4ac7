//! The first process of a private host: it builds the host's file tree, says that it is ready, and lives
//! until its standard input ends.
//!
//! It runs inside the namespaces that `unshare` made, and sees the machine's tree until it has built its
//! own (see [`tree`](super::tree)). Then it turns over to that tree and lets go of the machine's, so that
//! no path in the host leads to anything of the machine that can be written.
//!
//! Two ways of ending: the test closes the pipe, or the test dies, which closes the pipe too. The process
//! before it (`tini`) then ends, and the kernel takes the namespaces down with everything in them.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::pivot_root;
use serde::{Deserialize, Serialize};

use super::command::PATH;
use super::error::{Context, LabError, Result};
use super::namespaces::require_own_namespaces;
use super::tree;

/// The first argument that turns the executable into a private host's first process; the plan follows.
pub(crate) const INIT_ARGUMENT: &str = "--lab-init";

/// What the first process says when the host's tree is built.
pub(crate) const READY: &str = "ready";

/// Where the new tree grows before the host turns over to it.
const NEW_ROOT: &str = "/mnt";

/// What the first process is to build; it travels as JSON in the argument after [`INIT_ARGUMENT`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitPlan {
    /// The host's name.
    pub(crate) name: String,
    /// Files of the machine may belong to users that do not exist in the host.
    pub(crate) unmapped_files: bool,
    /// Files of the machine that are copied into the host.
    pub(crate) copies: Vec<CopyIn>,
    /// Files that are written.
    pub(crate) files: Vec<FileIn>,
}

/// A file of the machine that is copied into the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CopyIn {
    pub(crate) machine_path: PathBuf,
    /// Absolute path in the host.
    pub(crate) host_path: PathBuf,
    pub(crate) mode: u32,
}

/// A file that is written in the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileIn {
    /// Absolute path in the host.
    pub(crate) host_path: PathBuf,
    pub(crate) content: String,
}

/// Runs as the first process; `plan` is the argument after [`INIT_ARGUMENT`].
pub(super) fn main(plan: Option<&str>) -> ExitCode {
    let built = plan
        .ok_or_else(|| LabError::new("the plan is missing"))
        .and_then(|plan| serde_json::from_str(plan).context("the plan cannot be read"))
        .and_then(|plan: InitPlan| build(&plan));
    let mut stdout = std::io::stdout();
    let answer = match &built {
        Ok(()) => READY.to_owned(),
        // One line: the test reads lines.
        Err(error) => error.to_string().replace('\n', " "),
    };
    if writeln!(stdout, "{answer}")
        .and_then(|()| stdout.flush())
        .is_err()
        || built.is_err()
    {
        return ExitCode::FAILURE;
    }
    let mut sink = [0; 256];
    while matches!(std::io::stdin().read(&mut sink), Ok(1..)) {}
    ExitCode::SUCCESS
}

fn build(plan: &InitPlan) -> Result<()> {
    require_own_namespaces()?;
    let root = Path::new(NEW_ROOT);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make the mounts private")?;
    tree::build(root, plan)?;
    turn_over(root)?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .env("PATH", PATH)
        .status();
    match up.context("cannot run ip")? {
        status if status.success() => Ok(()),
        status => Err(LabError::new(format!("`ip link set lo up` failed ({status})"))),
    }
}

/// Makes `root` the root of the mount namespace and lets go of the old one.
fn turn_over(root: &Path) -> Result<()> {
    std::env::set_current_dir(root).context("cannot enter the new tree")?;
    pivot_root(".", ".").context("cannot turn over to the new tree")?;
    // The old root now lies over the new one; detached, it is out of reach.
    unmount(".", UnmountFlags::DETACH).context("cannot let go of the machine's tree")?;
    std::env::set_current_dir("/").context("cannot enter the new tree")
}
