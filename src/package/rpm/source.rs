//! The source package: the tar file of the build tree, which may be written while it is made, and the spec.

use super::package::{Archive, File, Package, SPECFILE};
use super::{Built, RepackError, Set, cpio};
use crate::name::Digest;
use crate::package::stream::{Codec, Draft};
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::Path;

/// A source package, while its tar file passes. It is not compressed: the tar file is.
pub(in crate::package) struct SourceRpm<'a> {
    set: &'a Set<'a>,
    summary: String,
    description: String,
    draft: Draft,
    /// Of the archive so far.
    digest: Sha256,
    /// Of the tar file so far, with its length.
    tarball: Sha256,
    length: u64,
}

impl<'a> SourceRpm<'a> {
    /// Begins the package as the file `path`.
    pub(in crate::package) fn create(
        set: &'a Set<'a>,
        summary: String,
        description: String,
        path: &Path,
    ) -> Result<Self, RepackError> {
        let zero = Digest::from_bytes([0; 32]);
        let package = package(set, &summary, &description, [(0, zero), (0, zero)]);
        let head = package.head(&Archive::of(Codec::None, zero, 0, 0));
        let mut source = Self {
            set,
            summary,
            description,
            draft: Draft::create(path, &head)?,
            digest: Sha256::new(),
            tarball: Sha256::new(),
            length: 0,
        };
        source.put(&cpio::entry(0))?;
        Ok(source)
    }

    /// The next bytes of the tar file.
    pub(in crate::package) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tarball.update(bytes);
        self.length += bytes.len() as u64;
        self.put(bytes)
    }

    /// Adds the spec and ends the package.
    pub(in crate::package) fn finish(mut self, spec: &[u8]) -> Result<Built, RepackError> {
        self.put(&cpio::padding(self.length))?;
        self.put(&cpio::entry(1))?;
        self.put(spec)?;
        self.put(&cpio::padding(spec.len() as u64))?;
        self.put(&cpio::trailer())?;
        let [tarball, digest] =
            [self.tarball, self.digest].map(|hasher| Digest::from_bytes(hasher.finalize().into()));
        let spec_digest = Digest::from_bytes(Sha256::digest(spec).into());
        let files = [(self.length, tarball), (spec.len() as u64, spec_digest)];
        let package = package(self.set, &self.summary, &self.description, files);
        let length = self.draft.body();
        let head = package.head(&Archive::of(Codec::None, digest, length, length));
        Ok(Built {
            file: self.draft.finish(&head)?,
            name: package.file_name(),
            package: package.name,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.draft.append(bytes)
    }
}

/// The package with length and digest of tar file and spec.
fn package(set: &Set<'_>, summary: &str, description: &str, files: [(u64, Digest); 2]) -> Package {
    let [(tar_size, tar_digest), (spec_size, spec_digest)] = files;
    let tarball = format!("{}.tar{}", set.tree_name(), set.codec.suffix());
    let mut spec = File::regular(format!("{}.spec", set.package), 0o644, spec_size, spec_digest);
    spec.flags = SPECFILE;
    Package {
        name: set.package.to_string(),
        version: set.version.to_string(),
        release: set.release,
        summary: summary.to_owned(),
        description: description.to_owned(),
        source: None,
        created: set.seconds(),
        provides: Vec::new(),
        requires: Vec::new(),
        recommends: Vec::new(),
        renamed_from: Vec::new(),
        post: None,
        postun: None,
        files: vec![File::regular(tarball, 0o644, tar_size, tar_digest), spec],
    }
}
