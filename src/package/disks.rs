//! Which disks of a guest are packed, where their bytes are, and into which layers they are split. Pure: domain XML and
//! image descriptions in, decisions out. What the package's domain XML says of them is in `plan`.

use super::plan::PlanError;
use super::since::Below;
use super::text::{Line, Word};
use crate::domain::{Disk, DiskSource, Domain};
use crate::image::{Chain, Export, Format, ImageInfo};
use crate::name::{Digest, printable};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// What can be done about a disk that is somewhere else than in a file or on a device.
const COPY: &str = "copy it to a qcow2 file with `qemu-img convert` and let the domain use that, or leave it behind with --without-disk";

/// What the user has decided about the guest's disks.
#[derive(Debug, Clone, Default)]
pub struct DiskChoice {
    /// Targets of disks that stay behind.
    pub leave: Vec<String>,
    /// One image for each disk, whatever it stands on.
    pub flatten: bool,
    /// An image that one of the disks shall stand on, whatever it stands on here.
    pub base: Option<Base>,
}

/// An image that is known beforehand, on which a disk shall stand in the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The disk; without it, the guest's first.
    pub target: Option<String>,
    /// The image's file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its digest, if it is an image out of a package: it stays as it is, to the byte.
    pub packaged: Option<Digest>,
    /// True if that package is there, as RPM or Debian package: it is not made again.
    pub has_package: bool,
}

/// A base of which it is known that it can be one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownBase {
    /// The image.
    pub image: ImageInfo,
    /// Its digest, if it is an image out of a package.
    pub packaged: Option<Digest>,
    /// True if it needs no other package.
    pub has_package: bool,
}

/// A volume of a storage pool, and where libvirt has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The pool.
    pub pool: String,
    /// The volume in it.
    pub volume: String,
    /// Its file or device.
    pub path: PathBuf,
}

/// A disk that will be packed, as the domain XML describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Its name in the domain.
    pub target: Word,
    /// How it is attached.
    pub bus: Option<Word>,
    /// Its file or block device, absolute.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
    /// Files and devices that the domain XML itself names below this one.
    pub declared_backing: Vec<PathBuf>,
}

/// What becomes of a disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DiskPlan {
    /// Its name in the domain.
    pub target: Word,
    /// How it is attached.
    pub bus: Option<Word>,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// The images that it is read from: that which the guest writes to first, the very base last.
    pub chain: Vec<ImageInfo>,
    /// How they become the package's layers.
    pub split: Split,
    /// True if the guest runs and writes to the first of the chain.
    pub in_use: bool,
    /// What is read in place of the chain, while the guest writes to that.
    #[serde(skip)]
    pub live: Option<LiveDisk>,
}

/// A disk of a running guest as it was at one moment.
#[derive(Debug, Clone)]
pub struct LiveDisk(pub Arc<Export>);

impl PartialEq for LiveDisk {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How a chain of images becomes layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The last image becomes the base, and all above it the delta, which may be empty.
    Bottom,
    /// All becomes one base without a delta.
    Flat,
    /// This becomes the base, and the delta is what of the disk differs from it.
    Known(Box<KnownBase>),
    /// The layers of an earlier package set stay, and what of the disk differs from them is put on top.
    Since(Box<Below>),
}

impl DiskPlan {
    /// The plan for a disk whose images are `chain`.
    pub(super) fn new(
        disk: &Selected,
        Chain(chain): Chain,
        base: Option<KnownBase>,
        choice: &DiskChoice,
    ) -> Result<Self, PlanError> {
        if let Some(image) = chain.iter().find(|image| image.encrypted) {
            return Err(PlanError::Disk {
                target: disk.target.to_string(),
                what: format!("encrypted ({})", image.path.display()),
                hint: "only plain disks can be packed; --without-disk leaves it behind",
            });
        }
        Ok(Self {
            target: disk.target.clone(),
            bus: disk.bus.clone(),
            virtual_size: chain[0].virtual_size,
            chain,
            split: match base {
                Some(base) => Split::Known(Box::new(base)),
                None if choice.flatten => Split::Flat,
                None => Split::Bottom,
            },
            in_use: false,
            live: None,
        })
    }

    /// All images that are read.
    pub(super) fn images(&self) -> impl Iterator<Item = &ImageInfo> {
        let known = match &self.split {
            Split::Known(base) => std::slice::from_ref(&base.image),
            Split::Since(below) => &below.chain,
            Split::Bottom | Split::Flat => &[],
        };
        self.chain.iter().chain(known)
    }

