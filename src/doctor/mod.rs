//! A sick host explained: what keeps networks and guests from working here, each with the command that comes next.
//!
//! The facts are gathered once (`facts`), through `host` and the rooms that know; the judgement over them is pure, a file
//! for each kind of trouble. Nothing is changed here: the commands are for people to run.

mod confinement;
mod facts;
mod firewall;
mod libvirt;
mod name_server;
mod networks;
mod rest;
mod rules;
#[cfg(test)]
mod tests;

pub use facts::{Asked, Facts, gather};

use crate::name::shell_word as word;
use serde::Serialize;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// libvirt itself.
    Libvirt,
    /// The policy of the message bus.
    BusPolicy,
    /// Units and the daemon.
    Services,
    /// The port that names are asked at.
    Port53,
    /// Networks: whether they are as they were registered.
    Networks,
    /// Whether the host passes packets on.
    Forwarding,
    /// What the host's firewalls let through.
    Firewall,
    /// libvirt's own DHCP, or another server's, beside ours.
    Dhcp,
    /// Leases of machines that are no more.
    Leases,
    /// What `AppArmor` and `SELinux` have denied.
    Denials,
    /// KVM.
    Kvm,
    /// Work that waits.
    Pending,
    /// Room on the disks.
    Space,
}

impl Check {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Libvirt => "libvirt",
            Self::BusPolicy => "bus-policy",
            Self::Services => "services",
            Self::Port53 => "port53",
            Self::Networks => "networks",
            Self::Forwarding => "forwarding",
            Self::Firewall => "firewall",
            Self::Dhcp => "dhcp",
            Self::Leases => "leases",
            Self::Denials => "denials",
            Self::Kvm => "kvm",
            Self::Pending => "pending",
            Self::Space => "space",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// What it is about: a network, a unit, a directory.
    pub object: String,
    /// What is wrong with it.
    pub found: String,
    /// What to do next, as a line for root's shell.
    pub command: String,
    /// What else is worth knowing before or after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Finding {
    fn new(
        check: Check,
        object: impl Into<String>,
        found: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self {
            check,
            object: object.into(),
            found: found.into(),
            command: command.into(),
            note: None,
        }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// What could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What was to be looked at.
    pub check: Check,
    /// Why it was not.
    pub reason: String,
}

/// What was found on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, what the rest depends on first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
}

/// Judges a host by the facts about it.
pub fn judge(facts: &Facts) -> Report {
    let mut report = Report::default();
    libvirt::judge(facts, &mut report);
    name_server::judge(facts, &mut report);
    networks::judge(facts, &mut report);
    firewall::judge(facts, &mut report);
    confinement::judge(facts, &mut report);
    rest::judge(facts, &mut report);
    // Each kind keeps its own order.
    report.findings.sort_by_key(|finding| finding.check);
    report
}

impl Report {
    fn unseen(&mut self, check: Check, reason: impl Into<String>) {
        self.unseen.push(Unseen {
            check,
            reason: reason.into(),
        });
    }
}
