//! `net import --adopt`: a network that libvirt serves with a dnsmasq of its own becomes ours, with its bridge, its
//! addresses and leases, and the guests that are plugged into it.
//!
//! libvirt ends its dnsmasq only together with the network, so the bridge goes for a moment. The new one has the old
//! one's hardware address, and the guests' taps are put on it with their links up: guests keep what they have, and find
//! their leases at the same server address when they renew.
//!
//! Every run looks at what there is, so that a killed one is finished by the next; until libvirt has our definition,
//! which is the fourth step, nothing but files of ours is written.

use super::bridge::{self, refuse_taken_bridge};
use super::facts::{Facts, plan};
use super::step::{remove_files, take};
use super::work::Work;
use super::{RegisterError, Report, Step, Target, lock};
use crate::domain::taps;
use crate::host::libvirt::NetworkLease;
use crate::host::{Layout, Libvirt, LibvirtError, NetworkRecord, files, links};
use crate::name::{DnsName, InterfaceName, Mac, NetworkName};
use crate::network::compile::Compiled;
use crate::network::{Applied, Network, Observed};
use std::path::Path;

/// Makes libvirt's network of the name ours, as `compiled`, which has to agree with it in what guests would notice.
/// `source` names the definition. With `dry_run` only the steps are told.
pub fn adopt(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let (name, layout) = (network.name(), target.layout);
    let _lock = lock(layout, name, dry_run)?;
    let Some(existing) = target.libvirt.network(name.as_str())? else {
        return Err(RegisterError::Absent(name.clone()));
    };
    if network.needs_dnsmasq() {
        target.services.check()?;
    }
    refuse_taken_bridge(network, &[Step::Define], Some(&existing), target.libvirt)?;
    let xml = existing.live_xml.as_ref().unwrap_or(&existing.xml);
    refuse_other(name, compiled, &Observed::parse(xml))?;
    let facts = Facts::gather_of(network, compiled, target, Some(existing.clone()))?;
    let mut steps = plan(&facts, network.needs_dnsmasq());
    bridge::refuse_other_servers(network, &steps, facts.record.as_ref(), target.libvirt)?;
    if let Some(stop) = steps.iter().position(|step| *step == Step::Stop)
        && Observed::parse(xml).dhcp
    {
        steps.insert(stop, Step::TakeLeases);
    }
    // A bridge of somebody else's stays, with all that is on it.
    let taps = match network.own_bridge() {
        Some(bridge) => taps_in(name, bridge, target.libvirt)?,
        None => Vec::new(),
    };
    if steps.contains(&Step::Stop) && !taps.is_empty() || taps.iter().any(is_loose) {
        steps.push(Step::Replug);
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run {
        return Ok(report);
    }
    let work = Work {
        network,
        compiled,
        source,
        facts: &facts,
        target,
    };
    if let Some(record) = facts.record.as_ref().filter(|_| report.steps.is_empty()) {
        // An earlier run may have been killed right behind its record.
        work.end(record)?;
        return Ok(report);
    }
    if !Observed::parse(&existing.xml).ours {
        let kept = layout.adopted(name);
        files::make_dir(layout.all_adopted().on_disk(), 0o755)?;
        files::write(kept.on_disk(), existing.xml.as_bytes(), 0o644)?;
    }
    work.begin()?;
    let done = report
        .steps
        .iter()
        .try_for_each(|step| match step {
            Step::TakeLeases => write_leases(layout, target.libvirt, name),
            other => work.take(*other, || plug_in(network, &taps)),
        })
        .and_then(|()| work.record_and_verify());
    match done {
        Ok(applied) => {
            work.end(&applied)?;
            Ok(report)
        }
        // What libvirt keeps would have lost its files; the next run goes on.
        Err(cause) if cause.is_libvirt_away() => Err(cause),
        Err(cause) => {
            let record = facts.record.as_ref();
            let back = give_back(network, &existing, &taps, record, &report.steps, target);
            Err(cause.taken_back(name, back))
        }
    }
}

/// Refuses a definition that guests in the network would notice: nothing of that is done along the way.
fn refuse_other(name: &NetworkName, compiled: &Compiled, there: &Observed) -> Result<(), RegisterError> {
    let wanted = compiled.libvirt_xml().map(Observed::parse).unwrap_or_default();
    let what = if wanted.bridge != there.bridge {
        format!("the bridge {}", wanted.bridge.as_deref().unwrap_or("none"))
    } else if with_lengths(&wanted) != with_lengths(there) {
        let addresses: Vec<String> = with_lengths(&wanted);
        format!("the addresses {}", addresses.join(", "))
    } else if wanted.forward != there.forward {
        format!(
            "the connection {}",
            wanted.forward.as_deref().unwrap_or("isolated")
        )
    } else {
        return Ok(());
    };
    Err(RegisterError::Differs {
        network: name.clone(),
        what,
    })
}

/// The addresses with prefix lengths, of which libvirt's XML may have a netmask instead.
fn with_lengths(observed: &Observed) -> Vec<String> {
    let length = |mask: &str| {
        let netmask = mask.parse::<std::net::Ipv4Addr>().ok();
        netmask.map_or_else(|| mask.to_owned(), |mask| mask.to_bits().count_ones().to_string())
    };
    let all = observed.addresses.iter();
    all.map(|(address, mask)| format!("{address}/{}", length(mask)))
        .collect()
}

/// The taps of running guests in the network.
fn taps_in(
    name: &NetworkName,
    bridge: &InterfaceName,
    libvirt: &Libvirt,
) -> Result<Vec<InterfaceName>, LibvirtError> {
    let mut all = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        let xml = libvirt.live_domain_xml(&record.name)?;
        // libvirt's own XML; what cannot be read is in no network that we can name.
        let taps = taps(&xml, name.as_str(), bridge.as_str()).unwrap_or_default();
        all.extend(taps.iter().filter_map(|tap| tap.parse().ok()));
    }
    Ok(all)
}

