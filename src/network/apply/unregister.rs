//! `net unregister`: everything that `net register` made goes; the definition stays.

use super::guests::refuse_in_use;
use super::step::{has_files, remove_files, take};
use super::{RegisterError, Report, Step, Target, lock, owned};
use crate::host::{Layout, ServiceError};
use crate::name::NetworkName;
use crate::network::{Applied, Deferred, Observed};

/// Unregisters the network `name`: its dnsmasq stopped, libvirt's network gone, generated files removed. Running
/// guests in it are a reason to refuse, unless `force`.
pub fn unregister(
    name: &NetworkName,
    target: &Target<'_>,
    force: bool,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let layout = target.layout;
    let _lock = lock(layout, name, dry_run)?;
    let existing = owned(target.libvirt, name)?;
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
    if has_files(layout, name) {
        steps.push(Step::RemoveFiles);
    }
    if !dry_run {
        steps.iter().try_for_each(|step| take(*step, name, target))?;
    }
    Ok(Report {
        network: name.clone(),
        steps,
    })
}

/// Notes in another system's root that the network `name` is to go; the first run of miniascape there takes it away.
pub fn unregister_offline(
    name: &NetworkName,
    layout: &Layout,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let mut steps = Vec::new();
    match Applied::read(layout, name)? {
        Some(applied) if applied.pending == Some(Deferred::Unregister) => {}
        Some(mut applied) => {
            steps.push(Step::Defer);
            applied.pending = Some(Deferred::Unregister);
            if !dry_run {
                applied.write(layout)?;
            }
        }
        None if has_files(layout, name) => {
            steps.push(Step::RemoveFiles);
            if !dry_run {
                remove_files(layout, name)?;
            }
        }
        None => {}
    }
    Ok(Report {
        network: name.clone(),
        steps,
    })
}
