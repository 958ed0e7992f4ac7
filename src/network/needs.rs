//! What a registered network needs of its host beyond libvirt and dnsmasq, and whether the host gives it: forwarding,
//! proxy ARP, a bridge with the right interfaces and no second DHCP server. It is looked at and told, never changed.

use super::Step;
use super::boot::BootNeeds;
use super::model::{Mode, Network};
use crate::host::bridges::{self, Addresses, Kind};
use crate::host::dhcp_probe::{self, Server};
use crate::host::{CommandError, sysctl};
use crate::name::{InterfaceName, printable};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// What a network needs; kept in its record, so that it is known without the definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// How it is connected.
    pub mode: Mode,
    /// The bridge, ours or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<InterfaceName>,
    /// Its IPv4 subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// The guests' routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// True if it serves DHCP for IPv4.
    pub dhcp: bool,
    /// Interfaces that are to be in the bridge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require_interfaces: Vec<InterfaceName>,
    /// Interfaces that must not be in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbid_interfaces: Vec<InterfaceName>,
    /// What booting over the network needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootNeeds>,
}

/// How the host is.
#[derive(Debug, Default)]
struct Facts {
    /// What the bridge's name stands for, if the network has one.
    bridge: Option<Kind>,
    /// The interfaces in it; `None` if there is no such bridge.
    ports: Option<Vec<String>>,
    /// Required interfaces that the host does not have.
    absent: Vec<InterfaceName>,
    links: Vec<Addresses>,
    /// Switches that are on.
    on: Vec<String>,
    /// DHCP servers on the bridge that are not ours.
    servers: Vec<Server>,
}

const FORWARD4: &str = "net/ipv4/ip_forward";
const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

/// Something that a network needs and this host does not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What kind of thing it is.
    pub need: Need,
    /// What is not as it should be.
    pub what: String,
    /// What to do about it, as the end of that sentence; empty where it says so itself.
    pub advice: String,
    /// The command that does it, a line for a shell, if one command does.
    pub command: Option<String>,
}

/// Kinds of things that a network needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The host passes packets on.
    Forwarding,
    /// It answers for the guests where their addresses are looked for.
    Answering,
    /// A bridge with the right interfaces.
    Bridge,
    /// No DHCP server beside ours.
    OnlyServer,
    /// Files that dnsmasq can read and guests can ask for.
    BootFiles,
}

impl Unmet {
    pub(super) fn new(need: Need, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            need,
            what: what.into(),
            advice: advice.into(),
            command: None,
        }
    }

    pub(super) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if self.advice.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.advice)
    }
}

impl Needs {
    /// What `network` needs.
    pub fn of(network: &Network) -> Self {
        Self {
            mode: network.mode(),
            bridge: network.bridge().cloned(),
            ipv4: network.ipv4().map(|ipv4| ipv4.subnet),
            ipv6: network.ipv6().map(|ipv6| ipv6.subnet),
            gateways: network.gateways().collect(),
            dhcp: network.dhcp().is_some() && network.ipv4().is_some(),
            require_interfaces: network.require_interfaces().to_vec(),
            forbid_interfaces: network.forbid_interfaces().to_vec(),
            boot: BootNeeds::of(network),
        }
    }

    /// What this host does not give an active network that needs this. With `ask` other
    /// DHCP servers are asked for, which takes two seconds where somebody could answer
    /// and nobody does, and four on a bridge that is not ours.
    pub fn unmet(&self, ask: bool) -> Vec<Unmet> {
        let mut facts = self.facts();
        if ask {
            facts.servers = self.servers(&facts);
        }
        let mut found = self.judge(&facts);
        found.extend(self.boot.iter().flat_map(BootNeeds::unmet));
        found
    }

