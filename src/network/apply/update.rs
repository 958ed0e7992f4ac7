//! `net update`: a registered network made to follow its definition, with the least disruption that does it; looked
//! at afterwards, and put back if it is not as it should be.

use super::guests::{plugged, replug};
use super::register::{Facts, begin, define, plan, refuse_taken_bridge, remove_bridge, settle};
use super::step::{take, write_files};
use super::{RegisterError, Report, Step, Target, lock};
use super::{adopt, bridge};
use crate::domain::Plug;
use crate::host::dns::{self, Kind};
use crate::host::{bus, files};
use crate::name::{DnsName, NetworkName};
use crate::network::compile::{self, Compiled};
use crate::network::diff::keep;
use crate::network::firewall;
use crate::network::{Applied, Network};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// How long dnsmasq has to answer a question after an update.
const DNS_PATIENCE: Duration = Duration::from_millis(500);
/// How many names are asked for to see whether dnsmasq has read its files.
const SAMPLES: usize = 8;

/// What the network was before the update, for putting it back.
struct Before {
    files: Vec<(&'static str, Option<Vec<u8>>)>,
    xml: Option<String>,
    applied: Applied,
}

/// Beside what in libvirt's network an update goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) enum Beside {
    /// DHCP entries are a reason to refuse: they would be lost.
    NoDhcp,
    /// Whatever is there; the caller has looked at it.
    Anything,
}

/// Updates the registered network to `compiled`. `source` names the definition. With `dry_run` only the steps are told.
pub fn update(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    update_beside(network, compiled, source, target, dry_run, Beside::NoDhcp)
}

/// As [`update`], beside what else libvirt's network has.
pub(in crate::network) fn update_beside(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
    beside: Beside,
) -> Result<Report, RegisterError> {
    let (name, layout) = (network.name(), target.layout);
    let _lock = lock(layout, name, dry_run)?;
    let Some(applied) = Applied::read_sound(layout, name)? else {
        return Err(RegisterError::NotRegistered(name.clone()));
    };
    target.services.check()?;
    let facts = Facts::gather(network, compiled, target)?;
    if beside == Beside::NoDhcp {
        adopt::refuse(name, facts.existing.as_ref())?;
    }
    refuse_taken_bridge(network, facts.existing.as_ref(), target.libvirt)?;
    let mut steps = plan(&facts, network.needs_dnsmasq());
    let mut guests = Vec::new();
    // Of a network that was stopped by others, the guests' taps are on no bridge.
    if steps.contains(&Step::Stop) || steps.contains(&Step::Start) {
        guests = plugged(name, target.libvirt)?;
        if !guests.is_empty() && steps.contains(&Step::Undefine) {
            // Their interfaces are of a kind that cannot be changed while they run.
            return Err(RegisterError::InUse {
                network: name.clone(),
                guests: guests.into_iter().map(|(guest, _)| guest).collect(),
            });
        }
        if !guests.is_empty() {
            // The last step, behind dnsmasq's restart, so that the guests' questions are answered.
            steps.push(Step::Replug);
        }
    }
    bridge::refuse_other_servers(network, &steps, Some(&applied), target.libvirt)?;
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run {
        return Ok(report);
    }
    if report.steps.is_empty() {
        // What the network needs of the host may have changed all the same.
        Applied::new(network, compiled, source.to_owned()).write(layout)?;
        keep(network, layout)?;
        return Ok(report);
    }
    let before = Before {
        files: compile::FILES
            .into_iter()
            .map(|file| {
                Ok((
                    file,
                    files::read_if_there(layout.network(name).join(file).on_disk())?,
                ))
            })
            .collect::<Result<_, std::io::Error>>()?,
        xml: facts.existing.as_ref().map(|record| record.xml.clone()),
        applied,
    };
    begin(facts.record.clone(), compiled, layout)?;
    let done = report
        .steps
        .iter()
        .try_for_each(|step| match step {
            Step::WriteFiles => write_files(compiled, layout, name),
            Step::Define => define(name, compiled, facts.existing.as_ref(), target),
            Step::RemoveBridge => remove_bridge(network),
            Step::OpenFirewall => Ok(firewall::open(network, layout)?),
            Step::Replug => match network.bridge() {
                Some(bridge) => replug(&guests, bridge, target.libvirt),
                None => Ok(()),
            },
            other => take(*other, name, target),
        })
        .and_then(|()| {
            Applied::new(network, compiled, source.to_owned()).write(layout)?;
            verify(network, compiled, target)
        });
    match done {
        Ok(()) => {
            keep(network, layout)?;
            settle(&Applied::new(network, compiled, source.to_owned()), layout)?;
            Ok(report)
        }
        Err(cause) => Err(undo(name, &report.steps, &before, &guests, target, cause)),
    }
}

