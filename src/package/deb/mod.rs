//! Debian packages, written directly: streaming, in one pass.
//!
//! `data.tar.zst` is one zstd frame, or one xz stream, because dpkg reads no more than one, and its tar headers stand in a
//! plain block, where the image's name is filled in at the end. There are no md5sums: dpkg makes them itself when it unpacks, and an
//! MD5 over an image would cost as much as half of its compression.

pub(super) mod ar;

use super::archive::{self, Archive};
use super::error::RepackError;
use super::files::Content;
use super::manifest::Manifest;
use super::name::ImagePackage;
use super::render::GuestTexts;
use super::set::{Built, Set};
use super::stream::{Codec, Draft, Listing, Sink};
use crate::host::{Layout, Place};
use crate::name::Digest;
use std::io;
use std::path::Path;

/// The package of one image, while the image passes.
pub(super) struct ImageDeb<'a> {
    set: &'a Set<'a>,
    draft: Draft,
    size: u64,
    /// Bytes of `data.tar` before the image: as they are, and as they stand in the draft's beginning.
    before: (usize, u64),
}

impl<'a> ImageDeb<'a> {
    /// Begins the package of an image of `size` bytes as the file `path`.
    pub(super) fn create(set: &'a Set<'a>, path: &Path, size: u64) -> Result<Self, RepackError> {
        let (head, before) = head(set, &Digest::from_bytes([0; 32]), size, 0)?;
        Ok(Self {
            set,
            draft: Draft::create(path, &head)?,
            size,
            before,
        })
    }

    /// Ends the package of what turned out to be the image `digest`.
    pub(super) fn finish(mut self, digest: &Digest, image: &Listing) -> Result<Built, RepackError> {
        let mut end = archive::padding(self.size);
        end.extend(archive::end());
        let closed = self.set.codec.close(self.before.0, image, &end);
        self.packed(&closed)?;
        let data = self.before.1 + self.draft.body();
        self.draft.append(ar::padding(data))?;
        let (head, _) = head(self.set, digest, self.size, data)?;
        let package = ImagePackage::of(digest).to_string();
        Ok(Built {
            file: self.draft.finish(&head)?,
            name: file_name(self.set, &package, ImagePackage::VERSION),
            package,
        })
    }
}

impl Sink for ImageDeb<'_> {
    fn packed(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.before.1 + self.draft.body() + bytes.len() as u64 > ar::MAX_MEMBER {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, too_large()));
        }
        self.draft.append(bytes)
    }
}

/// Refuses an image of `size` bytes that will certainly not fit: without compression its length is known beforehand.
pub(super) fn fits(set: &Set<'_>, target: &str, size: u64) -> Result<(), RepackError> {
    if set.codec != Codec::None {
        return Ok(());
    }
    let (_, (before, _)) = head(set, &Digest::from_bytes([0; 32]), size, 0)?;
    let after = archive::padding(size).len() + archive::end().len();
    let packed = size.saturating_add((before + after) as u64);
    if packed > ar::MAX_MEMBER {
        return Err(RepackError::TooLargeForDeb {
            target: target.to_owned(),
            packed,
        });
    }
    Ok(())
}

/// Why an image does not fit.
fn too_large() -> String {
    format!(
        "a Debian package holds at most {} bytes of packed data, and this image needs more, which was not certain \
         before: make RPM packages or a tar file of this guest (--to rpm,tar), or compress more (--compress zstd:19)",
        ar::MAX_MEMBER
    )
}

/// All of an image's package up to the image, with `data` bytes of `data.tar`; and how many bytes of `data.tar` these
/// are, as they are and as they stand there.
fn head(
    set: &Set<'_>,
    digest: &Digest,
    size: u64,
    data: u64,
) -> Result<(Vec<u8>, (usize, u64)), RepackError> {
    let control = set.texts.image("control-image", set, digest, size)?;
    let mut out = beginning(set, &[("control", 0o644, &control)])?;
    let layout = Layout::default();
    let mut tar = Archive::new(set.seconds().into());
    directories(&mut tar, &layout.packaged_images());
    tar.begin(&dotted(&layout.packaged_image(digest)), 0o444, size);
    let tar = tar.into_bytes();
    let opened = set.codec.open(&tar)?;
    out.extend(data_header(set, data));
    out.extend(&opened);
    Ok((out, (tar.len(), opened.len() as u64)))
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
    let mut tar = Archive::new(set.seconds().into());
    directories(&mut tar, &place);
    for file in contents {
        tar.file(&dotted(&place.join(file.name)), file.mode, file.bytes);
    }
    let mut tar = tar.into_bytes();
    tar.extend(archive::end());
    let data = set.codec.whole(&tar)?;
    let installed: usize = contents.iter().map(|file| file.bytes.len()).sum();
    let mut out = beginning(
        set,
        &[
            ("control", 0o644, &texts.guest_control(installed as u64)?),
            ("postinst", 0o755, &texts.text("postinst")?),
            ("postrm", 0o755, &texts.text("postrm")?),
        ],
    )?;
    out.extend(data_header(set, data.len() as u64));
    let mut draft = Draft::create(path, &out)?;
    draft.append(&data)?;
    draft.append(ar::padding(data.len() as u64))?;
    let package = manifest.package.name.to_string();
    Ok(Built {
        file: draft.finish(&out)?,
        name: file_name(set, &package, manifest.package.version.as_str()),
        package,
    })
}

fn file_name(set: &Set<'_>, package: &str, version: &str) -> String {
    format!("{package}_{version}-{}_all.deb", set.release)
}

/// The members before the data. They are packed in plain blocks, so that their length depends on nothing else.
fn beginning(set: &Set<'_>, control: &[(&str, u32, &str)]) -> io::Result<Vec<u8>> {
    let mut tar = Archive::new(set.seconds().into());
    tar.directory("./", 0o755);
    for (name, mode, text) in control {
        tar.file(&format!("./{name}"), *mode, text.as_bytes());
    }
    let mut tar = tar.into_bytes();
    tar.extend(archive::end());
    let mut packed = set.codec.open(&tar)?;
    packed.extend(set.codec.close(tar.len(), &Listing::default(), &[]));
    let mut out = ar::MAGIC.to_vec();
    out.extend(ar::member("debian-binary", set.seconds(), b"2.0\n"));
    let name = format!("control.tar{}", set.codec.suffix());
    out.extend(ar::member(&name, set.seconds(), &packed));
    Ok(out)
}

fn data_header(set: &Set<'_>, size: u64) -> Vec<u8> {
    ar::header(&format!("data.tar{}", set.codec.suffix()), set.seconds(), size)
}

/// Adds the directories down to `place`. Those that another package made first keep that one's modes on the target, so
/// each of them has the mode that everybody gives it.
fn directories(tar: &mut Archive, place: &Place) {
    let layout = Layout::default();
    let mut all: Vec<&Path> = place.named().ancestors().collect();
    all.reverse();
    for dir in all {
        let mode = if dir == layout.packaged_images().named() {
            0o700
        } else if dir.ends_with("libvirt/images") || dir == layout.images().named() {
            0o711
        } else {
            0o755
        };
        let slash = if dir.parent().is_some() { "/" } else { "" };
        tar.directory(&format!(".{}{slash}", dir.display()), mode);
    }
}

/// A place as `data.tar` has it.
fn dotted(place: &Place) -> String {
    format!(".{}", place.named().display())
}
