//! What a change interrupts. Which steps the host needs is the planner's knowledge (`network::apply`); here is what a
//! step interrupts, and which of the things that are applied a value of the definition is in.

use super::tree::Change;
use crate::network::Step;
use serde::Serialize;
use serde_json::Value;

/// What a change interrupts, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Impact {
    /// Nothing: it is there at once.
    #[serde(rename = "live")]
    Live,
    /// Nothing; machines get what is new for them when they renew their leases.
    #[serde(rename = "lease renew")]
    LeaseRenew,
    /// DNS and DHCP for less than a second.
    #[serde(rename = "dnsmasq restart")]
    DnsmasqRestart,
    /// The network: running guests are unplugged and plugged in again.
    #[serde(rename = "re-plug")]
    Replug,
    /// Guests have to be shut down and started.
    #[serde(rename = "guest restart")]
    GuestRestart,
}

impl Impact {
    /// What this step of an update interrupts.
    pub(super) const fn of(step: Step) -> Self {
        match step {
            Step::StartDnsmasq | Step::RestartDnsmasq | Step::StopDnsmasq => Self::DnsmasqRestart,
            Step::Stop | Step::RemoveBridge | Step::Replug | Step::Undefine => Self::Replug,
            Step::WriteFiles
            | Step::Record
            | Step::Define
            | Step::Autostart
            | Step::Start
            | Step::AddHosts
            | Step::ReloadDnsmasq
            | Step::OpenFirewall
            | Step::CloseFirewall
            | Step::Adopt
            | Step::TakeLeases
            | Step::StopLibvirtDnsmasq
            | Step::RemoveFiles
            | Step::Defer
            | Step::Forget => Self::Live,
        }
    }
}

impl std::fmt::Display for Impact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::LeaseRenew => "lease renew",
            Self::DnsmasqRestart => "dnsmasq restart",
            Self::Replug => "re-plug",
            Self::GuestRestart => "guest restart",
        })
    }
}

/// What is applied, by who reads it and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::network) enum Target {
    /// libvirt's definition, which the next start uses.
    Definition,
    /// libvirt's running network.
    Running,
    /// dnsmasq's configuration.
    Conf,
    /// The files that dnsmasq reads again.
    Data,
    /// The host's firewall.
    Firewall,
}

use Target::{Conf, Data, Definition, Firewall, Running};

impl Target {
    /// What it interrupts to bring it up to date, where nobody can tell which steps that takes.
    pub(in crate::network) const fn impact(self) -> Impact {
        Impact::of(match self {
            Definition => Step::Define,
            Running => Step::Stop,
            Conf => Step::RestartDnsmasq,
            Data => Step::ReloadDnsmasq,
            Firewall => Step::OpenFirewall,
        })
    }

    /// What a step brings up to date; `None` for one that belongs to others.
    pub(in crate::network) const fn of(step: Step) -> Option<Self> {
        match step {
            Step::Define | Step::Autostart => Some(Definition),
            Step::Stop | Step::RemoveBridge | Step::Start | Step::Replug | Step::Undefine => Some(Running),
            Step::StartDnsmasq | Step::RestartDnsmasq | Step::StopDnsmasq => Some(Conf),
            Step::AddHosts | Step::ReloadDnsmasq => Some(Data),
            Step::OpenFirewall | Step::CloseFirewall => Some(Firewall),
            // Files are read by one of these; the rest are no steps of an update.
            Step::WriteFiles
            | Step::Record
            | Step::Adopt
            | Step::TakeLeases
            | Step::StopLibvirtDnsmasq
            | Step::RemoveFiles
            | Step::Defer
            | Step::Forget => None,
        }
    }
}

/// What a change is applied to.
pub(in crate::network) fn targets(change: &Change) -> &'static [Target] {
    match (change.key(0).unwrap_or_default(), change.key(1)) {
        ("name" | "title", _) => &[Definition],
        ("domain", _) => &[Definition, Conf, Data],
        ("mode" | "bridge" | "ipv4", _) | ("ipv6", None | Some("subnet" | "gateway")) => {
            &[Definition, Running, Conf, Data, Firewall]
        }
        ("dns", Some("records")) if is_address(change) => &[Data],
        ("dhcp", Some("options" | "ignore")) | ("hosts", _) => &[Data],
        ("require_interfaces" | "forbid_interfaces", _) => &[],
        // A record can turn into one of the others, and their order is that of both.
        ("dns", Some("serve" | "records")) => &[Conf, Data],
        ("dhcp", None | Some("boot")) => &[Conf, Data, Firewall],
        _ => &[Conf],
    }
}

/// A record that stands with the names of hosts: one of a name with addresses.
fn is_address(change: &Change) -> bool {
    change.entry(2).is_some_and(|label| label.starts_with("name "))
}

/// True if running guests cannot follow the change, because their own interfaces would have to be others: libvirt has a
/// network on one side only, or the host's ends of their links have another address.
pub(super) fn is_for_guests(change: &Change, before: &Value, after: &Value) -> bool {
    let without = |network: &Value| network["mode"] == "hostroute";
    match change.key(0) {
        Some("mode") => without(before) != without(after),
        Some("ipv4" | "ipv6") => without(before) && without(after),
        _ => false,
    }
}
