//! The port that names are asked at, when somebody else has it on a network's own address.

use super::facts::{Facts, Net};
use super::{Check, Finding, Report, word};
use crate::host::listeners::{Listener, Process};
use std::net::IpAddr;

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let Some(listeners) = &facts.name_servers else {
        report.unseen(Check::Port53, "the kernel's tables of sockets cannot be read");
        return;
    };
    for net in facts.networks.iter().filter(|net| net.status.active) {
        report.findings.extend(taken(net, listeners, facts));
    }
}

/// True if somebody else has the port of a network's name server.
pub(super) fn is_taken(net: &Net, facts: &Facts) -> bool {
    facts
        .name_servers
        .as_ref()
        .is_some_and(|listeners| taken(net, listeners, facts).is_some())
}

fn taken(net: &Net, listeners: &[Listener], facts: &Facts) -> Option<Finding> {
    if !net.serves_dns {
        return None;
    }
    let name = &net.status.name;
    let ours = |listener: &&Listener| {
        let pid = listener.process.as_ref().map(|process| process.pid);
        pid.is_some() && pid == net.status.dnsmasq_pid
    };
    let gateways = &net.needs.as_ref()?.gateways;
    for gateway in gateways {
        let here = |listener: &&Listener| listener.address == *gateway;
        let everywhere = |listener: &&Listener| match listener.address {
            IpAddr::V4(address) => address.is_unspecified() && gateway.is_ipv4(),
            // Such a socket has IPv4's addresses, too, unless it was told otherwise.
            IpAddr::V6(address) => address.is_unspecified(),
        };
        for other in listeners
            .iter()
            .filter(|l| !ours(l) && (here(l) || everywhere(l)))
        {
            let both = listeners
                .iter()
                .any(|l| ours(&l) && l.protocol == other.protocol && l.address == *gateway);
            if both {
                continue;
            }
            // Of a process that we may not look at, a socket at the gateway's own address is ours as likely as not.
            let process = other.process.as_ref()?;
            let found = format!(
                "port 53 at {gateway}, where its dnsmasq is to answer, belongs to {} (process {})",
                process.name, process.pid
            );
            let (command, note) = give_way(net, process, facts);
            let command = format!("{command} && miniascape net update {name}");
            return Some(Finding::new(Check::Port53, name.as_str(), found, command).note(note));
        }
    }
    None
}

/// What makes the other server leave the network's address alone.
fn give_way(net: &Net, process: &Process, facts: &Facts) -> (String, String) {
    let keep = "if it is to stay, have it listen at other addresses only, and update the network then";
    match (&process.unit, &net.status.bridge) {
        (Some(unit), Some(bridge)) if unit == "dnsmasq.service" && facts.daemons.systemd => {
            let lines = format!(r"bind-dynamic\nexcept-interface={bridge}\n");
            let command = format!(
                "printf '{lines}' >/etc/dnsmasq.d/miniascape-{bridge}.conf && systemctl restart dnsmasq.service"
            );
            (command, "the host's own dnsmasq goes on beside ours".to_owned())
        }
        (Some(unit), _) if facts.daemons.systemd => {
            let unit = word(unit);
            (
                format!("systemctl disable --now {unit}"),
                format!("that stops {unit}: {keep}"),
            )
        }
        _ => {
            let pid = process.pid;
            let command = format!("kill {pid} && while kill -0 {pid} 2>/dev/null; do sleep 0.1; done");
            (command, format!("that ends {}: {keep}", process.name))
        }
    }
}
