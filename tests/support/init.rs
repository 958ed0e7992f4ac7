//! The first process of a private host: it builds the host's file tree, says that it is ready, and lives
//! until its standard input ends.
//!
//! It runs inside the namespaces that `unshare` made, and sees the machine's tree until it has built its
//! own: a tmpfs with a private copy of `/etc`, an overlay over `/usr`, a new `/var`, `/dev`, `/run`, `/tmp`
//! and `/root`, a fresh `/proc` and `/sys`. Then it turns over to that tree and lets go of the machine's, so
//! that no path in the host leads to anything of the machine that can be written.
//!
//! Two ways of ending: the test closes the pipe, or the test dies, which closes the pipe too. The process
//! before it (`tini`) then ends, and the kernel takes the namespaces down with everything in them.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use fs_err as fs;
use fs_err::os::unix::fs::symlink as fs_symlink;
use rustix::fs::Mode;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::pivot_root;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::command::PATH;
use super::error::{Context, LabError, Result};

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
    /// The host has a user namespace: files of the machine belong to unmapped users.
    pub(crate) user_namespace: bool,
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
    // The new tree may come to lie over these files, so they are opened first.
    let copies = plan
        .copies
        .iter()
        .map(|copy| {
            Ok((
                fs::File::open(&copy.machine_path).context("a program for the host")?,
                copy,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make the mounts private")?;
    let root = Path::new(NEW_ROOT);
    mount_fs("tmpfs", root, "mode=0755")?;
    for dir in ["boot", "dev", "home", "mnt", "opt", "proc", "run", "srv", "sys"] {
        mkdir(&root.join(dir), 0o755)?;
    }
    for dir in ["run/dbus", "run/lock", "run/libvirt", "run/user"] {
        mkdir(&root.join(dir), 0o755)?;
    }
    mkdir(&root.join("root"), 0o700)?;
    mkdir(&root.join("tmp"), 0o1777)?;

    let builder = Builder {
        root,
        user_namespace: plan.user_namespace,
    };
    builder.etc()?;
    builder.usr()?;
    builder.var()?;
    builder.dev()?;
    mount_fs("proc", &root.join("proc"), "")?;
    mount_fs("sysfs", &root.join("sys"), "")?;
    builder.identity(&plan.name)?;
    for (mut source, copy) in copies {
        let target = builder.inside(&copy.host_path)?;
        let mut file = fs::File::create(&target).context("a program for the host")?;
        std::io::copy(&mut source, &mut file).context("a program for the host")?;
        set_mode(&target, copy.mode)?;
    }
    for file in &plan.files {
        fs::write(builder.inside(&file.host_path)?, &file.content).context("a file of the host")?;
    }

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

struct Builder<'a> {
    root: &'a Path,
    user_namespace: bool,
}

impl Builder<'_> {
    /// The place of a path of the host while the tree is built, its directory made.
    fn inside(&self, host_path: &Path) -> Result<PathBuf> {
        let relative = host_path
            .strip_prefix("/")
            .context("a path of the host must be absolute")?;
        let path = self.root.join(relative);
        if let Some(dir) = path.parent() {
            mkdir(dir, 0o755)?;
        }
        Ok(path)
    }

    /// A private copy of `/etc`, without what configures the daemons that the host runs itself. A copy and
    /// not an overlay: files that a user namespace does not map could not be changed in an overlay.
    fn etc(&self) -> Result<()> {
        let etc = Path::new("/etc");
        let left_out = [
            "libvirt",
            "miniascape",
            "resolv.conf",
            "hostname",
            "hosts",
            "machine-id",
            "mtab",
        ];
        let target = self.root.join("etc");
        self.copy_tree(etc, &target, &left_out)?;
        for dir in ["etc/libvirt/qemu", "etc/miniascape"] {
            mkdir(&self.root.join(dir), 0o755)?;
        }
        fs_symlink("/proc/self/mounts", target.join("mtab")).context("cannot write /etc")
    }

    fn copy_entry(&self, entry: &walkdir::DirEntry, target: &Path) -> Result<()> {
        let metadata = entry.metadata().context("cannot copy a file")?;
        if metadata.is_dir() {
            mkdir(target, 0o755)?;
        } else if metadata.is_symlink() {
            let link = fs::read_link(entry.path()).context("cannot copy a link")?;
            fs_symlink(link, target).context("cannot copy a link")?;
        } else if metadata.is_file() {
            match fs::read(entry.path()) {
                Ok(bytes) => fs::write(target, bytes).context("cannot copy a file")?,
                // /etc/shadow and the like, for an ordinary user.
                Err(_) if self.user_namespace => fs::write(target, []).context("cannot copy a file")?,
                Err(error) => return Err(error).context("cannot copy a file"),
            }
        } else {
            return Ok(());
        }
        if !metadata.is_symlink() {
            set_mode(target, metadata.permissions().mode())?;
        }
        if !self.user_namespace {
            use std::os::unix::fs::MetadataExt;
            lchown(target, Some(metadata.uid()), Some(metadata.gid())).context("cannot copy an owner")?;
        }
        Ok(())
    }

    /// The machine's programs under an overlay, and the links in the root that lead to them.
    fn usr(&self) -> Result<()> {
        self.overlay(Path::new("/usr"), 4)?;
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            let machine = Path::new("/").join(name);
            let ours = self.root.join(name);
            match fs::symlink_metadata(&machine) {
                Ok(metadata) if metadata.is_symlink() => {
                    let link = fs::read_link(&machine).context("cannot copy a link")?;
                    fs_symlink(link, ours).context("cannot copy a link")?;
                }
                Ok(_) => self.overlay(&machine, 2)?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// A new `/var` with copies of the package databases: the host has the machine's packages, and what it
    /// installs or removes is its own.
    fn var(&self) -> Result<()> {
        let var = self.root.join("var");
        for dir in [
            "backups",
            "cache/libvirt/qemu",
            "lib/dbus",
            "lib/libvirt/boot",
            // libvirt writes BRIDGE.macs here when a guest starts, and does not make the directory.
            "lib/libvirt/dnsmasq",
            "lib/libvirt/images",
            "lib/libvirt/qemu",
            "lib/misc",
            "lib/systemd",
            "local",
            "log/libvirt/qemu",
            "mail",
            "opt",
            "spool",
        ] {
            mkdir(&var.join(dir), 0o755)?;
        }
        mkdir(&var.join("tmp"), 0o1777)?;
        fs_symlink("/run", var.join("run")).context("cannot write /var")?;
        fs_symlink("/run/lock", var.join("lock")).context("cannot write /var")?;
        let dpkg = Path::new("/var/lib/dpkg");
        if dpkg.is_dir() {
            // What the packages' own files in info/ are is not changed; the rest is, in place.
            let upper = self.upper(dpkg)?;
            if self.user_namespace {
                self.copy_tree(dpkg, &upper, &["info"])?;
            }
            self.overlay(dpkg, 1)?;
        }
        for rpm in ["/var/lib/rpm", "/var/lib/alternatives", "/usr/lib/sysimage/rpm"] {
            let rpm = Path::new(rpm);
            if rpm.is_dir() && !rpm.is_symlink() {
                self.copy_tree(rpm, &self.inside(rpm)?, &[])?;
            }
        }
        Ok(())
    }

    /// Copies a directory of the machine to `target`, without some names at its top.
    fn copy_tree(&self, dir: &Path, target: &Path, left_out: &[&str]) -> Result<()> {
        let entries = WalkDir::new(dir).into_iter().filter_entry(|entry| {
            entry.depth() != 1 || !left_out.iter().any(|name| entry.file_name() == *name)
        });
        for entry in entries {
            // What an ordinary user cannot read stays empty in the user's host.
            let Ok(entry) = entry else { continue };
            let relative = entry
                .path()
                .strip_prefix(dir)
                .context("cannot copy a directory")?;
            self.copy_entry(&entry, &target.join(relative))?;
        }
        Ok(())
    }

    /// The upper layer over a directory of the machine.
    fn upper(&self, lower: &Path) -> Result<PathBuf> {
        let name = lower.to_string_lossy().trim_start_matches('/').replace('/', "-");
        let upper = self.root.join(".overlay").join(name);
        mkdir(&upper, 0o755)?;
        Ok(upper)
    }

    /// Lays an overlay over a directory of the machine; what is written goes to the host's tmpfs.
    ///
    /// In a user namespace a directory of the machine belongs to an unmapped user and cannot be copied up,
    /// so the directories down to `depth` exist in the upper layer from the start.
    fn overlay(&self, lower: &Path, depth: usize) -> Result<()> {
        let relative = lower.strip_prefix("/").context("an overlay")?;
        let upper = self.upper(lower)?;
        let work = upper.with_extension("work");
        mkdir(&work, 0o755)?;
        let target = self.root.join(relative);
        mkdir(&target, 0o755)?;
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        if self.user_namespace {
            options.push_str(",userxattr");
            for entry in WalkDir::new(lower)
                .min_depth(1)
                .max_depth(depth)
                .into_iter()
                .flatten()
            {
                if entry.file_type().is_dir() {
                    mkdir(
                        &upper.join(entry.path().strip_prefix(lower).context("an overlay")?),
                        0o755,
                    )?;
                }
            }
        }
        mount_fs("overlay", &target, &options)
    }

    /// A `/dev` with the few devices that the host needs, and no KVM.
    fn dev(&self) -> Result<()> {
        let dev = self.root.join("dev");
        mount_fs("tmpfs", &dev, "mode=0755")?;
        for dir in ["net", "pts"] {
            mkdir(&dev.join(dir), 0o755)?;
        }
        mkdir(&dev.join("shm"), 0o1777)?;
        for node in ["null", "zero", "full", "random", "urandom", "tty", "net/tun"] {
            let target = dev.join(node);
            fs::write(&target, []).context("cannot make a device")?;
            mount_bind(Path::new("/dev").join(node), &target)
                .context(format_args!("cannot bind /dev/{node}"))?;
        }
        mount_fs(
            "devpts",
            &dev.join("pts"),
            "newinstance,ptmxmode=0666,mode=0620,gid=5",
        )?;
        for (link, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, dev.join(link)).context("cannot make a device link")?;
        }
        Ok(())
    }

    /// The host's name and machine id; no resolver, as there is no one to ask.
    fn identity(&self, name: &str) -> Result<()> {
        rustix::system::sethostname(name.as_bytes()).context("cannot set the host's name")?;
        let id = uuid::Uuid::new_v4().simple().to_string() + "\n";
        let etc = self.root.join("etc");
        for (file, content) in [
            ("hostname", format!("{name}\n")),
            (
                "hosts",
                format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n"),
            ),
            ("machine-id", id.clone()),
            ("resolv.conf", String::new()),
        ] {
            fs::write(etc.join(file), content).context("cannot write /etc")?;
        }
        fs::write(self.root.join("var/lib/dbus/machine-id"), id).context("cannot write /var")
    }
}

/// Makes a directory and its parents; what is made gets `mode`, whatever the umask.
fn mkdir(dir: &Path, mode: u32) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        mkdir(parent, 0o755)?;
    }
    fs::create_dir(dir).context("cannot build the host's tree")?;
    set_mode(dir, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777))
        .context(format_args!("cannot set the mode of {}", path.display()))
}

fn mount_fs(kind: &str, target: &Path, options: &str) -> Result<()> {
    let options = std::ffi::CString::new(options).context("mount options")?;
    mount(kind, target, kind, MountFlags::empty(), options.as_c_str())
        .context(format_args!("cannot mount {kind} on {}", target.display()))
}
