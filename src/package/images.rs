//! The images that the plan asks for: each a plan of its own, whose bytes are made when they are packed. Nothing is
//! copied on the way.

use super::disks::{DiskPlan, Split};
use super::manifest::Role;
use super::progress::{Progress, Step};
use super::stream::Payload;
use crate::image::{self, ContentDigest, Disk, Format, ImageError, ImageInfo, Plan};
use fs_err as fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a cluster of packed images.
const CLUSTER: u64 = 64 * 1024;
/// Bytes that are read at once.
const BUFFER: usize = 1024 * 1024;

/// An image that is ready to be packed.
pub(super) struct Image {
    pub(super) virtual_size: u64,
    pub(super) content: ContentDigest,
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

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut file = match &self.bytes {
            Bytes::Planned(plan) => {
                return plan.write_to(out, &mut |_| {}).map_err(|error| match error {
                    ImageError::Io(error) => error,
                    other => io::Error::other(other),
                });
            }
            Bytes::File(file, _) => file,
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(()),
                n => out.write_all(&buffer[..n])?,
            }
        }
    }
}

/// Opens an image with all that it stands on; nothing but what the plan knows is opened.
fn open(plan: &DiskPlan, image: &ImageInfo) -> Result<Arc<Disk>, ImageError> {
    let known: Vec<_> = plan
        .chain
        .iter()
        .filter_map(|image| fs::canonicalize(&image.path).ok())
        .collect();
    let permit = |file: &Path, _| known.iter().any(|known| known == file);
    Ok(Arc::new(Disk::open(&image.path, image.format, &permit)?))
}

/// Refuses damaged sources: nobody would notice before it is too late.
pub(super) fn check(plan: &DiskPlan, progress: &dyn Progress) -> Result<(), ImageError> {
    let known = match &plan.split {
        Split::Known(base) => Some(&base.image),
        Split::Bottom | Split::Flat => None,
    };
    for image in std::iter::once(plan.top()).chain(known) {
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
        Split::Bottom => plan.bottom(),
        Split::Flat => plan.top(),
        Split::Known(base) => &base.image,
    };
    let disk = open(plan, source)?;
    let bytes = match &plan.split {
        // It has its name by its bytes.
        Split::Known(base) if base.packaged.is_some() => {
            let file = fs::File::open(&source.path)?;
            let size = file.metadata()?.len();
            Bytes::File(file, size)
        }
        _ => {
            let title = format!("look for zeros in the base of {}", plan.target);
            begin(progress, "plan", title, disk.virtual_size());
            let image = Plan::flat(&disk, CLUSTER, &mut |bytes| progress.advance(bytes))?;
            Bytes::Planned(Box::new(image))
        }
    };
    finish(bytes, &disk, Role::Base, progress)
}

/// Plans the delta of a disk. `below` is the base's final name.
pub(super) fn delta(plan: &DiskPlan, below: &str, progress: &dyn Progress) -> Result<Image, ImageError> {
    let disk = open(plan, plan.top())?;
    let base = match &plan.split {
        Split::Known(base) => open(plan, &base.image)?,
        Split::Bottom | Split::Flat => open(plan, plan.bottom())?,
    };
    let title = format!("compare {} with its base", plan.target);
    begin(progress, "plan", title, disk.virtual_size());
    let image = Plan::delta(&disk, &base, CLUSTER, &mut |bytes| progress.advance(bytes))?;
    let bytes = Bytes::Planned(Box::new(image.on(below, Format::Qcow2)?));
    finish(bytes, &disk, Role::Delta, progress)
}

fn finish(bytes: Bytes, disk: &Disk, role: Role, progress: &dyn Progress) -> Result<Image, ImageError> {
    let title = format!("digest of what a guest reads from the {}", role.as_str());
    begin(progress, "content", title, disk.virtual_size());
    Ok(Image {
        virtual_size: disk.virtual_size(),
        content: image::content_digest(disk, &mut |bytes| progress.advance(bytes))?,
        bytes,
    })
}

fn begin(progress: &dyn Progress, name: &'static str, title: String, bytes: u64) {
    progress.step(&Step {
        name,
        title,
        bytes: Some(bytes),
    });
}
