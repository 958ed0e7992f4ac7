//! Firewalls that stop what networks need: Docker's and others' policies in iptables, tables of their own in nftables,
//! firewalld's zones, and libvirt's own rules when somebody has flushed them.
//!
//! A packet has to pass every table: what one accepts, another may still drop.

use super::facts::{Facts, Net};
use super::rules::{Table, Way};
use super::{Check, Finding, Report, word};
use crate::host::packet_filter::{self, Family};
use crate::name::InterfaceName;
use crate::network::{Mode, Needs};
use ipnet::IpNet;

const KERNELS: &str =
    "the rule is the kernel's and goes with the next boot: write it where this host keeps its own, too";

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let unread = facts.filter.v4.is_none() && facts.networks.iter().any(|net| net.status.active);
    if unread {
        let reason = if facts.root {
            "iptables is not installed, or does not work"
        } else {
            "only root may see the rules"
        };
        report.unseen(Check::Firewall, reason);
    }
    for net in facts.networks.iter().filter(|net| net.status.active) {
        let (Some(needs), Some(bridge)) = (&net.needs, net.needs.as_ref().and_then(|n| n.bridge.as_ref()))
        else {
            continue;
        };
        let flushed = flushed(net, needs, bridge, facts);
        if flushed.is_some() {
            report.findings.extend(flushed);
        } else {
            iptables(net, needs, bridge, facts, report);
        }
        nftables(net, needs, bridge, facts, report);
        report.findings.extend(zone(net, bridge, facts));
    }
}

/// libvirt's own rules, of which nothing is left.
fn flushed(net: &Net, needs: &Needs, bridge: &InterfaceName, facts: &Facts) -> Option<Finding> {
    let rules = facts.filter.v4.as_deref()?;
    if !matches!(needs.mode, Mode::Nat | Mode::Routed | Mode::Isolated) || needs.ipv4.is_none() {
        return None;
    }
    let ruleset = facts.filter.ruleset.as_ref();
    if ruleset.is_some_and(|ruleset| packet_filter::libvirt_table_names(ruleset, bridge)) {
        return None;
    }
    let named = Table::parse(rules).names(bridge.as_str());
    let subnet = needs.ipv4.map(|subnet| subnet.to_string()).unwrap_or_default();
    let translated = needs.mode != Mode::Nat
        || facts.filter.nat.as_deref().is_none_or(|nat| {
            nat.lines()
                .any(|line| line.contains(&subnet) && line.contains(" -j "))
        });
    if named && translated {
        return None;
    }
    let found = format!("libvirt's firewall rules for {bridge} are gone: somebody has flushed them");
    let command = facts.daemons.restart_networks();
    Some(
        Finding::new(Check::Firewall, net.status.name.as_str(), found, command)
            .note("libvirt writes them anew when it starts; guests go on"),
    )
}

