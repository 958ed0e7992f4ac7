//! What the domain XML of a package may ask of this host. A package can come from a stranger, and libvirt does as
//! root what the XML says: hand over a device or a disk of the host, run a script, pass arguments to QEMU.

use super::InstallError;
use crate::domain::{Domain, Fate, HostBound, HostBoundKind};
use crate::package::GuestPackage;

/// Fails if the domain asks for something that packing leaves out, or that lets it run what it likes. Otherwise what
/// this host has to have for it, for people.
pub(super) fn check(package: &GuestPackage, domain: &Domain) -> Result<Vec<String>, InstallError> {
    let (refused, kept): (Vec<_>, Vec<_>) = domain
        .host_bound
        .iter()
        .filter(|bound| (bound.kind, bound.fate) != (HostBoundKind::Tpm, Fate::Emptied))
        .partition(|bound| is_refused(bound));
    if refused.is_empty() {
        return Ok(kept
            .into_iter()
            .map(|bound| format!("this host has to have: {}", bound.what))
            .collect());
    }
    let what: Vec<&str> = refused.iter().map(|bound| bound.what.as_str()).collect();
    Err(InstallError::HostBound {
        package: package.clone(),
        what: what.join(", "),
    })
}

fn is_refused(bound: &HostBound) -> bool {
    bound.fate != Fate::Kept || matches!(bound.kind, HostBoundKind::Arguments | HostBoundKind::Script)
}
