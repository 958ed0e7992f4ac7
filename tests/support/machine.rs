//! What the machine must have for the lab, and what would make up for what it lacks.

use std::path::Path;

use fs_err as fs;

use super::command::{Command, PATH};
use super::error::LabError;
use super::guest::boot_images;
use super::host::{Host, HostOptions};
use super::namespaces::{needs_user_namespace, unshare_argv};

/// Programs that the lab runs, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 25] = [
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus"),
    ("debugfs", "e2fsprogs"),
    ("dnsmasq", "dnsmasq-base"),
    ("dpkg-deb", "dpkg"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("libvirtd", "libvirt-daemon-system"),
    ("mcopy", "mtools"),
    ("mformat", "mtools"),
    ("mke2fs", "e2fsprogs"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("pgrep", "procps"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("rpm", "rpm"),
    ("rpmbuild", "rpm"),
    ("setpriv", "util-linux"),
    ("syslinux", "syslinux"),
    ("tar", "tar"),
    ("tini", "tini"),
    ("unshare", "util-linux"),
    ("virsh", "libvirt-clients"),
    ("xz", "xz-utils"),
];

/// Everything that keeps the lab from running here, with the command that would help; empty when it can
/// run.
pub(crate) fn obstacles() -> Vec<LabError> {
    let mut found = Vec::new();
    let mut missing = missing_packages();
    if needs_user_namespace() && !is_program("newuidmap") {
        missing.push("uidmap");
    }
    if !missing.is_empty() {
        found.push(
            LabError::new(format!(
                "programs are missing, from the packages: {}",
                missing.join(", ")
            ))
            .remedy(format!(
                "apt-get install --no-install-recommends {}",
                missing.join(" ")
            )),
        );
    }
    found.extend(tun_obstacle());
    // A host cannot start without programs; the first reason is enough.
    if found.is_empty() {
        found.extend(namespace_obstacle());
    }
    if found.is_empty() {
        // Once for all tests; it may have to be downloaded.
        found.extend(boot_images().err());
    }
    if found.is_empty()
        && let Err(error) = Host::try_start(HostOptions::bare().without_miniascape())
    {
        found.push(error);
    }
    found
}

/// The Debian packages of programs that are not there.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !is_program(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_program(name: &str) -> bool {
    PATH.split(':').any(|dir| Path::new(dir).join(name).is_file())
}

fn tun_obstacle() -> Option<LabError> {
    let node = "/dev/net/tun";
    let opened = fs::OpenOptions::new().read(true).write(true).open(node);
    let error = opened.err()?;
    let remedy = if !Path::new(node).exists() {
        "modprobe tun (as root); in a container: start it with --device /dev/net/tun"
    } else if needs_user_namespace() {
        "chmod 666 /dev/net/tun (as root; what udev does on most machines), or run this as root"
    } else {
        "start the container with --privileged"
    };
    Some(LabError::new(format!("guests can have no network: {error}")).remedy(remedy))
}

fn namespace_obstacle() -> Option<LabError> {
    let refused = Command::machine(unshare_argv().into_iter().chain(["true"]))
        .try_check()
        .err()?;
    let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    let container = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists());
    let remedy = if !needs_user_namespace() || container {
        "start the container with --privileged"
    } else if setting("kernel/unprivileged_userns_clone").trim() == "0" {
        "sysctl -w kernel.unprivileged_userns_clone=1 (as root), or run this as root"
    } else if setting("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (as root), or run this as root"
    } else if setting("user/max_user_namespaces").trim() == "0" {
        "sysctl -w user.max_user_namespaces=10000 (as root), or run this as root"
    } else {
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER (as root), if the user has no such \
         range, or run this as root"
    };
    Some(
        LabError::new(format!(
            "private hosts need namespaces, which are refused: {refused}"
        ))
        .remedy(remedy),
    )
}
