//! The file tree of a private host: what of the machine is seen in it, and how.
//!
//! A tmpfs with a private copy of `/etc`, an overlay over `/usr`, a new `/var` (with an overlay over dpkg's
//! database), `/dev`, `/run`, `/tmp` and `/root`, a fresh `/proc` and `/sys`. The host has the machine's
//! programs and packages; what it writes is its own.

use std::ffi::CString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use rustix::fs::Mode;
use rustix::mount::{MountFlags, mount, mount_bind};
use walkdir::WalkDir;

use super::error::{Context, Result};
use super::init::InitPlan;

/// Builds the tree at `root`, an existing directory, which is covered.
pub(super) fn build(root: &Path, plan: &InitPlan) -> Result<()> {
    // The new tree may come to lie over these files, so they are opened first.
    let open = |path| fs::File::open(path).context("a program for the host");
    let copies = plan
        .copies
        .iter()
        .map(|copy| Ok((open(&copy.machine_path)?, copy)))
        .collect::<Result<Vec<_>>>()?;
    mount_fs("tmpfs", root, "mode=0755")?;
    for dir in ["boot", "dev", "home", "mnt", "opt", "proc", "srv", "sys"] {
        mkdir(&root.join(dir), 0o755)?;
    }
    for dir in ["run/dbus", "run/lock", "run/libvirt", "run/user"] {
        mkdir(&root.join(dir), 0o755)?;
    }
    mkdir(&root.join("root"), 0o700)?;
    mkdir(&root.join("tmp"), 0o1777)?;

    let builder = Builder {
        root,
        unmapped_files: plan.unmapped_files,
    };
    builder.etc()?;
    builder.usr()?;
    builder.var()?;
    builder.dev()?;
    mount_fs("proc", &root.join("proc"), "")?;
    // libvirt needs the namespace's /sys/class/net; and this hides the control groups.
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
    Ok(())
}

struct Builder<'a> {
    root: &'a Path,
    unmapped_files: bool,
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
        symlink("/proc/self/mounts", target.join("mtab")).context("cannot write /etc")
    }

    fn copy_entry(&self, entry: &walkdir::DirEntry, target: &Path) -> Result<()> {
        let metadata = entry.metadata().context("cannot copy a file")?;
        if metadata.is_dir() {
            mkdir(target, 0o755)?;
        } else if metadata.is_symlink() {
            let link = fs::read_link(entry.path()).context("cannot copy a link")?;
            symlink(link, target).context("cannot copy a link")?;
        } else if metadata.is_file() {
            match fs::read(entry.path()) {
                Ok(bytes) => fs::write(target, bytes).context("cannot copy a file")?,
                // /etc/shadow and the like, for an ordinary user.
                Err(_) if self.unmapped_files => fs::write(target, []).context("cannot copy a file")?,
                Err(error) => return Err(error).context("cannot copy a file"),
            }
        } else {
            return Ok(());
        }
        if !metadata.is_symlink() {
            set_mode(target, metadata.permissions().mode())?;
        }
        if !self.unmapped_files {
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
                    symlink(link, ours).context("cannot copy a link")?;
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
        symlink("/run", var.join("run")).context("cannot write /var")?;
        symlink("/run/lock", var.join("lock")).context("cannot write /var")?;
        let dpkg = Path::new("/var/lib/dpkg");
        if dpkg.is_dir() {
            // What the packages' own files in info/ are is not changed; the rest is, in place.
            let upper = self.upper(dpkg)?;
            if self.unmapped_files {
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
        if self.unmapped_files {
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
    let options = CString::new(options).context("mount options")?;
    mount(kind, target, kind, MountFlags::empty(), options.as_c_str())
        .context(format_args!("cannot mount {kind} on {}", target.display()))
}
