//! What errors of definitions and networks mean to the user.

use crate::cli::Failure;
use miniascape::network::import::ImportError;
use miniascape::network::{
    AdoptError, CompileError, DiffError, FindError, NetworkError, RefreshError, RegisterError, StateError,
    StatusError,
};
use miniascape::template::TemplateError;
use miniascape::yaml::Problems;

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

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::failed(error.to_string())
    }
}