    /// The image that the guest writes to.
    pub fn top(&self) -> &ImageInfo {
        &self.chain[0]
    }

    /// The image that stands on no other.
    pub fn bottom(&self) -> &ImageInfo {
        &self.chain[self.chain.len() - 1]
    }

    /// Bytes that will be read from the disk, at least.
    pub fn bytes(&self) -> u64 {
        self.chain.iter().map(|image| image.disk_usage).sum()
    }
}

/// Chooses the disks to pack: every one that holds data of the guest's own, unless it is to stay behind.
pub(super) fn select(
    domain: &Domain,
    choice: &DiskChoice,
    volumes: &[Volume],
) -> Result<Vec<Selected>, PlanError> {
    let based = choice.base.iter().filter_map(|base| base.target.as_ref());
    for left in choice.leave.iter().chain(based) {
        if !domain.data_disks().any(|disk| disk.target == *left) {
            return Err(PlanError::NoSuchDisk {
                target: printable(left, 40),
            });
        }
    }
    let packed = domain
        .data_disks()
        .filter(|disk| !choice.leave.contains(&disk.target));
    let selected = packed.map(|disk| {
        let (path, format) = file_of(disk, volumes).map_err(|(what, hint)| PlanError::Disk {
            target: printable(&disk.target, 40),
            what,
            hint,
        })?;
        let word = |what, text: &str| text.parse().map_err(|fault| PlanError::Value { what, fault });
        let declared = disk.backing.iter().filter_map(|layer| match &layer.source {
            DiskSource::File(path) | DiskSource::Block(path) => Some(PathBuf::from(path)),
            DiskSource::Volume { pool, volume } => find(volumes, pool, volume),
            _ => None,
        });
        Ok(Selected {
            target: word("disk target", &disk.target)?,
            bus: disk.bus.as_deref().map(|bus| word("disk bus", bus)).transpose()?,
            path,
            format,
            declared_backing: declared.collect(),
        })
    });
    selected.collect()
}

fn find(volumes: &[Volume], pool: &str, volume: &str) -> Option<PathBuf> {
    let found = volumes.iter().find(|v| v.pool == pool && v.volume == volume);
    found.map(|found| found.path.clone())
}

/// The disk's file or device and its format, or what it is instead and what to do about it.
fn file_of(disk: &Disk, volumes: &[Volume]) -> Result<(PathBuf, Format), (String, &'static str)> {
    let shown = |text: &str| printable(text, 200);
    let path = match &disk.source {
        DiskSource::File(path) | DiskSource::Block(path) => PathBuf::from(path),
        DiskSource::Volume { pool, volume } => {
            let unknown = || {
                let what = format!("the volume {} of the pool {}", shown(volume), shown(pool));
                let hint = "libvirt has to be reached to find it; otherwise name its file or device in the domain XML";
                (what, hint)
            };
            find(volumes, pool, volume).ok_or_else(unknown)?
        }
        DiskSource::Dir(path) => return Err((format!("the directory {}", shown(path)), COPY)),
        DiskSource::Network { protocol, .. } => {
            return Err((format!("on the network ({})", shown(protocol)), COPY));
        }
        DiskSource::None => return Err(("empty".into(), "remove it from the domain")),
        DiskSource::Other(kind) => return Err((format!("of the type {}", shown(kind)), COPY)),
    };
    if disk.encrypted {
        return Err((
            "encrypted".into(),
            "only plain disks can be packed; --without-disk leaves it behind",
        ));
    }
    // libvirt takes a missing format for raw, and so does the guest's own hypervisor.
    let name = disk.format.as_deref().unwrap_or("raw");
    let Some(format) = Format::from_name(name) else {
        return Err((format!("in the format {}", shown(name)), COPY));
    };
    if !path.is_absolute() {
        return Err((
            format!("the relative path {}", shown(&path.to_string_lossy())),
            "give the whole path, from / on",
        ));
    }
    Ok((path, format))
}

/// What a person should know about how the disks of a guest are shared.
pub(super) fn warnings(domain: &Domain, disks: &[DiskPlan]) -> Vec<Line> {
    let packed = |target: &str| disks.iter().any(|disk| disk.target.as_str() == target);
    let shared = domain
        .data_disks()
        .filter(|disk| disk.shareable && packed(&disk.target));
    shared
        .map(|disk| {
            Line::lossy(&format!(
                "the disk {} may be written by other guests too; the packed one is a copy, and the guest's alone",
                disk.target
            ))
        })
        .collect()
}
