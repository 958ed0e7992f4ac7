//! What `qemu-img` does for us: empty images and overlays, foreign formats, rebase, check, compare.
//!
//! Paths are made absolute, because QEMU reads a relative name with a colon as a protocol; backing names are
//! written exactly as given, because they are to stay relative. Images that a guest may hold open are locked by
//! QEMU itself, and the error says so.

use super::{Format, ImageError};
use crate::host::{CommandError, Program, command::Run};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

fn qemu_img() -> Result<Run, CommandError> {
    Ok(Program::find("qemu-img", "qemu-utils")?.run())
}

fn absolute(path: &Path) -> Result<PathBuf, ImageError> {
    Ok(std::path::absolute(path)?)
}

/// Copies what a guest would read from `source`, in any `format` that QEMU knows and on the network too, to the raw
/// image `target`, which is there. QEMU opens whatever files the source names.
pub fn copy_raw(source: &Path, format: &str, target: &Path) -> Result<(), ImageError> {
    let network = source.to_str().is_some_and(|name| name.contains("://"));
    let source = if network {
        source.to_owned()
    } else {
        absolute(source)?
    };
    qemu_img()?
        .args(["convert", "-q", "-f", format, "-O", "raw"])
        .arg(source)
        .arg(absolute(target)?)
        .output()?;
    Ok(())
}

/// Makes an empty image `target` of `size` bytes without a backing file.
pub fn create(target: &Path, format: Format, size: u64) -> Result<(), ImageError> {
    qemu_img()?
        .args(["create", "-q", "-f", format.as_str()])
        .arg(absolute(target)?)
        .arg(size.to_string())
        .output()?;
    Ok(())
}

/// Makes an empty qcow2 overlay `target` on `backing`, recorded as given (relative to `target`'s directory) with its
/// format. `virtual_size` in bytes; `None` takes the backing file's. Fails if the backing file is not there.
pub fn create_overlay(
    target: &Path,
    backing: &str,
    format: Format,
    virtual_size: Option<u64>,
) -> Result<(), ImageError> {
    overlay(target, backing.as_ref(), format, 65536, virtual_size)
}

/// Makes an empty qcow2 overlay `target` on the file `backing`, in clusters of 4 KiB: what a file system discards, block by
/// block, then reads as zeros instead of as what is below.
pub fn create_fine_overlay(target: &Path, backing: &Path, format: Format) -> Result<(), ImageError> {
    // QEMU sees no protocol in a name that begins with a slash.
    overlay(target, absolute(backing)?.as_os_str(), format, 4096, None)
}

fn overlay(
    target: &Path,
    backing: &OsStr,
    format: Format,
    cluster: u32,
    virtual_size: Option<u64>,
) -> Result<(), ImageError> {
    let mut run = qemu_img()?
        .args(["create", "-q", "-f", "qcow2", "-o"])
        .arg(format!("compat=1.1,cluster_size={cluster}"))
        .args(["-F", format.as_str(), "-b"])
        .arg(backing)
        .arg(absolute(target)?);
    if let Some(size) = virtual_size {
        run = run.arg(size.to_string());
    }
    run.output()?;
    Ok(())
}

/// Records `backing` with its format as the backing file of `image`. Only the header changes: the two backing files
/// must hold the same content.
pub fn rebase(image: &Path, backing: &str, format: Format) -> Result<(), ImageError> {
    qemu_img()?
        .args([
            "rebase",
            "-q",
            "-u",
            "-f",
            "qcow2",
            "-b",
            backing,
            "-F",
            format.as_str(),
        ])
        .arg(absolute(image)?)
        .output()?;
    Ok(())
}

/// Checks the metadata of a qcow2 image and finds data that its file is too short for. Clusters that nothing uses any
/// more ("leaked") are harmless and pass.
pub fn check(image: &Path) -> Result<(), ImageError> {
    let image = absolute(image)?;
    let finished = qemu_img()?
        .args(["check", "-U", "-f", "qcow2"])
        .arg(&image)
        .finish()?;
    match finished.status.code() {
        // 3: leaked clusters and nothing worse (qemu-img(1)).
        Some(0 | 3) => Ok(()),
        Some(2) => Err(ImageError::Damaged {
            path: image,
            reason: format!(
                "`qemu-img check` found damage: {}; `qemu-img check -r all` may repair it",
                crate::name::printable(finished.stderr.lines().next().unwrap_or("no details"), 200)
            ),
        }),
        _ => Err(failed(finished)),
    }
}

/// True if a guest would read the same from both images. One that is longer counts as equal when the rest is zeros.
pub fn compare(a: &Path, a_format: Format, b: &Path, b_format: Format) -> Result<bool, ImageError> {
    let finished = qemu_img()?
        .args([
            "compare",
            "-q",
            "-U",
            "-f",
            a_format.as_str(),
            "-F",
            b_format.as_str(),
        ])
        .arg(absolute(a)?)
        .arg(absolute(b)?)
        .finish()?;
    match finished.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(failed(finished)),
    }
}

/// Takes a dirty bitmap out of a qcow2 image that nobody has open; one that is not there is none.
pub fn remove_bitmap(image: &Path, name: &str) -> Result<(), ImageError> {
    let finished = qemu_img()?
        .args(["bitmap", "--remove", "-f", "qcow2"])
        .arg(absolute(image)?)
        .arg(name)
        .finish()?;
    if finished.status.success() || finished.stderr.contains("not found") {
        return Ok(());
    }
    Err(failed(finished))
}

fn failed(finished: crate::host::command::Finished) -> ImageError {
    ImageError::Tool(CommandError::Failed {
        command: finished.command,
        status: finished.status,
        stderr: finished.stderr,
    })
}
