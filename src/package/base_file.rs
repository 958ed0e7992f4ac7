//! A base out of a package file: its image is unpacked into a temporary file beside the results, which goes with the
//! run that needs it. What a package file may hold is `verify`'s business; what is done with a base, `disks`' and `images`'.

use super::error::RepackError;
use super::name::GuestPackage;
use super::progress::Progress;
use super::unpacked::{self, Unpacked};
use super::verify::{PackageKind, Verified, VerifiedFile};
use crate::name::Digest;
use std::path::{Path, PathBuf};

/// How the names of bases end in a tree's tar file.
const BASE: &str = "-base.qcow2";

/// An unpacked base. Its file goes with this value, or, if the run is killed, with the next run in that directory.
#[derive(Debug)]
pub struct UnpackedBase {
    /// Its file, in qcow2.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// True if the file that it came from is the image's own package.
    pub has_package: bool,
    _unpacked: Unpacked,
}

/// Unpacks the image of `package`, an image package or a tree's tar file (then the base of the disk `target`, or the
/// first), below `dir`, after all of the package was checked. `caller` is the user on whose behalf root runs this.
pub fn unpack_base(
    package: &Path,
    target: Option<&str>,
    dir: &Path,
    caller: Option<u32>,
    progress: &dyn Progress,
) -> Result<UnpackedBase, RepackError> {
    let found = unpacked::checked(package, progress)?;
    let image = image_in(&found, target).map_err(|reason| RepackError::NoBase {
        path: package.to_owned(),
        reason,
    })?;
    let unpacked = Unpacked::create(dir, caller)?;
    unpacked.ensure_room(package, image.size)?;
    let name = image.digest.file_name();
    unpacked.take(package, &found, &image.path, &name, progress)?;
    Ok(UnpackedBase {
        path: unpacked.path().join(name),
        digest: image.digest,
        has_package: matches!(found.kind, PackageKind::Rpm | PackageKind::Deb),
        _unpacked: unpacked,
    })
}

/// The image in a package that can be a base, or why there is none.
fn image_in<'a>(found: &'a Verified, target: Option<&str>) -> Result<&'a VerifiedFile, String> {
    let named = |name: &str| found.files.iter().find(|file| file.path == name);
    match found.kind {
        PackageKind::Tar => {
            let own = target.and_then(|target| named(&format!("{target}{BASE}")));
            let mut bases = found.files.iter().filter(|file| file.path.ends_with(BASE));
            own.or_else(|| bases.next())
                .ok_or_else(|| "no disk in it has a base".to_owned())
        }
        PackageKind::Srpm => Err("take the tar file that is in it, or the package of the image".to_owned()),
        PackageKind::Rpm | PackageKind::Deb if found.package.parse::<GuestPackage>().is_ok() => Err(format!(
            "{} has no image in it; take the package of its base, which `repack` made beside it (miniascape-image-…)",
            found.package
        )),
        PackageKind::Rpm | PackageKind::Deb => found
            .files
            .first()
            .ok_or_else(|| "it has no image in it".to_owned()),
    }
}
