//! What errors of images and packages mean to the user.

use crate::cli::Failure;
use miniascape::image::ImageError;
use miniascape::install::InstallError;
use miniascape::name::printable;
use miniascape::package::{InstalledError, PlanError, RepackError, VerifyError};

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Refused { .. } => Self::usage(error.to_string())
                .hint("do not install it; fetch the file again, or have it packed again"),
            VerifyError::Io(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                Self::usage(error.to_string())
            }
            VerifyError::Io(error) => error.into(),
            VerifyError::Template(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let message = error.to_string();
        match error {
            InstallError::Libvirt(error) => error.into(),
            InstallError::Image(error) => error.into(),
            InstallError::NameTaken { remedy, .. } => Self::refused(message).hint(remedy),
            InstallError::HostBound { package, .. } => Self::refused(message).hint(format!(
                "look at what it is for, then: miniascape guest register {package} --trust; it is in {}",
                miniascape::host::Layout::default()
                    .guest_package(package.guest())
                    .join("domain.xml")
                    .named()
                    .display()
            )),
            InstallError::Xml { package, .. } => {
                Self::usage(message).hint(format!("reinstall {package}, or pack the guest again"))
            }
            InstallError::NoInstance(_) => {
                Self::failed(message).hint("`miniascape guest status` shows those that there are")
            }
            InstallError::Running(name) => {
                Self::refused(message).hint(format!("shut it down first: `miniascape guest shutdown {name}`"))
            }
            InstallError::Elsewhere { guest, .. } => Self::refused(message).hint(format!(
                "merge or delete its external snapshots first (`virsh snapshot-list {guest}`, `virsh blockcommit`)"
            )),
            InstallError::Unverified { .. } => {
                Self::refused(message).hint("register its package again: `miniascape guest register PACKAGE`")
            }
            InstallError::Swapped { .. } => Self::refused(message)
                .hint("reinstall the package of that image, then register the guest again"),
            InstallError::Overlay { guest, .. } => Self::refused(message).hint(format!(
                "bring back the disk that belongs to {guest}, or move this one away to begin with a fresh one"
            )),
            InstallError::Digest { .. } => Self::failed(message).hint("reinstall the package of that image"),
            InstallError::Package(error) => error.into(),
            InstallError::Verify(error) => error.into(),
            InstallError::Managed { package, .. } => Self::refused(message).hint(format!(
                "remove it first (`miniascape package remove {package}`; the disks of its guests stay), or install its own kind of package"
            )),
            InstallError::Kvm(error) => error.into(),
            InstallError::Command(error) => error.into(),
            InstallError::Layer { .. }
            | InstallError::ImageMissing { .. }
            | InstallError::File { .. }
            | InstallError::NoSpace { .. }
            | InstallError::Record { .. }
            | InstallError::Chain(_) => Self::failed(message),
            InstallError::Io(error) => error.into(),
        }
    }
}

impl From<RepackError> for Failure {
    fn from(error: RepackError) -> Self {
        let message = error.to_string();
        match error {
            RepackError::Plan(error) => error.into(),
            RepackError::Image(error) => error.into(),
            RepackError::Command(error) => error.into(),
            RepackError::TreeExists { .. } => Self::refused(message),
            RepackError::OtherHands { .. } => Self::refused(message)
                .hint("choose a directory that is root's alone, or one that is not there yet"),
            RepackError::Io(error) => error.into(),
            RepackError::TooLargeForDeb { .. } => Self::failed(message).hint(
                "make RPM packages or a tar file of this guest (--to rpm,tar), or compress more (--compress zstd:19)",
            ),
            RepackError::SourceChanged { .. } => Self::failed(message)
                .hint("see to it that nothing writes there, and pack again"),
            RepackError::Verify(error) => error.into(),
            RepackError::NoBase { .. } | RepackError::NoEarlier { .. } => Self::usage(message),
            RepackError::NoSpace { .. } => Self::failed(message).hint(
                "--workdir names another place; where the package is installed, give its name instead of the file",
            ),
            RepackError::SourceGone => Self::failed(message).hint("pack it again"),
            RepackError::NoTpm { .. } => Self::failed(message).hint("leave --with-tpm out"),
            RepackError::File { .. } | RepackError::Template(_) => Self::failed(message),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let message = error.to_string();
        match error {
            PlanError::Active { guest } => Self::refused(message).hint(format!(
                "--live packs it as it is now; or shut it down: `miniascape guest shutdown {guest}`"
            )),
            PlanError::Xml(_)
            | PlanError::Value { .. }
            | PlanError::NoSuchDisk { .. }
            | PlanError::OwnName { .. } => Self::usage(message),
            PlanError::NoDisk { .. } | PlanError::Disk { .. } => Self::failed(message),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let message = error.to_string();
        match error {
            ImageError::InUse { .. } => Self::refused(message),
            ImageError::BackingNotAllowed { backing, .. } => Self::refused(message).hint(format!(
                "if it is a disk image: --allow-backing '{}'",
                printable(&backing.to_string_lossy(), 400)
            )),
            ImageError::Missing { .. } => Self::failed(message)
                .hint("bring the file back, or correct the path (a guest's is in its domain XML)"),
            ImageError::Header { .. } | ImageError::Damaged { .. } | ImageError::NoBackingFormat { .. } => {
                Self::usage(message)
            }
            ImageError::MissingBacking { .. } => Self::failed(message)
                .hint("bring the file back; if it has moved: `qemu-img rebase -u -b FILE -F FORMAT IMAGE`"),
            ImageError::Tool(error) => error.into(),
            ImageError::Io(error) => error.into(),
            _ => Self::failed(message),
        }
    }
}

impl From<InstalledError> for Failure {
    fn from(error: InstalledError) -> Self {
        let message = error.to_string();
        match error {
            InstalledError::Missing(_) => {
                Self::failed(message).hint("`miniascape package list` shows what there is")
            }
            InstalledError::NoImage(_) => Self::failed(message).hint(
                "install it, or give its package file instead of its name (--base ./miniascape-image-….deb)",
            ),
            InstalledError::Io(error) => error.into(),
            InstalledError::Manifest { package, .. } => {
                Self::usage(message).hint(format!("reinstall {package}, or pack the guest again"))
            }
        }
    }
}
