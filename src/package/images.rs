//! The images that the plan asks for: each a plan of its own, whose bytes are made when they are packed. Nothing is
//! copied on the way.

use super::disks::{DiskPlan, Split};
use super::manifest::Role;
use super::progress::{Progress, Step};
use super::stream::Payload;
use crate::image::{self, ContentDigest, Disk, Format, ImageError, ImageInfo, Plan};
use fs_err as fs;
use std::io::{self, Write};
use std::sync::Arc;

/// Bytes of a cluster of packed images.
const CLUSTER: u64 = 64 * 1024;

/// An image that is ready to be packed.
pub(super) struct Image {
    pub(super) virtual_size: u64,
    pub(super) content: ContentDigest,
    plan: Plan,
}

impl Payload for Image {
    fn size(&self) -> u64 {
        self.plan.size()
    }

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        self.plan.write_to(out, &mut |_| {}).map_err(|error| match error {
            ImageError::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

/// Opens an image of the chain with all that it stands on; nothing else is opened.
fn open(plan: &DiskPlan, image: &ImageInfo) -> Result<Arc<Disk>, ImageError> {
    let known: Vec<_> = plan
        .chain
        .iter()
        .filter_map(|image| fs::canonicalize(&image.path).ok())
        .collect();
    let permit = |file: &std::path::Path, _| known.iter().any(|known| known == file);
    Ok(Arc::new(Disk::open(&image.path, image.format, &permit)?))
}

/// Refuses damaged sources: nobody would notice before it is too late.
pub(super) fn check(plan: &DiskPlan, progress: &dyn Progress) -> Result<(), ImageError> {
    if plan.chain.iter().all(|image| image.format == Format::Raw) {
        return Ok(());
    }
    let title = format!("check {}", plan.top().path.display());
    begin(progress, "check", title, 0);
    for found in open(plan, plan.top())?.verify()? {
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
    Ok(())
}

/// Plans the base of a disk.
pub(super) fn base(plan: &DiskPlan, progress: &dyn Progress) -> Result<Image, ImageError> {
    let source = match plan.split {
        Split::Bottom => plan.bottom(),
        Split::Flat => plan.top(),
    };
    let disk = open(plan, source)?;
    let title = format!("look for zeros in the base of {}", plan.target);
    begin(progress, "plan", title, disk.virtual_size());
    let image = Plan::flat(&disk, CLUSTER, &mut |bytes| progress.advance(bytes))?;
    finish(image, &disk, Role::Base, progress)
}

/// Plans the delta of a disk. `below` is the base's final name.
pub(super) fn delta(plan: &DiskPlan, below: &str, progress: &dyn Progress) -> Result<Image, ImageError> {
    let disk = open(plan, plan.top())?;
    let base = open(plan, plan.bottom())?;
    let title = format!("compare {} with its base", plan.target);
    begin(progress, "plan", title, disk.virtual_size());
    let image = Plan::delta(&disk, &base, CLUSTER, &mut |bytes| progress.advance(bytes))?;
    finish(image.on(below, Format::Qcow2)?, &disk, Role::Delta, progress)
}

fn finish(plan: Plan, disk: &Disk, role: Role, progress: &dyn Progress) -> Result<Image, ImageError> {
    let title = format!("digest of what a guest reads from the {}", role.as_str());
    begin(progress, "content", title, disk.virtual_size());
    Ok(Image {
        virtual_size: disk.virtual_size(),
        content: image::content_digest(disk, &mut |bytes| progress.advance(bytes))?,
        plan,
    })
}

fn begin(progress: &dyn Progress, name: &'static str, title: String, bytes: u64) {
    progress.step(&Step {
        name,
        title,
        bytes: Some(bytes),
    });
}