/// Looks whether everything is as it should be: no step is left to do, and dnsmasq answers from the new files.
pub(super) fn verify(
    network: &Network,
    compiled: &Compiled,
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    let wrong = |what: String| RegisterError::Unverified {
        network: network.name().clone(),
        what,
    };
    let left = plan(
        &Facts::gather(network, compiled, target)?,
        network.needs_dnsmasq(),
    );
    if let Some(step) = left.first() {
        return Err(wrong(format!("there is still to {step}")));
    }
    if !network.needs_dnsmasq() {
        return Ok(());
    }
    // dnsmasq takes a SIGHUP before the next message from the bus: when it answers this, it has read its files.
    bus::ping_dnsmasq(network.name()).map_err(|e| wrong(format!("dnsmasq does not answer on D-Bus: {e}")))?;
    if !network.serves_dns() {
        return Ok(());
    }
    let Some(server) = bridge::name_server(network)? else {
        return Ok(());
    };
    for (name, address) in samples(network) {
        let kind = if address.is_ipv4() { Kind::A } else { Kind::Aaaa };
        let answer = dns::ask(server, &name, kind, DNS_PATIENCE)
            .map_err(|e| wrong(format!("dnsmasq does not answer for {name}: {e}")))?;
        if !answer.contains(&address) {
            return Err(wrong(format!("dnsmasq does not know that {name} is {address}")));
        }
    }
    Ok(())
}

/// Some names of the network with their addresses, spread over all of them.
fn samples(network: &Network) -> Vec<(DnsName, IpAddr)> {
    let Some(domain) = network.domain() else {
        return Vec::new();
    };
    let hosts = network.hosts();
    let step = hosts.len().div_ceil(SAMPLES).max(1);
    let named =
        |host: &crate::network::Host| Some((domain.with_host(&host.name).ok()?, host.addresses().next()?));
    hosts.iter().step_by(step).filter_map(named).collect()
}

/// Puts everything back after a failure; the error then says whether that worked.
fn undo(
    name: &NetworkName,
    taken: &[Step],
    before: &Before,
    guests: &[(String, Plug)],
    target: &Target<'_>,
    cause: RegisterError,
) -> RegisterError {
    let cause = Box::new(cause);
    match put_back(name, taken, before, guests, target) {
        Ok(()) => RegisterError::RolledBack {
            network: name.clone(),
            cause,
        },
        Err(rollback) => RegisterError::RollbackFailed {
            network: name.clone(),
            cause,
            rollback: Box::new(rollback),
        },
    }
}

fn put_back(
    name: &NetworkName,
    taken: &[Step],
    before: &Before,
    guests: &[(String, Plug)],
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    for (file, content) in &before.files {
        let path = target.layout.network(name).join(file);
        match content {
            Some(content) => drop(files::write(path.on_disk(), content, 0o644)?),
            None => drop(files::remove(path.on_disk())?),
        }
    }
    if (taken.contains(&Step::Define) || taken.contains(&Step::Undefine))
        && let Some(xml) = &before.xml
    {
        target.libvirt.define_network(name.as_str(), xml)?;
        take(Step::Autostart, name, target)?;
    }
    if taken.contains(&Step::Stop) {
        if target
            .libvirt
            .network(name.as_str())?
            .is_some_and(|record| record.active)
        {
            take(Step::Stop, name, target)?;
        }
        take(Step::Start, name, target)?;
    }
    if taken.contains(&Step::OpenFirewall) || taken.contains(&Step::CloseFirewall) {
        firewall::put_back(&before.applied, target.layout)?;
    }
    if before.applied.dnsmasq {
        take(Step::RestartDnsmasq, name, target)?;
    } else if target.services.running(name)?.pid.is_some() {
        take(Step::StopDnsmasq, name, target)?;
    }
    if let Some(bridge) = before
        .applied
        .bridge
        .as_ref()
        .filter(|_| taken.contains(&Step::Stop))
    {
        replug(guests, bridge, target.libvirt)?;
    }
    before.applied.write(target.layout)?;
    Ok(())
}
