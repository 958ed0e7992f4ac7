//! What is asked for while libvirt cannot be asked: it is put on record and told as pending, and a later run that
//! reaches libvirt does it (`pending`).

use super::net::{compiled, settled, tell};
use super::{Context, Failure};
use miniascape::host::{Libvirt, Services};
use miniascape::name::NetworkName;
use miniascape::network::{
    self, Compiled, Deferral, Found, Pending, RegisterError, Registration, Step, Target, Wait, register_later,
};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// libvirt, or why it cannot be asked now.
#[derive(Debug)]
pub(super) enum Reached {
    There(Libvirt),
    Away(String),
}

/// Does `now` with libvirt, or, where libvirt cannot be asked, puts it on record by `later`.
pub(super) fn now_or_later(
    context: &Context,
    network: &NetworkName,
    done: &str,
    dry_run: bool,
    now: impl FnOnce(&Target<'_>) -> Result<Registration, RegisterError>,
    fail: impl FnOnce(RegisterError) -> Failure,
    later: impl FnOnce(Wait<'_>) -> Result<Deferral, RegisterError>,
) -> Result<(), Failure> {
    if !context.layout().is_live() {
        return tell_later(context, &later(Wait::FIRST_BOOT)?, done, None, dry_run);
    }
    let reason = match context.reach_libvirt(dry_run, Some(network))? {
        Reached::Away(reason) => reason,
        Reached::There(libvirt) => {
            let services = Services::of(context.layout());
            let target = Target {
                layout: context.layout(),
                libvirt: &libvirt,
                services: &services,
            };
            match now(&target) {
                Ok(report) => return tell(context, &report, done, dry_run),
                Err(error) if error.is_libvirt_away() => error.to_string(),
                Err(error) => return Err(fail(error)),
            }
        }
    };
    let wait = Wait {
        uri: context.uri(),
        reason: &reason,
    };
    tell_later(context, &later(wait)?, done, Some(&reason), dry_run)
}

/// Puts on record that `found` is to be registered.
pub(super) fn register(
    context: &Context,
    found: &Found,
    compiled: &Compiled,
    wait: Wait<'_>,
    dry_run: bool,
) -> Result<Deferral, RegisterError> {
    let definition = miniascape::host::files::read_at_most(&found.path, miniascape::yaml::MAX_FILE)?;
    let source = source(found);
    register_later(
        &found.network,
        compiled,
        &definition,
        &source,
        wait,
        context.layout(),
        dry_run,
    )
}

/// The definition's file, as it is to be remembered.
pub(super) fn source(found: &Found) -> PathBuf {
    std::path::absolute(&found.path).unwrap_or_else(|_| found.path.clone())
}

/// `net update` without libvirt: what is registered, or to be, is to be registered anew. A failure is told, and the
/// others are still tried.
pub(super) fn update(
    context: &Context,
    networks: &[String],
    reason: &str,
    dry_run: bool,
) -> Result<ExitCode, Failure> {
    let layout = context.layout();
    let one = |text: &String| -> Result<(), Failure> {
        let found = settled(context, text, dry_run)?;
        let name = found.network.name();
        let known = network::registered(layout)?
            .iter()
            .any(|applied| applied.name == *name);
        if !known && Pending::read(layout, name)?.is_none() {
            return Err(RegisterError::NotRegistered(name.clone()).into());
        }
        let compiled = compiled(context, &found)?;
        let wait = Wait {
            uri: context.uri(),
            reason,
        };
        let deferral = register(context, &found, &compiled, wait, dry_run)?;
        tell_later(context, &deferral, "registered", Some(reason), dry_run)
    };
    let mut last = None;
    for text in networks {
        if let Err(failure) = one(text)
            && let Some(earlier) = last.replace(failure)
        {
            earlier.report(context.format());
        }
    }
    last.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Tells what was put on record; without a `reason` that is for another system.
fn tell_later(
    context: &Context,
    deferral: &Deferral,
    done: &str,
    reason: Option<&str>,
    dry_run: bool,
) -> Result<(), Failure> {
    let Deferral { report, pending } = deferral;
    let name = &report.network;
    let mut value = json!({
        "network": name, "changed": !report.steps.is_empty(), "dry_run": dry_run, "steps": report.steps,
        "pending": pending,
    });
    if *pending && let Some(reason) = reason {
        value["reason"] = reason.into();
    }
    context.output().report(&value, || {
        let would = if dry_run { "would be " } else { "" };
        let changed = !report.steps.is_empty();
        match (pending, changed, reason) {
            (true, true, Some(reason)) => format!(
                "{name}: {would}pending: {reason}\n\
                 {name} is {done} when libvirt answers: by the next command that changes something, by the daemon, or at boot"
            ),
            (true, false, Some(reason)) => format!("{name}: pending already, to be {done}: {reason}"),
            (true, true, None) => format!("{name}: {would}pending, to be {done} at the first boot of that system"),
            (true, false, None) => format!("{name}: pending already, to be {done} at the first boot of that system"),
            (false, true, _) if report.steps.contains(&Step::Forget) => {
                format!("{name}: its pending registration {would}cancelled; nothing of it was made yet")
            }
            (false, true, _) => format!("{name} {would}{done}: its files removed"),
            (false, false, _) => format!("{name} is {done} already; nothing to do"),
        }
    })
}

/// libvirt for looking only; or, where it is away, the failure to end with when all else is told.
pub(super) fn libvirt_if_there(context: &Context) -> Result<(Option<Libvirt>, Option<Failure>), Failure> {
    match context.libvirt_for_reading() {
        Ok(libvirt) => Ok((Some(libvirt), None)),
        Err(failure) if failure.is_missing() => Ok((None, Some(failure))),
        Err(failure) => Err(failure),
    }
}
