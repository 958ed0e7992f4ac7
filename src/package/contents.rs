//! What a package file would bring to a host: a guest's manifest and domain XML, and images. The file is read to its end
//! and checked first (`verify`); nothing is written.

use super::manifest::Manifest;
use super::verify::{self, PackageKind, Verified, VerifiedFile, VerifyError};
use crate::name::Digest;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How the manifest's file is called.
pub(super) const MANIFEST: &str = "manifest.json";
/// The longest manifest and domain XML, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// A package file that is whole, and what is in it.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The file.
    pub path: PathBuf,
    /// The package.
    pub found: Verified,
    /// The guest, if it is a guest's package or a tar file.
    pub guest: Option<GuestContents>,
    /// The images in it, each with its length.
    pub images: Vec<(Digest, u64)>,
}

/// The guest in a package.
#[derive(Debug, Clone)]
pub struct GuestContents {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its domain XML.
    pub domain_xml: String,
}

/// Reads all of the package file `path`.
pub fn contents(path: &Path) -> Result<Contents, VerifyError> {
    let found = verify::verify(path, &mut |_| {})?;
    if found.kind == PackageKind::Srpm {
        let fault = "a source package cannot be installed; build it, or take the tar file that is in it";
        return Err(refused(path, "its kind", fault));
    }
    let guest = if has(&found, MANIFEST) {
        let manifest = text(path, &found, MANIFEST)?;
        let manifest = Manifest::parse(manifest.as_bytes());
        Some(GuestContents {
            manifest: manifest.map_err(|error| refused(path, MANIFEST, &error.to_string()))?,
            domain_xml: text(path, &found, "domain.xml")?,
        })
    } else {
        None
    };
    // The images in a tree have second names.
    let images = found.files.iter().filter_map(|file| {
        let digest = Digest::of_file_name(file.path.rsplit('/').next()?)?;
        Some((digest, file.size))
    });
    Ok(Contents {
        path: path.to_owned(),
        images: images.collect(),
        guest,
        found,
    })
}

/// The file `name` of a package, in whatever directory.
fn file<'a>(found: &'a Verified, name: &str) -> Option<&'a VerifiedFile> {
    let is = |file: &&VerifiedFile| file.path.rsplit('/').next() == Some(name);
    found.files.iter().find(is)
}

/// Whether there is a file `name` in the package.
pub(super) fn has(found: &Verified, name: &str) -> bool {
    file(found, name).is_some()
}

/// The text `name` in the package `path`, which was `found` to be sound, and must still be the same.
pub(super) fn text(path: &Path, found: &Verified, name: &str) -> Result<String, VerifyError> {
    let text = bytes(path, found, name, MAX_TEXT)?;
    String::from_utf8(text).map_err(|_| refused(path, name, "it is not UTF-8"))
}

/// All of the file `name` in such a package, of at most `most` bytes.
pub(super) fn bytes(path: &Path, found: &Verified, name: &str, most: u64) -> Result<Vec<u8>, VerifyError> {
    let file = file(found, name).ok_or_else(|| refused(path, name, "it is missing"))?;
    if file.size > most {
        return Err(refused(path, name, "it is too long"));
    }
    let mut out = Limited(Vec::new(), most);
    let again = verify::extract(path, &file.path, &mut out, &mut |_| {})?;
    if again != *found {
        return Err(refused(path, name, "the file was changed while it was read"));
    }
    Ok(out.0)
}

/// Bytes up to a number.
struct Limited(Vec<u8>, u64);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0.len() + bytes.len()) as u64 > self.1 {
            return Err(io::Error::other("it is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn refused(path: &Path, name: &str, fault: &str) -> VerifyError {
    VerifyError::Refused {
        path: path.to_owned(),
        place: name.to_owned(),
        fault: fault.to_owned(),
    }
}
