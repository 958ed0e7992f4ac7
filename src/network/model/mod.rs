//! A checked network: values of which every rule of `network::check` holds.

mod address;
mod boot;
mod dhcp;
pub(super) mod dhcp_option;
mod dns;
mod dnsmasq_option;
mod host;
mod lease_time;
mod mode;
mod title;

pub use address::{Ipv4, Ipv6, Ra, Range};
pub use boot::{Boot, BootFile, Firmware, TftpRoot};
pub use dhcp::{Dhcp, Pool, TaggedOption};
pub use dhcp_option::{DhcpOption, OptionValue};
pub use dns::{Dns, Forwarder, Record, RecordData};
pub(super) use dns::{GATEWAY, reverse_name};
pub use dnsmasq_option::DnsmasqOption;
pub use host::{Host, HostDhcp, Origin};
pub use lease_time::LeaseTime;
pub use mode::Mode;
pub use title::Title;

use crate::name::{DnsName, InterfaceName, Mac, NetworkName};
use std::net::IpAddr;

/// A network of which all rules hold; made by `network::check`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Network {
    pub(in crate::network) name: NetworkName,
    pub(in crate::network) title: Option<Title>,
    pub(in crate::network) mode: Mode,
    pub(in crate::network) bridge: Option<InterfaceName>,
    pub(in crate::network) domain: Option<DnsName>,
    pub(in crate::network) ipv4: Option<Ipv4>,
    pub(in crate::network) ipv6: Option<Ipv6>,
    pub(in crate::network) dns: Dns,
    pub(in crate::network) dhcp: Option<Dhcp>,
    pub(in crate::network) hosts: Vec<Host>,
    pub(in crate::network) require_interfaces: Vec<InterfaceName>,
    pub(in crate::network) forbid_interfaces: Vec<InterfaceName>,
    pub(in crate::network) dnsmasq_options: Vec<DnsmasqOption>,
}

impl Network {
    /// The network's name.
    pub const fn name(&self) -> &NetworkName {
        &self.name
    }

    /// A line for people.
    pub const fn title(&self) -> Option<&Title> {
        self.title.as_ref()
    }

    /// How it is connected.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The bridge on the host; `None` in mode `hostroute` only.
    pub const fn bridge(&self) -> Option<&InterfaceName> {
        self.bridge.as_ref()
    }

    /// The bridge that libvirt makes and removes with the network; `None` where there is none, or somebody else's.
    pub fn own_bridge(&self) -> Option<&InterfaceName> {
        self.bridge().filter(|_| self.mode.makes_bridge())
    }

    /// The DNS domain of its machines; always there when [`Self::serves_dns`].
    pub const fn domain(&self) -> Option<&DnsName> {
        self.domain.as_ref()
    }

    /// Subnet and gateway of IPv4.
    pub const fn ipv4(&self) -> Option<Ipv4> {
        self.ipv4
    }

    /// Subnet, gateway and router advertisements of IPv6.
    pub const fn ipv6(&self) -> Option<Ipv6> {
        self.ipv6
    }

    /// The gateways of both families.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(|ipv4| ipv4.gateway.into());
        let ipv6 = self.ipv6.and_then(|ipv6| ipv6.gateway).map(IpAddr::from);
        ipv4.into_iter().chain(ipv6)
    }

    /// What router advertisements say; [`Ra::None`] if there are none.
    pub fn ra(&self) -> Ra {
        self.ipv6.map_or(Ra::None, |ipv6| ipv6.ra)
    }

    /// True if addresses are handed out by DHCPv6.
    pub fn serves_dhcpv6(&self) -> bool {
        let addresses = |dhcp: &Dhcp| self.ra() == Ra::Stateful || !dhcp.ranges6.is_empty();
        self.dhcp.as_ref().is_some_and(addresses)
    }

    /// True if dnsmasq keeps leases: it hands out addresses of either family, or answers DHCPv6 without them.
    pub fn keeps_leases(&self) -> bool {
        self.dhcp.is_some() || self.ra() == Ra::Stateless
    }

    /// True if the network's dnsmasq answers DNS.
    pub const fn serves_dns(&self) -> bool {
        self.dns.serve
    }

    /// True if names outside the domain are looked up with the host's name servers.
    pub const fn forwards_dns(&self) -> bool {
        self.dns.forward
    }

    /// What the name server does.
    pub const fn dns(&self) -> &Dns {
        &self.dns
    }

    /// What DHCP hands out; `None` when there is no DHCP.
    pub const fn dhcp(&self) -> Option<&Dhcp> {
        self.dhcp.as_ref()
    }

    /// The reservations, in the order of their addresses.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The reservation for `mac`.
    pub fn host_by_mac(&self, mac: Mac) -> Option<&Host> {
        self.hosts.iter().find(|host| host.macs.contains(&mac))
    }

    /// Host interfaces that are to be in the bridge.
    pub fn require_interfaces(&self) -> &[InterfaceName] {
        &self.require_interfaces
    }

    /// Host interfaces that must not be in the bridge.
    pub fn forbid_interfaces(&self) -> &[InterfaceName] {
        &self.forbid_interfaces
    }

    /// dnsmasq's own options that are passed on.
    pub fn dnsmasq_options(&self) -> &[DnsmasqOption] {
        &self.dnsmasq_options
    }

    /// False when neither DNS nor DHCP is served, so that no dnsmasq runs.
    pub const fn needs_dnsmasq(&self) -> bool {
        self.dns.serve || self.dhcp.is_some()
    }
}

/// A whole number in decimal digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
