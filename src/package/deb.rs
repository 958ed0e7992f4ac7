//! Debian packages by dpkg-deb, from trees staged with hard links to the images.

use super::error::RepackError;
use super::manifest::{Layer, Manifest};
use super::name::ImagePackage;
use super::render::Texts;
use super::rpm::{Built, epoch};
use super::tree::Tree;
use crate::host::{Layout, Place, Program, files};
use fs_err as fs;
use std::path::{Path, PathBuf};

/// Builds the guest's package and one for each image from `tree`, below `work`.
pub(super) fn build(
    tree: &Tree,
    manifest: &Manifest,
    texts: &Texts,
    work: &Path,
) -> Result<Vec<Built>, RepackError> {
    let out = work.join("deb");
    files::make_dir(&out, 0o755)?;
    let mut built = vec![guest(tree, manifest, texts, &out)?];
    for layer in manifest.images() {
        built.push(image(tree, manifest, texts, layer, &out)?);
    }
    Ok(built)
}

fn guest(tree: &Tree, manifest: &Manifest, texts: &Texts, out: &Path) -> Result<Built, RepackError> {
    let package = &manifest.package;
    let stage = Stage::new(out)?;
    let place = stage.layout.guest_package(package.name.guest());
    stage.directories(&place)?;
    let mut installed = 0;
    let own = [("domain.xml", 0o600), ("manifest.json", 0o644)];
    let more = manifest
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.mode()));
    for (name, mode) in own.into_iter().chain(more) {
        let content = fs::read(tree.dir.join(name))?;
        installed += content.len() as u64;
        files::write(place.join(name).on_disk(), &content, mode)?;
    }
    stage.control("control", &texts.guest_control(installed)?, 0o644)?;
    stage.control("postinst", &texts.text("postinst")?, 0o755)?;
    stage.control("postrm", &texts.text("postrm")?, 0o755)?;
    stage.build(package.name.as_str(), package.version.as_str(), manifest)
}

fn image(
    tree: &Tree,
    manifest: &Manifest,
    texts: &Texts,
    layer: &Layer,
    out: &Path,
) -> Result<Built, RepackError> {
    let stage = Stage::new(out)?;
    let dir = stage.layout.packaged_images();
    stage.directories(&dir)?;
    let name = layer.digest.file_name();
    fs::hard_link(tree.dir.join(&name), dir.join(&name).on_disk())?;
    stage.control("control", &texts.image_control(layer)?, 0o644)?;
    stage.build(layer.package.as_str(), ImagePackage::VERSION, manifest)
}

/// The content of one package before it is packed.
struct Stage {
    root: PathBuf,
    out: PathBuf,
    layout: Layout,
}

impl Stage {
    fn new(out: &Path) -> Result<Self, RepackError> {
        let root = out.join("stage");
        files::remove_dir(&root)?;
        files::make_dir(&root, 0o755)?;
        files::make_dir(&root.join("DEBIAN"), 0o755)?;
        Ok(Self {
            layout: Layout::other_root(&root),
            root,
            out: out.to_owned(),
        })
    }

    /// Makes the directories down to `place`. Those that another package made first keep that one's modes on the
    /// target, so each of them has the mode that everybody gives it.
    fn directories(&self, place: &Place) -> Result<(), RepackError> {
        let named = place.named();
        let mut all: Vec<&Path> = named.ancestors().filter(|dir| dir.parent().is_some()).collect();
        all.reverse();
        let layout = Layout::default();
        for dir in all {
            let mode = if dir == layout.packaged_images().named() {
                0o700
            } else if dir.ends_with("libvirt/images") || dir == layout.images().named() {
                0o711
            } else {
                0o755
            };
            let relative = dir.strip_prefix("/").unwrap_or(dir);
            files::make_dir(&self.root.join(relative), mode)?;
        }
        Ok(())
    }

    fn control(&self, name: &str, text: &str, mode: u32) -> Result<(), RepackError> {
        files::write(&self.root.join("DEBIAN").join(name), text.as_bytes(), mode)?;
        Ok(())
    }

    fn build(self, package: &str, version: &str, manifest: &Manifest) -> Result<Built, RepackError> {
        let release = manifest.package.release;
        let file = self.out.join(format!("{package}_{version}-{release}_all.deb"));
        Program::find("dpkg-deb", "dpkg")?
            .run()
            .env("SOURCE_DATE_EPOCH", epoch(manifest.created).to_string())
            .args(["--build", "--root-owner-group", "-Zzstd", "-z3"])
            .arg(&self.root)
            .arg(&file)
            .output()?;
        files::remove_dir(&self.root)?;
        Ok(Built {
            file,
            package: package.to_owned(),
        })
    }
}
