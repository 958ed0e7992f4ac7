//! The images that the plan asks for: each a plan of its own, whose bytes are made when they are packed. Nothing is
//! copied on the way.

use super::disks::{DiskPlan, Split};
use super::progress::{Progress, Step};
use super::stream::Payload;
use crate::image::{Content, Disk, Format, ImageError, ImageInfo, Plan};
use crate::name::Digest;
use fs_err as fs;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a cluster of packed images.
const CLUSTER: u64 = 64 * 1024;

/// An image that is ready to be packed.
pub(super) struct Image {
    pub(super) virtual_size: u64,
    pub(super) content: Content,
    bytes: Bytes,
}

/// Where an image's bytes come from.
enum Bytes {
    Planned(Box<Plan>),
    /// A file that is packed as it is, and its size.
    File(fs::File, u64),
}

impl Payload for Image {
    fn size(&self) -> u64 {
        match &self.bytes {
            Bytes::Planned(plan) => plan.size(),
            Bytes::File(_, size) => *size,
        }
    }

    fn open(&self) -> Box<dyn Read + '_> {
        match &self.bytes {
            Bytes::Planned(plan) => Box::new(plan.stream()),
            Bytes::File(file, _) => {
                let mut file = file;
                // Should it fail, the length is not what was announced.
                let _ = file.rewind();
                Box::new(file)
            }
        }
    }
}

/// Opens an image with all that it stands on; nothing but what the plan knows is opened.
fn open(plan: &DiskPlan, image: &ImageInfo) -> Result<Arc<Disk>, ImageError> {
    if let Some(live) = &plan.live
        && std::ptr::eq(image, plan.top())
    {
        let beside = open_files(plan, image).ok();
        return Ok(Arc::new(Disk::exported(Arc::clone(&live.0), beside)));
    }
    open_files(plan, image).map(Arc::new)
}

fn open_files(plan: &DiskPlan, image: &ImageInfo) -> Result<Disk, ImageError> {
    let known: Vec<_> = plan
        .images()
        .filter_map(|image| fs::canonicalize(&image.path).ok())
        .collect();
    let permit = |file: &Path, _| known.iter().any(|known| known == file);
    Disk::open(&image.path, image.format, &permit)
}

/// Refuses damaged sources: nobody would notice before it is too late.
pub(super) fn check(plan: &DiskPlan, progress: &dyn Progress) -> Result<(), ImageError> {
    let known = match &plan.split {
        Split::Known(base) => Some(&base.image),
        Split::Since(below) => {
            below.check(progress)?;
            below.chain.first()
        }
        Split::Bottom | Split::Flat => None,
    };
    // Below what a running guest writes to nothing changes.
    let top = plan.chain.get(usize::from(plan.in_use));
    for image in top.into_iter().chain(known) {
        if image.format == Format::Raw {
            continue;
        }
        begin(progress, "check", format!("check {}", image.path.display()), 0);
        for found in open(plan, image)?.verify()? {
            if let Some(problem) = found.problems.first() {
                return Err(ImageError::Damaged {
                    path: found.path,
                    reason: format!(
                        "{problem} ({} problems in all); `qemu-img check -r all` may repair it",
                        found.problem_count
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Plans the base of a disk.
pub(super) fn base(plan: &DiskPlan, progress: &dyn Progress) -> Result<Image, ImageError> {
    let source = match &plan.split {
        Split::Bottom | Split::Since(_) => plan.bottom(),
        Split::Flat => plan.top(),
        Split::Known(base) => &base.image,
    };
    let disk = open(plan, source)?;
    let title = format!("look at the base of {}", plan.target);
    begin(progress, "plan", title, disk.virtual_size());
    let mut advance = |bytes| progress.advance(bytes);
    let (bytes, content) = match &plan.split {
        // It has its name by its bytes.
        Split::Known(base) if base.packaged.is_some() => {
            let file = fs::File::open(&source.path)?;
            let size = file.metadata()?.len();
            (Bytes::File(file, size), Content::of(&disk, &mut advance)?)
        }
        _ => {
            let (image, content) = Plan::flat_with_content(&disk, CLUSTER, &mut advance)?;
            (Bytes::Planned(Box::new(image)), content)
        }
    };
    Ok(Image {
        virtual_size: disk.virtual_size(),
        content,
        bytes,
    })
}

/// Plans the delta of a disk. `below` is the digest of what it stands on, and `known` the content of that, if it was read.
pub(super) fn delta(
    plan: &DiskPlan,
    below: &Digest,
    known: Option<&Content>,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let disk = open(plan, plan.top())?;
    if let Split::Since(earlier) = &plan.split
        && let Some(content) = &earlier.content
    {
        return since(plan, &disk, below, content, progress);
    }
    let base = match &plan.split {
        Split::Known(base) => open(plan, &base.image)?,
        Split::Since(below) => open(plan, &below.chain[0])?,
        Split::Bottom | Split::Flat => open(plan, plan.bottom())?,
    };
    let title = format!("compare {} with its base", plan.target);
    begin(progress, "plan", title, disk.virtual_size());
    let mut advance = |bytes| progress.advance(bytes);
    let (image, content) = Plan::delta_with_content(&disk, &base, known, CLUSTER, &mut advance)?;
    Ok(Image {
        virtual_size: disk.virtual_size(),
        content,
        bytes: Bytes::Planned(Box::new(image.on(&below.file_name(), Format::Qcow2)?)),
    })
}

/// Plans what of a disk differs from what it was, whose content is known.
fn since(
    plan: &DiskPlan,
    disk: &Arc<Disk>,
    below: &Digest,
    then: &Content,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let by_changes = plan.live.as_ref().is_some_and(|live| live.0.knows_changes());
    let title = if by_changes {
        format!("read what was written to {}", plan.target)
    } else {
        format!("look for what has changed of {}", plan.target)
    };
    begin(progress, "plan", title, disk.virtual_size());
    let mut advance = |bytes| progress.advance(bytes);
    let found = match Plan::since(disk, then, by_changes, &mut advance) {
        Err(error @ ImageError::WrongBitmap { .. }) => {
            progress.warn(&format!("{error}; all of the disk {} is compared", plan.target));
            Plan::since(disk, then, false, &mut advance)
        }
        found => found,
    };
    let (image, content) = found?;
    Ok(Image {
        virtual_size: disk.virtual_size(),
        content,
        bytes: Bytes::Planned(Box::new(image.on(&below.file_name(), Format::Qcow2)?)),
    })
}

fn begin(progress: &dyn Progress, name: &'static str, title: String, bytes: u64) {
    progress.step(&Step {
        name,
        title,
        bytes: Some(bytes),
    });
}
