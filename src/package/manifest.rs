//! The manifest: the versioned JSON file that describes a package set completely.
//!
//! It lies in the guest package beside `domain.xml`. Readers take keys that they do not know for optional additions
//! of a later version; a change that old readers must not miss raises [`FORMAT`]. A manifest may come from anyone:
//! every value is typed or bounded before it is used. How a manifest is filled belongs to `plan` and `build`.

use super::files::{self, FileSection};
use super::name::{GuestPackage, ImagePackage};
use super::text::{Line, Word};
use crate::domain::Fate;
use crate::image::{ContentDigest, Format};
use crate::name::{Digest, HostName, Mac, PackageVersion};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// The only format of manifests so far.
pub const FORMAT: u32 = 1;
/// The longest manifest that is read, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The most disks of one guest, and the most layers of one disk.
const MAX_DISKS: usize = 64;
/// The most entries of any other list.
const MAX_ENTRIES: usize = 4096;
/// The largest file or disk, in bytes: what fits a signed 64-bit number, as everywhere in QEMU.
const MAX_SIZE: u64 = i64::MAX as u64;

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than any real one.
    #[error("the manifest has {0} bytes; more than {MAX_BYTES} are not read")]
    TooLong(usize),
    /// It was made by a later miniascape, in a form that this one does not know.
    #[error(
        "the manifest has format {0}, and this miniascape reads format {FORMAT}: install a newer miniascape"
    )]
    Format(u64),
    /// It is not JSON, lacks a key, or has a value of the wrong kind.
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Its values contradict each other or pass a bound.
    #[error("the manifest is refused: {0}")]
    Rule(String),
}

/// What a package set holds and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The program that made the set, with its version: `miniascape 0.1.0`.
    pub tool: Line,
    /// When the set was made; with `SOURCE_DATE_EPOCH`, that time.
    pub created: Timestamp,
    /// The guest package itself.
    pub package: PackageSection,
    /// Names under which the guest was packed before. A package that lists another here takes its instances over.
    #[serde(default)]
    pub renamed_from: Vec<GuestPackage>,
    /// True if identity, keys, logs and history were reset in the copies of its disks.
    #[serde(default)]
    pub sealed: bool,
    /// The machine.
    pub domain: DomainSection,
    /// Its disks, in the order of the domain XML; at least one.
    pub disks: Vec<DiskSection>,
    /// The networks that its interfaces name, each once.
    #[serde(default)]
    pub networks: Vec<NetworkSection>,
    /// The files of the guest package besides its domain XML and this manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileSection>,
    /// What the guest had and the set does not carry.
    #[serde(default)]
    pub not_packed: Vec<NotPacked>,
    /// What a person should know before using the guest.
    #[serde(default)]
    pub warnings: Vec<Line>,
}

/// The guest package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSection {
    /// Its name, `vm-NAME`.
    pub name: GuestPackage,
    /// Its version.
    pub version: PackageVersion,
    /// Its release (RPM) and Debian revision.
    pub release: u32,
    /// The domain's name as libvirt had it, from which NAME is derived.
    pub guest: Line,
}

/// The machine that the domain XML describes, for programs that do not want to read that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSection {
    /// `kvm`, `qemu`, …
    #[serde(rename = "type")]
    pub kind: Word,
    /// `x86_64`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Word>,
    /// `pc-q35-7.2`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Word>,
    /// The processor.
    pub cpu: CpuSection,
    /// What the machine boots with.
    pub firmware: FirmwareSection,
    /// Memory at boot, in bytes.
    pub memory: u64,
    /// Virtual CPUs at most.
    pub vcpus: u32,
    /// Features of the machine that are switched on: `acpi`, `apic`, `hyperv`, `smm`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<Word>,
    /// The version of its emulated TPM, if it has one: `2.0`, `1.2`; `?` where the domain leaves it to libvirt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Line>,
    /// The network interfaces, in the order of the domain XML.
    pub interfaces: Vec<InterfaceSection>,
}

