//! RPM packages, written directly: streaming, in one pass, any size of file.
//!
//! `header` and `cpio` are the formats, `package` says what is in a header. Whether rpm is happy with the result is the
//! tests' business; texts and names come from `render` and `name`.

pub(super) mod cpio;
pub(super) mod header;
mod package;
mod source;

use super::error::RepackError;
use super::files::Content;
use super::manifest::Manifest;
use super::name::{ImagePackage, network_rpm_capability};
use super::render::{GuestTexts, Texts};
use super::set::{Built, Set};
use super::stream::{Codec, Draft, Listing, Sink};
use crate::host::{Layout, Place};
use crate::name::Digest;
pub(super) use source::SourceRpm;

use package::{Archive, File, Package};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;

/// Bytes of the archive before the image: the entries of two directories and its own.
const BEFORE: usize = 3 * cpio::ENTRY;

/// The package of one image, while the image passes.
pub(super) struct ImageRpm<'a> {
    set: &'a Set<'a>,
    draft: Draft,
    size: u64,
    digest: Sha256,
}

impl<'a> ImageRpm<'a> {
    /// Begins the package of an image of `size` bytes as the file `path`.
    pub(super) fn create(set: &'a Set<'a>, path: &Path, size: u64) -> Result<Self, RepackError> {
        let nothing = Archive::of(set.codec, Digest::from_bytes([0; 32]), 0, 0);
        let head = package_of(set, &Digest::from_bytes([0; 32]), size)?.head(&nothing);
        let mut rpm = Self {
            set,
            draft: Draft::create(path, &head)?,
            size,
            digest: Sha256::new(),
        };
        let mut archive = Vec::new();
        for index in 0..3 {
            archive.extend(cpio::entry(index));
        }
        let opened = set.codec.open(&archive)?;
        rpm.packed(&opened)?;
        Ok(rpm)
    }

    /// Ends the package of what turned out to be the image `digest`.
    pub(super) fn finish(mut self, digest: &Digest, image: &Listing) -> Result<Built, RepackError> {
        let mut end = cpio::padding(self.size);
        end.extend(cpio::trailer());
        let closed = self.set.codec.close(BEFORE, image, &end);
        self.packed(&closed)?;
        let archive = Archive::of(
            self.set.codec,
            Digest::from_bytes(self.digest.finalize().into()),
            self.draft.body(),
            BEFORE as u64 + self.size + end.len() as u64,
        );
        let package = package_of(self.set, digest, self.size)?;
        Ok(Built {
            file: self.draft.finish(&package.head(&archive))?,
            name: package.file_name(),
            package: package.name,
        })
    }
}

impl Sink for ImageRpm<'_> {
    fn packed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.draft.append(bytes)
    }
}

impl Archive {
    fn of(codec: Codec, digest: Digest, packed: u64, plain: u64) -> Self {
        let compressor = match codec {
            Codec::Zstd(level) | Codec::Xz(level) => Some((codec.name(), level)),
            Codec::None => None,
        };
        Self {
            compressor,
            digest,
            packed,
            plain,
        }
    }
}

impl Package {
    fn file_name(&self) -> String {
        let kind = if self.source.is_some() { "noarch" } else { "src" };
        format!("{}-{}-{}.{kind}.rpm", self.name, self.version, self.release)
    }
}

/// Writes the guest's package as the file `path`.
pub(super) fn guest(
    set: &Set<'_>,
    manifest: &Manifest,
    texts: &GuestTexts<'_>,
    contents: &[Content<'_>],
    path: &Path,
) -> Result<Built, RepackError> {
    let place = Layout::default().guest_package(manifest.package.name.guest());
    let mut files = vec![File::directory(named(&place), 0o755)];
    for &Content {
        name,
        mode,
        bytes: content,
    } in contents
    {
        let digest = Digest::from_bytes(Sha256::digest(content).into());
        files.push(File::regular(
            named(&place.join(name)),
            u16::try_from(mode).expect("permission bits are small"),
            content.len() as u64,
            digest,
        ));
    }
    let mut archive = cpio::entry(0);
    for (index, file) in contents.iter().enumerate() {
        archive.extend(cpio::entry(index + 1));
        archive.extend(file.bytes);
        archive.extend(cpio::padding(file.bytes.len() as u64));
    }
    archive.extend(cpio::trailer());
    let images = manifest.images();
    let needs = images
        .iter()
        .map(|layer| (ImagePackage::rpm_capability(&layer.digest), 0));
    let program = [package::POST, package::POSTUN].map(|flag| ("miniascape".to_owned(), flag));
    let package = Package {
        name: manifest.package.name.to_string(),
        version: manifest.package.version.to_string(),
        release: set.release,
        summary: texts.text("summary-guest")?,
        description: texts.text("description-guest")?,
        source: Some(set.source_rpm()),
        created: set.seconds(),
        provides: manifest
            .brought_networks()
            .map(|name| network_rpm_capability(&name))
            .collect(),
        requires: program.into_iter().chain(needs).collect(),
        recommends: manifest
            .recommended_networks()
            .map(|name| network_rpm_capability(&name))
            .collect(),
        renamed_from: manifest.renamed_from.iter().map(ToString::to_string).collect(),
        post: Some(texts.text("rpm-post")?),
        postun: Some(texts.text("rpm-postun")?),
        files,
    };
    write(set.codec, &package, &archive, path)
}

/// Writes a package with a small archive.
fn write(codec: Codec, package: &Package, archive: &[u8], path: &Path) -> Result<Built, RepackError> {
    let stored = codec.whole(archive)?;
    let digest = Digest::from_bytes(Sha256::digest(&stored).into());
    let facts = Archive::of(codec, digest, stored.len() as u64, archive.len() as u64);
    let head = package.head(&facts);
    let mut draft = Draft::create(path, &head)?;
    draft.append(&stored)?;
    Ok(Built {
        file: draft.finish(&head)?,
        name: package.file_name(),
        package: package.name.clone(),
    })
}

/// The package of the image `digest`.
fn package_of(set: &Set<'_>, digest: &Digest, size: u64) -> Result<Package, RepackError> {
    let layout = Layout::default();
    let dirs = [(layout.images(), 0o711), (layout.packaged_images(), 0o700)];
    let mut files: Vec<File> = dirs
        .iter()
        .map(|(place, mode)| File::directory(named(place), *mode))
        .collect();
    files.push(File::regular(
        named(&layout.packaged_image(digest)),
        0o444,
        size,
        *digest,
    ));
    let texts: &Texts = set.texts;
    Ok(Package {
        name: ImagePackage::of(digest).to_string(),
        version: ImagePackage::VERSION.to_owned(),
        release: set.release,
        summary: texts.image("summary-image", set, digest, size)?,
        description: texts.image("description-image", set, digest, size)?,
        source: Some(set.source_rpm()),
        created: set.seconds(),
        provides: vec![ImagePackage::rpm_capability(digest)],
        requires: Vec::new(),
        recommends: Vec::new(),
        renamed_from: Vec::new(),
        post: None,
        postun: None,
        files,
    })
}

fn named(place: &Place) -> String {
    place.named().display().to_string()
}
