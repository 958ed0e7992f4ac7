//! What errors of guests mean to the user.

use crate::cli::Failure;
use miniascape::guest::{CreateError, DeleteError, GuestError, MakeError, RouteError, WaitError};
use miniascape::name::printable;

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Libvirt(error) => error.into(),
            GuestError::Unknown(name) => Self::failed(format!("there is no guest {}", printable(&name, 80)))
                .hint("`miniascape guest list` shows what there is"),
            GuestError::Xml { .. } | GuestError::State(_) | GuestError::Leases(_) => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<WaitError> for Failure {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Guest(error) => error.into(),
            WaitError::Watch(error) => error.into(),
            WaitError::Timeout { .. } | WaitError::NoNetwork(_) | WaitError::NotRunning { .. } => {
                Self::failed(error.to_string())
            }
        }
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let message = error.to_string();
        match error {
            RouteError::NoMac(network) => Self::refused(message)
                .hint(format!("--network {network},mac=MAC with that of its host entry in {network}")),
            RouteError::NoEntry { network, mac } => Self::refused(message).hint(format!(
                "add `- {{ name: …, mac: \"{mac}\", ip: … }}` to its `hosts`, then `miniascape net update {network}`"
            )),
            RouteError::Network(error) => error.into(),
            RouteError::State(error) => error.into(),
            RouteError::Name(_) => Self::failed(message),
        }
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        let message = error.to_string();
        match error {
            MakeError::Exists(name) => Self::refused(message).hint(format!(
                "choose another name, or look at it: `virsh dumpxml {name}`"
            )),
            MakeError::NoNetwork(name) => {
                Self::failed(message).hint(format!("miniascape net register {name}"))
            }
            MakeError::NotOurs(name) => Self::refused(message).hint(format!(
                "leave out `ip` and `name`, or take the network over first: `miniascape net import {name}`"
            )),
            MakeError::NoPlace { .. } => {
                Self::refused(message).hint("ask for another address or name, or for `auto`")
            }
            MakeError::HostName(_) => Self::usage(message).hint("give it one: --network NETWORK,name=NAME"),
            MakeError::Refresh(error) => error.into(),
            MakeError::FormatNotSaid { path, .. } => Self::usage(message).hint(format!(
                "--disk {0},format=qcow2 if it is one and you trust it, or --disk {0},format=raw",
                path.display()
            )),
            MakeError::DiskExists(path) => Self::refused(message).hint(format!(
                "use it with `--disk {}`, or move it away",
                path.display()
            )),
            MakeError::Route(error) => error.into(),
            MakeError::Create(CreateError::Template(error)) => error.into(),
            MakeError::Create(_) => Self::usage(message),
            MakeError::Image(error) => error.into(),
            MakeError::Kvm(error) => error.into(),
            MakeError::Libvirt(error) => error.into(),
            MakeError::Io(error) => error.into(),
        }
    }
}

impl From<DeleteError> for Failure {
    fn from(error: DeleteError) -> Self {
        let message = error.to_string();
        match error {
            DeleteError::Unknown(_) => {
                Self::failed(message).hint("`miniascape guest list` shows what there is")
            }
            DeleteError::Running(name) => {
                Self::refused(message).hint(format!("shut it down first: `miniascape guest shutdown {name}`"))
            }
            DeleteError::Foreign(name) => {
                Self::refused(message).hint(format!("if it is to go: `virsh undefine {name}`"))
            }
            DeleteError::Packaged { package, .. } => Self::refused(message).hint(format!(
                "remove the package: `apt remove {package}` or `dnf remove {package}`"
            )),
            DeleteError::DiskInUse { user, .. } => {
                Self::refused(message).hint(format!("leave out --disks, or take the disk from {user} first"))
            }
            DeleteError::Xml { .. } => Self::failed(message),
            DeleteError::Install(error) => error.into(),
            DeleteError::State(error) => error.into(),
            DeleteError::Libvirt(error) => error.into(),
            DeleteError::Io(error) => error.into(),
        }
    }
}