/// The processor that the guest sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuSection {
    /// `host-model`, `host-passthrough`, `custom`, `maximum`; not given when the domain leaves it to libvirt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Word>,
    /// The named model, such as `Skylake-Server`, where the mode is `custom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Line>,
    /// Single features with what the domain says of each: `require`, `disable`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<Word, Word>,
}

/// The firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareSection {
    /// Which kind.
    pub kind: FirmwareKind,
    /// True if it is for secure boot.
    #[serde(default)]
    pub secure: bool,
    /// True if libvirt chooses the files (`<os firmware='efi'>`).
    #[serde(default)]
    pub chosen_by_libvirt: bool,
    /// The firmware's file, which the other host has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<Line>,
    /// What the variables were first copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Line>,
}

/// Kinds of firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    /// The emulator's default: SeaBIOS on PCs.
    Bios,
    /// UEFI, such as OVMF.
    Uefi,
    /// A file of another kind.
    Other,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSection {
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `virtio`, `e1000`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Word>,
    /// The libvirt network it is plugged into, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Line>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSection {
    /// The name in the domain: `vda`. Unique among the disks.
    pub target: Word,
    /// `virtio`, `sata`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<Word>,
    /// The format of every layer's file.
    pub format: Format,
    /// The images that make up the disk, from the base upwards; the first has role `base`, all others `delta`.
    pub layers: Vec<Layer>,
}

/// One image of a disk. Its file is called `sha256-<digest>.qcow2`; a delta's header names the file of the layer
/// below by that bare name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Base or delta.
    pub role: Role,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// Length of the file, in bytes.
    pub file_size: u64,
    /// Size of the disk that a guest sees through this layer, in bytes.
    pub virtual_size: u64,
    /// Digest of what a guest reads through this layer, from whatever files.
    pub content_digest: ContentDigest,
    /// The package that holds the file.
    pub package: ImagePackage,
    /// What RPM calls that file: `miniascape-image(sha256:HEX)`.
    pub capability: String,
}

/// What a layer is to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The bottom: it has no backing file.
    Base,
    /// Changes to the layer below.
    Delta,
}

impl Role {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Delta => "delta",
        }
    }
}

/// A network that the guest is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSection {
    /// Its name in libvirt.
    pub name: Line,
    /// Its reservations for this guest's interfaces.
    #[serde(default)]
    pub hosts: Vec<HostSection>,
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSection {
    /// The host's name, without domain.
    pub name: HostName,
    /// The interface it is for.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Something that stayed behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotPacked {
    /// What sort of thing it is: `media`, `host-device`, `snapshot`, …
    pub kind: Word,
    /// Which one, for people.
    pub what: Line,
    /// What became of it.
    pub fate: Fate,
}

impl Layer {
    /// A layer with the names that follow from its digest.
    pub fn new(
        role: Role,
        digest: Digest,
        file_size: u64,
        virtual_size: u64,
        content_digest: ContentDigest,
    ) -> Self {
        Self {
            role,
            digest,
            file_size,
            virtual_size,
            content_digest,
            package: ImagePackage::of(&digest),
            capability: ImagePackage::rpm_capability(&digest),
        }
    }
}

impl Manifest {
    /// Reads a manifest that may come from anyone.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        // The format first: a later one may have changed everything else.
        let version: Version = serde_json::from_slice(bytes)?;
        if version.format != u64::from(FORMAT) {
            return Err(ManifestError::Format(version.format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check().map_err(ManifestError::Rule)?;
        Ok(manifest)
    }

    /// The manifest as it is written: indented JSON with a newline at the end.
    #[expect(clippy::missing_panics_doc, reason = "such values always have a JSON form")]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("only strings, numbers, lists and structs");
        text.push('\n');
        text
    }

    /// SHA-256 of the manifest as it is written.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(Sha256::digest(self.to_json()).into())
    }

    /// The networks whose definitions are in the guest package.
    pub(super) fn brought_networks(&self) -> impl Iterator<Item = String> {
        let networks = self.files.iter().filter_map(FileSection::network);
        networks.map(|name| name.to_string())
    }

