//! Takes out of the copies of a guest's disks what must not exist twice: identity, keys, logs, history. The guest's own
//! disks are only read: everything happens in overlays over them, which go with the working directory.
//!
//! What each kind of guest keeps where is the business of virt-sysprep (package guestfs-tools).

use super::disks::{DiskPlan, Split};
use super::error::RepackError;
use super::progress::{Progress, Step};
use crate::host::{CommandError, Program};
use crate::image::{self, Format};
use crate::name::printable;
use serde::Serialize;
use std::path::Path;

/// What virt-sysprep does of its own accord; see virt-sysprep(1), OPERATIONS. `customize` is what the options below need.
const OPERATIONS: &str = "bash-history,crash-data,dhcp-client-state,logfiles,machine-id,ssh-hostkeys,\
                          udev-persistent-net,utmp,customize";

/// What else goes. virt-sysprep itself puts one random seed and one machine id into the copy, which all clones would
/// share, so both are removed again.
const GONE: [&str; 12] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/urandom/random-seed",
    "/var/lib/random-seed",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/dhcpcd/*",
    "/root/.*_history",
    "/home/*/.*_history",
    "/var/log/syslog*",
    "/var/log/debug*",
    "/var/log/journal/*",
];

/// Fedora's sshd makes missing host keys at its start, Debian's does not.
const NEW_KEYS: &str = "if command -v ssh-keygen >/dev/null; then ssh-keygen -A; \
                        systemctl restart ssh || systemctl restart sshd || service ssh restart; fi";

/// What clones of a guest share that was not sealed.
pub(super) const SHARED: &str = "not sealed: its clones share machine id, SSH host keys, DHCP identifiers, random seed, \
                                 logs and history (--seal resets them in the copy)";

/// How to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seal {
    /// KVM does not run here.
    pub emulate: bool,
}

/// Fails if the program for it is not there.
pub(super) fn available() -> Result<(), CommandError> {
    Program::find("virt-sysprep", "guestfs-tools").map(drop)
}

/// Seals copies of the disks, made in `dir`. The plan for those, and what remains to be said.
pub(super) fn seal(
    disks: &[DiskPlan],
    seal: Seal,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<(Vec<DiskPlan>, Vec<String>), RepackError> {
    let mut overlays = Vec::new();
    for disk in disks {
        let top = disk.top();
        let overlay = dir.join(format!("sealed-{}.qcow2", disk.target));
        image::create_fine_overlay(&overlay, &top.path, top.format)?;
        overlays.push(overlay);
    }
    begin(progress, "seal", "seal the copies of the disks".to_owned());
    let program = Program::find("virt-sysprep", "guestfs-tools")?;
    let mut run = guestfs(&program, seal, dir).args(["--no-network", "--operations", OPERATIONS]);
    for overlay in &overlays {
        run = run.args(["--format", "qcow2", "-a"]).arg(overlay);
    }
    for path in GONE {
        run = run.args(["--delete", path]);
    }
    run.args(["--firstboot-command", NEW_KEYS])
        // Empty, not absent: systemd then makes a new one even where /etc is read-only at first.
        .args(["--write", "/etc/machine-id:"])
        .output()?;
    let mut remarks = Vec::new();
    for (disk, overlay) in disks.iter().zip(&overlays) {
        // What was deleted still stands in blocks that no file uses any more.
        begin(progress, "trim", format!("clear free space of {}", disk.target));
        let program = Program::find("virt-sparsify", "guestfs-tools")?;
        let trimmed = guestfs(&program, seal, dir)
            .args(["--in-place", "--quiet", "--format", "qcow2"])
            .arg(overlay)
            .output();
        if let Err(error) = trimmed {
            remarks.push(format!(
                "free space of the disk {} could not be cleared, so traces of what was deleted stay in it: {}",
                disk.target,
                printable(&error.to_string(), 400)
            ));
        }
    }
    let sealed = disks
        .iter()
        .zip(&overlays)
        .map(|(disk, overlay)| sealed(disk, overlay));
    Ok((sealed.collect::<Result<_, _>>()?, remarks))
}

/// The plan for a disk whose sealed copy is `overlay`.
fn sealed(disk: &DiskPlan, overlay: &Path) -> Result<DiskPlan, RepackError> {
    let mut chain = vec![image::info(overlay, Format::Qcow2)?];
    chain.extend(disk.chain.iter().cloned());
    Ok(DiskPlan {
        chain,
        split: split(disk),
        ..disk.clone()
    })
}

/// A disk without a backing file must not become the base below its sealed copy: all would be readable there.
fn split(disk: &DiskPlan) -> Split {
    match (&disk.split, disk.chain.len()) {
        (Split::Bottom, 1) => Split::Flat,
        (split, _) => split.clone(),
    }
}

/// What a person should know beforehand about the bases below sealed disks.
pub(super) fn warnings(disks: &[DiskPlan]) -> Vec<String> {
    let shared = disks.iter().filter(|disk| split(disk) != Split::Flat);
    shared
        .map(|disk| {
            format!(
                "the base of {} is packed as it is: identity and keys in it stay readable there (--flatten avoids that)",
                disk.target
            )
        })
        .collect()
}

fn guestfs(program: &Program, seal: Seal, dir: &Path) -> crate::host::command::Run {
    // Without libvirt: it could not read a directory that is root's alone.
    let run = program.run().env("HOME", dir).env("LIBGUESTFS_BACKEND", "direct");
    if seal.emulate {
        run.env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg")
    } else {
        run
    }
}

fn begin(progress: &dyn Progress, name: &'static str, title: String) {
    progress.step(&Step {
        name,
        title,
        bytes: None,
    });
}
