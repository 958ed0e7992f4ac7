//! Rules on what goes with which mode: the keys that it needs, and those that would have no effect in it.

use super::Serves;
use crate::network::definition::Definition;
use crate::network::model::{Mode, Ra};
use crate::yaml::{Fault, Place, Report};

pub(super) fn check(definition: &Definition, serves: Serves, report: &mut Report<'_>) {
    match definition.mode.value {
        Mode::Bridge => check_bridge(definition, serves, report),
        Mode::Hostroute => check_hostroute(definition, report),
        Mode::Nat | Mode::Routed | Mode::Isolated | Mode::Open => {}
    }
    check_addresses(definition, serves, report);
    check_servers(definition, serves, report);
}

/// A bridge that the host has already.
fn check_bridge(definition: &Definition, serves: Serves, report: &mut Report<'_>) {
    if definition.bridge.is_none() {
        report.error(
            Fault::new(
                definition.mode.place,
                "`bridge` is missing: `mode: bridge` is about a bridge that is there already",
            )
            .help("add `bridge: …`, the bridge's name on the host"),
        );
    }
    if let Some(dhcp) = &definition.dhcp
        && dhcp.value.serve.is_none()
    {
        report.error(
            Fault::new(
                dhcp.place,
                "on a bridge that is not ours DHCP has to be asked for in so many words",
            )
            .help("add `serve: true` if nobody else serves DHCP there; else remove `dhcp`"),
        );
    }
    if let Some(ra) = definition.ipv6.as_ref().and_then(|ipv6| ipv6.ra)
        && ra.value != Ra::None
        && !serves.dhcp
    {
        report.error(
            Fault::new(
                ra.place,
                "router advertisements tell every machine on the bridge how to get an address, and it is not ours",
            )
            .help("add `dhcp: { serve: true }` if that is meant; else write `ra: none`"),
        );
    }
}

/// No bridge and no libvirt network: what would need one is a mistake.
fn check_hostroute(definition: &Definition, report: &mut Report<'_>) {
    let mut refuse = |place: Place, what: &str, help: &str| {
        report.error(Fault::new(place, format!("`mode: hostroute` has {what}")).help(help.to_owned()));
    };
    if let Some(bridge) = &definition.bridge {
        refuse(bridge.place, "no bridge", "remove `bridge`");
    }
    if let Some(dhcp) = &definition.dhcp {
        refuse(
            dhcp.place,
            "no DHCP: each guest is alone on its link, and has its address set in itself",
            "remove `dhcp`; `hosts` say which address is whose",
        );
    }
    if let Some(ra) = definition.ipv6.as_ref().and_then(|ipv6| ipv6.ra)
        && ra.value != Ra::None
    {
        refuse(
            ra.place,
            "no router advertisements: each guest has its address and route set in itself",
            "write `ra: none`",
        );
    }
    for list in [&definition.require_interfaces, &definition.forbid_interfaces] {
        if let Some(first) = list.first() {
            refuse(
                first.place,
                "no bridge that an interface could be in",
                "remove the list",
            );
        }
    }
}

/// Whether there are addresses to work with.
fn check_addresses(definition: &Definition, serves: Serves, report: &mut Report<'_>) {
    let mode = definition.mode;
    if definition.ipv4.is_some() || definition.ipv6.is_some() {
        return;
    }
    let (place, why) = match mode.value {
        Mode::Nat | Mode::Routed | Mode::Open | Mode::Hostroute => (
            mode.place,
            format!("`mode: {}` needs the network's addresses", mode.value),
        ),
        Mode::Isolated if serves.dns => (mode.place, "DNS needs an address to answer at".to_owned()),
        Mode::Isolated | Mode::Bridge => match &definition.dhcp {
            Some(dhcp) if serves.dhcp => (dhcp.place, "DHCP needs addresses to hand out".to_owned()),
            _ => return,
        },
    };
    report.error(
        Fault::new(place, format!("`ipv4` is missing: {why}"))
            .help("add `ipv4: { subnet: … }`, or `ipv6: { subnet: … }`, or both"),
    );
}

/// What DHCP and router advertisements need of each other and of DNS.
fn check_servers(definition: &Definition, serves: Serves, report: &mut Report<'_>) {
    let asked_ra = definition
        .ipv6
        .as_ref()
        .and_then(|ipv6| ipv6.ra)
        .filter(|ra| ra.value != Ra::None);
    if let Some(serve) = definition.dns.serve
        && !serve.value
    {
        if let Some(dhcp) = &definition.dhcp
            && serves.dhcp
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
        if let Some(ra) = asked_ra {
            report.error(
                Fault::new(
                    serve.place,
                    "router advertisements need DNS: `serve` cannot be false beside `ra`",
                )
                .help("write `ra: none`, or set `serve: true`")
                .also(ra.place, "router advertisements are asked for here"),
            );
        }
    }
    if let Some(ra) = asked_ra
        && ra.value == Ra::Stateful
        && !serves.dhcp
        && definition.mode.value != Mode::Hostroute
    {
        report.error(
            Fault::new(
                ra.place,
                "`ra: stateful` sends guests to DHCPv6, which is not served",
            )
            .help("add `dhcp: {}`, with or without ranges"),
        );
    }
    if let Some(dhcp) = &definition.dhcp
        && serves.dhcp
        && definition.ipv4.is_none()
        && serves.ra.autoconfigures()
    {
        report.error(
            Fault::new(
                dhcp.place,
                "there is nothing to hand out: no IPv4 subnet, and guests make their own IPv6 addresses",
            )
            .help("remove `dhcp`, or write `ra: stateful`"),
        );
    }
}