/// What iptables' own tables drop.
fn iptables(net: &Net, needs: &Needs, bridge: &InterfaceName, facts: &Facts, report: &mut Report) {
    let families = [
        (Family::V4, &facts.filter.v4, needs.ipv4.map(IpNet::from)),
        (Family::V6, &facts.filter.v6, needs.ipv6.map(IpNet::from)),
    ];
    for (family, rules, subnet) in families {
        let (Some(rules), Some(_)) = (rules, subnet) else {
            continue;
        };
        let table = Table::parse(rules);
        let program = family.program();
        let docker = table.has_chain("DOCKER-USER");
        let (chain, whose) = if docker {
            ("DOCKER-USER", "Docker has set the policy of ")
        } else {
            ("FORWARD", "")
        };
        let object = net.status.name.as_str();
        let ways: &[Way] = match needs.mode {
            Mode::Nat | Mode::Routed | Mode::Open => &[Way::Out, Way::In],
            Mode::Bridge if facts.filter.bridged => &[Way::Within],
            _ => &[],
        };
        let shut: Vec<&Way> = ways
            .iter()
            .filter(|way| !table.passes(**way, bridge.as_str(), subnet))
            .collect();
        if table.closes("FORWARD") && !shut.is_empty() {
            let mut commands = Vec::new();
            for way in shut {
                let pattern = match way {
                    Way::Out => format!("-i {bridge}"),
                    // Whoever is translated is not called from outside.
                    Way::In if needs.mode == Mode::Nat => {
                        format!("-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED")
                    }
                    Way::In => format!("-o {bridge}"),
                    Way::Within => format!("-i {bridge} -o {bridge}"),
                };
                commands.push(format!("{program} -I {chain} {pattern} -j ACCEPT"));
            }
            let found = format!(
                "{whose}{program}' chain FORWARD drops what it does not know, and nothing lets {bridge} through"
            );
            let found = if docker {
                found.replace(" drops what it does not know, and", " to DROP, and")
            } else {
                found
            };
            dropped(object, found, commands.join(" && "), report);
        }
        if net.status.wants_dnsmasq && table.closes("INPUT") && !table.is_asked(bridge.as_str()) {
            let found = format!(
                "{program}' chain INPUT drops what it does not know: guests on {bridge} cannot ask for addresses and names"
            );
            let ports = if family == Family::V4 { "53,67" } else { "53,547" };
            let command = format!(
                "{program} -I INPUT -i {bridge} -p udp -m multiport --dports {ports} -j ACCEPT && \
                 {program} -I INPUT -i {bridge} -p tcp --dport 53 -j ACCEPT"
            );
            dropped(object, found, command, report);
        }
    }
}

/// Reports what the kernel's rules drop; `command` lasts as long as they do.
fn dropped(object: &str, found: String, command: String, report: &mut Report) {
    let finding = Finding::new(Check::Firewall, object, found, command).note(KERNELS);
    report.findings.push(finding);
}

/// What other tables of nftables drop.
fn nftables(net: &Net, needs: &Needs, bridge: &InterfaceName, facts: &Facts, report: &mut Report) {
    let Some(ruleset) = &facts.filter.ruleset else {
        return;
    };
    let object = net.status.name.as_str();
    if matches!(needs.mode, Mode::Nat | Mode::Routed | Mode::Open) {
        for chain in packet_filter::closing(ruleset, "forward", bridge, &[]) {
            let back = if needs.mode == Mode::Nat {
                " ct state established,related"
            } else {
                ""
            };
            let found = format!(
                "the nftables chain {chain} drops what it does not know, and nothing in it lets {bridge} through"
            );
            let command = format!(
                "nft insert rule {chain} 'iifname \"{bridge}\" accept' && \
                 nft insert rule {chain} 'oifname \"{bridge}\"{back} accept'"
            );
            dropped(object, found, command, report);
        }
    }
    if net.status.wants_dnsmasq {
        for chain in packet_filter::closing(ruleset, "input", bridge, &[67]) {
            let found = format!(
                "the nftables chain {chain} drops what it does not know: guests on {bridge} cannot ask for addresses and names"
            );
            let command = format!(
                "nft insert rule {chain} 'iifname \"{bridge}\" udp dport {{ 53, 67, 547 }} accept' && \
                 nft insert rule {chain} 'iifname \"{bridge}\" tcp dport 53 accept'"
            );
            dropped(object, found, command, report);
        }
    }
}

/// A zone of firewalld's that does not let guests ask.
fn zone(net: &Net, bridge: &InterfaceName, facts: &Facts) -> Option<Finding> {
    let zone = net
        .zone
        .as_ref()
        .filter(|zone| net.status.wants_dnsmasq && !zone.closed.is_empty())?;
    let found = format!(
        "firewalld has {bridge} in the zone {}, where nobody may ask for {}",
        zone.name,
        zone.closed.join(" and ")
    );
    let command = if facts.filter.libvirt_zone {
        format!(
            "firewall-cmd --permanent --zone=libvirt --change-interface={bridge} && firewall-cmd --reload"
        )
    } else {
        let zone = word(&zone.name);
        format!(
            "firewall-cmd --permanent --zone={zone} --add-service=dhcp --add-service=dns && firewall-cmd --reload"
        )
    };
    Some(Finding::new(
        Check::Firewall,
        net.status.name.as_str(),
        found,
        command,
    ))
}
