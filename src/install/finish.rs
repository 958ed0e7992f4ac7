//! Taking up pending work: called by every run that may change things, and by the daemon.

use super::pending::{self, Pending, PendingKind};
use super::{InstallError, Wish, register, reset, unregister};
use crate::domain::VirtType;
use crate::host::kvm::KvmError;
use crate::host::{Layout, Libvirt, LibvirtError, files};
use crate::name::Digest;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use std::io;
use std::os::unix::fs::MetadataExt;

/// What became of a piece of pending work.
#[derive(Debug)]
pub struct Finished {
    /// The work.
    pub kind: PendingKind,
    /// Whether it is done now; an error if it is still pending.
    pub result: Result<(), InstallError>,
}

/// Tries all pending work of guests once that is meant for this libvirt. `virt` is asked only when there is any. Work
/// that was refused is left until something has changed on which the refusal depended.
pub fn finish(
    layout: &Layout,
    libvirt: &Libvirt,
    virt: impl Fn() -> Result<VirtType, KvmError>,
) -> Result<Vec<Finished>, io::Error> {
    let mut all = Vec::new();
    for pending in pending::list(layout)? {
        if pending.uri != libvirt.uri() || is_refused_still(layout, libvirt, &pending) {
            continue;
        }
        // Whoever has put it on record may be at it, and tells what comes of it.
        let lock = layout.package_lock(pending.kind.package().guest());
        let Some(_lock) = files::Lock::try_acquire(lock.on_disk())? else {
            continue;
        };
        let done = match &pending.kind {
            PendingKind::RegisterGuest { package, name, trust } => virt()
                .map_err(InstallError::from)
                .and_then(|virt| {
                    let wish = Wish {
                        package,
                        name: name.as_ref(),
                        trust: *trust,
                        virt,
                        dry_run: false,
                    };
                    register(layout, libvirt, &wish)
                })
                .map(|_| true),
            PendingKind::ResetGuest { guest, .. } => virt()
                .map_err(InstallError::from)
                .and_then(|virt| reset::complete(layout, libvirt, guest, virt))
                .map(|()| true),
            PendingKind::UnregisterGuest { package } => {
                unregister(layout, libvirt, package, false).map(|done| done.running.is_empty())
            }
        };
        let result = match done {
            // Guests that still run: neither done nor failed.
            Ok(false) => continue,
            Ok(true) => {
                pending.kind.forget(layout)?;
                Ok(())
            }
            // The package has gone meanwhile, and its work with it.
            Err(error) if error.is_not_installed() => {
                pending.kind.forget(layout)?;
                continue;
            }
            Err(error) => {
                if let Err(unwritten) = note_failure(layout, libvirt, &pending.kind, &error) {
                    tracing::warn!(work = %pending.kind, error = %unwritten, "cannot be noted");
                }
                Err(error)
            }
        };
        all.push(Finished {
            kind: pending.kind,
            result,
        });
    }
    Ok(all)
}

/// Notes why `kind` could not be done in this libvirt. What can pass by itself is tried again by every later run; what
/// was refused, when something has changed.
pub fn note_failure(
    layout: &Layout,
    libvirt: &Libvirt,
    kind: &PendingKind,
    error: &InstallError,
) -> io::Result<()> {
    let refused = if error.may_pass() {
        None
    } else {
        circumstances(layout, libvirt, kind).ok()
    };
    Pending {
        kind: kind.clone(),
        uri: libvirt.uri().to_owned(),
        reason: match error.remedy() {
            Some(remedy) => format!("{error}; {remedy}"),
            None => error.to_string(),
        },
        refused,
    }
    .renew(layout)
}

fn is_refused_still(layout: &Layout, libvirt: &Libvirt, pending: &Pending) -> bool {
    pending
        .refused
        .is_some_and(|then| circumstances(layout, libvirt, &pending.kind).is_ok_and(|now| now == then))
}

/// A digest of all that a refusal can depend on, cheap to take: no image is read for it.
fn circumstances(layout: &Layout, libvirt: &Libvirt, kind: &PendingKind) -> Result<Digest, LibvirtError> {
    let guest = kind.guest();
    let package = layout.guest_package(kind.package().guest());
    let mut words = vec![env!("CARGO_PKG_VERSION").to_owned()];
    for place in [
        package.join("manifest.json"),
        package.join("domain.xml"),
        // A directory changes when something in it comes or goes.
        layout.packaged_images(),
        layout.instance_disks(guest),
        layout.instance_chain(guest),
        layout.instance_record(guest),
    ] {
        let stat = fs::metadata(place.on_disk());
        words.push(stat.map_or("none".to_owned(), |s| {
            format!("{} {} {} {}", s.ino(), s.size(), s.mtime(), s.mtime_nsec())
        }));
    }
    let domain = libvirt.domain(guest.as_str())?;
    words.push(domain.map_or("none".to_owned(), |domain| domain.uuid.to_string()));
    Ok(Digest::from_bytes(Sha256::digest(words.join("\n")).into()))
}
