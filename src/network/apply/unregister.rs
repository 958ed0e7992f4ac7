//! `net unregister`: everything that `net register` made goes; the definition stays.

use super::guests::refuse_in_use;
use super::hostroute;
use super::step::{has_leftovers, take};
use super::{RegisterError, Report, Step, Target, lock, owned};
use crate::host::ServiceError;
use crate::name::NetworkName;
use crate::network::firewall;
use crate::network::{Applied, Deferred, Observed, Pending, Wait};

/// Unregisters the network `name`: its dnsmasq stopped, libvirt's network gone, generated files removed. Running
/// guests in it are a reason to refuse, unless `force`.
pub fn unregister(
    name: &NetworkName,
    target: &Target<'_>,
    force: bool,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let _lock = lock(target.layout, name, dry_run)?;
    unregister_locked(name, target, force, dry_run)
}

/// As [`unregister`], for a caller who holds the network's lock.
pub(in crate::network) fn unregister_locked(
    name: &NetworkName,
    target: &Target<'_>,
    force: bool,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let layout = target.layout;
    let wish = Pending::read(layout, name)?;
    let existing = match owned(target.libvirt, name) {
        // Someone else's is left alone; what was only wished for can still be forgotten.
        Err(RegisterError::Foreign(_)) if wish.is_some() && Applied::read_sound(layout, name)?.is_none() => {
            None
        }
        result => result?,
    };
    let mut steps = Vec::new();
    if layout.dnsmasq_conf(name).on_disk().exists() {
        match target.services.running(name) {
            // Also when it does not run now: it is not to run at the next boot either.
            Ok(_) => steps.push(Step::StopDnsmasq),
            // A daemon that is not there runs nothing.
            Err(ServiceError::NoManager { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if firewall::is_open(name, target)? {
        steps.push(Step::CloseFirewall);
    }
    if !force {
        let record = Applied::read_sound(layout, name)?;
        hostroute::refuse_in_use(name, record.as_ref(), target.libvirt)?;
    }
    if let Some(live) = existing.as_ref().and_then(|record| record.live_xml.as_deref()) {
        if !force {
            refuse_in_use(
                name,
                &Observed::parse(live).bridge.unwrap_or_default(),
                target.libvirt,
            )?;
        }
        steps.push(Step::Stop);
    }
    if existing.is_some() {
        steps.push(Step::Undefine);
    }
    if has_leftovers(layout, name)? {
        steps.push(Step::RemoveFiles);
    }
    if wish.is_some() {
        steps.push(Step::Forget);
    }
    if !dry_run {
        // Nobody is to register it meanwhile, and whoever comes after a killed run goes on.
        if let Some(wish) = wish.filter(|wish| wish.work == Deferred::RegisterNetwork) {
            let wait = Wait {
                uri: target.libvirt.uri(),
                reason: "a run of miniascape was interrupted",
            };
            Pending::unregister(&wish.network, force, wait).write(layout)?;
        }
        steps.iter().try_for_each(|step| take(*step, name, target))?;
    }
    Ok(Report {
        network: name.clone(),
        steps,
    })
}
