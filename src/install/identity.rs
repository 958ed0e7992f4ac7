//! Which instances a package has on this host, and what makes each one itself: found by package and UUID in the mark of
//! its domain, never by name; a free name; hardware addresses that nobody else has.

use super::InstallError;
use super::record::{Identity, Instance};
use crate::domain::{Domain, Mark};
use crate::host::{DomainRecord, Layout, Libvirt};
use crate::name::{GuestName, Mac, printable};
use crate::package::{GuestPackage, Manifest};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// The instances of the package, also those of packages whose place it has taken, by name.
pub(super) fn instances(
    layout: &Layout,
    libvirt: &Libvirt,
    manifest: &Manifest,
    packaged: &Domain,
) -> Result<Vec<Instance>, InstallError> {
    let all = Instance::all(layout)?;
    let known: HashSet<Uuid> = all.iter().map(|instance| instance.uuid).collect();
    let taken: HashSet<GuestName> = all.iter().map(|instance| instance.name.clone()).collect();
    let mut found: Vec<Instance> = all.into_iter().filter(|i| is_of(manifest, &i.package)).collect();
    if found.is_empty() {
        // Records can be lost; the domains still say what they are.
        let domains = libvirt
            .domains()?
            .into_iter()
            .filter(|domain| !known.contains(&domain.uuid));
        let lost = domains.filter_map(|domain| from_mark(manifest, packaged, &domain));
        found.extend(lost.filter(|instance| !taken.contains(&instance.name)));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether an instance of `package` is one of the manifest's package, by that name or one that it had.
pub(super) fn is_of(manifest: &Manifest, package: &GuestPackage) -> bool {
    *package == manifest.package.name || manifest.renamed_from.contains(package)
}

/// The instance that a domain says it is. A copy of a domain carries the mark too, but another UUID.
fn from_mark(manifest: &Manifest, packaged: &Domain, domain: &DomainRecord) -> Option<Instance> {
    let parsed = Domain::parse(&domain.xml).ok()?;
    let mark: &Mark = parsed.mark("guest")?;
    let package: GuestPackage = mark.attribute("package")?.parse().ok()?;
    let uuid: Uuid = mark.attribute("uuid")?.parse().ok()?;
    if uuid != domain.uuid || !is_of(manifest, &package) {
        return None;
    }
    let name: GuestName = mark.attribute("instance")?.parse().ok()?;
    // Which addresses are its own, it says by having them.
    let mut instance = Instance::new(name, package, Identity::Packaged);
    instance.uuid = uuid;
    for (key, interface) in keys(packaged).into_iter().zip(&parsed.interfaces) {
        if let Some(mac) = interface.mac.as_deref().and_then(|mac| mac.parse().ok()) {
            instance.macs.insert(key, mac);
        }
    }
    Some(instance)
}

/// What the interfaces of a packaged domain are called in a record.
fn keys(domain: &Domain) -> Vec<String> {
    let mut seen = HashSet::new();
    let interfaces = domain.interfaces.iter().enumerate();
    let keys = interfaces.map(|(index, interface)| {
        let mac: Option<Mac> = interface.mac.as_deref().and_then(|mac| mac.parse().ok());
        let key = mac
            .map(|mac| mac.to_string())
            .filter(|key| seen.insert(key.clone()));
        key.unwrap_or_else(|| format!("#{index}"))
    });
    keys.collect()
}

/// The hardware address of each interface of the packaged domain, decided once for an instance: the package's if that
/// is for it and nobody else here has it, a new one otherwise. Remarks on new ones go to `notes`.
pub(super) fn settle_macs(
    layout: &Layout,
    libvirt: &Libvirt,
    packaged: &Domain,
    instance: &mut Instance,
    notes: &mut Vec<String>,
) -> Result<Vec<Mac>, InstallError> {
    let keys = keys(packaged);
    let known = keys.iter().all(|key| instance.macs.contains_key(key));
    let mut taken = if known {
        HashSet::new()
    } else {
        taken_macs(layout, libvirt, instance)?.into_keys().collect()
    };
    let mut macs = Vec::new();
    for key in keys {
        let mac = if let Some(mac) = instance.macs.get(&key) {
            *mac
        } else {
            let packaged: Option<Mac> = key.parse().ok();
            let free = |mac: &Mac| !taken.contains(mac);
            let own = packaged.filter(|mac| instance.identity == Identity::Packaged && free(mac));
            let mac = own.unwrap_or_else(|| {
                loop {
                    let new = Mac::random();
                    if free(&new) {
                        break new;
                    }
                }
            });
            if let Some(packaged) =
                packaged.filter(|_| own.is_none() && instance.identity == Identity::Packaged)
            {
                notes.push(format!(
                    "{} has the hardware address {mac} here: another guest has {packaged}",
                    instance.name
                ));
            }
            instance.macs.insert(key, mac);
            mac
        };
        taken.insert(mac);
        macs.push(mac);
    }
    Ok(macs)
}

/// The hardware addresses of all other guests, also of those that are to come back, each with whose it is.
pub(super) fn taken_macs(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
) -> Result<HashMap<Mac, String>, InstallError> {
    let mut taken = HashMap::new();
    for other in Instance::all(layout)?
        .iter()
        .filter(|other| other.uuid != instance.uuid)
    {
        let name = other.name.to_string();
        taken.extend(other.macs.values().map(|mac| (*mac, name.clone())));
    }
    for domain in libvirt
        .domains()?
        .iter()
        .filter(|domain| domain.uuid != instance.uuid)
    {
        // What cannot be read has no addresses that we could know of.
        let interfaces = Domain::parse(&domain.xml).map(|domain| domain.interfaces);
        let macs = interfaces.unwrap_or_default().into_iter();
        let macs = macs.filter_map(|interface| interface.mac?.parse::<Mac>().ok());
        taken.extend(macs.map(|mac| (mac, printable(&domain.name, 64))));
    }
    Ok(taken)
}

/// Fails if the instance's name is somebody else's; `known` if the instance was there before.
pub(super) fn refuse_name_clash(
    layout: &Layout,
    libvirt: &Libvirt,
    instance: &Instance,
    known: bool,
) -> Result<(), InstallError> {
    if libvirt.domain_by_uuid(instance.uuid)?.is_some()
        || is_free(layout, libvirt, &instance.name, instance.uuid)?
    {
        return Ok(());
    }
    Err(InstallError::NameTaken {
        guest: instance.name.clone(),
        remedy: if known {
            format!(
                "give the other one another name: virsh domrename {0} {0}-old",
                instance.name
            )
        } else {
            let free = free_name(layout, libvirt, instance)?;
            format!("miniascape guest register {} --as {free}", instance.package)
        },
    })
}

fn is_free(layout: &Layout, libvirt: &Libvirt, name: &GuestName, uuid: Uuid) -> Result<bool, InstallError> {
    let domain = libvirt.domain(name.as_str())?;
    let record = Instance::read(layout, name)?;
    Ok(domain.is_none_or(|domain| domain.uuid == uuid) && record.is_none_or(|record| record.uuid == uuid))
}

/// The first of NAME-2, NAME-3, … that nobody has.
fn free_name(layout: &Layout, libvirt: &Libvirt, instance: &Instance) -> Result<GuestName, InstallError> {
    let name = instance.name.as_str();
    for number in 2_u32.. {
        let end = format!("-{number}");
        let stem = &name[..name.len().min(64 - end.len())];
        if let Ok(name) = format!("{stem}{end}").parse::<GuestName>()
            && is_free(layout, libvirt, &name, instance.uuid)?
            && !layout.instance_disks(&name).on_disk().exists()
        {
            return Ok(name);
        }
    }
    Ok(instance.name.clone())
}
