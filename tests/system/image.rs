//! The disk of emulated machines: the common tree with firewalld, Docker, SELinux's policy and a kernel's modules, labelled
//! as SELinux wants it, in an ext4 file system. Made once for each tree and kernel, and kept beside the trees.

use crate::support::{Command, Context, LabError, Result, note};
use crate::tree;
use fs_err as fs;
use rustix::fs::FlockOperation;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An image of another recipe is made anew.
const RECIPE: u32 = 1;

/// What it has beside the tree. Services are there, and do not start by themselves.
const PACKAGES: &str = "udev kmod qemu-guest-agent firewalld docker.io auditd selinux-policy-default policycoreutils selinux-utils";
const IDLE: &str = "firewalld.service docker.service docker.socket containerd.service auditd.service";

/// A disk with its kernel.
pub(crate) struct Image {
    pub(crate) disk: PathBuf,
    /// The directory of `packaging/in-machine --kernel`.
    pub(crate) kernel: PathBuf,
}

/// The image, made if it is not there; whoever comes second waits.
pub(crate) fn image() -> Result<&'static Image> {
    static IMAGE: OnceLock<Result<Image>> = OnceLock::new();
    IMAGE.get_or_init(make).as_ref().map_err(LabError::clone)
}

fn make() -> Result<Image> {
    let base = tree::base()?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/in-machine");
    let kernel = Command::machine([program.as_os_str(), "--kernel".as_ref()])
        .timeout(Duration::from_secs(600))
        .try_check()?;
    let kernel = PathBuf::from(kernel.text());
    let version = kernel
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let version = version.trim_start_matches("linux-image-");
    let cache = base.parent().unwrap_or(Path::new("/"));
    let tree_name = base
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let disk = cache.join(format!("{tree_name}-machine-{RECIPE}-{version}.img"));

    let lock = fs::File::create(cache.join("images.lock")).context("the images' lock")?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(std::io::Error::from)
        .context("the images' lock")?;
    if disk.is_file() {
        return Ok(Image { disk, kernel });
    }
    // Of other months, recipes and kernels. One that a machine has open stays until that is off.
    for entry in fs::read_dir(cache).context("the cache of trees")?.flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "img")
        {
            fs::remove_file(entry.path()).context("an old image")?;
        }
    }
    let started = Instant::now();
    note(format_args!(
        "making the disk of emulated machines, {} (minutes, once a month)",
        disk.display()
    ));
    let dir = tempfile::tempdir().context("a directory for the image's tree")?;
    let draft = cache.join("image.draft");
    let argv = [
        "bash".as_ref(),
        "-c".as_ref(),
        SCRIPT.as_ref(),
        dir.path().as_os_str(),
        base.as_os_str(),
        kernel.as_os_str(),
        version.as_ref(),
        draft.as_os_str(),
        tree::MIRRORS[0].as_ref(),
    ];
    Command::machine(argv)
        .env("PACKAGES", PACKAGES)
        .env("IDLE", IDLE)
        .timeout(Duration::from_secs(1800))
        .try_check()
        .map_err(|error| {
            error.remedy("apt-get needs Debian's mirror, and the disk 2 GB in memory and on disk")
        })?;
    fs::rename(&draft, &disk).context("the finished image")?;
    note(format_args!("the image took {:.0?}", started.elapsed()));
    Ok(Image { disk, kernel })
}

/// The tree's layer is in memory; of files that only get a label, nothing else is copied there.
const SCRIPT: &str = r#"set -eu; dir=$0; base=$1; kernel=$2; version=$3; draft=$4; mirror=$5
export DEBIAN_FRONTEND=noninteractive
mount -t tmpfs -o mode=755 layer "$dir"; trap 'cd /; umount -R "$dir"' EXIT
cd "$dir"; mkdir up work root
mount -t overlay -o "lowerdir=$base,upperdir=up,workdir=work,redirect_dir=on,metacopy=on" overlay root
mount -t proc proc root/proc
echo "deb $mirror bookworm main" >root/etc/apt/sources.list
cp /etc/resolv.conf root/etc/
printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d; chmod 755 root/usr/sbin/policy-rc.d
apt='chroot root apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io'
$apt update
$apt --no-install-recommends install $PACKAGES
$apt clean
rm -rf root/var/lib/apt/lists/* root/usr/sbin/policy-rc.d
: >root/etc/apt/sources.list; : >root/etc/resolv.conf; : >root/etc/machine-id
chroot root systemctl -q disable $IDLE

# The kernel's modules, but for drivers of hardware that no emulated machine has.
modules=root/usr/lib/modules/$version; mkdir -p "$modules/kernel/drivers/net"
cp -a "$kernel/lib/modules/$version"/modules.builtin* "$kernel/lib/modules/$version/modules.order" "$modules/"
cd "$kernel/lib/modules/$version/kernel"
cp -a arch block crypto fs lib mm net virt "$dir/$modules/kernel/"
cp -a drivers/net/*.ko drivers/net/vxlan "$dir/$modules/kernel/drivers/net/"
cp -a drivers/virtio drivers/char drivers/block "$dir/$modules/kernel/drivers/"
cd "$dir"; depmod -b root/usr "$version" 2>/dev/null || depmod -b root "$version"

# The agent runs what a test wants, as somebody who has logged in.
mkdir -p root/etc/systemd/system/qemu-guest-agent.service.d
printf '[Service]\nSELinuxContext=-unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\n' \
    >root/etc/systemd/system/qemu-guest-agent.service.d/context.conf
echo 'LABEL=root / ext4 defaults 0 0' >root/etc/fstab
echo emulated >root/etc/hostname
# systemd loads the policy where the kernel's command line asks for SELinux; what enforces it is up to the test.
printf 'SELINUX=permissive\nSELINUXTYPE=default\n' >root/etc/selinux/config
# setfiles goes into no file system of another number, and each layer of an overlay has its own; the root, which the kernel
# says is mounted without labels, it leaves out.
chroot root sh -ec 'find / -path /proc -prune -o -print0 | setfiles -0 -F -f - /etc/selinux/default/contexts/files/file_contexts
    chcon system_u:object_r:root_t:s0 /'
umount root/proc
mke2fs -q -F -t ext4 -L root -d root "$draft" 6G
"#;
