//! What is around on this host, as far as packages can clash with it. Nothing is judged here.

use super::capabilities::{self, Capabilities, MachineCapabilities};
use crate::domain::scan::Document;
use crate::domain::{Domain, VirtType};
use crate::host::{Layout, Libvirt, files};
use crate::install::record::{Identity, Instance};
use crate::install::{InstallError, identity, networks, trust};
use crate::name::{Digest, Mac, printable};
use crate::network;
use crate::package::{Contents, GuestContents, Manifest};
use fs_err as fs;
use std::collections::{BTreeMap, HashSet};
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
    /// The images of the packages that lie there already.
    pub(super) there: HashSet<Digest>,
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
    /// Why its name is not free, and the way round it.
    pub(super) name: Option<(String, String)>,
    /// What it asks of this host, or why it is not given that.
    pub(super) trust: Option<Result<Vec<String>, String>>,
    /// Whose its hardware addresses are here.
    pub(super) macs: BTreeMap<Mac, String>,
    /// The networks in which somebody else has its addresses.
    pub(super) addresses: Vec<String>,
    /// Files of its firmware that are not here.
    pub(super) missing: Vec<String>,
    /// True if an instance of it is here.
    pub(super) known: bool,
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
    Ok(Host {
        free: files::free_space(existing(&images))?,
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

/// Looks around for one guest; `earlier` are the guests of the same run before it.
pub(super) fn guest(
    layout: &Layout,
    libvirt: &Libvirt,
    virt: VirtType,
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
    let found = identity::instances(layout, libvirt, manifest, &domain)?;
    let known = !found.is_empty();
    let mut instance = found
        .into_iter()
        .next()
        .unwrap_or_else(|| Instance::new(package.guest().clone(), package.clone(), Identity::Packaged));
    let mut around = Around {
        known,
        virt: virt.as_str().to_owned(),
        ..Around::default()
    };
    match trust::check(manifest, &domain, &mut instance, false) {
        Ok(needs) => around.trust = Some(Ok(needs)),
        Err(error) => around.trust = Some(Err(error.to_string())),
    }
    if let Err(error) = identity::refuse_name_clash(layout, libvirt, &instance, known) {
        let Some(remedy) = error.remedy() else {
            return Err(error);
        };
        around.name = Some((error.to_string(), remedy.to_owned()));
    }
    if !known {
        let taken = identity::taken_macs(layout, libvirt, &instance)?;
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
        networks::settle(layout, libvirt, &mut instance, manifest, &mut Vec::new())?;
        around.addresses = instance.chosen.iter().map(ToString::to_string).collect();
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
