//! What `--base` and `--since` stand for: an image, an installed package, or a package's file.

use super::super::progress::Teller;
use super::super::{Context, Failure};
use super::Args;
use miniascape::image::{self, Format, Guess};
use miniascape::name::{Digest, is_path, printable};
use miniascape::package::{
    self, Base, Earlier, GuestPackage, ImagePackage, Target, UnpackedBase, UnpackedSet,
};
use std::path::{Path, PathBuf};

/// The image that `text` of `--base` stands for. One out of a package file lasts as long as the second value.
pub(super) fn base(
    context: &Context,
    args: &Args,
    text: &str,
) -> Result<(Base, Option<UnpackedBase>), Failure> {
    let (target, name) = match text.split_once('=') {
        Some((target, name)) if !target.contains('/') => (Some(target.to_owned()), name),
        _ => (None, text),
    };
    let base = |path: PathBuf, packaged, has_package| Base {
        target: target.clone(),
        path,
        format: Format::Qcow2,
        packaged,
        has_package,
    };
    let path = Path::new(name);
    // A file that happens to be called like a package is one, unless there is such a package.
    let installed = installed_base(context, target.as_deref(), name);
    if let Some(found) = installed.filter(|found| found.is_ok() || !path.exists()) {
        let digest = found?;
        let path = context.layout().packaged_image(&digest);
        return Ok((base(path.on_disk().to_owned(), Some(digest), true), None));
    }
    if is_package_file(name) {
        let teller = Teller::new(context, args.progress);
        let dir = args.workdir.as_deref().unwrap_or(args.output());
        let unpacked = package::unpack_base(path, target.as_deref(), dir, args.caller, &teller);
        teller.finish(unpacked.is_ok());
        let unpacked = unpacked?;
        let base = base(unpacked.path.clone(), Some(unpacked.digest), unpacked.has_package);
        return Ok((base, Some(unpacked)));
    }
    match image::guess(path)? {
        Guess::Own(format) => {
            let base = base(path.to_owned(), None, false);
            Ok((Base { format, ..base }, None))
        }
        Guess::Foreign(format) => Err(Failure::usage(format!(
            "{} is in the format {format}; make it qcow2 first: `miniascape image convert`",
            printable(name, 400)
        ))),
    }
}

/// The package set that `text` of `--since` stands for. One out of package files lasts as long as the second value.
pub(super) fn earlier(
    context: &Context,
    args: &Args,
    text: &str,
) -> Result<(Earlier, Option<UnpackedSet>), Failure> {
    let others: Vec<&str> = args
        .to
        .iter()
        .filter(|to| !matches!(to, Target::Rpm | Target::Deb))
        .map(|to| to.as_str())
        .collect();
    if !others.is_empty() {
        return Err(Failure::usage(format!(
            "--since makes RPM and Debian packages, which require the earlier images; {} would have to hold them all",
            others.join(", ")
        )));
    }
    if !is_path(text)
        && let Ok(package) = text.parse::<GuestPackage>()
    {
        let installed = package::show(context.layout(), &package)?;
        return Ok((Earlier::installed(context.layout(), &installed)?, None));
    }
    if ![".rpm", ".deb"].iter().any(|ending| text.ends_with(ending)) {
        return Err(Failure::usage(format!(
            "--since {}: that is neither an installed guest package (vm-…) nor an RPM or Debian package's file",
            printable(text, 200)
        )));
    }
    let teller = Teller::new(context, args.progress);
    let dir = args.workdir.as_deref().unwrap_or(args.output());
    let read = Earlier::of_file(Path::new(text), dir, args.caller, &teller);
    teller.finish(read.is_ok());
    Ok(read?)
}

/// The base that an installed package called `name` holds; `None` if no package is called so.
fn installed_base(context: &Context, target: Option<&str>, name: &str) -> Option<Result<Digest, Failure>> {
    if is_path(name) {
        return None;
    }
    if let Ok(package) = name.parse::<ImagePackage>() {
        return Some(package::image(context.layout(), &package).map_err(Into::into));
    }
    let package = name.parse::<GuestPackage>().ok()?;
    let disks = match package::show(context.layout(), &package) {
        Ok(installed) => installed.manifest.disks,
        Err(error) => return Some(Err(error.into())),
    };
    let named = disks.iter().find(|disk| Some(disk.target.as_str()) == target);
    // A disk may have another name there, if there is no choice.
    let disk = named.or_else(|| disks.first().filter(|_| target.is_none() || disks.len() == 1));
    let base = disk.and_then(|disk| disk.layers.first()).map(|base| base.digest);
    Some(base.ok_or_else(|| Failure::usage(format!("{package} has no disk {}", target.unwrap_or_default()))))
}

pub(in crate::cli) fn is_package_file(name: &str) -> bool {
    [".rpm", ".deb", ".tar", ".tar.zst", ".tar.xz", ".tar.gz"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
