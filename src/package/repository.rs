//! The indexes that make a directory of packages a repository for dnf and apt, by the programs that repositories are made
//! with: createrepo_c and apt-ftparchive.

use super::error::RepackError;
use super::stream::Crc32;
use super::target::Target;
use super::work::{Gate, WorkDir, publish};
use crate::host::{Program, access};
use fs_err as fs;
use std::path::Path;

/// Makes the index of all packages of this kind in `dir`: for RPM packages `repodata`, for Debian packages `Packages`,
/// `Packages.gz` and `Release`. `caller` is the user on whose behalf root runs this.
pub fn index(dir: &Path, kind: Target, caller: Option<u32>) -> Result<(), RepackError> {
    let dir = std::path::absolute(dir)?;
    if let Some(reason) = access::in_other_hands(&dir, caller)? {
        return Err(RepackError::OtherHands { path: dir, reason });
    }
    match kind {
        Target::Rpm => rpm(&dir),
        Target::Deb => deb(&dir),
        _ => Ok(()),
    }
}

/// The program that makes the index of packages of this kind, and the Debian package that holds it.
const fn program(kind: Target) -> (&'static str, &'static str) {
    match kind {
        Target::Rpm => ("createrepo_c", "createrepo-c"),
        _ => ("apt-ftparchive", "apt-utils"),
    }
}

fn rpm(dir: &Path) -> Result<(), RepackError> {
    let (name, package) = program(Target::Rpm);
    let program = Program::find(name, package)?;
    // One at a time. So a `.repodata` that is there belongs to a run that was killed, and may go.
    let _gate = Gate::close(dir)?;
    program
        .run()
        .args(["--quiet", "--no-database", "--ignore-lock"])
        .arg(dir)
        .output()?;
    Ok(())
}

fn deb(dir: &Path) -> Result<(), RepackError> {
    let (name, package) = program(Target::Deb);
    let program = Program::find(name, package)?;
    let work = WorkDir::create(dir)?;
    let _gate = Gate::close(dir)?;
    let packages = program.run().within(dir).args(["packages", "."]).output()?.stdout;
    fs::write(work.path().join("Packages.gz"), gzip(&packages))?;
    fs::write(work.path().join("Packages"), packages)?;
    // It lists what is beside it, and finds nothing else there.
    let release = program
        .run()
        .within(work.path())
        .args(["release", "."])
        .output()?;
    fs::write(work.path().join("Release"), release.stdout)?;
    for name in ["Packages", "Packages.gz", "Release"] {
        publish(&work.path().join(name), &dir.join(name), 0o644)?;
    }
    Ok(())
}

/// One member of gzip's format (RFC 1952) without name and time, so that the same content gives the same bytes.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    bytes.extend(miniz_oxide::deflate::compress_to_vec(content, 9));
    bytes.extend(Crc32::of(content).to_le_bytes());
    // The length modulo 2^32, as the format wants it.
    bytes.extend((content.len() as u64).to_le_bytes().into_iter().take(4));
    bytes
}
