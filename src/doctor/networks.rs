//! Networks that are not as they were registered, and what the host does not give them, as `net status` knows it.

use super::facts::{Facts, Net};
use super::{Check, Finding, Report, name_server, word};
use crate::network::{Mode, Need, Owner, Remedy, Unmet};
use std::collections::BTreeSet;

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    if let Some((path, reason)) = &facts.damaged {
        let name = path.parent().and_then(|dir| dir.file_name()).unwrap_or_default();
        let name = word(&name.to_string_lossy());
        let found = format!("the record of the network cannot be read: {reason}");
        let command = format!("miniascape net register {name}");
        let object = path.display().to_string();
        report
            .findings
            .push(Finding::new(Check::Networks, object, found, command));
    }
    for (name, reason) in &facts.unreadable {
        let command = format!("miniascape net status {name}");
        report
            .findings
            .push(Finding::new(Check::Networks, name.as_str(), reason, command));
    }
    let mut said = BTreeSet::new();
    for net in &facts.networks {
        changed(net, facts, report);
        for unmet in &net.status.unmet {
            let finding = needed(net, unmet);
            // One switch is for all networks.
            if unmet.need != Need::Forwarding || said.insert(finding.command.clone()) {
                report.findings.push(finding);
            }
        }
        leases(net, facts, report);
    }
    if facts.macs.is_none() && facts.networks.iter().any(|net| !net.leases.is_empty()) {
        report.unseen(Check::Leases, "libvirt cannot be asked which guests there are");
    }
}

/// What others have changed.
fn changed(net: &Net, facts: &Facts, report: &mut Report) {
    let name = &net.status.name;
    if net.status.owner == Some(Owner::Other) {
        let found = "libvirt's network of this name was made by someone else";
        let command = format!("miniascape net import {name} --adopt --dry-run");
        report
            .findings
            .push(Finding::new(Check::Networks, name.as_str(), found, command));
    }
    let mut update = Vec::new();
    for drift in &net.status.drift {
        match drift.remedy {
            Remedy::Update => update.push(drift.what.as_str()),
            Remedy::Adopt => {
                let command = format!("miniascape net update {name} --adopt");
                report.findings.push(
                    Finding::new(Check::Dhcp, name.as_str(), &drift.what, command)
                        .note("that keeps the reservations and stops the other dnsmasq"),
                );
            }
            Remedy::People => {
                let command = drift
                    .what
                    .split('`')
                    .nth(1)
                    .unwrap_or("miniascape net status")
                    .to_owned();
                let command = format!("{command} && miniascape net update {name}");
                report
                    .findings
                    .push(Finding::new(Check::Networks, name.as_str(), &drift.what, command));
            }
        }
    }
    // A dnsmasq that cannot run is told with its reason.
    let reason_known =
        net.status.dnsmasq_pid.is_none() && (name_server::is_taken(net, facts) || facts.no_daemon);
    if reason_known {
        update.retain(|what| !what.contains("its dnsmasq does not run"));
    }
    if !update.is_empty() {
        let command = format!("miniascape net update {name}");
        report.findings.push(Finding::new(
            Check::Networks,
            name.as_str(),
            update.join("; "),
            command,
        ));
    }
}

/// What the host does not give.
fn needed(net: &Net, unmet: &Unmet) -> Finding {
    let bridge = net.status.bridge.as_deref().unwrap_or("-");
    let (check, otherwise) = match unmet.need {
        Need::Forwarding | Need::Answering => (Check::Forwarding, "miniascape net status".to_owned()),
        Need::Bridge => (Check::Networks, "ip -brief link".to_owned()),
        Need::OnlyServer => (Check::Dhcp, format!("bridge fdb show br {}", word(bridge))),
        Need::BootFiles => (
            Check::Networks,
            format!("miniascape net status {}", net.status.name),
        ),
    };
    let command = unmet.command.clone().unwrap_or(otherwise);
    let finding = Finding::new(check, net.status.name.as_str(), &unmet.what, command);
    match unmet.need {
        // What else there is to know about it, for the whole sentence is longer than the command.
        Need::Forwarding | Need::Answering if unmet.advice.contains(", ") => finding.note(&unmet.advice),
        Need::BootFiles => finding.note(&unmet.advice),
        Need::OnlyServer => finding.note("shows behind which port of the bridge that address is"),
        _ => finding,
    }
}

/// Leases of machines that are no guests here any more, and are not heard either.
fn leases(net: &Net, facts: &Facts, report: &mut Report) {
    let Some(guests) = &facts.macs else { return };
    if net.needs.as_ref().is_none_or(|needs| needs.mode == Mode::Bridge) {
        // Whoever is on a bridge of the host's own is its business.
        return;
    }
    let name = &net.status.name;
    for lease in &net.leases {
        let Some(mac) = lease.mac else { continue };
        let over = lease.expires.is_some_and(|expires| expires <= facts.now);
        if over || guests.contains(&mac) || net.reserved.contains(&mac) || net.heard.contains(&mac) {
            continue;
        }
        let found = format!(
            "{} is leased to {mac}, which is no guest's, has no reservation, and is not heard on the bridge",
            lease.ip
        );
        let command = format!("miniascape lease release {name} {}", lease.ip);
        report
            .findings
            .push(Finding::new(Check::Leases, name.as_str(), found, command));
    }
}
