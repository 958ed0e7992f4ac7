//! The typed read-only view of a domain: what miniascape acts on, and nothing else. Values that libvirt accepts
//! more widely than our own types stay plain strings here; the caller types them before use. The reading is in
//! `read`.

use uuid::Uuid;

use super::host_bound::HostBound;

/// What runs the guest: `<domain type=…>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainType {
    /// Hardware virtualisation.
    Kvm,
    /// Software emulation.
    Qemu,
    /// Another hypervisor (`test`, `xen`, …).
    Other(String),
}

/// A domain as its XML describes it. Made by [`Domain::parse`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Domain {
    /// What runs it.
    pub kind: DomainType,
    /// The run-time number, in the XML of a running domain only.
    pub id: Option<u32>,
    /// Its name; not empty, no `/`, no control characters.
    pub name: String,
    /// Its identity, if the XML has one.
    pub uuid: Option<Uuid>,
    /// The title for people.
    pub title: Option<String>,
    /// Memory at boot in KiB, rounded up.
    pub memory_kib: u64,
    /// Virtual CPUs at most (1 to 16384).
    pub vcpus: u32,
    /// The architecture, like `x86_64`.
    pub arch: Option<String>,
    /// The machine type, like `pc-q35-7.2` or an alias like `q35`.
    pub machine: Option<String>,
    /// The path of the emulator.
    pub emulator: Option<String>,
    /// What the machine boots with.
    pub firmware: Firmware,
    /// `<cpu mode=…>`.
    pub cpu_mode: Option<String>,
    /// `<cpu><model>`.
    pub cpu_model: Option<String>,
    /// `<cpu><feature>`: names, each with its policy.
    pub cpu_features: Vec<(String, String)>,
    /// The elements in `<features>` that are not switched off.
    pub features: Vec<String>,
    /// The emulated TPM, if it has one.
    pub tpm: Option<Tpm>,
    /// All disks and drives, in document order.
    pub disks: Vec<Disk>,
    /// All network interfaces, in document order. Indices elsewhere are into this list.
    pub interfaces: Vec<Interface>,
    /// What ties the domain to its host, for people and for preflight checks.
    pub host_bound: Vec<HostBound>,
    pub(super) marks: Vec<Mark>,
}

/// The firmware part of `<os>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firmware {
    /// `<os firmware=…>`: `efi` or `bios`, where libvirt chooses the files.
    pub auto: Option<String>,
    /// The firmware file.
    pub loader: Option<Loader>,
    /// The file with the guest's own firmware variables.
    pub nvram: Option<Nvram>,
}

/// `<loader>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// The path, if there is one (with `firmware='efi'` there may be none).
    pub path: Option<String>,
    /// `rom` or `pflash`.
    pub kind: Option<String>,
    /// Whether the guest cannot write to it.
    pub readonly: bool,
    /// Whether it is for secure boot.
    pub secure: bool,
}

/// `<nvram>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvram {
    /// The path of the guest's own variables; libvirt chooses one if there is none.
    pub path: Option<String>,
    /// What the variables were first copied from.
    pub template: Option<String>,
}

/// An emulated TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tpm {
    /// The version, like `2.0`; libvirt chooses if there is none.
    pub version: Option<String>,
    /// The directory that its state is in, if the domain names one; libvirt has its own for each domain.
    pub state_dir: Option<String>,
    /// The state is encrypted with a secret that libvirt keeps.
    pub encrypted: bool,
}

/// What kind of drive the guest sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskDevice {
    /// A hard disk.
    Disk,
    /// A CD-ROM drive.
    Cdrom,
    /// A floppy drive.
    Floppy,
    /// A SCSI device passed through as a disk.
    Lun,
}

impl DiskDevice {
    /// Whether its content is the guest's own (and not a removable medium).
    pub fn holds_data(self) -> bool {
        matches!(self, DiskDevice::Disk | DiskDevice::Lun)
    }
}

/// Where a disk's bytes come from. Also used for the layers below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// Nothing: an empty drive.
    None,
    /// A file.
    File(String),
    /// A block device of the host.
    Block(String),
    /// A volume of a storage pool, by names.
    Volume {
        /// The pool.
        pool: String,
        /// The volume in it.
        volume: String,
    },
    /// A directory shown as a FAT disk.
    Dir(String),
    /// A network protocol.
    Network {
        /// Like `rbd`, `nbd`, `iscsi`.
        protocol: String,
        /// The name there, if the protocol has names.
        name: Option<String>,
    },
    /// A type that is not known here (`nvme`, `vhostuser`, …).
    Other(String),
}

/// A disk or drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an element of its own that is there or not"
)]
pub struct Disk {
    /// What the guest sees.
    pub device: DiskDevice,
    /// Where the bytes come from.
    pub source: DiskSource,
    /// The image format, like `qcow2` or `raw` (libvirt takes a missing one for raw).
    pub format: Option<String>,
    /// The name in the domain, like `vda`. Unique in the domain.
    pub target: String,
    /// Like `virtio` or `sata`.
    pub bus: Option<String>,
    /// The guest cannot write to it.
    pub readonly: bool,
    /// Other guests may write to it at the same time.
    pub shareable: bool,
    /// Writes are thrown away.
    pub transient: bool,
    /// The image is encrypted, with a secret that libvirt holds.
    pub encrypted: bool,
    /// The layers below, uppermost first, as far as the XML names them.
    pub backing: Vec<BackingLayer>,
}

/// One layer of `<backingStore>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingLayer {
    /// The image format.
    pub format: Option<String>,
    /// Where the bytes come from.
    pub source: DiskSource,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What it is plugged into.
    pub source: InterfaceSource,
    /// The hardware address as written.
    pub mac: Option<String>,
    /// Like `virtio`.
    pub model: Option<String>,
    /// The name of the device on the host.
    pub target_dev: Option<String>,
}

/// What an interface is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceSource {
    /// A libvirt network, by name.
    Network(String),
    /// A bridge of the host.
    Bridge(String),
    /// A network device of the host, through macvtap.
    Direct(String),
    /// QEMU's own user-mode network.
    User,
    /// A tap without a bridge.
    Ethernet,
    /// Another type (`hostdev`, `vhostuser`, `vdpa`, …).
    Other(String),
}

/// An element of ours in `<metadata>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The element's name without its prefix.
    pub element: String,
    /// Its attributes without namespace declarations, in document order.
    pub attributes: Vec<(String, String)>,
}

impl Mark {
    /// The value of one attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Domain {
    /// Our own element of that name in `<metadata>`, such as `guest`: what miniascape made carries it.
    pub fn mark(&self, element: &str) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.element == element)
    }

    /// The disks whose content is the guest's own.
    pub fn data_disks(&self) -> impl Iterator<Item = &Disk> {
        self.disks.iter().filter(|disk| disk.device.holds_data())
    }
}