    fn facts(&self) -> Facts {
        let told = |error: &dyn std::error::Error| tracing::warn!("{error}");
        let links = if self.mode.shows_addresses() || self.dhcp {
            bridges::addresses().unwrap_or_else(|error| {
                told(&error);
                Vec::new()
            })
        } else {
            Vec::new()
        };
        let switches = [FORWARD4.to_owned(), FORWARD6.to_owned()];
        let of_links = links.iter().flat_map(|link| self.answering(link));
        let mut facts = Facts {
            on: switches
                .into_iter()
                .chain(of_links)
                .filter(|switch| sysctl::is_on(switch))
                .collect(),
            links,
            ..Facts::default()
        };
        let absent = |interface: &&InterfaceName| bridges::kind(interface) == Kind::Absent;
        facts.absent = self.require_interfaces.iter().filter(absent).cloned().collect();
        if let Some(bridge) = &self.bridge {
            facts.bridge = Some(bridges::kind(bridge));
            facts.ports = bridges::ports(bridge).unwrap_or_else(|error| {
                told(&error);
                None
            });
        }
        facts
    }

    /// The DHCP servers on the bridge beside ours; none where nobody could answer, or where we may not ask.
    fn servers(&self, facts: &Facts) -> Vec<Server> {
        let Some(bridge) = self.bridge.as_ref().filter(|_| self.dhcp) else {
            return Vec::new();
        };
        if facts.ports.as_ref().is_none_or(Vec::is_empty) {
            return Vec::new();
        }
        // Who could be on a bridge of ours is known better.
        let patience = if self.mode == Mode::Bridge {
            dhcp_probe::THOROUGH
        } else {
            dhcp_probe::GLANCE
        };
        match dhcp_probe::servers(bridge, &own_addresses(bridge, &facts.links), patience) {
            Ok(servers) => servers,
            Err(error) => {
                // Only root may ask.
                tracing::debug!(%bridge, %error, "other DHCP servers are not asked for");
                Vec::new()
            }
        }
    }

    /// The switches with which the host answers on `link` for guests whose subnet is a part of what is reached there.
    fn answering(&self, link: &Addresses) -> Vec<String> {
        let part = |address: &bridges::Address| match address.local {
            Some(IpAddr::V4(own)) => self
                .ipv4
                .filter(|subnet| {
                    let net = Ipv4Net::new(own, address.prefix).map(|net| net.trunc());
                    net.is_ok_and(|net| net != *subnet && net.contains(subnet))
                })
                .map(|_| format!("net/ipv4/conf/{}/proxy_arp", link.interface)),
            Some(IpAddr::V6(own)) => self
                .ipv6
                .filter(|subnet| {
                    let net = Ipv6Net::new(own, address.prefix).map(|net| net.trunc());
                    net.is_ok_and(|net| net != *subnet && net.contains(subnet))
                })
                .map(|_| format!("net/ipv6/conf/{}/proxy_ndp", link.interface)),
            None => None,
        };
        let ours = self
            .bridge
            .as_ref()
            .is_some_and(|bridge| bridge.as_str() == link.interface);
        if ours || !self.mode.shows_addresses() || !self.mode.forwards() {
            return Vec::new();
        }
        let mut switches: Vec<String> = link.list.iter().filter_map(part).collect();
        switches.dedup();
        switches
    }

