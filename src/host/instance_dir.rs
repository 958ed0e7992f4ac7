//! The directory of a guest's disks: for root and QEMU's group only, so that images that are readable to all are not
//! public.

use super::{Layout, files};
use crate::name::GuestName;
use fs_err as fs;
use std::io;
use std::path::Path;

/// Makes the directory of the guest's disks, if it is not there, with its owner and mode.
pub fn make(layout: &Layout, guest: &GuestName) -> io::Result<()> {
    let own = layout.instance_disks(guest);
    if let Some(parent) = own.on_disk().parent() {
        files::make_dir_once(parent, 0o711)?;
    }
    private(layout, own.on_disk())
}

/// Makes the directory for the guest's links to packaged images, and the one around it.
pub fn make_chain(layout: &Layout, guest: &GuestName) -> io::Result<()> {
    make(layout, guest)?;
    private(layout, layout.instance_chain(guest).on_disk())
}

fn private(layout: &Layout, dir: &Path) -> io::Result<()> {
    files::make_dir(dir, 0o750)?;
    match qemu_group(layout) {
        Some(group) if rustix::process::geteuid().is_root() => {
            std::os::unix::fs::chown(dir, None, Some(group))
        }
        _ => Ok(()),
    }
}

/// The group that libvirt runs QEMU as: Debian's name for it, then everyone else's.
fn qemu_group(layout: &Layout) -> Option<u32> {
    let groups = fs::read_to_string(layout.groups().on_disk()).ok()?;
    let id = |name: &str| {
        let entry = groups
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|f| f[0] == name)?;
        entry.get(2)?.parse().ok()
    };
    ["libvirt-qemu", "qemu"].into_iter().find_map(id)
}
