//! Makes the images that the plan asks for, as files in a working directory, and says what a guest reads from them.

use super::disks::{DiskPlan, Split};
use super::manifest::Role;
use super::progress::{Progress, Step};
use super::stream::Payload;
use crate::image::{self, Allow, ContentDigest, Disk, Format, ImageError};
use fs_err as fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const BUFFER: usize = 1024 * 1024;

/// An image that is ready to be packed.
pub(super) struct Image {
    pub(super) virtual_size: u64,
    pub(super) content: ContentDigest,
    file: fs::File,
    size: u64,
}

impl Payload for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut file = &self.file;
        loop {
            match io::Read::read(&mut file, &mut buffer)? {
                0 => return Ok(()),
                n => out.write_all(&buffer[..n])?,
            }
        }
    }
}

/// Refuses damaged sources: in a damaged image QEMU reads zeros where data is missing, and nobody would notice before
/// it is too late.
pub(super) fn check(plan: &DiskPlan, progress: &dyn Progress) -> Result<(), ImageError> {
    for source in &plan.chain {
        if source.format == Format::Qcow2 {
            let title = format!("check {}", source.path.display());
            begin(progress, "check", title, 0);
            image::check(&source.path)?;
        }
    }
    Ok(())
}

/// Makes the base of a disk in `dir`.
pub(super) fn base(plan: &DiskPlan, dir: &Path, progress: &dyn Progress) -> Result<Image, ImageError> {
    let part = dir.join("base.part");
    let (source, bytes) = match &plan.split {
        Split::Bottom => (plan.bottom(), plan.bottom().disk_usage),
        Split::Flat => (plan.top(), plan.bytes()),
        Split::Known(base) => (&base.image, base.image.disk_usage),
    };
    let title = format!("copy the base of {}", plan.target);
    begin(progress, "convert", title, bytes);
    match &plan.split {
        // It has its name by its bytes.
        Split::Known(base) if base.packaged.is_some() => drop(fs::copy(&source.path, &part)?),
        _ => image::convert(&source.path, source.format, &part)?,
    }
    finish(part, Role::Base, source.virtual_size, progress)
}

/// Makes the delta of a disk in `dir`, where the base was made. `below` is the base's final name.
pub(super) fn delta(
    plan: &DiskPlan,
    below: &str,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let part = dir.join("delta.part");
    fs::rename(dir.join("base.part"), dir.join(below))?;
    let title = format!("copy the delta of {}", plan.target);
    let bytes = match plan.split {
        Split::Known(_) => plan.bytes(),
        Split::Bottom | Split::Flat => plan.bytes() - plan.bottom().disk_usage,
    };
    begin(progress, "convert", title, bytes);
    let top = plan.top();
    match plan.chain.len() {
        _ if matches!(plan.split, Split::Known(_)) => {
            image::delta_on(&top.path, top.format, below, &part)?;
        }
        1 => image::create_overlay(&part, below, Format::Qcow2, Some(plan.virtual_size))?,
        // What one image has above its backing file is what it has allocated.
        2 => image::convert_delta(&top.path, below, &part)?,
        _ => image::delta_on(&top.path, top.format, below, &part)?,
    }
    finish(part, Role::Delta, plan.virtual_size, progress)
}

/// Describes the image in the file `part`. What it stands on lies beside it.
fn finish(
    part: PathBuf,
    role: Role,
    virtual_size: u64,
    progress: &dyn Progress,
) -> Result<Image, ImageError> {
    let title = format!("digest of what a guest reads from the {}", role.as_str());
    begin(progress, "content", title, virtual_size);
    let here = Allow::beside(&part);
    let disk = Disk::open(&part, Format::Qcow2, &|file, _| here.permits(file))?;
    let content = image::content_digest(&disk, &mut |bytes| progress.advance(bytes))?;
    let file = fs::File::open(part)?;
    let size = file.metadata()?.len();
    Ok(Image {
        virtual_size,
        content,
        file,
        size,
    })
}

fn begin(progress: &dyn Progress, name: &'static str, title: String, bytes: u64) {
    progress.step(&Step {
        name,
        title,
        bytes: Some(bytes),
    });
}
