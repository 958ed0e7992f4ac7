//! `miniascape guest start`, `shutdown` and `wait`.

use crate::cli::{Context, Failure};
use clap::ValueEnum;
use miniascape::guest::{Awaited, GuestError, LeaseWait, WaitError};
use miniascape::host::libvirt::GraceError;
use miniascape::host::{DomainState, Libvirt};
use miniascape::install;
use miniascape::name::printable;
use serde_json::json;
use std::time::Duration;

/// What `guest wait` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// It executes
    Running,
    /// An interface of it holds a lease
    Lease,
    /// It is off
    Shutoff,
}

/// What `guest start` can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StartGoal {
    /// It executes
    Running,
    /// An interface of it was handed a lease after the start
    Lease,
}

/// A guest's name as it is safe to print: libvirt takes names that a terminal would obey.
fn shown(name: &str) -> String {
    printable(name, 64)
}

/// The state of a guest that has to exist.
fn known(libvirt: &Libvirt, name: &str) -> Result<DomainState, Failure> {
    match libvirt.domain(name)? {
        Some(record) => Ok(record.state),
        None => Err(GuestError::Unknown(name.to_owned()).into()),
    }
}

pub(super) fn start(
    context: &Context,
    name: &str,
    goal: Option<StartGoal>,
    timeout: Duration,
    dry_run: bool,
) -> Result<(), Failure> {
    let libvirt = context.libvirt(dry_run)?;
    let state = known(&libvirt, name)?;
    if state.is_active() {
        // A guest that runs may long have its lease.
        if goal == Some(StartGoal::Lease) && !dry_run {
            return wait(context, name, Goal::Lease, timeout);
        }
        return context.output().report(
            &json!({ "guest": name, "changed": false, "state": state }),
            || format!("{} is {state} already", shown(name)),
        );
    }
    if dry_run {
        let value = json!({ "guest": name, "changed": true, "dry_run": true });
        return context
            .output()
            .report(&value, || format!("{} would be started", shown(name)));
    }
    let lease = match goal {
        Some(StartGoal::Lease) => Some(LeaseWait::open(context.layout(), &libvirt, name, false)?),
        _ => None,
    };
    let domain = libvirt.domain(name)?;
    if let Some(domain) = &domain {
        match install::check_images(context.layout(), domain.uuid) {
            Err(error) if error.is_denied() => {
                if install::is_marked(&domain.xml) {
                    let unseen =
                        "its images were not compared with what was installed: only root may read them";
                    context.output().note(format!("note: {unseen}"));
                }
            }
            result => result?,
        }
    }
    libvirt.start_domain(name)?;
    if let Some(domain) = &domain
        && let Err(error) = install::after_start(context.layout(), &libvirt, domain)
        && !error.is_denied()
    {
        context.output().warn(format!(
            "the checkpoints of {} are not back: {error}",
            shown(name)
        ));
    }
    if let Some(lease) = lease {
        return tell(context, name, &lease.finish(&libvirt, timeout)?, true);
    }
    if goal == Some(StartGoal::Running) {
        return wait(context, name, Goal::Running, timeout);
    }
    context.output().report(
        &json!({ "guest": name, "changed": true, "state": libvirt.domain_state(name)? }),
        || format!("{} started", shown(name)),
    )
}

pub(super) fn shutdown(
    context: &Context,
    name: &str,
    timeout: Duration,
    force_after: Option<Duration>,
    dry_run: bool,
) -> Result<(), Failure> {
    let libvirt = context.libvirt(dry_run)?;
    let state = known(&libvirt, name)?;
    if !state.is_active() {
        return context.output().report(
            &json!({ "guest": name, "changed": false, "state": state }),
            || format!("{} is {state} already", shown(name)),
        );
    }
    if dry_run {
        let value = json!({ "guest": name, "changed": true, "dry_run": true });
        return context
            .output()
            .report(&value, || format!("{} would be shut down", shown(name)));
    }
    let forced = match libvirt.shutdown_domain(name, force_after.unwrap_or(timeout)) {
        Ok(()) => false,
        Err(GraceError::StillRunning { .. }) if force_after.is_some() => {
            libvirt.destroy_domain(name)?;
            true
        }
        Err(error) => return Err(error.into()),
    };
    let value = json!({ "guest": name, "changed": true, "state": DomainState::Shutoff, "forced": forced });
    context.output().report(&value, || {
        if forced {
            format!("{} did not shut down in time and was stopped hard", shown(name))
        } else {
            format!("{} is off", shown(name))
        }
    })
}

pub(super) fn wait(context: &Context, name: &str, goal: Goal, timeout: Duration) -> Result<(), Failure> {
    let libvirt = context.libvirt_for_reading()?;
    known(&libvirt, name)?;
    let awaited = match goal {
        Goal::Lease => LeaseWait::open(context.layout(), &libvirt, name, true)?.finish(&libvirt, timeout)?,
        Goal::Running | Goal::Shutoff => {
            let wanted = |state: DomainState| match goal {
                Goal::Running => state == DomainState::Running,
                _ => !state.is_active(),
            };
            let state = libvirt
                .wait_domain(name, timeout, wanted)?
                .map_err(|state| WaitError::Timeout {
                    name: name.to_owned(),
                    missing: format!("still {state}"),
                    timeout,
                })?;
            Awaited::State(state)
        }
    };
    tell(context, name, &awaited, false)
}

fn tell(context: &Context, name: &str, awaited: &Awaited, changed: bool) -> Result<(), Failure> {
    match awaited {
        Awaited::State(state) => {
            let value = json!({ "guest": name, "changed": changed, "state": state });
            context
                .output()
                .report(&value, || format!("{} is {state}", shown(name)))
        }
        Awaited::Lease(address) => {
            let value = json!({ "guest": name, "changed": changed, "lease": address });
            context.output().report(&value, || {
                format!("{} has {} in {}", shown(name), address.ip, address.network)
            })
        }
    }
}
