//! What is around on this host, as far as packages can clash with it. Nothing is judged here.

use super::capabilities::{self, Capabilities, MachineCapabilities};
use crate::domain::scan::Document;
use crate::domain::{Domain, VirtType};
use crate::host::{Layout, Libvirt, files};
use crate::install::managed::{Managed, managed};
use crate::install::record::{Identity, Instance};
use crate::install::{InstallError, identity, networks, trust};
use crate::name::{Digest, GuestName, Mac, printable};
use crate::network;
use crate::package::{self, Contents, GuestContents, Manifest};
use fs_err as fs;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What all guests meet.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// Where packaged images lie.
    pub(super) images: PathBuf,
    /// True if that is the place that the distributions' rules for confined guests know.
    pub(super) usual_place: bool,
    /// Free space there, in bytes.
    pub(super) free: u64,
    /// Free space where instances have their disks, in bytes, if that is another file system.
    pub(super) free_apart: Option<u64>,
    /// The images of the packages that lie there already.
    pub(super) there: HashSet<Digest>,
    /// Those of the guest packages that rpm or dpkg have.
    pub(super) managed: HashMap<String, Managed>,
    /// What libvirt has; `None` if its answer cannot be read.
    pub(super) capabilities: Option<Capabilities>,
    /// libvirt's networks, each with whether it is started.
    pub(super) networks: BTreeMap<String, bool>,
    /// Networks that are defined here in files.
    pub(super) defined: Vec<String>,
    /// The storage pools around the images' directory.
    pub(super) pools: Vec<Pool>,
    /// What the kernel enforces.
    pub(super) kernel: Kernel,
}

/// A storage pool whose directory is that of the images or above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) active: bool,
}

/// The kernel's side of what confines guests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) apparmor: bool,
    /// `Some(true)` where `SELinux` enforces, `Some(false)` where it only reports.
    pub(super) selinux: Option<bool>,
}

/// What one guest meets.
#[derive(Debug, Clone, Default)]
pub(super) struct Around {
    /// What will run it: `kvm`, `qemu`.
    pub(super) virt: String,
    /// Its architecture.
    pub(super) arch: String,
    /// What its machine can have here, or libvirt's words.
    pub(super) machine: Option<Result<MachineCapabilities, String>>,
    /// The version of it that is here, whoever brought it.
    pub(super) installed: Option<String>,
    /// Why names of its instances are not free, and the way round it.
    pub(super) names: Vec<(String, String)>,
    /// What it asks of this host, or why it is not given that.
    pub(super) trust: Option<Result<Vec<String>, String>>,
    /// Whose its hardware addresses are here.
    pub(super) macs: BTreeMap<Mac, String>,
    /// Who has those that its instances keep, too.
    pub(super) kept_macs: BTreeMap<Mac, String>,
    /// What becomes of the addresses that somebody else has.
    pub(super) addresses: Vec<String>,
    /// Files of its firmware that are not here.
    pub(super) missing: Vec<String>,
    /// Its instances that are here.
    pub(super) known: Vec<GuestName>,
}

/// Looks around for all packages together.
pub(super) fn host(layout: &Layout, libvirt: &Libvirt, packages: &[Contents]) -> Result<Host, InstallError> {
    let images = layout.packaged_images().on_disk().to_owned();
    let guests = packages.iter().filter_map(|package| package.guest.as_ref());
    let needed = guests.flat_map(|guest| guest.manifest.images());
    let needed = needed.map(|layer| (layer.digest, layer.file_size));
    let carried = packages.iter().flat_map(|package| package.images.iter().copied());
    let there = needed.chain(carried).filter(|(digest, size)| {
        let meta = fs::symlink_metadata(layout.packaged_image(digest).on_disk());
        meta.is_ok_and(|meta| meta.is_file() && meta.len() == *size)
    });
    let networks = libvirt.networks()?;
    let names: Vec<String> = packages
        .iter()
        .filter(|package| package.guest.is_some())
        .map(|package| package.found.package.clone())
        .collect();
    let disks = layout.all_instance_disks();
    let (disks, beside) = (existing(disks.on_disk()), existing(&images));
    let apart = fs::metadata(disks)?.dev() != fs::metadata(beside)?.dev();
    Ok(Host {
        free: files::free_space(beside)?,
        free_apart: apart.then(|| files::free_space(disks)).transpose()?,
        managed: managed(layout, &names)?,
        there: there.map(|(digest, _)| digest).collect(),
        capabilities: capabilities::read(&libvirt.capabilities()?),
        networks: networks.into_iter().map(|n| (n.name, n.active)).collect(),
        defined: network::defined(layout)
            .into_iter()
            .map(|(name, _)| name.to_string())
            .collect(),
        pools: pools(libvirt, &images)?,
        kernel: kernel(),
        usual_place: layout.is_standard(),
        images,
    })
}

/// The directory, or the nearest one above it that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(dir)
}

fn pools(libvirt: &Libvirt, images: &Path) -> Result<Vec<Pool>, InstallError> {
    let around = libvirt.pools()?.into_iter().filter_map(|pool| {
        let document = Document::parse(&pool.xml).ok()?;
        let root = document.root();
        let target = root.at(&["target", "path"])?.text().trim();
        images.starts_with(target).then(|| Pool {
            name: pool.name.clone(),
            kind: root.attribute("type").unwrap_or_default().to_owned(),
            active: pool.active,
        })
    });
    Ok(around.collect())
}

