//! What may lie in a package, whatever its format: an image under the name of its digest, or a guest's domain XML and
//! manifest. Everything else is refused.

use super::input::{Checked, Fault};
use super::{PackageKind, Verified, VerifiedFile};
use crate::domain::Domain;
use crate::host::{Layout, Place};
use crate::name::{Digest, printable};
use crate::package::files::MAX_FILE;
use crate::package::manifest::Manifest;
use crate::package::name::{GuestPackage, ImagePackage};

/// The most bytes of a small file: no manifest and no domain XML is longer.
pub(super) const SMALL: u64 = 16 * 1024 * 1024;

/// A file or directory of a package.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Absolute, as it will be on the host.
    pub(super) path: String,
    pub(super) directory: bool,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) size: u64,
    /// None for a directory.
    pub(super) digest: Option<Digest>,
    /// The content of a small file.
    pub(super) content: Vec<u8>,
}

/// What a package says of itself.
pub(super) struct Claims<'a> {
    pub(super) kind: PackageKind,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) provides: Vec<String>,
    pub(super) requires: Vec<String>,
    /// Packages that have to give way to this one, by name.
    pub(super) replaces: Vec<String>,
}

/// Refuses a path that a file manager or a shell would take somewhere else.
pub(super) fn plain_path(path: &str) -> Result<(), String> {
    let shown = printable(path, 200);
    if path.split('/').any(|part| part == "..") {
        return Err(format!("the path {shown} climbs out of its directory"));
    }
    if path.contains("//") || path.contains("/./") || path.chars().any(char::is_control) {
        return Err(format!("the path {shown} is not a plain one"));
    }
    Ok(())
}

/// Refuses a file that is larger than any but an image is.
pub(super) fn plausible(path: &str, size: u64) -> Result<(), String> {
    let image = std::path::Path::new(path)
        .extension()
        .is_some_and(|ending| ending == "qcow2");
    if size > MAX_FILE && !image {
        let shown = printable(path, 200);
        return Err(format!("{shown} is larger than {MAX_FILE} bytes, and no image"));
    }
    if size > i64::MAX.unsigned_abs() {
        return Err(format!("{} is larger than any file", printable(path, 200)));
    }
    Ok(())
}

/// Judges what a package holds.
pub(super) fn judge(claims: &Claims<'_>, entries: &[Entry]) -> Checked<Verified> {
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        let place = format!("the file {}", printable(&entry.path, 200));
        plain_path(&entry.path).map_err(|what| Fault::new(&place, what))?;
        if !seen.insert(&entry.path) {
            return Err(Fault::new(place, "it is there twice"));
        }
    }
    let files: Vec<&Entry> = entries.iter().filter(|entry| !entry.directory).collect();
    let place = if let Ok(package) = claims.name.parse::<ImagePackage>() {
        image(claims, &package, &files)?
    } else if let Ok(package) = claims.name.parse::<GuestPackage>() {
        guest(claims, &package, &files)?
    } else {
        let name = printable(claims.name, 80);
        return Err(Fault::new(
            "its name",
            format!("`{name}` is no package of miniascape's"),
        ));
    };
    for dir in entries.iter().filter(|entry| entry.directory) {
        let named = place.named();
        let path = std::path::Path::new(&dir.path);
        if !named.starts_with(path) {
            let place = format!("the directory {}", printable(&dir.path, 200));
            return Err(Fault::new(place, "it does not belong here"));
        }
        if dir.mode & !0o755 != 0 {
            let place = format!("the directory {}", printable(&dir.path, 200));
            return Err(Fault::new(place, format!("its mode is {:o}", dir.mode)));
        }
    }
    Ok(Verified {
        kind: claims.kind,
        package: claims.name.to_owned(),
        version: claims.version.to_owned(),
        files: files.iter().filter_map(|file| file.told()).collect(),
    })
}

impl Entry {
    pub(super) fn told(&self) -> Option<VerifiedFile> {
        Some(VerifiedFile {
            path: self.path.clone(),
            size: self.size,
            digest: self.digest?,
        })
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(format!("the file {}", printable(&self.path, 200)), what)
    }

