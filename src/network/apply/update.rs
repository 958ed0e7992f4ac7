//! `net update`: a registered network made to follow its definition, with the least disruption that does it; looked
//! at afterwards, and put back if it is not as it should be.

use super::guests::{plugged, replug};
use super::register::{Facts, begin, plan, refuse_taken_bridge, settle, with_uuid};
use super::step::{take, write_files};
use super::{RegisterError, Report, Step, Target, lock};
use crate::domain::Plug;
use crate::host::dns::{self, Kind};
use crate::host::{bus, files, links};
use crate::name::{DnsName, InterfaceName, NetworkName};
use crate::network::compile::{self, Compiled};
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

/// Updates the registered network to `compiled`. `source` names the definition. With `dry_run` only the steps are told.
pub fn update(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let (name, layout) = (network.name(), target.layout);
    let _lock = lock(layout, name, dry_run)?;
    let Some(applied) = Applied::read_sound(layout, name)? else {
        return Err(RegisterError::NotRegistered(name.clone()));
    };
    target.services.check()?;
    let facts = Facts::gather(network, compiled, target)?;
    refuse_taken_bridge(network, facts.existing.as_ref(), target.libvirt)?;
    let mut steps = plan(&facts, network.needs_dnsmasq());
    let mut guests = Vec::new();
    if steps.contains(&Step::Stop) {
        guests = plugged(name, target.libvirt)?;
        if !guests.is_empty() {
            // The last step, behind dnsmasq's restart, so that the guests' questions are answered.
            steps.push(Step::Replug);
        }
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run || report.steps.is_empty() {
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
    let uuid = facts.existing.as_ref().map(|record| record.uuid);
    begin(facts.record.clone(), compiled, layout)?;
    let done = report
        .steps
        .iter()
        .try_for_each(|step| match step {
            Step::WriteFiles => write_files(compiled, layout, name),
            Step::Define => {
                let xml = with_uuid(compiled.libvirt_xml(), uuid);
                Ok(target.libvirt.define_network(name.as_str(), &xml)?)
            }
            Step::RemoveBridge => Ok(links::remove_bridge(network.bridge())?),
            Step::Replug => replug(&guests, network.bridge(), target.libvirt),
            other => take(*other, name, target),
        })
        .and_then(|()| {
            Applied::new(network, compiled, source.to_owned()).write(layout)?;
            verify(network, compiled, target)
        });
    match done {
        Ok(()) => {
            settle(&Applied::new(network, compiled, source.to_owned()), layout)?;
            Ok(report)
        }
        Err(cause) => Err(undo(name, &report.steps, &before, &guests, target, cause)),
    }
}

/// Looks whether everything is as it should be: no step is left to do, and dnsmasq answers from the new files.
fn verify(network: &Network, compiled: &Compiled, target: &Target<'_>) -> Result<(), RegisterError> {
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
    let Some(server) = network.ipv4() else {
        return Ok(());
    };
    for (name, address) in samples(network) {
        let answer = dns::ask(server.gateway.into(), &name, Kind::A, DNS_PATIENCE)
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
    let named = |host: &crate::network::Host| Some((domain.with_host(&host.name).ok()?, host.ipv4?.into()));
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
    if taken.contains(&Step::Define)
        && let Some(xml) = &before.xml
    {
        target.libvirt.define_network(name.as_str(), xml)?;
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
    if before.applied.dnsmasq {
        take(Step::RestartDnsmasq, name, target)?;
    } else if target.services.running(name)?.pid.is_some() {
        take(Step::StopDnsmasq, name, target)?;
    }
    if taken.contains(&Step::Stop) {
        let bridge: &InterfaceName = &before.applied.bridge;
        replug(guests, bridge, target.libvirt)?;
    }
    before.applied.write(target.layout)?;
    Ok(())
}
