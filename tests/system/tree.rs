//! The Debian tree that every machine starts from: made once with debootstrap and apt-get, and kept in a cache outside the
//! repository, because that takes minutes. What a machine writes goes into a layer above it.

use crate::support::{Command, Context, LabError, Result, note};
use fs_err as fs;
use rustix::fs::FlockOperation;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where trees are kept, unless [`CACHE_VARIABLE`] says another place.
const CACHE: &str = "/var/cache/miniascape-test";
const CACHE_VARIABLE: &str = "MINIASCAPE_TEST_SYSTEM_CACHE";
/// A tree of another recipe, or of last month, is made anew.
const RECIPE: u32 = 2;

/// What is in the tree beside Debian's smallest: what miniascape's packages depend on and recommend, because machines have
/// no network; what uses guests; and rpm with dnf.
const PACKAGES: &str = "libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils \
    ipxe-qemu dnsmasq-base iproute2 iptables nftables procps polkitd busybox-static e2fsprogs strace rpm dnf \
    apparmor checkpolicy semodule-utils";

pub(crate) const MIRRORS: [&str; 1] = ["http://deb.debian.org/debian"];

/// Why no machine can be made here, with what would help.
pub(crate) fn obstacle() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(LabError::new("containers with systemd need root")
            .remedy("run this as root: sudo make test-system"));
    }
    for (program, package) in [
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("apt-ftparchive", "apt-utils"),
        ("createrepo_c", "createrepo-c"),
        ("rpmbuild", "rpm"),
    ] {
        Command::machine(["sh", "-c", "command -v \"$0\"", program])
            .try_check()
            .map_err(|_| {
                LabError::new(format!("there is no {program}")).remedy(format!("apt-get install {package}"))
            })?;
    }
    Ok(())
}

/// The tree, made if it is not there; whoever comes second waits.
pub(crate) fn base() -> Result<&'static Path> {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(base) = BASE.get() {
        return Ok(base);
    }
    let base = make()?;
    Ok(BASE.get_or_init(|| base))
}

/// The lock of a tree: shared by those who use it.
fn in_use(tree: &Path, how: FlockOperation) -> Result<fs::File> {
    let lock = fs::File::create(tree.with_extension("lock")).context("a tree's lock")?;
    rustix::fs::flock(&lock, how)
        .map_err(std::io::Error::from)
        .context("a tree's lock")?;
    Ok(lock)
}

fn make() -> Result<PathBuf> {
    let cache = std::env::var_os(CACHE_VARIABLE).map_or_else(|| PathBuf::from(CACHE), PathBuf::from);
    fs::create_dir_all(&cache).context("the cache of trees")?;
    let month = Command::machine(["date", "+%Y%m"]).try_check()?.text().to_owned();
    let tree = cache.join(format!("bookworm-{RECIPE}-{month}"));
    let lock = fs::File::create(cache.join("lock")).context("the cache's lock")?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(std::io::Error::from)
        .context("the cache's lock")?;
    // Held as long as this process lives.
    std::mem::forget(in_use(&tree, FlockOperation::LockShared)?);
    if tree.is_dir() {
        return Ok(tree);
    }
    // Trees of earlier months and recipes that nobody uses now, and what a killed run has left.
    for entry in fs::read_dir(&cache).context("the cache of trees")?.flatten() {
        let path = entry.path();
        if path.is_dir() && in_use(&path, FlockOperation::NonBlockingLockExclusive).is_ok() {
            Command::machine(["rm".as_ref(), "-rf".as_ref(), "--".as_ref(), path.as_os_str()]).try_check()?;
        }
    }
    let draft = cache.join("bookworm-draft");
    let started = Instant::now();
    note(format_args!(
        "making a Debian tree in {} (some minutes, once a month)",
        tree.display()
    ));
    let script = format!(
        "set -eu; root=$0; mirror=$1\n\
         export DEBIAN_FRONTEND=noninteractive\n\
         debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm \"$root\" \"$mirror\"\n\
         cp /etc/resolv.conf \"$root/etc/\"\n\
         printf '#!/bin/sh\\nexit 101\\n' >\"$root/usr/sbin/policy-rc.d\"; chmod 755 \"$root/usr/sbin/policy-rc.d\"\n\
         chroot \"$root\" apt-get -q -o Dpkg::Options::=--force-unsafe-io update\n\
         chroot \"$root\" apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends install {PACKAGES}\n\
         chroot \"$root\" apt-get clean; rm -rf \"$root\"/var/lib/apt/lists/* \"$root\"/usr/sbin/policy-rc.d \n\
         : >\"$root/etc/apt/sources.list\"; : >\"$root/etc/resolv.conf\"; : >\"$root/etc/machine-id\"\n"
    );
    let argv = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        draft.as_os_str(),
        MIRRORS[0].as_ref(),
    ];
    Command::machine(argv)
        .timeout(Duration::from_secs(1800))
        .try_check()
        .map_err(|error| error.remedy("debootstrap and apt-get need Debian's mirror: is there a network?"))?;
    fs::rename(&draft, &tree).context("the finished tree")?;
    note(format_args!("the tree took {:.0?}", started.elapsed()));
    Ok(tree)
}
