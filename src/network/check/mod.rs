//! The rules between the values of one definition: pure, from [`Definition`] to [`Network`].
//!
//! What depends on the host or on other definitions (taken bridges, overlapping subnets) is not looked at here.

mod address;
mod dhcp;
mod hosts;

use super::definition::Definition;
use super::model::{Dns, Mode, Network};
use crate::name::{DnsName, InterfaceName, NetworkName};
use crate::yaml::{Fault, Report};
use sha2::{Digest as _, Sha256};

/// Checks `definition`; `None` after reporting an error.
pub fn check(definition: &Definition, report: &mut Report<'_>) -> Option<Network> {
    let ipv4 = address::check_ipv4(definition.ipv4.as_ref()?, report)?;
    let domain = check_domain(definition, report);
    let dhcp = definition
        .dhcp
        .as_ref()
        .map(|section| dhcp::check(&section.value, ipv4, report));
    if let (Some(dhcp), Some(serve)) = (&definition.dhcp, definition.dns.serve)
        && !serve.value
    {
        report.error(
            Fault::new(
                serve.place,
                "DHCP needs DNS: `serve` cannot be false beside `dhcp`",
            )
            .help("remove `dhcp`, or set `serve: true`")
            .also(dhcp.place, "DHCP is asked for here"),
        );
    }
    let hosts = hosts::check(&definition.hosts, ipv4, domain, report);
    let bridge = match &definition.bridge {
        Some(bridge) => bridge.value.clone(),
        None => default_bridge(&definition.name.value)?,
    };
    Some(Network {
        name: definition.name.value.clone(),
        title: definition.title.as_ref().map(|title| title.value.clone()),
        mode: definition.mode.value,
        bridge,
        domain: domain.cloned(),
        ipv4: Some(ipv4),
        dns: Dns {
            serve: definition.dns.serve.is_none_or(|serve| serve.value),
            forward: definition
                .dns
                .forward
                .map_or(definition.mode.value != Mode::Isolated, |forward| forward.value),
        },
        dhcp,
        hosts,
    })
}

/// The bridge of a network that names none: `ms-` and the name, or, where that is longer than an interface name may
/// be, `ms-`, the name's first five characters, `-` and six hexadecimal digits of its SHA-256.
pub fn default_bridge(name: &NetworkName) -> Option<InterfaceName> {
    let plain = format!("ms-{name}");
    plain
        .parse()
        .or_else(|_| {
            let digest = Sha256::digest(name.as_str());
            let start = &name.as_str()[..5];
            format!("ms-{start}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]).parse()
        })
        .ok()
}

fn check_domain<'d>(definition: &'d Definition, report: &mut Report<'_>) -> Option<&'d DnsName> {
    let Some(domain) = &definition.domain else {
        if definition.dns.serve.is_none_or(|serve| serve.value) {
            let name = &definition.name;
            report.error(
                Fault::new(
                    name.place,
                    "`domain` is missing: DNS needs to know where the names of this network end",
                )
                .help("add `domain: …`, such as `lab.internal`; or `dns: { serve: false }`"),
            );
        }
        return None;
    };
    let text = domain.value.as_str();
    if text.rsplit('.').next() == Some("local") {
        report.warning(
            Fault::new(
                domain.place,
                format!("names in `{text}` are looked up by multicast DNS (RFC 6762), not here"),
            )
            .help("take a domain that ends in `.internal`"),
        );
    }
    Some(&domain.value)
}
