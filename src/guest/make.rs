//! `guest create`: a request of the user made into a domain: disks found or made, what runs it decided, the domain
//! defined. A step that fails takes the earlier ones back.

use super::create::{CreateError, GuestDisk, GuestNic, GuestSpec};
use super::disks::{NewDisk, Unfinished};
use super::request::{DiskRequest, FirmwareKind, MachineType, NicRequest, Size};
use super::reserve::{Reserved, Wanted};
use super::route::{RouteError, is_routed_alone, route};
use crate::domain::VirtType;
use crate::host::kvm::{self, KvmError};
use crate::host::{Layout, Libvirt, LibvirtError, files};
use crate::image::{self, Format, ImageError};
use crate::name::{GuestName, Mac, NameError, NetworkName};
use crate::network::{Observed, RefreshError};
use crate::template::Templates;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Why a guest was not created.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// libvirt has a guest of this name.
    #[error("there is a guest {0} already; nothing was changed")]
    Exists(GuestName),
    /// libvirt has no such network.
    #[error("libvirt has no network {0}")]
    NoNetwork(NetworkName),
    /// An address or a name is asked for in a network that serves them to nobody.
    #[error(
        "the network {0} is not miniascape's: an address or a name in it cannot be reserved; nothing was changed"
    )]
    NotOurs(NetworkName),
    /// The guest's own name cannot be a host's.
    #[error("the guest's name cannot be its host name: {0}")]
    HostName(NameError),
    /// The address, name or hardware address belongs to somebody else, or the network has no room for it.
    #[error("{network} cannot take the guest in; nothing was changed\n{why}")]
    NoPlace {
        /// The network.
        network: NetworkName,
        /// What is wrong, with places.
        why: String,
    },
    /// A network cannot be looked at, or does not follow.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// There is no route to it in a network without a bridge.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// What an existing disk is was not said, and its content is not to be believed.
    #[error("{}: its format has to be said: {why}", path.display())]
    FormatNotSaid {
        /// The disk.
        path: PathBuf,
        /// Why it is not taken from the file.
        why: &'static str,
    },
    /// A disk that is to be made is there.
    #[error("{} is there already, and nothing is written over", .0.display())]
    DiskExists(PathBuf),
    /// An image is missing or unreadable.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// There is no domain XML.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// It is not known what can run the guest.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// A directory or file could not be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What the user asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The guest's name.
    pub name: GuestName,
    /// Its memory.
    pub memory: Size,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// The machine that it is.
    pub machine: MachineType,
    /// What it boots with.
    pub firmware: FirmwareKind,
    /// Its disks.
    pub disks: Vec<DiskRequest>,
    /// Its network interfaces.
    pub nics: Vec<NicRequest>,
    /// A file in which the output of its serial port is kept.
    pub serial_log: Option<PathBuf>,
    /// Whether it has a display.
    pub vnc: bool,
}

/// What was created, or with `dry_run` would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The guest.
    pub guest: GuestName,
    /// Its identity.
    pub uuid: Uuid,
    /// `kvm` or `qemu` (software emulation).
    pub runs_as: &'static str,
    /// Why that.
    pub because: String,
    /// Its disks.
    pub disks: Vec<PathBuf>,
    /// Its hardware addresses.
    pub macs: Vec<Mac>,
    /// What its networks reserve for it.
    pub hosts: Vec<Reserved>,
}

/// What runs guests on this machine, and why: KVM only where the probe says that it runs. A `dry_run` keeps nothing of
/// that for later.
pub fn virt_type(layout: &Layout, dry_run: bool) -> Result<(VirtType, String), KvmError> {
    let answer = kvm::answer(layout, !dry_run)?;
    Ok((
        if answer.usable {
            VirtType::Kvm
        } else {
            VirtType::Qemu
        },
        answer.words,
    ))
}

/// Creates a guest, without starting it.
pub fn make(
    request: &Request,
    layout: &Layout,
    libvirt: &Libvirt,
    templates: &Templates,
    dry_run: bool,
) -> Result<Made, MakeError> {
    let name = &request.name;
    let _lock = if dry_run {
        None
    } else {
        Some(files::Lock::acquire(layout.guest_lock(name).on_disk())?)
    };
    if libvirt.domain(name.as_str())?.is_some() {
        return Err(MakeError::Exists(name.clone()));
    }
    let nics: Vec<(&NicRequest, Mac)> = request
        .nics
        .iter()
        .map(|nic| (nic, nic.mac.unwrap_or_else(Mac::random)))
        .collect();
    let wanted = Wanted::of(name, &nics)?;
    check_networks(layout, libvirt, request, &wanted)?;
    let mut hosts = wanted.check(layout, libvirt, name)?;
    let nics = plugged(layout, name, &nics, &hosts)?;
    let left = Unfinished::left_behind(layout, name)?;
    let mut disks = Vec::new();
    let mut new = Vec::new();
    for (index, disk) in request.disks.iter().enumerate() {
        disks.push(match disk {
            DiskRequest::Existing { path, format } => existing(path, *format)?,
            DiskRequest::New { size, format } => {
                let directory = layout.instance_disks(name);
                let file = directory
                    .join(format!("disk-{index}.{format}"))
                    .on_disk()
                    .to_owned();
                if file.exists() && !left.has(&file) {
                    return Err(MakeError::DiskExists(file));
                }
                new.push(NewDisk {
                    file: file.clone(),
                    format: *format,
                    size: size.bytes(),
                });
                GuestDisk {
                    file,
                    format: *format,
                }
            }
        });
    }
    let (virt, because) = virt_type(layout, dry_run)?;
    let spec = GuestSpec {
        name: name.clone(),
        uuid: Uuid::new_v4(),
        title: None,
        virt,
        memory_kib: request.memory.kib(),
        vcpus: request.vcpus,
        machine: request.machine.clone(),
        firmware: request.firmware,
        disks,
        nics,
        serial_log: request.serial_log.clone(),
        vnc: request.vnc,
    };
    let xml = spec.domain_xml(templates)?;
    let made = |hosts| Made {
        guest: name.clone(),
        uuid: spec.uuid,
        runs_as: virt.as_str(),
        because: because.clone(),
        disks: spec.disks.iter().map(|disk| disk.file.clone()).collect(),
        macs: spec.nics.iter().map(|nic| nic.mac).collect(),
        hosts,
    };
    if dry_run {
        return Ok(made(hosts));
    }
    left.take_back();
    let made_disks = Unfinished::make(layout, name, &new)?;
    // Before the guest is there: a run that is killed in between is made up for by the same command.
    let done = wanted.reserve(layout, libvirt, name).and_then(|reserved| {
        hosts = reserved;
        libvirt.define_domain(name.as_str(), &xml).map_err(|error| {
            wanted.take_back(layout, libvirt, name);
            error.into()
        })
    });
    if let Err(error) = done {
        made_disks.take_back();
        return Err(error);
    }
    made_disks.keep()?;
    Ok(made(hosts))
}

