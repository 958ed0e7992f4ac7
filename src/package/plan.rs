//! What a repack will do, decided before any byte is copied: which file becomes the base and which the delta, what
//! stays behind, what the package's domain XML says. Pure: domain XML and image descriptions in, a plan out.
//!
//! Reading the descriptions and carrying the plan out is `repack`'s business.

use super::manifest::{
    CpuSection, DomainSection, FirmwareKind, FirmwareSection, HostSection, InterfaceSection, NetworkSection,
    NotPacked,
};
use super::name::GuestPackage;
use super::text::{Line, TextError, Word};
use crate::domain::{
    Disk, DiskDevice, DiskSource, Domain, DomainType, DomainXmlError, Fate, Firmware, HostBound,
    HostBoundKind, InterfaceSource, PackageSpec, Packaged, PackedDisk, XmlValue, for_package,
};
use crate::host::Layout;
use crate::image::{Chain, Format, ImageInfo};
use crate::name::{Mac, PackageVersion};
use serde::Serialize;
use std::path::PathBuf;

/// Why a guest cannot be packed as it is.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The guest is not shut off.
    #[error("the guest {guest} is not shut off: its disks may change while they are read")]
    Active {
        /// Its name.
        guest: Line,
    },
    /// The domain XML is not fit for a package.
    #[error(transparent)]
    Xml(#[from] DomainXmlError),
    /// A value of the domain is no word or line.
    #[error("the domain's {what} cannot be packed: {fault}")]
    Value {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        fault: TextError,
    },
    /// There is nothing to pack.
    #[error("the guest {guest} has no disk of its own: there is nothing to pack")]
    NoDisk {
        /// Its name.
        guest: Line,
    },
    /// More than one disk.
    #[error("the guest {guest} has several disks ({}), and only guests with one can be packed so far", targets.join(", "))]
    SeveralDisks {
        /// Its name.
        guest: Line,
        /// The disks' targets.
        targets: Vec<String>,
    },
    /// The one disk is of a kind that cannot be packed.
    #[error("the disk {target} is {what}, which cannot be packed so far: {hint}")]
    Disk {
        /// The disk's target.
        target: String,
        /// What it is.
        what: String,
        /// What to do.
        hint: &'static str,
    },
}

/// Whether the guest's disks are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It is shut off, or known from a file only.
    Off,
    /// It runs, is paused, or is in any other state than shut off.
    Active,
}

/// A reservation in a network that is registered on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The network's name.
    pub network: String,
    /// The host entry.
    pub host: HostSection,
}

/// The disk that will be packed, as the domain XML describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Its name in the domain.
    pub target: Word,
    /// How it is attached.
    pub bus: Option<Word>,
    /// Its file, absolute.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
    /// Files that the domain XML itself names below this one.
    pub declared_backing: Vec<PathBuf>,
}

/// All that is needed to make a package set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The guest package.
    pub package: GuestPackage,
    /// Its version.
    pub version: PackageVersion,
    /// The domain's name.
    pub guest: Line,
    /// The disk.
    pub disk: DiskPlan,
    /// What will stay behind.
    pub not_packed: Vec<NotPacked>,
    /// What a person should know.
    pub warnings: Vec<Line>,
    /// The machine, for the manifest.
    pub domain: DomainSection,
    /// The networks, for the manifest.
    pub networks: Vec<NetworkSection>,
    /// True if someone on this host may not read a source; then the results are for their owner only, too.
    pub private: bool,
    /// The package's domain XML.
    #[serde(skip)]
    pub xml: String,
}

/// What becomes of the disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskPlan {
    /// Its name in the domain.
    pub target: Word,
    /// How it is attached.
    pub bus: Option<Word>,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// The image that becomes the base.
    pub base: ImageInfo,
    /// The image that becomes the delta; without one the delta is empty.
    pub delta: Option<ImageInfo>,
}

impl DiskPlan {
    /// Bytes that will be read from the disk, at least.
    pub fn bytes(&self) -> u64 {
        self.base.disk_usage + self.delta.as_ref().map_or(0, |delta| delta.disk_usage)
    }
}

/// The domain's name as a line.
fn guest(domain: &Domain) -> Result<Line, PlanError> {
    value("name", &domain.name)
}

fn value<T: std::str::FromStr<Err = TextError>>(what: &'static str, text: &str) -> Result<T, PlanError> {
    text.parse().map_err(|fault| PlanError::Value { what, fault })
}

fn optional(what: &'static str, text: Option<&str>) -> Result<Option<Word>, PlanError> {
    text.map(|text| value(what, text)).transpose()
}

