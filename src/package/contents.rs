//! What a package file would bring to a host: a guest's manifest and domain XML, and images. The file is read to its end
//! and checked first (`verify`); nothing is written.

use super::manifest::{Layer, Manifest};
use super::name::ImagePackage;
use super::progress::{Progress, Step};
use super::verify::{self, Outlet, PackageKind, Verified, VerifiedFile, VerifyError};
use crate::name::Digest;
use fs_err as fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How the manifest's file is called.
pub(super) const MANIFEST: &str = "manifest.json";
/// How the domain XML's file is called.
pub(super) const DOMAIN_XML: &str = "domain.xml";
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

/// Reads all of the package file `path`, once.
pub fn contents(path: &Path, progress: &dyn Progress) -> Result<Contents, VerifyError> {
    progress.step(&Step {
        name: "check",
        title: format!("check {}", path.display()),
        bytes: Some(fs::metadata(path)?.len()),
    });
    let mut texts = GuestTexts::default();
    let found = verify::take(path, &mut texts, &mut |bytes| progress.advance(bytes))?;
    if found.kind == PackageKind::Srpm {
        let fault = "a source package cannot be installed; build it, or take the tar file that is in it";
        return Err(refused(path, "its kind", fault));
    }
    let guest = match (texts.manifest, texts.domain_xml) {
        (Some(manifest), Some(xml)) => {
            let manifest = Manifest::parse(&manifest.0);
            let xml = String::from_utf8(xml.0);
            Some(GuestContents {
                manifest: manifest.map_err(|error| refused(path, MANIFEST, &error.to_string()))?,
                domain_xml: xml.map_err(|_| refused(path, DOMAIN_XML, "it is not UTF-8"))?,
            })
        }
        (Some(_), None) => return Err(refused(path, DOMAIN_XML, "it is missing")),
        (None, _) => None,
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

/// The files of image packages that lie beside the package files of guests, of the same kind, and hold images that these
/// need and that are neither among the files nor `there`.
pub fn images_beside(
    packages: &[Contents],
    there: &dyn Fn(&Layer) -> bool,
    progress: &dyn Progress,
) -> Result<Vec<Contents>, VerifyError> {
    let mut beside: Vec<Contents> = Vec::new();
    for package in packages {
        let Some(guest) = package
            .guest
            .as_ref()
            .filter(|_| package.found.kind != PackageKind::Tar)
        else {
            continue;
        };
        let dir = package.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = dir.unwrap_or_else(|| Path::new("."));
        for layer in guest.manifest.images() {
            let brings =
                |package: &Contents| package.images.iter().any(|(digest, _)| *digest == layer.digest);
            if there(layer) || packages.iter().chain(&beside).any(brings) {
                continue;
            }
            for path in files_of(&layer.package, package.found.kind, dir)? {
                let found = contents(&path, progress)?;
                if found.found.kind == package.found.kind && brings(&found) {
                    beside.push(found);
                    break;
                }
            }
        }
    }
    Ok(beside)
}

/// The files in `dir` that are called like packages `name`, in order.
fn files_of(name: &ImagePackage, kind: PackageKind, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let (mark, ending) = match kind {
        PackageKind::Deb => ("_", ".deb"),
        _ => ("-", ".noarch.rpm"),
    };
    let start = format!("{name}{mark}");
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&start) && name.ends_with(ending) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The texts of a guest, kept while its package is read.
#[derive(Default)]
struct GuestTexts {
    manifest: Option<Limited>,
    domain_xml: Option<Limited>,
    /// Which of them is being read.
    now: Option<&'static str>,
}

impl GuestTexts {
    fn text(&mut self) -> &mut Option<Limited> {
        match self.now {
            Some(MANIFEST) => &mut self.manifest,
            _ => &mut self.domain_xml,
        }
    }
}

impl Outlet for GuestTexts {
    fn begin(&mut self, path: &str) -> io::Result<bool> {
        // In a package it has the path on the host, in a tree it lies at the top.
        let is = |name: &str| path == name || path.starts_with('/') && path.rsplit('/').next() == Some(name);
        self.now = [MANIFEST, DOMAIN_XML].into_iter().find(|name| is(name));
        if self.now.is_some() {
            // Should there be two, the last one is kept, until the package is refused for it.
            *self.text() = Some(Limited(Vec::new(), MAX_TEXT));
        }
        Ok(self.now.is_some())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text().as_mut().map_or(Ok(()), |text| text.write_all(bytes))
    }

    fn end(&mut self, _: &Digest) -> io::Result<()> {
        Ok(())
    }
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
