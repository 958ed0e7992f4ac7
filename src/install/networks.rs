//! What a packaged guest brings into this host's networks, and takes away again: the host entries in its manifest. What
//! a network makes of them is `network::refresh`'s business. Nothing here stops a registration: a guest without its
//! reservation is better than none, and what did not work is told with the command that makes up for it.

use super::InstallError;
use super::record::{Identity, Instance};
use crate::domain::Domain;
use crate::host::{Layout, Libvirt, files};
use crate::name::{GuestName, HostName, Mac, NetworkName};
use crate::network::{self, Brought};
use crate::package::{GuestPackage, HostSection, Manifest};
use std::collections::BTreeMap;
use std::io;

/// The entries of the manifest by network, one for each name, also none for a network into which an earlier version of
/// the package brought something. Networks whose names could be no file's are left out.
fn wanted(
    layout: &Layout,
    instance: &Instance,
    manifest: &Manifest,
) -> io::Result<BTreeMap<NetworkName, Vec<Brought>>> {
    let earlier = network::networks_of(layout, &instance.name)?;
    let mut all: BTreeMap<_, _> = earlier.into_iter().map(|name| (name, Vec::new())).collect();
    for section in &manifest.networks {
        if let Ok(name) = section.name.as_str().parse::<NetworkName>()
            && !section.hosts.is_empty()
        {
            let entries = entries(&section.hosts, &name, instance, manifest.package.name.guest());
            all.insert(name, entries);
        }
    }
    Ok(all)
}

/// Entries for the hosts, with the instance's own hardware addresses: a host with several interfaces has several in the
/// manifest. An instance beside others gets names of its own, too.
fn entries(
    hosts: &[HostSection],
    network: &NetworkName,
    instance: &Instance,
    packaged: &GuestName,
) -> Vec<Brought> {
    let beside = instance.identity == Identity::Own;
    let mut all: Vec<Brought> = Vec::new();
    for host in hosts {
        let mac = instance.macs.get(&host.mac.to_string()).copied();
        let Some(mac) = mac.or_else(|| (!beside).then_some(host.mac)) else {
            continue;
        };
        let name = if beside {
            own_name(&host.name, instance, packaged)
        } else {
            host.name.clone()
        };
        let chosen = beside || instance.chosen.contains(network);
        let ips = if chosen {
            Vec::new()
        } else {
            host.addresses.clone()
        };
        match all
            .iter_mut()
            .find(|entry| entry.name == name && entry.ips == ips)
        {
            Some(entry) if entry.macs.contains(&mac) => {}
            Some(entry) => entry.macs.push(mac),
            None => all.push(Brought {
                name,
                macs: vec![mac],
                ips,
            }),
        }
    }
    all
}

/// The name of an instance's host: the instance's own where the package's is the guest's, else both.
fn own_name(name: &HostName, instance: &Instance, packaged: &GuestName) -> HostName {
    let own: String = instance.name.as_str().to_ascii_lowercase();
    let own = own.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let own = own.trim_matches('-');
    let text = if name.as_str().eq_ignore_ascii_case(packaged.as_str()) {
        own.to_owned()
    } else {
        format!("{name}-{own}")
    };
    text.parse().unwrap_or_else(|_| name.clone())
}

/// Has addresses chosen in the networks where somebody else has the package's; remarks on them go to `notes`.
pub(super) fn settle(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &mut Instance,
    manifest: &Manifest,
    notes: &mut Vec<String>,
) -> io::Result<()> {
    for (network, entries) in wanted(layout, instance, manifest)? {
        let given = entries.iter().any(|entry| !entry.ips.is_empty());
        if !given || network::has_brought(layout, &instance.name, &network, &entries)? {
            continue;
        }
        let seen = |entries: &[Brought]| {
            // Where nobody can tell, the package's addresses are as good as any.
            let seen = network::preview(layout, libvirt, &network, &instance.name, entries);
            seen.ok()
                .flatten()
                .filter(|landed| landed.hosts.len() != entries.len())
        };
        let Some(landed) = seen(&entries) else { continue };
        let other: Vec<Brought> = entries
            .iter()
            .map(|entry| Brought {
                ips: Vec::new(),
                ..entry.clone()
            })
            .collect();
        if seen(&other).is_none() {
            let whose = landed.taken.iter().map(|(ip, host)| format!("{host} has {ip}"));
            let whose: Vec<String> = whose.collect();
            notes.push(format!(
                "{} has an address of its own in {network}: {}",
                instance.name,
                if whose.is_empty() {
                    "another has that of the package".to_owned()
                } else {
                    whose.join(", ")
                }
            ));
            instance.chosen.insert(network);
        }
    }
    Ok(())
}

/// As [`settle`], and then what [`bring`] would say of entries that the networks do not take up.
pub(super) fn foresee(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &mut Instance,
    manifest: &Manifest,
) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    settle(layout, libvirt, instance, manifest, &mut notes)?;
    for (network, entries) in wanted(layout, instance, manifest)? {
        let seen = network::preview(layout, libvirt, &network, &instance.name, &entries);
        if let Ok(Some(landed)) = seen
            && landed.hosts.len() < entries.len()
        {
            let remarks = landed.remarks.iter();
            notes.extend(
                remarks.map(|why| format!("{} has no reservation in {network}: {why}", instance.name)),
            );
        }
    }
    Ok(notes)
}

/// True if [`bring`] would change a file.
pub(super) fn would_bring(layout: &Layout, instance: &Instance, manifest: &Manifest) -> io::Result<bool> {
    for (name, entries) in wanted(layout, instance, manifest)? {
        if !network::has_brought(layout, &instance.name, &name, &entries)? {
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
    instance: &Instance,
    manifest: &Manifest,
    notes: &mut Vec<String>,
) -> io::Result<bool> {
    let guest = &instance.name;
    let mut changed = false;
    for (name, entries) in wanted(layout, instance, manifest)? {
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
