//! What a repack will do, decided before any byte is copied: what stays behind, what the
//! package's domain XML says. How each disk is split is in `disks`. Pure: domain XML and image descriptions in, a plan out.
//!
//! Reading the descriptions and carrying the plan out is `repack`'s business.

use super::disks::{self, DiskChoice, DiskPlan, KnownBase, Selected, Volume};
use super::files::{FileRole, GuestFile};
use super::manifest::{
    CpuSection, DomainSection, FirmwareKind, FirmwareSection, HostSection, InterfaceSection, NetworkSection,
    NotPacked,
};
use super::name::GuestPackage;
use super::seal::Seal;
use super::text::{Line, TextError, Word};
use crate::domain::{
    Domain, DomainType, DomainXmlError, Fate, Firmware, HostBound, HostBoundKind, InterfaceSource,
    PackageSpec, Packaged, PackedDisk, XmlValue, for_package,
};
use crate::host::Layout;
use crate::image::Chain;
use crate::name::{Mac, PackageVersion};
use serde::Serialize;

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
    /// The package is said to have had its own name before.
    #[error("the guest's package is {package} itself: a package that it was before has another name")]
    OwnName {
        /// Its name.
        package: GuestPackage,
    },
    /// There is nothing to pack.
    #[error("the guest {guest} has no disk of its own: there is nothing to pack")]
    NoDisk {
        /// Its name.
        guest: Line,
    },
    /// A disk that is to stay behind is not there.
    #[error("the domain has no disk {target} that holds data")]
    NoSuchDisk {
        /// What was asked for, made printable.
        target: String,
    },
    /// A disk is of a kind that cannot be packed.
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
    /// As [`Activity::Active`], and its disks are read as a backup job exports them.
    Live,
}

/// A reservation in a network that is registered on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The network's name.
    pub network: String,
    /// The host entry.
    pub host: HostSection,
}

/// All that is needed to make a package set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The guest package.
    pub package: GuestPackage,
    /// Its version.
    pub version: PackageVersion,
    /// What it was called before.
    pub renamed_from: Vec<GuestPackage>,
    /// The domain's name.
    pub guest: Line,
    /// Its disks, in the order of the domain XML.
    pub disks: Vec<DiskPlan>,
    /// The files of the guest package besides its domain XML and its manifest.
    pub files: Vec<GuestFile>,
    /// What will stay behind.
    pub not_packed: Vec<NotPacked>,
    /// What a person should know.
    pub warnings: Vec<Line>,
    /// The machine, for the manifest.
    pub domain: DomainSection,
    /// The networks, for the manifest.
    pub networks: Vec<NetworkSection>,
    /// How the copies are to be sealed, if at all.
    pub seal: Option<Seal>,
    /// True if someone on this host may not read a source; then the results are for their owner only, too.
    pub private: bool,
    /// The package's domain XML.
    #[serde(skip)]
    pub xml: String,
}

