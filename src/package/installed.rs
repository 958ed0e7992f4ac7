//! Guest packages that are installed on a host: what their manifests say, and whether their images are there.

use super::manifest::{Layer, Manifest, ManifestError};
use super::name::{GuestPackage, ImagePackage};
use crate::host::{Layout, Place, files};
use crate::name::Digest;
use fs_err as fs;
use std::io;

/// Why an installed package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// No package of that name is installed.
    #[error("the guest package {0} is not installed")]
    Missing(GuestPackage),
    /// No image package of that name is installed.
    #[error("the image package {0} is not installed")]
    NoImage(ImagePackage),
    /// Its manifest is damaged, or of another program version.
    #[error("the package {package} has a manifest that cannot be used ({}): {source}", path.display())]
    Manifest {
        /// The package.
        package: GuestPackage,
        /// The manifest.
        path: std::path::PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An installed guest package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub package: GuestPackage,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its domain XML.
    pub domain_xml: Place,
    /// Whether each of the manifest's images is there, in the order of [`Manifest::images`].
    pub images: Vec<Presence>,
}

/// Whether an image of a package is there. Its content is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// A file of the right length.
    Present,
    /// No file: its image package is not installed.
    Missing,
    /// A file of another length, or something that is no file.
    Damaged,
    /// Only root may look.
    Unknown,
}

/// All installed guest packages, by name. One that cannot be read is in the list with its error.
pub fn list(layout: &Layout) -> Result<Vec<Result<Installed, InstalledError>>, InstalledError> {
    let dir = layout.guest_packages();
    let entries = match fs::read_dir(dir.on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut packages = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Ok(package) = format!("vm-{}", name.to_string_lossy()).parse::<GuestPackage>() {
            packages.push(package);
        }
    }
    packages.sort();
    let read = packages.iter().map(|package| show(layout, package));
    Ok(read
        .filter(|result| !matches!(result, Err(InstalledError::Missing(_))))
        .collect())
}

/// One installed guest package.
pub fn show(layout: &Layout, package: &GuestPackage) -> Result<Installed, InstalledError> {
    let dir = layout.guest_package(package.guest());
    let path = dir.join("manifest.json");
    let bytes =
        files::read_if_there(path.on_disk())?.ok_or_else(|| InstalledError::Missing(package.clone()))?;
    let bad = |source| InstalledError::Manifest {
        package: package.clone(),
        path: path.on_disk().to_owned(),
        source,
    };
    let manifest = Manifest::parse(&bytes).map_err(bad)?;
    if manifest.package.name != *package {
        let rule = format!("it is that of {}", manifest.package.name);
        return Err(bad(ManifestError::Rule(rule)));
    }
    let images = manifest.images().into_iter().map(|layer| presence(layout, layer));
    Ok(Installed {
        package: package.clone(),
        images: images.collect(),
        domain_xml: dir.join("domain.xml"),
        manifest,
    })
}

/// The digest of the image whose package of that name is installed.
pub fn image(layout: &Layout, package: &ImagePackage) -> Result<Digest, InstalledError> {
    let missing = || InstalledError::NoImage(package.clone());
    let entries = match fs::read_dir(layout.packaged_images().on_disk()) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(e) => return Err(e.into()),
    };
    for entry in entries {
        let name = entry?.file_name();
        if let Some(digest) = name.to_str().and_then(Digest::of_file_name)
            && ImagePackage::of(&digest) == *package
        {
            return Ok(digest);
        }
    }
    Err(missing())
}

/// True if the image lies where its package puts it, in its length.
pub fn is_there(layout: &Layout, layer: &Layer) -> bool {
    presence(layout, layer) == Presence::Present
}

fn presence(layout: &Layout, layer: &Layer) -> Presence {
    match fs::symlink_metadata(layout.packaged_image(&layer.digest).on_disk()) {
        Ok(meta) if meta.is_file() && meta.len() == layer.file_size => Presence::Present,
        Ok(_) => Presence::Damaged,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Presence::Missing,
        Err(_) => Presence::Unknown,
    }
}