/// Chooses the disk to pack: the guest must be off and have exactly one, a file in format raw or qcow2.
pub fn select(domain: &Domain, activity: Activity) -> Result<Selected, PlanError> {
    let guest = guest(domain)?;
    if activity == Activity::Active {
        return Err(PlanError::Active { guest });
    }
    let disks: Vec<&Disk> = domain.data_disks().collect();
    let disk = match disks.as_slice() {
        [] => return Err(PlanError::NoDisk { guest }),
        [disk] => *disk,
        _ => {
            let targets = disks
                .iter()
                .map(|d| crate::name::printable(&d.target, 40))
                .collect();
            return Err(PlanError::SeveralDisks { guest, targets });
        }
    };
    let target: Word = value("disk target", &disk.target)?;
    let (path, format) = file_of(disk).map_err(|(what, hint)| PlanError::Disk {
        target: target.to_string(),
        what,
        hint,
    })?;
    let declared = disk.backing.iter().filter_map(|layer| match &layer.source {
        DiskSource::File(path) => Some(PathBuf::from(path)),
        _ => None,
    });
    Ok(Selected {
        target,
        bus: optional("disk bus", disk.bus.as_deref())?,
        path,
        format,
        declared_backing: declared.collect(),
    })
}

/// The disk's file and format, or what it is instead and what to do about it.
fn file_of(disk: &Disk) -> Result<(PathBuf, Format), (String, &'static str)> {
    const COPY: &str = "copy it to a qcow2 file with `qemu-img convert` and let the domain use that";
    let shown = |text: &str| crate::name::printable(text, 200);
    let path = match &disk.source {
        DiskSource::File(path) => path,
        DiskSource::Block(path) => return Err((format!("the block device {}", shown(path)), COPY)),
        DiskSource::Volume { pool, volume } => {
            let what = format!("the volume {} of the pool {}", shown(volume), shown(pool));
            return Err((what, "name its file in the domain XML if it is one"));
        }
        DiskSource::Dir(path) => return Err((format!("the directory {}", shown(path)), COPY)),
        DiskSource::Network { protocol, .. } => {
            return Err((format!("on the network ({})", shown(protocol)), COPY));
        }
        DiskSource::None => return Err(("empty".into(), "remove it from the domain")),
        DiskSource::Other(kind) => return Err((format!("of the type {}", shown(kind)), COPY)),
    };
    if disk.encrypted {
        return Err(("encrypted".into(), "only plain disks can be packed"));
    }
    if disk.device == DiskDevice::Lun {
        return Err(("a SCSI device passed through".into(), COPY));
    }
    // libvirt takes a missing format for raw, and so does the guest's own hypervisor.
    let name = disk.format.as_deref().unwrap_or("raw");
    let Some(format) = Format::from_name(name) else {
        return Err((format!("in the format {}", shown(name)), COPY));
    };
    if !path.starts_with('/') {
        return Err((
            format!("the relative path {}", shown(path)),
            "give the whole path, from / on",
        ));
    }
    Ok((PathBuf::from(path), format))
}

/// Makes the plan. `chain` describes the files of `disk`, `reservations` what this host's networks reserve.
pub fn plan(
    xml: &str,
    disk: &Selected,
    chain: Chain,
    version: PackageVersion,
    reservations: &[Reservation],
) -> Result<Plan, PlanError> {
    for image in [Some(&chain.top), chain.base.as_ref()].into_iter().flatten() {
        if image.encrypted {
            return Err(PlanError::Disk {
                target: disk.target.to_string(),
                what: format!("encrypted ({})", image.path.display()),
                hint: "only plain disks can be packed",
            });
        }
    }
    let domain = Domain::parse(xml)?;
    let guest = guest(&domain)?;
    let package = GuestPackage::of(guest.as_str());
    let overlay = Layout::default().instance_disk(package.guest(), &disk.target);
    let spec = PackageSpec {
        disks: vec![PackedDisk {
            target: disk.target.to_string(),
            file: XmlValue::path(overlay.named())?,
        }],
        leave: Vec::new(),
    };
    let packaged = for_package(xml, &spec)?;
    let (mut not_packed, warnings) = left_behind(&packaged.report.host_bound);
    not_packed.extend(snapshots(disk, &chain));
    let private = !chain.top.world_readable || chain.base.as_ref().is_some_and(|base| !base.world_readable);
    let virtual_size = chain.top.virtual_size;
    let (base, delta) = match chain.base {
        Some(base) => (base, Some(chain.top)),
        None => (chain.top, None),
    };
    Ok(Plan {
        domain: domain_section(&packaged)?,
        networks: networks(&packaged, reservations)?,
        package,
        version,
        guest,
        disk: DiskPlan {
            target: disk.target.clone(),
            bus: disk.bus.clone(),
            virtual_size,
            base,
            delta,
        },
        not_packed,
        warnings,
        private,
        xml: packaged.xml,
    })
}

