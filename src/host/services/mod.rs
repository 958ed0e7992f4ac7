//! Who runs the networks' dnsmasq processes: systemd, one unit a network; or, on hosts without it and for files at
//! other places, our own `miniascape daemon`, asked over its socket.

mod chore;
mod protocol;
mod supervisor;
mod systemd;

pub use chore::Chore;
pub use protocol::{Request, Verb};
pub use supervisor::{Daemon, DaemonError};

use super::{CommandError, Layout};
use crate::name::NetworkName;
use std::io;
use std::path::{Path, PathBuf};

/// Why a dnsmasq could not be started, stopped or asked about.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Neither systemd nor the daemon is there.
    #[error("no systemd runs here and `miniascape daemon` is not running (no answer at {}: {source})", socket.display())]
    NoManager {
        /// Where the daemon's socket should be.
        socket: PathBuf,
        /// Why it cannot be reached.
        source: io::Error,
    },
    /// The daemon listens to others only.
    #[error("`miniascape daemon` listens to root only ({})", .0.display())]
    NotForUs(PathBuf),
    /// The daemon stopped answering.
    #[error("`miniascape daemon` did not answer: {0}")]
    Talk(io::Error),
    /// The daemon tried and could not.
    #[error("{0}")]
    Refused(String),
    /// dnsmasq has ended while it was started, with these words.
    #[error("dnsmasq for {0} ended at once: {1}")]
    Ended(NetworkName, String),
    /// systemctl could not be run, or failed.
    #[error(transparent)]
    Systemctl(#[from] CommandError),
}

/// The process of a network's dnsmasq, for those who may not ask its manager: as the daemon has recorded it.
pub fn recorded_pid(layout: &Layout, network: &NetworkName) -> Option<u32> {
    let pid = supervisor::pid_on_record(layout, network)?;
    u32::try_from(pid.as_raw_nonzero().get()).ok()
}

/// What is known of one network's dnsmasq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Running {
    /// Its process id, if it runs.
    pub pid: Option<u32>,
}

/// The manager of the dnsmasq processes on this host.
#[derive(Debug, Clone)]
pub enum Services {
    /// systemd, with the unit `miniascape-dnsmasq@NAME.service`.
    Systemd,
    /// `miniascape daemon`, at this socket.
    Daemon(PathBuf),
}

impl Services {
    /// The manager that is responsible for files at `layout`.
    pub fn of(layout: &Layout) -> Self {
        // sd_booted(3): this directory exists if systemd is the init system.
        if layout.is_standard() && Path::new("/run/systemd/system").is_dir() {
            Self::Systemd
        } else {
            Self::Daemon(layout.daemon_socket().on_disk().to_owned())
        }
    }

    /// Fails if the manager cannot be reached, before anything is changed.
    pub fn check(&self) -> Result<(), ServiceError> {
        match self {
            Self::Systemd => Ok(()),
            Self::Daemon(socket) => protocol::ask(socket, &Request::new(Verb::Ping, None)).map(drop),
        }
    }

    /// Starts the network's dnsmasq now and at every boot; true if it was not running.
    pub fn start(&self, network: &NetworkName) -> Result<bool, ServiceError> {
        match self {
            Self::Systemd => systemd::start(network),
            Self::Daemon(socket) => self.changed(socket, Verb::Start, network),
        }
    }

    /// Stops it now and for good; true if it was running.
    pub fn stop(&self, network: &NetworkName) -> Result<bool, ServiceError> {
        match self {
            Self::Systemd => systemd::stop(network),
            Self::Daemon(socket) => self.changed(socket, Verb::Stop, network),
        }
    }

    /// Stops and starts it, so that it reads its configuration anew.
    pub fn restart(&self, network: &NetworkName) -> Result<(), ServiceError> {
        match self {
            Self::Systemd => systemd::restart(network),
            Self::Daemon(socket) => self.changed(socket, Verb::Restart, network).map(drop),
        }
    }

    /// Makes it re-read its hosts, reservations and options (SIGHUP), the process staying the same.
    pub fn reload(&self, network: &NetworkName) -> Result<(), ServiceError> {
        match self {
            Self::Systemd => systemd::reload(network),
            Self::Daemon(socket) => self.changed(socket, Verb::Reload, network).map(drop),
        }
    }

    /// Whether it runs, and as which process.
    pub fn running(&self, network: &NetworkName) -> Result<Running, ServiceError> {
        match self {
            Self::Systemd => systemd::running(network),
            Self::Daemon(socket) => {
                let pid = protocol::ask(socket, &Request::new(Verb::Status, Some(network)))?.pid;
                Ok(Running { pid })
            }
        }
    }

    /// The units of ours and of libvirt's that have failed; none where there is no systemd.
    pub fn failed_units(&self) -> Result<Vec<String>, ServiceError> {
        match self {
            Self::Systemd => {
                systemd::failed(&["miniascape*", "libvirt*", "virt*d.s*", "virtlogd*", "virtlockd*"])
            }
            Self::Daemon(_) => Ok(Vec::new()),
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "belongs to the daemon's arm of every method above"
    )]
    fn changed(&self, socket: &Path, verb: Verb, network: &NetworkName) -> Result<bool, ServiceError> {
        Ok(protocol::ask(socket, &Request::new(verb, Some(network)))?.changed)
    }
}