    /// It is the file at `place`, with permission bits `mode`.
    fn is(&self, place: &Place, mode: u32) -> Checked<()> {
        if self.path != place.named().display().to_string() {
            return Err(self.fault("it does not belong here"));
        }
        if self.mode != mode {
            return Err(self.fault(format!("its mode is {:o} instead of {mode:o}", self.mode)));
        }
        Ok(())
    }
}

fn image(claims: &Claims<'_>, package: &ImagePackage, files: &[&Entry]) -> Checked<Place> {
    let [file] = files else {
        let what = format!("{} files where there is one image", files.len());
        return Err(Fault::new("its content", what));
    };
    let Some(digest) = file.digest else {
        return Err(file.fault("it has no content"));
    };
    gives_way(claims, &[])?;
    let layout = Layout::default();
    let named = layout.packaged_image(&digest);
    if file.path != named.named().display().to_string() {
        let right = named.named().display();
        return Err(file.fault(format!("its SHA-256 is {digest}: it should be {right}")));
    }
    file.is(&named, 0o444)?;
    let capability = match claims.kind {
        PackageKind::Deb => ImagePackage::deb_capability(&digest),
        _ => ImagePackage::rpm_capability(&digest),
    };
    if *package != ImagePackage::of(&digest) || !claims.provides.contains(&capability) {
        return Err(file.fault("the package's name or what it provides is that of another image"));
    }
    Ok(layout.packaged_images())
}

/// No package makes others give way to it but those that it was before.
fn gives_way(claims: &Claims<'_>, renamed_from: &[GuestPackage]) -> Checked<()> {
    let old = |name: &String| renamed_from.iter().any(|old| old.as_str() == name);
    if let Some(other) = claims.replaces.iter().find(|name| !old(name)) {
        let what = format!("it would remove the package {}", printable(other, 80));
        return Err(Fault::new("its conflicts", what));
    }
    let missing = renamed_from
        .iter()
        .find(|old| !claims.replaces.iter().any(|name| name == old.as_str()));
    match missing {
        Some(old) => Err(Fault::new(
            "its conflicts",
            format!("its manifest says that it was {old} before, and it does not replace that"),
        )),
        None => Ok(()),
    }
}

fn guest(claims: &Claims<'_>, package: &GuestPackage, files: &[&Entry]) -> Checked<Place> {
    let dir = Layout::default().guest_package(package.guest());
    let find = |name: &str| {
        let path = dir.join(name).named().display().to_string();
        let file = files.iter().copied().find(|file| file.path == path);
        file.ok_or_else(|| Fault::new("its content", format!("{path} is missing")))
    };
    let (xml, json) = (find("domain.xml")?, find("manifest.json")?);
    let manifest = Manifest::parse(&json.content).map_err(|e| json.fault(e.to_string()))?;
    for file in files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let mode = match manifest
            .files
            .iter()
            .find(|section| section.name.as_str() == name)
        {
            Some(section) if file.digest != Some(section.digest) || file.size != section.size => {
                return Err(file.fault("it is not the one that the manifest lists"));
            }
            Some(section) => section.mode(),
            None if name == "manifest.json" => 0o644,
            None if name == "domain.xml" => 0o600,
            None => return Err(file.fault("it does not belong here")),
        };
        file.is(&dir.join(name), mode)?;
    }
    if let Some(section) = manifest
        .files
        .iter()
        .find(|section| find(section.name.as_str()).is_err())
    {
        return Err(Fault::new("its content", format!("{} is missing", section.name)));
    }
    let section = &manifest.package;
    let version = format!("{}-{}", section.version, section.release);
    if section.name != *package || version != claims.version {
        return Err(json.fault(format!("it is that of {} {version}", section.name)));
    }
    gives_way(claims, &manifest.renamed_from)?;
    for layer in manifest.images() {
        let capability = match claims.kind {
            PackageKind::Deb => ImagePackage::deb_capability(&layer.digest),
            _ => ImagePackage::rpm_capability(&layer.digest),
        };
        if !claims.requires.contains(&capability) {
            return Err(json.fault(format!("the package does not require its image {}", layer.digest)));
        }
    }
    let text = std::str::from_utf8(&xml.content).map_err(|_| xml.fault("it is not UTF-8"))?;
    Domain::parse(text).map_err(|e| xml.fault(e.to_string()))?;
    Ok(dir)
}
