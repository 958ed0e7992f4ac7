//! `net register`: from a compiled network to libvirt's network with its own dnsmasq.

use super::bridge::{self, refuse_taken_bridge};
use super::facts::{Facts, plan};
use super::guests::{refuse_in_use, replug};
use super::step::take;
use super::work::Work;
use super::{RegisterError, Report, Step, Target, adopt, journal, lock};
use crate::name::NetworkName;
use crate::network::compile::Compiled;
use crate::network::{Deferred, Network, Observed, Pending};
use std::path::Path;

/// Registers a network: its files, libvirt's network (defined, autostarted, active), its own dnsmasq. `source` names
/// the definition for messages. With `dry_run` only the steps are told.
pub fn register(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let _lock = lock(target.layout, network.name(), dry_run)?;
    register_locked(network, compiled, source, target, dry_run)
}

/// As [`register`], for a caller who holds the network's lock.
pub(in crate::network) fn register_locked(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let name = network.name();
    let layout = target.layout;
    if network.needs_dnsmasq() {
        target.services.check()?;
    }
    let facts = Facts::gather(network, compiled, target)?;
    adopt::refuse(name, facts.existing.as_ref())?;
    let mut steps = plan(&facts, network.needs_dnsmasq());
    refuse_taken_bridge(network, &steps, facts.existing.as_ref(), target.libvirt)?;
    if steps.contains(&Step::Stop) {
        let live = facts.existing.as_ref().and_then(|r| r.live_xml.as_deref());
        let bridge = live
            .and_then(|xml| Observed::parse(xml).bridge)
            .unwrap_or_default();
        refuse_in_use(name, &bridge, target.libvirt)?;
    }
    bridge::refuse_other_servers(network, &steps, facts.record.as_ref(), target.libvirt)?;
    // Those that a killed update left without a plug.
    let guests = journal::left(name, layout, target.libvirt)?;
    if !guests.is_empty() {
        steps.push(Step::Replug);
    }
    let wish = Pending::read(layout, name)?;
    if wish.is_some() {
        steps.push(Step::Forget);
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run {
        return Ok(report);
    }
    // Nobody is to take away meanwhile what is wanted again.
    if wish.is_some_and(|wish| wish.work == Deferred::UnregisterNetwork) {
        take(Step::Forget, name, target)?;
    }
    let work = Work {
        network,
        compiled,
        source,
        facts: &facts,
        target,
    };
    work.begin()?;
    let mut taken = Vec::new();
    let done = report.steps.iter().try_for_each(|step| {
        // Forgotten only when the record tells that it is done.
        if *step != Step::Forget {
            work.take(*step, || match network.bridge() {
                Some(bridge) => replug(&guests, bridge, target.libvirt),
                None => Ok(()),
            })?;
        }
        taken.push(*step);
        Ok(())
    });
    let done = done
        .and_then(|()| work.record())
        .and_then(|applied| work.end(&applied));
    if let Err(error) = done {
        // Only what this run has made is taken back, only if nothing was there before, and not if libvirt has gone:
        // what it keeps would have lost its files.
        if facts.existing.is_none() && facts.record.is_none() && !error.is_libvirt_away() {
            undo(&taken, name, target);
        }
        return Err(error);
    }
    Ok(report)
}

/// Takes back the steps of a registration that failed half way, the last first. Failures here are told in the log
/// only: the first error is what the user has to know, and the next run repairs.
fn undo(taken: &[Step], name: &NetworkName, target: &Target<'_>) {
    for step in taken.iter().rev() {
        let back = match step {
            Step::StartDnsmasq => Step::StopDnsmasq,
            Step::OpenFirewall => Step::CloseFirewall,
            Step::Start => Step::Stop,
            Step::Define => Step::Undefine,
            Step::WriteFiles => Step::RemoveFiles,
            _ => continue,
        };
        if let Err(error) = take(back, name, target) {
            tracing::warn!(network = %name, step = %back, %error, "not taken back");
        }
    }
}