/// True if the tap is on no bridge, as a killed run may have left it.
fn is_loose(tap: &InterfaceName) -> bool {
    links::exists(tap) && !links::has_master(tap)
}

fn plug_in(network: &Network, taps: &[InterfaceName]) -> Result<(), RegisterError> {
    if let Some(bridge) = network.own_bridge() {
        for tap in taps.iter().filter(|tap| links::exists(tap)) {
            links::set_master(tap, bridge)?;
        }
    }
    Ok(())
}

/// Writes the leases that libvirt's dnsmasq has given where ours looks for its own (dnsmasq's `lease.c`). DHCPv6 clients
/// ask again: their leases belong to the server that gave them.
fn write_leases(layout: &Layout, libvirt: &Libvirt, name: &NetworkName) -> Result<(), RegisterError> {
    let mut text = String::new();
    for lease in libvirt.network_leases(name.as_str())? {
        text.push_str(&line(&lease).unwrap_or_default());
    }
    files::write(layout.leases(name).on_disk(), text.as_bytes(), 0o644)?;
    Ok(())
}

/// The line of a lease. Words that clients have chosen go in only if they are what they should be.
fn line(lease: &NetworkLease) -> Option<String> {
    let mac: Mac = lease.mac.as_deref()?.parse().ok()?;
    let name = lease
        .hostname
        .as_deref()
        .filter(|name| name.parse::<DnsName>().is_ok());
    let id = lease.client_id.as_deref().filter(|id| {
        let group = |group: &str| group.len() == 2 && group.bytes().all(|b| b.is_ascii_hexdigit());
        id.split(':').all(group)
    });
    let (name, id) = (name.unwrap_or("*"), id.unwrap_or("*"));
    lease
        .ip
        .is_ipv4()
        .then(|| format!("{} {mac} {} {name} {id}\n", lease.expires, lease.ip))
}

/// Makes the network what it was: libvirt's.
fn give_back(
    network: &Network,
    before: &NetworkRecord,
    taps: &[InterfaceName],
    record: Option<&Applied>,
    steps: &[Step],
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    let (name, libvirt) = (network.name(), target.libvirt);
    if target.services.running(name)?.pid.is_some() {
        take(Step::StopDnsmasq, name, target)?;
    }
    libvirt.define_network(name.as_str(), &before.xml)?;
    libvirt.set_network_autostart(name.as_str(), before.autostart)?;
    let now = libvirt.network(name.as_str())?.and_then(|now| now.live_xml);
    let is_there = match (&now, &before.live_xml) {
        (Some(now), Some(then)) => Observed::parse(now) == Observed::parse(then),
        (None, None) => true,
        _ => false,
    };
    if !is_there {
        if now.is_some() {
            take(Step::Stop, name, target)?;
        }
        if before.active {
            take(Step::Start, name, target)?;
        }
        plug_in(network, taps)?;
    }
    if steps.contains(&Step::OpenFirewall) {
        take(Step::CloseFirewall, name, target)?;
    }
    match record {
        Some(record) => drop(record.write(target.layout)?),
        None => remove_files(target.layout, name)?,
    }
    files::remove(target.layout.adopted(name).on_disk())?;
    // Not the directory of another one.
    let _ = fs_err::remove_dir(target.layout.all_adopted().on_disk());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_lines_of_dnsmasqs_and_no_more() {
        let lease = NetworkLease {
            ip: [10, 0, 0, 9].into(),
            mac: Some("52:54:00:00:00:01".into()),
            hostname: Some("web".into()),
            client_id: Some("01:52:54:00:00:00:01".into()),
            expires: 1234,
        };
        let known = "1234 52:54:00:00:00:01 10.0.0.9 web 01:52:54:00:00:00:01\n";
        assert_eq!(line(&lease).as_deref(), Some(known));
        let strange = NetworkLease {
            hostname: Some("a b\nc".into()),
            client_id: Some("01 x".into()),
            ..lease.clone()
        };
        assert_eq!(
            line(&strange).as_deref(),
            Some("1234 52:54:00:00:00:01 10.0.0.9 * *\n")
        );
        let other = NetworkLease {
            ip: "fd00::9".parse().unwrap(),
            ..lease.clone()
        };
        assert_eq!(
            (line(&other), line(&NetworkLease { mac: None, ..lease })),
            (None, None)
        );
    }
}