impl Plan {
    /// Adds what a person should know; it goes into the manifest.
    pub fn warn(&mut self, text: &str) {
        self.warnings.push(Line::lossy(text));
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

/// Looks at the domain: the guest must be off and have a disk to pack.
pub(super) fn select(
    domain: &Domain,
    activity: Activity,
    choice: &DiskChoice,
    volumes: &[Volume],
) -> Result<Vec<Selected>, PlanError> {
    let guest = guest(domain)?;
    if activity == Activity::Active {
        return Err(PlanError::Active { guest });
    }
    let selected = disks::select(domain, choice, volumes)?;
    if selected.is_empty() {
        return Err(PlanError::NoDisk { guest });
    }
    Ok(selected)
}

/// Makes the plan. `disks` are those to pack with their images, `files` what else the guest package holds, `reservations`
/// what this host's networks reserve.
pub(super) fn plan(
    xml: &str,
    disks: Vec<(Selected, Chain, Option<KnownBase>)>,
    files: Vec<GuestFile>,
    choice: &DiskChoice,
    version: PackageVersion,
    reservations: &[Reservation],
) -> Result<Plan, PlanError> {
    let domain = Domain::parse(xml)?;
    let guest = guest(&domain)?;
    let package = GuestPackage::of(guest.as_str());
    let mut planned = Vec::new();
    let mut packed = Vec::new();
    for (disk, chain, base) in disks {
        let overlay = Layout::default().instance_disk(package.guest(), &disk.target);
        packed.push(PackedDisk {
            target: disk.target.to_string(),
            file: XmlValue::path(overlay.named())?,
        });
        planned.push(DiskPlan::new(&disk, chain, base, choice)?);
    }
    let spec = PackageSpec {
        disks: packed,
        leave: choice.leave.clone(),
    };
    let packaged = for_package(xml, &spec)?;
    let (mut not_packed, mut warnings) = left_behind(&packaged.report.host_bound, &files);
    not_packed.extend(planned.iter().flat_map(snapshots));
    if !packaged.report.carried.is_empty() {
        let what = packaged.report.carried.join(", ");
        warnings.push(Line::lossy(&format!(
            "{what}: in the package as written; no secret may be in there"
        )));
    }
    warnings.extend(disks::warnings(&domain, &planned));
    let images = || planned.iter().flat_map(DiskPlan::images);
    Ok(Plan {
        domain: domain_section(&packaged)?,
        networks: networks(&packaged, reservations)?,
        package,
        version,
        renamed_from: Vec::new(),
        guest,
        private: images().any(|image| !image.world_readable)
            || files.iter().any(|file| file.section.mode() & 0o004 == 0),
        disks: planned,
        seal: None,
        files,
        not_packed,
        warnings,
        xml: packaged.xml,
    })
}

/// What does not travel, and a warning for each thing that the other host has to have.
fn left_behind(found: &[HostBound], files: &[GuestFile]) -> (Vec<NotPacked>, Vec<Line>) {
    let has = |roles: &[FileRole]| files.iter().any(|file| roles.contains(&file.section.role));
    let mut left = Vec::new();
    let mut warnings = Vec::new();
    for bound in found {
        match (bound.kind, bound.fate) {
            // Every host's libvirt knows its own emulator: nobody misses this one.
            (HostBoundKind::Emulator, _) => {}
            (HostBoundKind::FirmwareVariables, _) if has(&[FileRole::FirmwareVariables]) => {}
            (HostBoundKind::Tpm, _) if has(&[FileRole::Tpm2State, FileRole::Tpm1State]) => {}
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

fn snapshots(disk: &DiskPlan) -> impl Iterator<Item = NotPacked> {
    let names = disk.chain.iter().flat_map(|image| &image.snapshots);
    names.map(|name| NotPacked {
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
        cpu: cpu_section(domain)?,
        firmware: firmware_section(&domain.firmware),
        memory: domain.memory_kib.saturating_mul(1024),
        vcpus: domain.vcpus,
        // Names of libvirt's own; an element that is no word is not one of them.
        features: domain
            .features
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        tpm: domain
            .tpm
            .as_ref()
            .map(|tpm| Line::lossy(tpm.version.as_deref().unwrap_or_default())),
        interfaces: interfaces.collect::<Result<_, PlanError>>()?,
    })
}

fn cpu_section(domain: &Domain) -> Result<CpuSection, PlanError> {
    let features = domain.cpu_features.iter();
    let features =
        features.map(|(name, policy)| Ok((value("CPU feature", name)?, value("CPU feature", policy)?)));
    Ok(CpuSection {
        mode: optional("CPU mode", domain.cpu_mode.as_deref())?,
        model: domain.cpu_model.as_deref().map(Line::lossy),
        features: features.collect::<Result<_, PlanError>>()?,
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
        chosen_by_libvirt: firmware.auto.is_some(),
        loader: loader.and_then(|loader| loader.path.as_deref()).map(Line::lossy),
        template: firmware
            .nvram
            .as_ref()
            .and_then(|nvram| nvram.template.as_deref())
            .map(Line::lossy),
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
