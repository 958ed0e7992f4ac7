//! `net update`: a registered network made to follow its definition, with the least disruption that does it; looked
//! at afterwards, and put back if it is not as it should be.

use super::bridge::{self, refuse_taken_bridge};
use super::facts::{Facts, plan};
use super::guests::{Guests, replug};
use super::journal;
use super::undo::{Before, undo};
use super::work::Work;
use super::{RegisterError, Report, Step, Target, adopt, lock};
use crate::network::compile::Compiled;
use crate::network::diff::keep;
use crate::network::{Applied, Network};
use std::path::Path;

/// Beside what others have done an update goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) enum Beside {
    /// DHCP entries are a reason to refuse: they would be lost.
    NoDhcp,
    /// As `NoDhcp`, and whom others have unplugged is left so: nobody has asked for the update itself.
    Unplugged,
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
    let _lock = lock(target.layout, network.name(), dry_run)?;
    update_locked(network, compiled, source, target, dry_run, beside)
}

/// As [`update_beside`], for a caller who holds the network's lock.
pub(in crate::network) fn update_locked(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
    beside: Beside,
) -> Result<Report, RegisterError> {
    let (name, layout) = (network.name(), target.layout);
    let Some(applied) = Applied::read_sound(layout, name)? else {
        return Err(RegisterError::NotRegistered(name.clone()));
    };
    target.services.check()?;
    let facts = Facts::gather(network, compiled, target)?;
    if beside != Beside::Anything {
        adopt::refuse(name, facts.existing.as_ref())?;
    }
    let mut steps = plan(&facts, network.needs_dnsmasq());
    refuse_taken_bridge(network, &steps, facts.existing.as_ref(), target.libvirt)?;
    // Those that a killed update left without a plug come first: their links may be down.
    let mut guests = journal::left(name, layout, target.libvirt)?;
    let left = guests.len();
    let unplugs = steps.contains(&Step::Stop) || steps.contains(&Step::Start);
    let more = match network.bridge() {
        // Of a network that was stopped by others, the guests' taps are on no bridge.
        _ if unplugs => Guests::running(target.libvirt)?.plugs(name),
        Some(bridge) if beside != Beside::Unplugged && target.libvirt.is_local() => {
            Guests::running(target.libvirt)?.unplugged(name, bridge.as_str())
        }
        _ => Vec::new(),
    };
    for (guest, plug) in more {
        if guests.iter().all(|(_, known)| known.tap != plug.tap) {
            guests.push((guest, plug));
        }
    }
    if unplugs && !guests.is_empty() && steps.contains(&Step::Undefine) {
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
    bridge::refuse_other_servers(network, &steps, Some(&applied), target.libvirt)?;
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
    if report.steps.is_empty() {
        // What the network needs of the host may have changed all the same.
        let applied = work.record()?;
        journal::give_up(&applied, layout)?;
        keep(network, layout)?;
        return Ok(report);
    }
    let xml = facts.existing.as_ref().map(|record| &record.xml);
    let before = Before::note(name, xml, applied, target)?;
    work.begin()?;
    if report.steps.contains(&Step::Stop) || report.steps.contains(&Step::Replug) {
        journal::begin(name, &guests, source, target)?;
    }
    let mut begun = 0;
    let done = report
        .steps
        .iter()
        .inspect(|_| begun += 1)
        .try_for_each(|step| {
            work.take(*step, || match network.bridge() {
                Some(bridge) => replug(&guests, bridge, target.libvirt),
                None => Ok(()),
            })
        })
        .and_then(|()| work.record_and_verify());
    match done {
        Ok(applied) => {
            work.end(&applied)?;
            Ok(report)
        }
        Err(cause) => {
            let begun = &report.steps[..begun];
            let stopped = begun.contains(&Step::Stop);
            let unplugged = if stopped { &guests[..] } else { &guests[..left] };
            Err(undo(name, begun, &before, unplugged, target, cause))
        }
    }
}
