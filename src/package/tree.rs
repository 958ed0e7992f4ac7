//! The build tree, `vm-NAME-repacked-VERSION`: what a packager expects to find, and the tarball of it.

use super::error::RepackError;
use super::manifest::Manifest;
use super::plan::Plan;
use super::render::{Texts, tree_name};
use crate::host::files;
use fs_err as fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// zstd's own default: the images are hardly worth more.
const ZSTD_LEVEL: i32 = 3;

/// A build tree on the disk.
#[derive(Debug)]
pub(super) struct Tree {
    /// The directory; the images are in it already.
    pub(super) dir: PathBuf,
    /// Its name.
    pub(super) name: String,
}

impl Tree {
    /// Writes spec, README, manifest and domain XML beside the images in `dir`, then gives the directory its name.
    pub(super) fn complete(
        dir: &Path,
        manifest: &Manifest,
        texts: &Texts,
        plan: &Plan,
    ) -> Result<Self, RepackError> {
        let spec = format!("{}.spec", manifest.package.name);
        files::write(&dir.join(spec), texts.text("guest.spec")?.as_bytes(), 0o644)?;
        files::write(&dir.join("README.md"), texts.text("README.md")?.as_bytes(), 0o644)?;
        files::write(&dir.join("manifest.json"), manifest.to_json().as_bytes(), 0o644)?;
        files::write(&dir.join("domain.xml"), plan.xml.as_bytes(), 0o600)?;
        for file in &plan.files {
            let section = &file.section;
            files::write(&dir.join(section.name.as_str()), &file.content, section.mode())?;
        }
        let name = tree_name(&manifest.package.name, &manifest.package.version);
        let named = dir.with_file_name(&name);
        fs::rename(dir, &named)?;
        Ok(Self { dir: named, name })
    }

    /// Writes the tree as `target`, a zstd-compressed tar file: sorted, owned by root, every time `mtime` (seconds
    /// since 1970), so that the same tree gives the same bytes.
    pub(super) fn tarball(
        &self,
        target: &Path,
        mtime: u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), RepackError> {
        let file = BufWriter::new(fs::File::create(target)?);
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
        let mut archive = tar::Builder::new(encoder);
        // Sparse members are an extension that not every reader has, and zstd makes nothing of zeros anyway.
        archive.sparse(false);
        let mut header = header(tar::EntryType::Directory, 0o755, 0, mtime);
        archive.append_data(&mut header, format!("{}/", self.name), io::empty())?;
        let mut entries = fs::read_dir(&self.dir)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let meta = entry.metadata()?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
            let mut header = self::header(tar::EntryType::Regular, mode, meta.len(), mtime);
            let path = Path::new(&self.name).join(entry.file_name());
            archive.append_data(&mut header, path, fs::File::open(entry.path())?)?;
            advance(meta.len());
        }
        let mut file = archive.into_inner()?.finish()?;
        file.flush()?;
        Ok(())
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64, mtime: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o7777);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header
}
