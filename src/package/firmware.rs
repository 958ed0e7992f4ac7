//! Reads what a guest's machine remembers besides its disks: UEFI variables, and the state of an emulated TPM. Putting
//! it back is `install::firmware`.

use super::error::RepackError;
use super::files::{FileRole, GuestFile, MAX_FILE};
use crate::domain::Domain;
use crate::host::{Layout, files};
use std::io;
use std::path::{Path, PathBuf};

/// The guest's own firmware variables, if it has some: libvirt makes the file at the first start. Where the XML does not
/// say where it is, it is in libvirt's own place, if libvirt knows the domain.
pub(super) fn variables(domain: &Domain, libvirt_knows: bool) -> Result<Option<GuestFile>, RepackError> {
    let firmware = &domain.firmware;
    let flash = firmware
        .loader
        .as_ref()
        .is_some_and(|loader| loader.kind.as_deref() == Some("pflash"));
    let has_some = firmware.auto.as_deref() == Some("efi") || flash;
    let named = firmware.nvram.as_ref().and_then(|nvram| nvram.path.as_ref());
    let path = match named {
        Some(path) => PathBuf::from(path),
        None if has_some && libvirt_knows => Layout::default().nvram(&domain.name).on_disk().to_owned(),
        None => return Ok(None),
    };
    let what = "the firmware variables";
    let Some(content) = read(what, &path)? else {
        return Ok(None);
    };
    // Domain XML can come from anyone and name any file of this host.
    if !is_variable_store(&content) {
        return Err(RepackError::File {
            what,
            path,
            reason: "this is no store of UEFI variables".to_owned(),
        });
    }
    Ok(Some(GuestFile::only(FileRole::FirmwareVariables, content)))
}

/// Whether this begins as a UEFI firmware volume does (Platform Initialization specification, volume 3, 3.2.1), or is a
/// qcow2 image, in which libvirt may keep one.
fn is_variable_store(content: &[u8]) -> bool {
    content.get(40..44) == Some(b"_FVH") || content.starts_with(b"QFI\xfb")
}

/// The state of the guest's emulated TPM.
pub(super) fn tpm_state(domain: &Domain) -> Result<GuestFile, RepackError> {
    let none = |reason| RepackError::NoTpm { reason };
    let tpm = domain
        .tpm
        .as_ref()
        .ok_or_else(|| none("the domain has no TPM, or that of the host"))?;
    let of_libvirt = domain.uuid.map(|uuid| Layout::default().tpm_state(uuid));
    // What swtpm's state is called in libvirt's directory, and in one that the domain names.
    let found = [
        (FileRole::Tpm2State, "tpm2", "tpm2-00.permall"),
        (FileRole::Tpm1State, "tpm1.2", "tpm-00.permall"),
    ];
    for (role, dir, file) in found {
        let path: PathBuf = match (&tpm.state_dir, &of_libvirt) {
            (Some(dir), _) => Path::new(dir).join(file),
            (None, Some(own)) => own.on_disk().join(dir).join(file),
            (None, None) => return Err(none("the domain XML has no <uuid>, by which libvirt keeps it")),
        };
        if let Some(content) = read("the state of the TPM", &path)? {
            return Ok(GuestFile::only(role, content));
        }
    }
    Err(none(
        "libvirt has kept none: it is made when the guest first starts",
    ))
}

fn read(what: &'static str, path: &Path) -> Result<Option<Vec<u8>>, RepackError> {
    match files::read_at_most(path, MAX_FILE) {
        Ok(content) => Ok(Some(content)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RepackError::File {
            what,
            path: path.to_owned(),
            reason: e.to_string(),
        }),
    }
}
