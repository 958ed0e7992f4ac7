//! Taking up pending work: called by every run that may change things, and by the daemon.

use super::pending::{self, PendingKind};
use super::{InstallError, register, unregister};
use crate::domain::VirtType;
use crate::host::{Layout, Libvirt};
use std::io;

/// What became of a piece of pending work.
#[derive(Debug)]
pub struct Finished {
    /// The work.
    pub kind: PendingKind,
    /// Whether it is done now; an error if it is still pending.
    pub result: Result<(), InstallError>,
}

/// Tries all pending work of guests once. `virt` is asked only when there is any.
pub fn finish(
    layout: &Layout,
    libvirt: &Libvirt,
    virt: impl Fn() -> VirtType,
) -> Result<Vec<Finished>, io::Error> {
    let mut all = Vec::new();
    for pending in pending::list(layout)? {
        let result = match &pending.kind {
            PendingKind::RegisterGuest { package } => {
                register(layout, libvirt, package, virt(), false).map(|_| true)
            }
            PendingKind::UnregisterGuest { package } => {
                unregister(layout, libvirt, package, false).map(|done| done.running.is_empty())
            }
        };
        let result = match result {
            // Guests that still run: neither done nor failed.
            Ok(false) => continue,
            Ok(true) => {
                pending.kind.forget(layout)?;
                Ok(())
            }
            // The package has gone meanwhile, and its work with it.
            Err(InstallError::NotInstalled { .. }) => {
                pending.kind.forget(layout)?;
                continue;
            }
            Err(error) => {
                pending.kind.note(layout, &error.to_string())?;
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
