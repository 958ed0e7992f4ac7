//! The texts of a package set: spec, control files, scriptlets, README. Filled from typed values only, so that no
//! newline, percent sign or quote can change what rpm, dpkg or a shell make of them.
//!
//! The templates are compiled in and cannot be replaced: what scriptlets do is part of what a package promises.

use super::manifest::{Layer, Manifest, NotPacked, Role};
use super::name::{GuestPackage, ImagePackage};
use super::text::{Line, Word};
use crate::host::{Layout, Place};
use crate::name::{Digest, GuestName, PackageVersion};
use serde::Serialize;
use tera::{Context, Tera};

/// The name and text of every template.
const TEMPLATES: [(&str, &str); 6] = [
    (
        "guest.spec",
        include_str!("../../data/templates/package/guest.spec"),
    ),
    (
        "README.md",
        include_str!("../../data/templates/package/README.md"),
    ),
    (
        "control-guest",
        include_str!("../../data/templates/package/control-guest"),
    ),
    (
        "control-image",
        include_str!("../../data/templates/package/control-image"),
    ),
    ("postinst", include_str!("../../data/templates/package/postinst")),
    ("postrm", include_str!("../../data/templates/package/postrm")),
];

/// Fills the templates for one package set.
#[derive(Debug)]
pub(super) struct Texts {
    tera: Tera,
    context: Context,
}

#[derive(Serialize)]
struct Image<'a> {
    package: &'a ImagePackage,
    version: &'static str,
    digest: Digest,
    file: String,
    rpm_capability: String,
    deb_capability: String,
    role: Role,
    target: &'a str,
}

impl<'a> Image<'a> {
    fn new(layer: &'a Layer, target: &'a str) -> Self {
        Self {
            package: &layer.package,
            version: ImagePackage::VERSION,
            digest: layer.digest,
            file: layer.digest.file_name(),
            rpm_capability: ImagePackage::rpm_capability(&layer.digest),
            deb_capability: ImagePackage::deb_capability(&layer.digest),
            role: layer.role,
            target,
        }
    }
}

/// Every image of the set once, with the first disk that it belongs to.
fn images(manifest: &Manifest) -> Vec<Image<'_>> {
    let mut images: Vec<Image<'_>> = Vec::new();
    for disk in &manifest.disks {
        for layer in &disk.layers {
            if images.iter().all(|known| known.digest != layer.digest) {
                images.push(Image::new(layer, disk.target.as_str()));
            }
        }
    }
    images
}

/// The name of the build tree and of all that is made of it: `vm-NAME-repacked-VERSION`.
pub(super) fn tree_name(package: &GuestPackage, version: &PackageVersion) -> String {
    format!("{package}-repacked-{version}")
}

/// A file of the guest package besides domain XML and manifest.
#[derive(Serialize)]
struct File<'a> {
    name: &'a Word,
    mode: String,
}

/// What the templates may use.
#[derive(Serialize)]
struct Fields<'a> {
    tool: &'a Line,
    tree: String,
    package: &'a GuestPackage,
    version: &'a PackageVersion,
    release: u32,
    /// The guest's name as packages write it.
    guest: &'a GuestName,
    /// The guest's name as libvirt had it: for the README only.
    original: &'a Line,
    not_packed: &'a [NotPacked],
    warnings: &'a [Line],
    guest_dir: String,
    records_dir: String,
    instances_dir: String,
    files: Vec<File<'a>>,
    image_dir: String,
    images_parent: String,
    images: Vec<Image<'a>>,
}

impl Texts {
    pub(super) fn new(manifest: &Manifest) -> Result<Self, tera::Error> {
        let mut tera = Tera::new();
        tera.add_raw_templates(TEMPLATES)?;
        let layout = Layout::default();
        let named = |place: Place| place.named().display().to_string();
        let package = &manifest.package;
        let guest = package.name.guest();
        let context = Context::from_serialize(&Fields {
            tool: &manifest.tool,
            tree: tree_name(&package.name, &package.version),
            package: &package.name,
            version: &package.version,
            release: package.release,
            guest,
            original: &package.guest,
            not_packed: &manifest.not_packed,
            warnings: &manifest.warnings,
            guest_dir: named(layout.guest_package(guest)),
            records_dir: named(layout.instances()),
            instances_dir: named(layout.all_instance_disks()),
            files: manifest
                .files
                .iter()
                .map(|file| File {
                    name: &file.name,
                    mode: format!("{:04o}", file.mode()),
                })
                .collect(),
            image_dir: named(layout.packaged_images()),
            images_parent: named(layout.images()),
            images: images(manifest),
        })?;
        Ok(Self { tera, context })
    }

    /// The text of a template that is about the whole set.
    pub(super) fn text(&self, template: &str) -> Result<String, tera::Error> {
        self.tera.render(template, &self.context)
    }

    /// The control file of the guest's Debian package; `installed` bytes are reported to dpkg.
    pub(super) fn guest_control(&self, installed: u64) -> Result<String, tera::Error> {
        let mut context = self.context.clone();
        context.insert("installed_kib", &installed.div_ceil(1024));
        self.tera.render("control-guest", &context)
    }

    /// The control file of an image's Debian package.
    pub(super) fn image_control(&self, layer: &Layer) -> Result<String, tera::Error> {
        let mut context = self.context.clone();
        context.insert("installed_kib", &layer.file_size.div_ceil(1024));
        context.insert("image", &Image::new(layer, ""));
        self.tera.render("control-image", &context)
    }
}