fn kernel() -> Kernel {
    let read = |path: &str| fs::read_to_string(path).ok();
    Kernel {
        apparmor: read("/sys/module/apparmor/parameters/enabled").is_some_and(|text| text.trim() == "Y"),
        selinux: read("/sys/fs/selinux/enforce").map(|text| text.trim() == "1"),
    }
}

/// Looks around for one guest, which `virt` will run and which may be given what it asks for; `earlier` are the guests of
/// the same run before it.
pub(super) fn guest(
    layout: &Layout,
    libvirt: &Libvirt,
    (virt, trusted): (VirtType, bool),
    host: &Host,
    contents: &GuestContents,
    earlier: &[&Manifest],
) -> Result<Around, InstallError> {
    let manifest = &contents.manifest;
    let package = &manifest.package.name;
    let domain = Domain::parse(&contents.domain_xml).map_err(|source| InstallError::Xml {
        package: package.clone(),
        source,
    })?;
    let mut instances = identity::instances(layout, libvirt, manifest, &domain)?;
    let mut around = Around {
        known: instances.iter().map(|instance| instance.name.clone()).collect(),
        virt: virt.as_str().to_owned(),
        installed: package::show(layout, package).ok().map(|installed| {
            let section = installed.manifest.package;
            format!("{}-{}", section.version, section.release)
        }),
        ..Around::default()
    };
    let known = !instances.is_empty();
    if !known {
        instances.push(Instance::new(
            package.guest().clone(),
            package.clone(),
            Identity::Packaged,
        ));
    }
    for instance in &mut instances {
        match trust::check(manifest, &domain, instance, trusted) {
            Err(error) => around.trust = Some(Err(error.to_string())),
            Ok(needs) if around.trust.is_none() => around.trust = Some(Ok(needs)),
            Ok(_) => {}
        }
        if let Err(error) = identity::refuse_name_clash(layout, libvirt, instance, known) {
            let Some(remedy) = error.remedy() else {
                return Err(error);
            };
            around.names.push((error.to_string(), remedy.to_owned()));
        }
    }
    if let [instance] = &mut instances[..]
        && !known
    {
        let taken = identity::taken_macs(layout, libvirt, instance)?;
        let interfaces = &manifest.domain.interfaces;
        for mac in interfaces.iter().filter_map(|interface| interface.mac) {
            let others = earlier.iter().filter(|other| {
                let theirs = &other.domain.interfaces;
                theirs.iter().any(|interface| interface.mac == Some(mac))
            });
            let other = others.map(|other| other.package.name.to_string()).next();
            if let Some(owner) = taken.get(&mac).cloned().or(other) {
                around.macs.insert(mac, owner);
            }
            instance.macs.insert(mac.to_string(), mac);
        }
        around.addresses.extend(same_addresses(manifest, earlier));
    } else {
        // Those that come back find others in their places.
        for instance in &instances {
            let taken = identity::taken_macs(layout, libvirt, instance)?;
            let both = instance
                .macs
                .values()
                .filter_map(|mac| Some((*mac, taken.get(mac)?.clone())));
            around.kept_macs.extend(both);
        }
    }
    for instance in &mut instances {
        around
            .addresses
            .extend(networks::foresee(layout, libvirt, instance, manifest)?);
    }
    machine(libvirt, host, manifest, &mut around);
    let firmware = &manifest.domain.firmware;
    let named = [&firmware.loader, &firmware.template].into_iter().flatten();
    around.missing = named
        .filter(|path| !Path::new(path.as_str()).is_file())
        .map(ToString::to_string)
        .collect();
    Ok(around)
}

/// Addresses that another guest of the same run brings into the same network.
fn same_addresses(manifest: &Manifest, earlier: &[&Manifest]) -> Vec<String> {
    let all = |manifest: &Manifest| -> Vec<(String, IpAddr)> {
        let sections = manifest.networks.iter();
        let hosts = sections.flat_map(|section| section.hosts.iter().map(move |host| (&section.name, host)));
        hosts
            .flat_map(|(name, host)| host.addresses.iter().map(move |ip| (name.to_string(), *ip)))
            .collect()
    };
    let own = all(manifest);
    let others = earlier.iter().flat_map(|other| {
        let theirs = all(other);
        let same = theirs.into_iter().filter(|pair| own.contains(pair));
        same.map(|(network, ip)| {
            let (guest, package) = (manifest.package.name.guest(), &other.package.name);
            format!("{guest} has an address of its own in {network}: {package} has {ip}")
        })
        .collect::<Vec<_>>()
    });
    others.collect()
}

/// Asks libvirt about the machine, if it has an emulator for it and knows its type: of another it could only say no.
fn machine(libvirt: &Libvirt, host: &Host, manifest: &Manifest, around: &mut Around) {
    let Some(capabilities) = &host.capabilities else {
        return;
    };
    let arch = manifest.domain.arch.as_ref().map(ToString::to_string);
    around.arch = arch.or_else(|| capabilities.arch.clone()).unwrap_or_default();
    let Some(emulator) = capabilities.emulators.get(&around.arch) else {
        return;
    };
    let machine = manifest.domain.machine.as_ref().map(ToString::to_string);
    if machine
        .as_ref()
        .is_some_and(|machine| !emulator.machines.contains(machine))
    {
        return;
    }
    let told = libvirt.domain_capabilities(&around.arch, machine.as_deref(), &around.virt);
    around.machine = Some(match told {
        Ok(xml) => capabilities::read_machine(&xml).ok_or_else(|| "its answer cannot be read".to_owned()),
        Err(error) => Err(printable(&error.to_string(), 400)),
    });
}
