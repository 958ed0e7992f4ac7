//! Checks a package file without installing it: every digest, every length, every path, and that nothing is in it that
//! miniascape does not put there. The file may come from anyone.
//!
//! What the formats look like is told by `rpm`, `deb` and `archive`; here they are read.

mod content;
mod deb;
mod gzip;
mod header;
mod input;
mod packing;
mod pax;
mod rpm;
mod tar;

use super::render::Texts;
use crate::host::files;
use crate::name::Digest;
use fs_err as fs;
pub(super) use input::Outlet;
use input::{Fault, One, Source, Wanted};
use serde::Serialize;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why a file is not a sound package.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is damaged, incomplete, or holds what no package of ours does.
    #[error("{}: {place}: {fault}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong there.
        fault: String,
    },
    /// A compiled-in template is broken.
    #[error("a text of the package could not be made: {0}")]
    Template(#[from] tera::Error),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Kinds of package files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageKind {
    /// An RPM package.
    Rpm,
    /// A source RPM package.
    Srpm,
    /// A Debian package.
    Deb,
    /// A tar file with the build tree.
    Tar,
}

/// A package file that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// What it is.
    pub kind: PackageKind,
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The files in it, with their digests; directories are not listed.
    pub files: Vec<VerifiedFile>,
}

/// A file in a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 of what is in the package.
    pub digest: Digest,
}

/// What kind of package file `path` is by its beginning. Nothing is checked: what is neither of the others counts as a tar
/// file, and a source package as RPM.
pub fn kind_of(path: &Path) -> io::Result<PackageKind> {
    Ok(kind_of_start(&start(&mut files::open_regular(path)?)?))
}

fn start(file: &mut fs::File) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(start)
}

fn kind_of_start(start: &[u8]) -> PackageKind {
    match start {
        [0xed, 0xab, 0xee, 0xdb, ..] => PackageKind::Rpm,
        b"!<arch>\n" => PackageKind::Deb,
        _ => PackageKind::Tar,
    }
}

/// Reads the whole package file `path`. `advance` is told how many bytes of the file were read.
pub fn verify(path: &Path, advance: &mut dyn FnMut(u64)) -> Result<Verified, VerifyError> {
    read(path, advance, &mut None)
}

/// The same, writing what is in its file `wanted` to `out` on the way.
pub(super) fn extract(
    path: &Path,
    wanted: &str,
    out: &mut dyn Write,
    advance: &mut dyn FnMut(u64),
) -> Result<Verified, VerifyError> {
    take(path, &mut One { path: wanted, out }, advance)
}

/// The same, giving `outlet` the files that it wants on the way.
pub(super) fn take(
    path: &Path,
    outlet: &mut dyn Outlet,
    advance: &mut dyn FnMut(u64),
) -> Result<Verified, VerifyError> {
    let mut wanted = Some(Wanted { outlet, failed: None });
    let result = read(path, advance, &mut wanted);
    match wanted.and_then(|wanted| wanted.failed) {
        Some(error) => Err(error.into()),
        None => result,
    }
}

fn read(
    path: &Path,
    advance: &mut dyn FnMut(u64),
    wanted: &mut Option<Wanted<'_>>,
) -> Result<Verified, VerifyError> {
    let texts = Texts::new()?;
    let mut file = files::open_regular(path)?;
    let length = file.metadata()?.len();
    let kind = kind_of_start(&start(&mut file)?);
    let told = Told { file, advance };
    let mut source = Source::new("the file", BufReader::with_capacity(1 << 20, told));
    let result = match kind {
        PackageKind::Deb => deb::verify(&mut source, length, &texts, wanted),
        PackageKind::Tar => tar::verify(&mut source, wanted),
        PackageKind::Rpm | PackageKind::Srpm => rpm::verify(&mut source, length, &texts, wanted),
    };
    result.map_err(|Fault { place, what }| VerifyError::Refused {
        path: path.to_owned(),
        place,
        fault: what,
    })
}

/// Tells how much has been read.
struct Told<'a> {
    file: fs::File,
    advance: &'a mut dyn FnMut(u64),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        (self.advance)(n as u64);
        Ok(n)
    }
}
