//! How large packages will be, before they are made: a sample of the disk is compressed. An estimate is good for a
//! person's plan, and for refusing early what would fail late.

use super::deb::ar::MAX_MEMBER;
use super::disks::{DiskPlan, Split};
use super::error::RepackError;
use super::stream::Codec;
use crate::image::{Disk, Extent, Format, ImageError};
use fs_err as fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Samples that are taken of a disk, and their length in bytes.
const SAMPLES: u64 = 48;
const SAMPLE: u64 = 256 * 1024;

/// About how many bytes the disk's images take in a package.
pub(super) fn packed(plan: &DiskPlan, codec: Codec) -> Result<u64, ImageError> {
    // What a running guest writes to has no sound tables to be read by.
    if codec == Codec::None || plan.in_use && plan.live.is_none() {
        return Ok(plan.bytes());
    }
    // They were allowed when the plan was made.
    let known: Vec<PathBuf> = plan
        .chain
        .iter()
        .filter_map(|image| fs::canonicalize(&image.path).ok())
        .collect();
    let permit = |file: &Path, _: Format| fs::canonicalize(file).is_ok_and(|file| known.contains(&file));
    let disk = match &plan.live {
        Some(live) => Disk::exported(Arc::clone(&live.0), None),
        None => Disk::open(&plan.top().path, plan.top().format, &permit)?,
    };
    let mut extents = disk.map()?;
    extents.retain(|extent| !extent.place.reads_zero());
    let bytes: u64 = extents.iter().map(|extent| extent.length).sum();
    let (mut reader, mut buffer) = (disk.reader(), Vec::new());
    let (mut plain, mut packed) = (0u64, 0u64);
    for number in 0..SAMPLES {
        let Some((start, length)) = sample(&extents, bytes / SAMPLES * number) else {
            continue;
        };
        buffer.resize(usize::try_from(length).unwrap_or(0), 0);
        reader.read(start, &mut buffer)?;
        plain += length;
        packed += codec.whole(&buffer)?.len() as u64;
    }
    // Of several images, those below the top one may hold what the sample has not seen.
    let all = plan.bytes();
    Ok(u128::from(all)
        .checked_mul(packed.into())
        .and_then(|product| product.checked_div(plain.into()))
        .and_then(|estimate| u64::try_from(estimate).ok())
        .unwrap_or(all))
}

/// Guest bytes at the place `at` when one counts data only.
fn sample(extents: &[Extent], mut at: u64) -> Option<(u64, u64)> {
    for extent in extents {
        if at < extent.length {
            return Some((extent.start + at, SAMPLE.min(extent.length - at)));
        }
        at -= extent.length;
    }
    None
}

/// Refuses a disk whose compressed images no Debian package can hold. A sample is no proof, so only what is far over the
/// limit is refused here; the rest is when it has come so far. Without compression the plan tells exactly.
pub(super) fn fits_deb(plan: &DiskPlan, codec: Codec) -> Result<(), RepackError> {
    let bytes = plan.bytes();
    if codec == Codec::None || bytes <= MAX_MEMBER {
        return Ok(());
    }
    // Base and delta have a package each.
    let largest = match plan.split {
        Split::Bottom => {
            let bottom = plan.bottom().disk_usage;
            bottom.max(bytes - bottom)
        }
        Split::Flat | Split::Known(_) | Split::Since(_) => bytes,
    };
    let packed = packed(plan, codec)?;
    let packed = u128::from(packed) * u128::from(largest) / u128::from(bytes);
    far_over(plan.target.as_str(), u64::try_from(packed).unwrap_or(u64::MAX))
}

fn far_over(target: &str, packed: u64) -> Result<(), RepackError> {
    if packed > MAX_MEMBER / 4 * 5 {
        return Err(RepackError::TooLargeForDeb {
            target: target.to_owned(),
            packed,
        });
    }
    Ok(())
}

/// What tells one state of a source file from another.
pub(super) struct Witness(Vec<(PathBuf, State)>);

/// Device, inode, length and times, to the nanosecond.
#[derive(PartialEq)]
struct State([i64; 7]);

impl Witness {
    /// Looks at the files of these disks.
    pub(super) fn of(disks: &[DiskPlan]) -> Result<Self, RepackError> {
        // The guest itself writes to the first one of a disk that is read otherwise.
        let images = disks
            .iter()
            .flat_map(|disk| &disk.chain[usize::from(disk.in_use)..]);
        let look = |path: &PathBuf| Ok::<_, RepackError>((path.clone(), State::of(path)?));
        images
            .map(|image| look(&image.path))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Refuses the result if a source has been written to or exchanged since.
    pub(super) fn ensure_unchanged(&self) -> Result<(), RepackError> {
        for (path, before) in &self.0 {
            if !State::of(path).is_ok_and(|now| now == *before) {
                return Err(RepackError::SourceChanged { path: path.clone() });
            }
        }
        Ok(())
    }
}

impl State {
    fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(path)?;
        Ok(Self([
            meta.dev().cast_signed(),
            meta.ino().cast_signed(),
            meta.len().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_package_has_its_bound() {
        far_over("vda", 12_000_000_000).unwrap();
        let text = far_over("vda", 13_000_000_000).unwrap_err().to_string();
        assert!(text.contains("vda") && text.contains("9999999999"), "{text}");
    }
}