/// What does not travel, and a warning for each thing that the other host has to have.
fn left_behind(found: &[HostBound]) -> (Vec<NotPacked>, Vec<Line>) {
    let mut left = Vec::new();
    let mut warnings = Vec::new();
    for bound in found {
        match (bound.kind, bound.fate) {
            // Every host's libvirt knows its own emulator: nobody misses this one.
            (HostBoundKind::Emulator, _) => {}
            (_, Fate::Kept) => warnings.push(Line::lossy(&bound.to_string())),
            (kind, fate) => left.push(NotPacked {
                kind: kind_word(kind),
                what: Line::lossy(&bound.what),
                fate,
            }),
        }
    }
    (left, warnings)
}

/// The kind under its serialized name.
fn kind_word(kind: HostBoundKind) -> Word {
    let name = serde_json::to_value(kind).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str);
    name.unwrap_or("other")
        .parse()
        .expect("kinds are named in letters and hyphens")
}

fn snapshots<'a>(disk: &'a Selected, chain: &'a Chain) -> impl Iterator<Item = NotPacked> + 'a {
    let images = [Some(&chain.top), chain.base.as_ref()].into_iter().flatten();
    images.flat_map(|image| &image.snapshots).map(|name| NotPacked {
        kind: "snapshot".parse().expect("a word"),
        what: Line::lossy(&format!("internal snapshot {name} of the disk {}", disk.target)),
        fate: Fate::Removed,
    })
}

fn domain_section(packaged: &Packaged) -> Result<DomainSection, PlanError> {
    let domain = &packaged.domain;
    let kind = match &domain.kind {
        DomainType::Kvm => "kvm",
        DomainType::Qemu => "qemu",
        DomainType::Other(kind) => kind,
    };
    let interfaces = domain.interfaces.iter().map(|interface| {
        Ok(InterfaceSection {
            mac: interface.mac.as_deref().and_then(|mac| mac.parse().ok()),
            model: optional("interface model", interface.model.as_deref())?,
            network: match &interface.source {
                InterfaceSource::Network(name) => Some(value("network name", name)?),
                _ => None,
            },
        })
    });
    Ok(DomainSection {
        kind: value("type", kind)?,
        arch: optional("architecture", domain.arch.as_deref())?,
        machine: optional("machine type", domain.machine.as_deref())?,
        cpu: CpuSection {
            mode: optional("CPU mode", domain.cpu_mode.as_deref())?,
        },
        firmware: firmware_section(&domain.firmware),
        memory: domain.memory_kib.saturating_mul(1024),
        vcpus: domain.vcpus,
        interfaces: interfaces.collect::<Result<_, PlanError>>()?,
    })
}

fn firmware_section(firmware: &Firmware) -> FirmwareSection {
    let loader = firmware.loader.as_ref();
    let flash = loader.is_some_and(|loader| loader.kind.as_deref() == Some("pflash"));
    let kind = match firmware.auto.as_deref() {
        Some("efi") => FirmwareKind::Uefi,
        Some("bios") => FirmwareKind::Bios,
        _ if flash => FirmwareKind::Uefi,
        _ if loader.is_some_and(|loader| loader.path.is_some()) => FirmwareKind::Other,
        _ => FirmwareKind::Bios,
    };
    FirmwareSection {
        kind,
        secure: loader.is_some_and(|loader| loader.secure),
    }
}

/// The guest's networks with what they reserve for its interfaces.
fn networks(packaged: &Packaged, reservations: &[Reservation]) -> Result<Vec<NetworkSection>, PlanError> {
    let macs: Vec<Mac> = packaged
        .report
        .macs
        .iter()
        .flatten()
        .filter_map(|mac| mac.parse().ok())
        .collect();
    let section = |name: &String| {
        let ours = |r: &&Reservation| r.network == *name && macs.contains(&r.host.mac);
        Ok(NetworkSection {
            name: value("network name", name)?,
            hosts: reservations.iter().filter(ours).map(|r| r.host.clone()).collect(),
        })
    };
    packaged.report.networks.iter().map(section).collect()
}
