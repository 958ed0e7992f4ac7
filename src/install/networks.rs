//! What a packaged guest brings into this host's networks, and takes away again: the host entries in its manifest. What
//! a network makes of them is `network::refresh`'s business. Nothing here stops a registration: a guest without its
//! reservation is better than none, and what did not work is told with the command that makes up for it.

use super::InstallError;
use crate::domain::Domain;
use crate::host::{Layout, Libvirt, files};
use crate::name::{GuestName, Mac, NetworkName};
use crate::network::{self, Brought};
use crate::package::{GuestPackage, HostSection, Manifest};
use std::collections::BTreeMap;
use std::io;

/// The entries of the manifest by network, one for each name, also none for a network into which an earlier version of
/// the package brought something. Networks whose names could be no file's are left out.
fn wanted(
    layout: &Layout,
    guest: &GuestName,
    manifest: &Manifest,
) -> io::Result<BTreeMap<NetworkName, Vec<Brought>>> {
    let earlier = network::networks_of(layout, guest)?;
    let mut all: BTreeMap<_, _> = earlier.into_iter().map(|name| (name, Vec::new())).collect();
    for section in &manifest.networks {
        if let Ok(name) = section.name.as_str().parse()
            && !section.hosts.is_empty()
        {
            all.insert(name, entries(&section.hosts));
        }
    }
    Ok(all)
}

/// Entries for the hosts: a host with several interfaces has several in the manifest.
fn entries(hosts: &[HostSection]) -> Vec<Brought> {
    let mut all: Vec<Brought> = Vec::new();
    for host in hosts {
        match all
            .iter_mut()
            .find(|entry| entry.name == host.name && entry.ips == host.addresses)
        {
            Some(entry) if entry.macs.contains(&host.mac) => {}
            Some(entry) => entry.macs.push(host.mac),
            None => all.push(Brought {
                name: host.name.clone(),
                macs: vec![host.mac],
                ips: host.addresses.clone(),
            }),
        }
    }
    all
}

/// True if [`bring`] would change a file.
pub(super) fn would_bring(layout: &Layout, guest: &GuestName, manifest: &Manifest) -> io::Result<bool> {
    for (name, entries) in wanted(layout, guest, manifest)? {
        if !network::has_brought(layout, guest, &name, &entries)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes what the guest brings beside its networks, whether these are there or not, and lets registered ones take it
/// up. True if a file changed; remarks go to `notes`.
pub(super) fn bring(
    layout: &Layout,
    libvirt: &Libvirt,
    guest: &GuestName,
    manifest: &Manifest,
    notes: &mut Vec<String>,
) -> io::Result<bool> {
    let mut changed = false;
    for (name, entries) in wanted(layout, guest, manifest)? {
        changed |= network::bring(layout, guest, &name, &entries)?;
        // Also when the file was there: a run may have been killed before the network followed.
        match network::refresh(layout, libvirt, &name, guest, &entries) {
            Ok(Some(landed)) if landed.hosts.len() < entries.len() => {
                let remarks = landed.remarks.iter().map(ToString::to_string);
                notes.extend(remarks.map(|why| format!("{guest} has no reservation in {name}: {why}")));
            }
            Ok(_) => {}
            Err(error) => notes.push(format!(
                "the network {name} does not know {guest} yet: {error}; `miniascape net update {name}` makes up for it"
            )),
        }
    }
    Ok(changed)
}

/// What the networks are here whose definitions `package` brought: there, to be registered, or others than these.
pub(super) fn remarks(
    layout: &Layout,
    libvirt: &Libvirt,
    package: &GuestPackage,
    manifest: &Manifest,
) -> Result<Vec<String>, InstallError> {
    let mut remarks = Vec::new();
    let guest = package.guest();
    let own = layout.guest_package(guest);
    let defined = network::defined(layout);
    for (section, name) in manifest
        .files
        .iter()
        .filter_map(|file| Some((file, file.network()?)))
    {
        let brought = own.join(section.name.as_str());
        let registered = network::Applied::read(layout, &name).is_ok_and(|applied| applied.is_some());
        if !registered && libvirt.network(name.as_str())?.is_some() {
            remarks.push(format!(
                "libvirt has a network {name} that is not miniascape's: {guest} is plugged into that one, and the \
                 definition in its package is not used"
            ));
            continue;
        }
        let used = defined
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, path)| path);
        let Some(other) = used.filter(|path| *path != brought.on_disk()) else {
            if !registered {
                remarks.push(format!(
                    "the package has the definition of the network {name}: `miniascape net register {name}` makes it"
                ));
            }
            continue;
        };
        let same = files::read_if_there(other)?.is_some_and(|content| section.is_of(&content));
        if !same {
            remarks.push(format!(
                "the network {name} is defined here by {}, and otherwise than where {guest} was packed ({})",
                other.display(),
                brought.named().display()
            ));
        } else if !registered {
            remarks.push(format!(
                "the network {name} is not registered here: `miniascape net register {name}` makes it"
            ));
        }
    }
    Ok(remarks)
}

/// Takes away what the guest, which libvirt no longer knows, has brought, and the leases that it holds; remarks on what
/// could not be done.
pub(super) fn leave(layout: &Layout, libvirt: &Libvirt, guest: &GuestName) -> io::Result<Vec<String>> {
    let kept = layout.instance(guest).join("domain.xml");
    let xml = files::read_if_there(kept.on_disk())?.unwrap_or_default();
    // One that cannot be read only costs the leases' early end.
    let macs: Vec<Mac> = Domain::parse(&String::from_utf8_lossy(&xml))
        .map(|domain| domain.interfaces)
        .unwrap_or_default()
        .iter()
        .filter_map(|interface| interface.mac.as_deref()?.parse().ok())
        .collect();
    Ok(
        network::leave(layout, libvirt, guest, &macs).unwrap_or_else(|error| {
            vec![format!(
                "{guest} may still have reservations: {error}; `miniascape net update --all` takes them away"
            )]
        }),
    )
}
