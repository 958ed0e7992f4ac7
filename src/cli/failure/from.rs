//! What each library error means to the user: its exit status and what to do next. Nothing else decides that.

use super::Failure;
use miniascape::guest::{CreateError, DeleteError, GuestError, MakeError, RouteError, WaitError};
use miniascape::host::firewall::FirewallError;
use miniascape::host::kvm::KvmError;
use miniascape::host::libvirt::GraceError;
use miniascape::host::services::DaemonError;
use miniascape::host::{CommandError, Distribution, LibvirtError, ServiceError};
use miniascape::image::ImageError;
use miniascape::install::InstallError;
use miniascape::lease::{LeaseFileError, WatchError};
use miniascape::name::printable;
use miniascape::network::import::ImportError;
use miniascape::network::{
    AdoptError, CompileError, DiffError, FindError, NetworkError, RefreshError, RegisterError, StateError,
    StatusError,
};
use miniascape::package::{InstalledError, PlanError, RepackError, VerifyError};
use miniascape::template::TemplateError;
use miniascape::yaml::Problems;

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let failure = Self::failed(error.to_string());
        // Most of what changes a host is for root.
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            failure.hint("run it as root (`sudo miniascape …`)")
        } else {
            failure
        }
    }
}

impl From<LibvirtError> for Failure {
    fn from(error: LibvirtError) -> Self {
        match &error {
            LibvirtError::Unreachable { .. } if !error.is_away() => Self::missing(error.to_string())
                .hint("run it as root, or as a user whom libvirt trusts (on Debian the group `libvirt`)"),
            LibvirtError::Unreachable { uri, .. } => Self::missing(error.to_string()).hint(format!(
                "is libvirt running? `systemctl status libvirtd` (or virtqemud, virtnetworkd) tells; `virsh -c {uri} version` tries it"
            )),
            LibvirtError::Blocked { name, blocker } => {
                Self::refused(error.to_string()).hint(blocker.remedy(name))
            }
            LibvirtError::Call { .. } => Self::failed(error.to_string()),
        }
    }
}

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
            ServiceError::Systemctl(error) => error.into(),
            ServiceError::Talk(_) | ServiceError::Refused(_) => Self::failed(error.to_string()),
        }
    }
}

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