/// The guest's networks are there, or can wait for it, and serve it what it asks for.
fn check_networks(
    layout: &Layout,
    libvirt: &Libvirt,
    request: &Request,
    wanted: &Wanted,
) -> Result<(), MakeError> {
    for nic in &request.nics {
        let reserves = wanted.has(&nic.network);
        match libvirt.network(nic.network.as_str())? {
            // A reservation may come before its network, and libvirt does not know every network.
            None if !reserves && !is_routed_alone(layout, &nic.network)? => {
                return Err(MakeError::NoNetwork(nic.network.clone()));
            }
            Some(record) if reserves && !Observed::parse(&record.xml).ours => {
                return Err(MakeError::NotOurs(nic.network.clone()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The interfaces as they are plugged in. `hosts` is what the networks would reserve.
fn plugged(
    layout: &Layout,
    guest: &GuestName,
    nics: &[(&NicRequest, Mac)],
    hosts: &[Reserved],
) -> Result<Vec<GuestNic>, MakeError> {
    let plug = |&(nic, mac): &(&NicRequest, Mac)| {
        let label = nic.name.as_ref().map_or(guest.as_str(), |name| name.as_str());
        let own =
            |host: &&Reserved| host.network == nic.network && host.name.as_str().eq_ignore_ascii_case(label);
        let given = match hosts.iter().find(own) {
            Some(host) if nic.ip.is_some() || nic.name.is_some() => host.ips.as_slice(),
            _ => &[],
        };
        Ok(GuestNic {
            network: nic.network.clone(),
            mac,
            route: route(layout, &nic.network, nic.mac, mac, given)?,
        })
    };
    nics.iter().map(plug).collect()
}

/// An image that is there, in the format that was said.
fn existing(path: &Path, format: Option<Format>) -> Result<GuestDisk, MakeError> {
    let file = std::path::absolute(path)?;
    if !file.exists() {
        return Err(ImageError::Missing { path: file }.into());
    }
    let format = match format {
        Some(format) => format,
        None => harmless_format(&file)?,
    };
    if format == Format::Qcow2
        && let Some(backing) = image::info(&file, format)?.backing
    {
        // Opening it would fail much later, in QEMU's words.
        let lower = backing.resolve(&file)?;
        if !lower.exists() {
            return Err(ImageError::MissingBacking {
                image: file,
                backing: lower,
            }
            .into());
        }
    }
    Ok(GuestDisk { file, format })
}

/// The format of an image of which nothing was said: qcow2 where name and header agree. The header alone proves nothing:
/// a guest can write any into its raw disk, one that names a file of the host too; but not the file's name.
fn harmless_format(file: &Path) -> Result<Format, MakeError> {
    let unsaid = |why| MakeError::FormatNotSaid {
        path: file.to_owned(),
        why,
    };
    if file.extension().is_none_or(|extension| extension != "qcow2") {
        return Err(unsaid("its name does not end in .qcow2"));
    }
    match image::peek(file)? {
        None => Err(unsaid("its name says qcow2 and its content does not")),
        Some(_) => Ok(Format::Qcow2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs_err as fs;

    #[test]
    fn a_format_is_taken_from_the_file_only_where_that_is_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        image::create(&at("plain.qcow2"), Format::Qcow2, 1 << 20).unwrap();
        assert_eq!(existing(&at("plain.qcow2"), None).unwrap().format, Format::Qcow2);

        image::create_overlay(&at("overlay.qcow2"), "plain.qcow2", Format::Qcow2, None).unwrap();
        // What a guest with a raw disk could do to read another file.
        fs::copy(at("overlay.qcow2"), at("guest.img")).unwrap();
        fs::copy(at("plain.qcow2"), at("harmless.img")).unwrap();
        fs::write(at("raw.qcow2"), "no header").unwrap();
        assert_eq!(
            existing(&at("overlay.qcow2"), None).unwrap().format,
            Format::Qcow2
        );
        for name in ["guest.img", "harmless.img", "raw.qcow2"] {
            let refused = existing(&at(name), None).unwrap_err();
            assert!(
                matches!(refused, MakeError::FormatNotSaid { .. }),
                "{name}: {refused}"
            );
        }
        let said = |name: &str, format| existing(&at(name), Some(format)).unwrap().format;
        assert_eq!(said("guest.img", Format::Raw), Format::Raw);
    }
}
