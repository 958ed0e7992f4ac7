//! libvirt that does not answer, units that have failed, a daemon that is not there, and the policy of the message bus:
//! what everything else stands on.

use super::facts::Facts;
use super::{Check, Finding, Report, word};
use crate::host::Daemons;

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    reach(facts, report);
    services(facts, report);
    bus(facts, report);
}

fn reach(facts: &Facts, report: &mut Report) {
    let Some((reason, refused)) = &facts.libvirt else {
        return;
    };
    if *refused {
        report.unseen(
            Check::Libvirt,
            format!("{reason}; run it as root to look at everything"),
        );
        return;
    }
    let found = if facts.daemons.installed {
        reason.clone()
    } else {
        "it is not installed here".to_owned()
    };
    report.findings.push(Finding::new(
        Check::Libvirt,
        "libvirt",
        found,
        facts.daemons.start_libvirt(),
    ));
}

fn services(facts: &Facts, report: &mut Report) {
    match &facts.failed {
        Ok(units) => {
            for unit in units {
                let name = word(unit);
                let command = format!("systemctl reset-failed {name} && systemctl restart {name}");
                let note = format!("`journalctl -b -u {name}` tells why");
                report
                    .findings
                    .push(Finding::new(Check::Services, unit, "the unit has failed", command).note(note));
            }
        }
        Err(reason) => report.unseen(Check::Services, reason),
    }
    if facts.no_daemon {
        let found = "it does not run, and without systemd nothing else keeps the networks' dnsmasq running";
        let finding = Finding::new(Check::Services, "miniascape daemon", found, Daemons::START_OURS);
        report.findings.push(finding);
    }
}

fn bus(facts: &Facts, report: &mut Report) {
    let mut on_bus = facts.networks.iter().filter_map(|net| net.on_bus);
    // Where the names can be had without it, somebody has written another.
    if facts.policy || on_bus.any(|there| there) {
        return;
    }
    let found =
        "the message bus has no policy for the names of the networks' dnsmasq, which therefore cannot start";
    let command = "miniascape init --yes --no-network && miniascape net update --all";
    report.findings.push(Finding::new(
        Check::BusPolicy,
        "org.miniascape.dnsmasq",
        found,
        command,
    ));
}