    /// The guest's other networks: it is of more use where they are, and works without them.
    pub(super) fn recommended_networks(&self) -> impl Iterator<Item = String> {
        let brought: Vec<String> = self.brought_networks().collect();
        let networks = self.networks.iter().map(|network| network.name.to_string());
        networks.filter(move |name| !brought.contains(name))
    }

    /// The images of all disks, each once, in order.
    pub fn images(&self) -> Vec<&Layer> {
        let mut seen = HashSet::new();
        let layers = self.disks.iter().flat_map(|disk| &disk.layers);
        layers.filter(|layer| seen.insert(layer.digest)).collect()
    }

    /// The rules between the values; the error is one sentence.
    fn check(&self) -> Result<(), String> {
        at_most("renamed_from", self.renamed_from.len(), MAX_ENTRIES)?;
        at_most("disks", self.disks.len(), MAX_DISKS)?;
        at_most("networks", self.networks.len(), MAX_ENTRIES)?;
        at_most("files", self.files.len(), MAX_ENTRIES)?;
        files::check(&self.files)?;
        at_most("not_packed", self.not_packed.len(), MAX_ENTRIES)?;
        at_most("warnings", self.warnings.len(), MAX_ENTRIES)?;
        at_most("domain.features", self.domain.features.len(), MAX_ENTRIES)?;
        at_most("domain.cpu.features", self.domain.cpu.features.len(), MAX_ENTRIES)?;
        at_most("domain.interfaces", self.domain.interfaces.len(), MAX_ENTRIES)?;
        for network in &self.networks {
            at_most("networks.hosts", network.hosts.len(), MAX_ENTRIES)?;
            for host in &network.hosts {
                at_most("networks.hosts.addresses", host.addresses.len(), MAX_DISKS)?;
            }
        }
        if self.domain.memory == 0 || self.domain.memory > MAX_SIZE || self.domain.vcpus == 0 {
            return Err("a machine needs memory and processors, and not without bound".into());
        }
        if self.disks.is_empty() {
            return Err("it has no disks".into());
        }
        let mut targets = HashSet::new();
        for disk in &self.disks {
            if !targets.insert(&disk.target) {
                return Err(format!("two disks have the target {}", disk.target));
            }
            disk.check()
                .map_err(|fault| format!("disk {}: {fault}", disk.target))?;
        }
        Ok(())
    }
}

impl DiskSection {
    fn check(&self) -> Result<(), String> {
        if self.format != Format::Qcow2 {
            return Err("its images must be qcow2".into());
        }
        if self.layers.is_empty() {
            return Err("it has no layers".into());
        }
        at_most("layers", self.layers.len(), MAX_DISKS)?;
        let mut digests = HashSet::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let role = if index == 0 { Role::Base } else { Role::Delta };
            if layer.role != role {
                return Err("the first layer must be the base, and all others deltas".into());
            }
            if !digests.insert(layer.digest) {
                return Err(format!("the image {} is there twice", layer.digest));
            }
            if layer.file_size > MAX_SIZE || layer.virtual_size > MAX_SIZE {
                return Err(format!("the image {} is larger than any disk", layer.digest));
            }
            if layer.package != ImagePackage::of(&layer.digest)
                || layer.capability != ImagePackage::rpm_capability(&layer.digest)
            {
                return Err(format!(
                    "package and capability do not belong to the image {}",
                    layer.digest
                ));
            }
        }
        Ok(())
    }
}

fn at_most(what: &str, count: usize, limit: usize) -> Result<(), String> {
    if count > limit {
        return Err(format!(
            "`{what}` has {count} entries; more than {limit} are not read"
        ));
    }
    Ok(())
}

/// A moment in UTC, to the second. Written as RFC 3339: `2026-11-21T08:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The moment that many seconds after 1970 began; `None` outside the years that can be written.
    pub fn from_epoch(seconds: i64) -> Option<Self> {
        jiff::Timestamp::from_second(seconds).ok().map(Self)
    }

    /// Seconds since 1970 began.
    pub fn epoch(self) -> i64 {
        self.0.as_second()
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let moment: jiff::Timestamp = String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)?;
        Self::from_epoch(moment.as_second()).ok_or_else(|| serde::de::Error::custom("not a moment in time"))
    }
}