    fn judge(&self, facts: &Facts) -> Vec<Unmet> {
        let mut found = Vec::new();
        if let Some(bridge) = &self.bridge {
            self.judge_bridge(bridge, facts, &mut found);
        }
        let is_on = |switch: &str| facts.on.iter().any(|on| on == switch);
        if self.mode.forwards() {
            if self.ipv4.is_some() && !is_on(FORWARD4) {
                let now = sysctl::switch_on(FORWARD4);
                let what = "this host forwards no IPv4 packets, so guests reach nothing beyond it";
                found.push(
                    Unmet::new(Need::Forwarding, what, format!("`{now}`"))
                        .command(format!("{now} | tee /etc/sysctl.d/60-miniascape-ipv4.conf")),
                );
            }
            if self.ipv6.is_some() && !is_on(FORWARD6) {
                let now = sysctl::switch_on(FORWARD6);
                let what = "this host forwards no IPv6 packets, so guests reach nothing beyond it";
                let advice = format!(
                    "`{now}`, after `sysctl -w net.ipv6.conf.IFACE.accept_ra=2` for an interface that hears of its own router"
                );
                found.push(
                    Unmet::new(Need::Forwarding, what, advice)
                        .command(format!("{now} | tee /etc/sysctl.d/60-miniascape-ipv6.conf")),
                );
            }
        }
        for link in &facts.links {
            for switch in self.answering(link).iter().filter(|switch| !is_on(switch)) {
                let interface = printable(&link.interface, 20);
                let (how, more) = if switch.ends_with("proxy_ndp") {
                    (
                        "neighbour discovery",
                        format!(", and `ip -6 neigh add proxy ADDRESS dev {interface}` for each guest"),
                    )
                } else {
                    ("ARP", String::new())
                };
                let command = printable(&sysctl::switch_on(switch), 80);
                let what = format!(
                    "guests' addresses belong to the network at {interface}, whose machines look for them by {how}"
                );
                let advice = format!("`{command}`{more} lets this host answer");
                found.push(Unmet::new(Need::Answering, what, advice).command(command));
            }
        }
        found
    }

    fn judge_bridge(&self, bridge: &InterfaceName, facts: &Facts, found: &mut Vec<Unmet>) {
        if self.mode == Mode::Bridge && facts.bridge != Some(Kind::Bridge) {
            let what = format!("the host has no bridge {bridge}, which the network is about");
            found.push(Unmet::new(Need::Bridge, what, "").command(format!(
                "ip link add {bridge} type bridge && ip link set {bridge} up"
            )));
        }
        let Some(ports) = &facts.ports else { return };
        let is_in = |interface: &&InterfaceName| ports.iter().any(|port| port == interface.as_str());
        for interface in self.require_interfaces.iter().filter(|i| !is_in(i)) {
            let what = format!("{interface} is not in the bridge {bridge}, where it is required");
            found.push(if facts.absent.contains(interface) {
                Unmet::new(Need::Bridge, what, format!("this host has no {interface}"))
            } else {
                let command = format!("ip link set {interface} master {bridge}");
                Unmet::new(Need::Bridge, what, format!("`{command}` puts it there")).command(command)
            });
        }
        for interface in self.forbid_interfaces.iter().filter(is_in) {
            let what = format!("{interface} is in the bridge {bridge}, where it is forbidden");
            let command = format!("ip link set {interface} nomaster");
            found.push(Unmet::new(Need::Bridge, what, format!("`{command}` takes it out")).command(command));
        }
        for server in &facts.servers {
            let what = format!(
                "another DHCP server answers on the bridge {bridge}: {} ({}); stop it, or serve no DHCP here",
                server.address, server.mac
            );
            found.push(Unmet::new(Need::OnlyServer, what, ""));
        }
    }
}

/// What this host does not give `network`, which was just registered or updated with these steps.
pub fn unmet_after(network: &Network, steps: &[Step]) -> Vec<Unmet> {
    // A restart may go on beside a server that it was not asked for.
    let asked = steps.contains(&Step::StartDnsmasq) && super::apply::asks_for_servers(network, steps);
    Needs::of(network).unmet(!asked)
}

/// The DHCP servers that answer on a bridge that is not ours, on which the network is about to serve.
pub(super) fn other_servers(bridge: &InterfaceName) -> Result<Vec<Server>, CommandError> {
    let own = own_addresses(bridge, &bridges::addresses()?);
    Ok(
        dhcp_probe::servers(bridge, &own, dhcp_probe::THOROUGH).unwrap_or_else(|error: io::Error| {
            tracing::warn!(%bridge, %error, "other DHCP servers cannot be asked for");
            Vec::new()
        }),
    )
}

fn own_addresses(bridge: &InterfaceName, links: &[Addresses]) -> Vec<Ipv4Addr> {
    let own = links.iter().filter(|link| link.interface == bridge.as_str());
    own.flat_map(|link| &link.list)
        .filter_map(|address| match address.local {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