impl From<GraceError> for Failure {
    fn from(error: GraceError) -> Self {
        match error {
            GraceError::Libvirt(error) => error.into(),
            GraceError::StillRunning { .. } => Self::failed(error.to_string())
                .hint("give it more time with --timeout, or let --force-after pull the plug"),
        }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Definition(problems) => problems.into(),
            NetworkError::Record(error) => error.into(),
            NetworkError::Read(_) | NetworkError::TooLarge { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let mut files: Vec<&str> = problems.list().iter().map(|p| p.file.as_str()).collect();
        files.dedup();
        let count = problems.list().len() + problems.more();
        let message = match (files.as_slice(), count) {
            (&[file], 1) => format!("{file}: 1 mistake"),
            (&[file], _) => format!("{file}: {count} mistakes"),
            (files, _) => format!("{count} mistakes in {} files", files.len()),
        };
        Self {
            problems: problems.list().to_vec(),
            ..Self::usage(message)
        }
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Network(error) => error.into(),
            FindError::Unknown { .. } => {
                Self::usage(error.to_string()).hint("`miniascape net list` shows what there is")
            }
            FindError::Name(_) | FindError::OtherName { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let message = error.to_string();
        match error {
            ImportError::Definition(problems) => problems.into(),
            ImportError::Native(_) => {
                Self::usage(message).hint("`miniascape net show FILE` shows what it means")
            }
            ImportError::Xml(_)
            | ImportError::NotANetwork(_)
            | ImportError::Unsupported { .. }
            | ImportError::Differs(_) => Self::usage(message),
        }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Template(error) => error.into(),
            CompileError::Path(_) | CompileError::Rendered { .. } => Self::usage(error.to_string()),
        }
    }
}

impl From<RegisterError> for Failure {
    fn from(error: RegisterError) -> Self {
        let message = error.to_string();
        match error {
            RegisterError::Foreign(name) => Self::refused(message).hint(format!(
                "give yours another name, or remove the other one: `virsh net-undefine {name}`"
            )),
            RegisterError::BridgeOfNetwork { .. } | RegisterError::BridgeOfHost { .. } => {
                Self::refused(message).hint("choose another `bridge:` in the definition")
            }
            RegisterError::NoBridge { bridge, .. } => Self::refused(message).hint(format!(
                "make it first, for example with `ip link add {bridge} type bridge`; miniascape makes no bridge of mode `bridge`"
            )),
            RegisterError::OtherDhcp { .. } => Self::refused(message)
                .hint("stop that server, or write `dhcp: { serve: false }` and let it serve"),
            RegisterError::InUse { guests, .. } => {
                let shut: Vec<String> = guests
                    .iter()
                    .map(|g| format!("`miniascape guest shutdown {g}`"))
                    .collect();
                Self::refused(message).hint(format!("shut them down first: {}", shut.join(", ")))
            }
            RegisterError::OwnDhcp { network, .. } => Self::refused(message).hint(format!(
                "`miniascape net update {network} --adopt` keeps the reservations and ends that dnsmasq"
            )),
            RegisterError::Libvirt(error) => error.into(),
            RegisterError::Service(error) => error.into(),
            RegisterError::Silent(..) => Self::failed(message).hint(
                "does the bus policy allow the name? The package's policy is in /usr/share/dbus-1/system.d",
            ),
            RegisterError::NotRegistered(name) => {
                Self::failed(message).hint(format!("miniascape net register {name}"))
            }
            RegisterError::Absent(_) => {
                Self::failed(message).hint("`miniascape net list` shows what there is; for a file write its path")
            }
            RegisterError::Differs { network, .. } => Self::refused(message).hint(format!(
                "`--force` replaces the definition by what libvirt has; edit it afterwards, and `miniascape net update {network}`"
            )),
            RegisterError::Command(error) => error.into(),
            RegisterError::Firewall(error) => error.into(),
            RegisterError::RollbackFailed { network, .. } => {
                Self::failed(message).hint(format!("`miniascape net status {network}` shows how it is now"))
            }
            // What libvirt does not take is a mistake in a file, the definition or the host's own template; that it
            // cannot start is this host's doing.
            _ if error.is_bad_definition() => Self::usage(message),
            RegisterError::Refused { .. }
            | RegisterError::Interface(_)
            | RegisterError::Unverified { .. }
            | RegisterError::RolledBack { .. }
            | RegisterError::State(_) => Self::failed(message),
            RegisterError::Io(error) => error.into(),
        }
    }
}

impl From<StatusError> for Failure {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::Libvirt(error) => error.into(),
            StatusError::Service(error) => error.into(),
            StatusError::Unknown(_) => {
                Self::failed(error.to_string()).hint("`miniascape net list` shows what there is")
            }
            StatusError::State(_) | StatusError::Leases(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<DiffError> for Failure {
    fn from(error: DiffError) -> Self {
        match error {
            DiffError::Libvirt(error) => error.into(),
            DiffError::Io(error) => error.into(),
            DiffError::Service(error) => error.into(),
            DiffError::State(_) | DiffError::Leases(_) => Self::failed(error.to_string()),
        }
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::File { .. } => {
                Self::refused(error.to_string()).hint("correct the file, or move it away")
            }
            AdoptError::Network(error) => error.into(),
            AdoptError::Register(error) => error.into(),
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

impl From<RefreshError> for Failure {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Network(error) => error.into(),
            RefreshError::Find(error) => error.into(),
            RefreshError::Compile(error) => error.into(),
            RefreshError::Template(error) => error.into(),
            RefreshError::Update(error) => error.into(),
            RefreshError::State(error) => error.into(),
            RefreshError::Leases(error) => error.into(),
            RefreshError::Bus(error) => Self::failed(error.to_string()),
            RefreshError::OtherChanges(ref name) => Self::refused(error.to_string())
                .hint(format!("make them first: `miniascape net update {name}`")),
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

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::failed(error.to_string())
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
