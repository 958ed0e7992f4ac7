//! The texts of a package set: spec, control files, scriptlets, README. Filled from typed values only, so that no
//! newline, percent sign or quote can change what rpm, dpkg or a shell make of them.
//!
//! The templates are compiled in and cannot be replaced: what scriptlets do is part of what a package promises.

use super::manifest::{DiskSection, Manifest, NotPacked, Role};
use super::name::{GuestPackage, ImagePackage, network_deb_capability, network_rpm_capability};
use super::set::Set;
use super::stream::Codec;
use super::text::{Line, Word};
use super::tree::plain_name;
use crate::host::{Layout, Place};
use crate::name::{Digest, GuestName, PackageVersion};
use serde::Serialize;
use tera::{Context, Tera};

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        /// The name and text of every template.
        const TEMPLATES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../data/templates/package/", $name)))),*];
    };
}

templates!(
    "Makefile.am",
    "README.md",
    "configure.ac",
    "control-guest",
    "control-image",
    "description-guest",
    "description-image",
    "guest.spec",
    "install.md",
    "miniascape.m4",
    "postinst",
    "postrm",
    "rpm-post",
    "rpm-postun",
    "summary-guest",
    "summary-image",
);

/// All templates.
#[derive(Debug)]
pub(super) struct Texts(Tera);

/// The templates about one package set.
#[derive(Debug)]
pub(super) struct GuestTexts<'a> {
    tera: &'a Tera,
    context: Context,
}

#[derive(Serialize)]
struct Image<'a> {
    package: ImagePackage,
    version: &'static str,
    digest: Digest,
    file: String,
    plain: String,
    rpm_capability: String,
    deb_capability: String,
    role: Option<Role>,
    target: &'a str,
}

impl<'a> Image<'a> {
    fn new(digest: &Digest, role: Option<Role>, target: &'a str) -> Self {
        Self {
            package: ImagePackage::of(digest),
            version: ImagePackage::VERSION,
            digest: *digest,
            file: digest.file_name(),
            plain: role.map(|role| plain_name(target, role)).unwrap_or_default(),
            rpm_capability: ImagePackage::rpm_capability(digest),
            deb_capability: ImagePackage::deb_capability(digest),
            role,
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
                images.push(Image::new(&layer.digest, Some(layer.role), disk.target.as_str()));
            }
        }
    }
    images
}

/// A disk for those who put it together themselves.
#[derive(Serialize)]
struct Disk<'a> {
    target: &'a str,
    /// The topmost image.
    top: String,
    /// The file that the package's domain XML names.
    instance: String,
}

fn disks<'a>(manifest: &'a Manifest, layout: &Layout) -> Vec<Disk<'a>> {
    let guest = manifest.package.name.guest();
    let disk = |disk: &'a DiskSection| Disk {
        target: disk.target.as_str(),
        top: disk
            .layers
            .last()
            .map(|layer| layer.digest.file_name())
            .unwrap_or_default(),
        instance: layout
            .instance_disk(guest, &disk.target)
            .named()
            .display()
            .to_string(),
    };
    manifest.disks.iter().map(disk).collect()
}

/// A file of the guest package besides domain XML and manifest.
#[derive(Serialize)]
struct File<'a> {
    name: &'a Word,
    mode: String,
}

/// What stands for a network's definition between packages.
#[derive(Serialize)]
struct Capability {
    rpm: String,
    deb: String,
}

impl Capability {
    #[expect(clippy::needless_pass_by_value, reason = "made for iterators of owned names")]
    fn new(network: String) -> Self {
        Self {
            rpm: network_rpm_capability(&network),
            deb: network_deb_capability(&network),
        }
    }
}

/// What the templates may use.
#[derive(Serialize)]
struct Fields<'a> {
    tool: &'a Line,
    tree: String,
    /// What follows `.tar` in the tarball's name.
    tar_suffix: &'static str,
    /// rpmbuild's word for the compression, and dpkg-deb's.
    payload: String,
    codec: &'static str,
    /// How hard make and dpkg-deb shall compress.
    level: i32,
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
    disks: Vec<Disk<'a>>,
    brought: Vec<Capability>,
    recommended: Vec<Capability>,
    /// What the package was called before.
    renamed_from: &'a [GuestPackage],
}

impl Texts {
    pub(super) fn new() -> Result<Self, tera::Error> {
        let mut tera = Tera::new();
        tera.add_raw_templates(TEMPLATES.iter().copied())?;
        Ok(Self(tera))
    }

    /// A text about the package of the image `digest`, which has `size` bytes.
    pub(super) fn image(
        &self,
        template: &str,
        set: &Set<'_>,
        digest: &Digest,
        size: u64,
    ) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert("release", &set.release);
        context.insert("installed_kib", &size.div_ceil(1024));
        context.insert("image", &Image::new(digest, None, ""));
        self.0.render(template, &context)
    }

    /// The texts about the set as a whole, of which the manifest tells.
    pub(super) fn guest(&self, set: &Set<'_>, manifest: &Manifest) -> Result<GuestTexts<'_>, tera::Error> {
        let layout = Layout::default();
        let named = |place: Place| place.named().display().to_string();
        let package = &manifest.package;
        let guest = package.name.guest();
        let context = Context::from_serialize(&Fields {
            tool: &manifest.tool,
            tree: set.tree_name(),
            tar_suffix: set.codec.suffix(),
            payload: match set.codec {
                Codec::Zstd(level) => format!("w{level}T0.zstdio"),
                Codec::Xz(level) => format!("w{level}T.xzdio"),
                Codec::None => "w.ufdio".into(),
            },
            codec: set.codec.name(),
            level: match set.codec {
                Codec::Zstd(level) | Codec::Xz(level) => level,
                Codec::None => 1,
            },
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
            disks: disks(manifest, &layout),
            brought: manifest.brought_networks().map(Capability::new).collect(),
            recommended: manifest.recommended_networks().map(Capability::new).collect(),
            renamed_from: &manifest.renamed_from,
        })?;
        Ok(GuestTexts {
            tera: &self.0,
            context,
        })
    }

    /// What a package manager runs for `package`.
    pub(super) fn scriptlet(&self, template: &str, package: &GuestPackage) -> Result<String, tera::Error> {
        let layout = Layout::default();
        let mut context = Context::new();
        context.insert("package", package);
        context.insert("records_dir", &layout.instances().named().display().to_string());
        context.insert(
            "instances_dir",
            &layout.all_instance_disks().named().display().to_string(),
        );
        self.0.render(template, &context)
    }

    /// A text in which only the guest's name is.
    pub(super) fn named(&self, template: &str, guest: &GuestName) -> Result<String, tera::Error> {
        let mut context = Context::new();
        context.insert("guest", guest);
        self.0.render(template, &context)
    }
}

impl GuestTexts<'_> {
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
}
