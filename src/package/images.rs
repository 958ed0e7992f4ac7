//! Carries out the part of a plan that is about disks: writes base and delta under the names of their digests.

use super::disks::{DiskPlan, Split};
use super::manifest::{Layer, Role};
use super::progress::{Progress, Step};
use crate::image::{self, Allow, Disk, Format, ImageError};
use fs_err as fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes the layers of the disk into `dir` as `sha256-<digest>.qcow2`, mode 0444, and describes them, the base first.
/// Each file's content and the name of its backing file are final.
pub(super) fn write(plan: &DiskPlan, dir: &Path, progress: &dyn Progress) -> Result<Vec<Layer>, ImageError> {
    for source in &plan.chain {
        // In a damaged image QEMU reads zeros where data is missing, and nobody would notice before it is too late.
        if source.format == Format::Qcow2 {
            let title = format!("check {}", source.path.display());
            begin(progress, "check", title, 0);
            image::check(&source.path)?;
        }
    }
    let part = dir.join("image.part");
    let (source, bytes) = match plan.split {
        Split::Bottom => (plan.bottom(), plan.bottom().disk_usage),
        Split::Flat => (plan.top(), plan.bytes()),
    };
    let title = format!("write the base of {}", plan.target);
    begin(progress, "convert", title, bytes);
    image::convert(&source.path, source.format, &part)?;
    let base = finish(&part, dir, Role::Base, source.virtual_size, progress)?;
    if plan.split == Split::Flat {
        return Ok(vec![base]);
    }
    let below = base.digest.file_name();
    let title = format!("write the delta of {}", plan.target);
    begin(progress, "convert", title, plan.bytes() - bytes);
    let top = plan.top();
    match plan.chain.len() {
        1 => image::create_overlay(&part, &below, Format::Qcow2, Some(plan.virtual_size))?,
        // What one image has above its backing file is what it has allocated.
        2 => image::convert_delta(&top.path, &below, &part)?,
        _ => image::delta_on(&top.path, top.format, &below, &part)?,
    }
    let delta = finish(&part, dir, Role::Delta, plan.virtual_size, progress)?;
    Ok(vec![base, delta])
}

/// Gives the finished image `part` its name and describes it. What it stands on lies in `dir`, too.
fn finish(
    part: &Path,
    dir: &Path,
    role: Role,
    virtual_size: u64,
    progress: &dyn Progress,
) -> Result<Layer, ImageError> {
    let file_size = fs::metadata(part)?.len();
    let what = match role {
        Role::Base => "base",
        Role::Delta => "delta",
    };
    let mut advance = |bytes| progress.advance(bytes);
    begin(progress, "digest", format!("digest of the {what}"), file_size);
    let digest = image::sha256_file(part, &mut advance)?;
    begin(
        progress,
        "content",
        format!("digest of what a guest reads from the {what}"),
        virtual_size,
    );
    let here = Allow::beside(part);
    let disk = Disk::open(part, Format::Qcow2, &|path, _| here.permits(path))?;
    let content = image::content_digest(&disk, &mut advance)?;
    fs::set_permissions(part, std::fs::Permissions::from_mode(0o444))?;
    fs::rename(part, dir.join(digest.file_name()))?;
    Ok(Layer::new(role, digest, file_size, virtual_size, content))
}

fn begin(progress: &dyn Progress, name: &'static str, title: String, bytes: u64) {
    progress.step(&Step {
        name,
        title,
        bytes: Some(bytes),
    });
}
