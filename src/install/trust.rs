//! What the domain XML of a package may ask of this host. A package can come from a stranger, and libvirt does as
//! root what the XML says: hand over a device or a disk of the host, run a script, pass arguments to QEMU.

use super::InstallError;
use super::record::Instance;
use crate::domain::{Domain, Fate, HostBound, HostBoundKind};
use crate::package::{Line, Manifest};

/// Fails if the domain asks for something that packing leaves out, that lets it run what it likes, or that its manifest
/// does not declare, unless that was trusted for this instance, now or before. Otherwise what this host has to have for
/// it, for people.
pub(super) fn check(
    manifest: &Manifest,
    domain: &Domain,
    instance: &mut Instance,
    trust: bool,
) -> Result<Vec<String>, InstallError> {
    let (refused, kept): (Vec<_>, Vec<_>) = domain
        .host_bound
        .iter()
        .filter(|bound| (bound.kind, bound.fate) != (HostBoundKind::Tpm, Fate::Emptied))
        .partition(|bound| is_refused(bound) || !is_declared(manifest, bound));
    if trust {
        instance
            .trusted
            .extend(refused.iter().map(|bound| bound.what.clone()));
    }
    let what: Vec<&str> = refused
        .iter()
        .map(|bound| bound.what.as_str())
        .filter(|what| !instance.trusted.contains(*what))
        .collect();
    if what.is_empty() {
        return Ok(kept
            .into_iter()
            .map(|bound| format!("this host has to have: {}", bound.what))
            .collect());
    }
    Err(InstallError::HostBound {
        package: manifest.package.name.clone(),
        what: what.join(", "),
    })
}

fn is_refused(bound: &HostBound) -> bool {
    use HostBoundKind::{Ambiguous, Arguments, Script, SecurityLabel};
    bound.fate != Fate::Kept
        || matches!(bound.kind, Arguments | Script | Ambiguous | SecurityLabel)
        // What seems to be below /usr/share may be anywhere.
        || bound.what.split(['/', ' ']).any(|part| part == "..")
}

/// Packing names what the other host has to have in a warning of its own.
fn is_declared(manifest: &Manifest, bound: &HostBound) -> bool {
    manifest.warnings.contains(&Line::lossy(&bound.to_string()))
}
