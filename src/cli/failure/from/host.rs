//! What errors of libvirt, other programs, services and files mean to the user.

use crate::cli::Failure;
use miniascape::host::firewall::FirewallError;
use miniascape::host::kvm::KvmError;
use miniascape::host::libvirt::{GraceError, is_local_uri};
use miniascape::host::services::DaemonError;
use miniascape::host::{CommandError, Daemons, Distribution, LibvirtError, ServiceError};
use miniascape::lease::{LeaseFileError, WatchError};

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let failure = Self::failed(error.to_string());
        // Most of what changes a host is for root.
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            failure.for_root()
        } else {
            failure
        }
    }
}

impl From<LibvirtError> for Failure {
    fn from(error: LibvirtError) -> Self {
        match &error {
            LibvirtError::Unreachable { .. } if !error.is_away() => Self::missing(error.to_string())
                .for_root()
                .hint("or as a user whom libvirt trusts: `sudo miniascape init` puts you into the group `libvirt`"),
            LibvirtError::Unreachable { uri, .. } if is_local_uri(uri) && !Daemons::here().installed => {
                Self::missing(error.to_string()).hint(format!(
                    "libvirt is not installed here: `{}`",
                    Daemons::here().start_libvirt()
                ))
            }
            LibvirtError::Unreachable { uri, .. } if is_local_uri(uri) => Self::missing(error.to_string())
                .hint(format!(
                    "is libvirt running? `{}` starts it (as root), `miniascape doctor` tells more",
                    Daemons::here().start_libvirt()
                )),
            LibvirtError::Unreachable { uri, .. } => Self::missing(error.to_string()).hint(format!(
                "is libvirt running there? `virsh -c {uri} version` tries it"
            )),
            LibvirtError::Library { message } => {
                // The dynamic loader's words for a file that is nowhere.
                let (verb, command) = if message.ends_with("No such file or directory") {
                    ("install it", Distribution::here().install(&["libvirt0"]))
                } else {
                    ("install it anew", Distribution::here().install_anew("libvirt0"))
                };
                Self::missing(error.to_string()).hint(format!("{verb}: `{command}`"))
            }
            LibvirtError::Blocked { name, blocker } => {
                Self::refused(error.to_string()).hint(blocker.remedy(name))
            }
            LibvirtError::Call { .. } => Self::failed(error.to_string()),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match &error {
            CommandError::Missing { package, .. } => Self::missing(error.to_string()).hint(format!(
                "install it: `{}`",
                Distribution::here().install(&[package])
            )),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<FirewallError> for Failure {
    fn from(error: FirewallError) -> Self {
        match error {
            FirewallError::Command(error) => error.into(),
            FirewallError::Io(error) => error.into(),
        }
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match &error {
            WatchError::Bus(_) => Self::missing(error.to_string()).hint("is the D-Bus system bus running?"),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<LeaseFileError> for Failure {
    fn from(error: LeaseFileError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::AlreadyRunning(_) => Self::refused(error.to_string()),
            DaemonError::Listen(_) => Self::failed(error.to_string()),
            DaemonError::Command(error) => error.into(),
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::NoManager { .. } => {
                Self::missing(error.to_string()).hint("start `miniascape daemon` first")
            }
            ServiceError::NotForUs(_) => Self::failed(error.to_string()).for_root(),
            ServiceError::Systemctl(error) => error.into(),
            ServiceError::Talk(_) | ServiceError::Refused(_) | ServiceError::Ended(..) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<GraceError> for Failure {
    fn from(error: GraceError) -> Self {
        match error {
            GraceError::Libvirt(error) => error.into(),
            GraceError::StillRunning { .. } => Self::failed(error.to_string())
                .hint("give it more time with --timeout, or let --force-after pull the plug"),
        }
    }
}

impl From<KvmError> for Failure {
    fn from(error: KvmError) -> Self {
        match error {
            KvmError::Command(error) => error.into(),
            KvmError::Io(_) => Self::failed(error.to_string()),
        }
    }
}
