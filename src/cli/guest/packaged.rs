//! `miniascape guest register` and `unregister`, which the scriptlets of guest packages call: what cannot be done now
//! stays on record for the next run.

use crate::cli::{Context, Failure};
use miniascape::guest;
use miniascape::host::libvirt::is_local_uri;
use miniascape::host::{Libvirt, files};
use miniascape::install::{self, InstallError, PendingKind, Registered, Unregistered, Wish};
use miniascape::name::GuestName;
use miniascape::package::{self, GuestPackage, InstalledError};
use serde::Serialize;

/// Does `work`, which is on record as pending from its beginning, so that the next run finishes it if this one fails or
/// is killed. A dry run leaves the record alone.
pub(in crate::cli) fn or_pending<T>(
    context: &Context,
    kind: &PendingKind,
    dry_run: bool,
    work: impl FnOnce(&Libvirt) -> Result<T, InstallError>,
) -> Result<T, Failure> {
    if dry_run {
        return Ok(work(&context.local_libvirt(true)?)?);
    }
    let layout = context.layout();
    let libvirt = match context.libvirt_for_package() {
        Ok(libvirt) => libvirt,
        Err(failure) => {
            // A package belongs to its host: what was asked of another one is done in this one's libvirt.
            let uri = if is_local_uri(context.uri()) {
                context.uri()
            } else {
                install::SYSTEM
            };
            let noted = kind.note(layout, uri, failure.message());
            return Err(recorded(failure, noted));
        }
    };
    // The daemon is woken by the record, and is not to do it at the same time.
    let _lock = files::Lock::acquire(layout.package_lock(kind.package().guest()).on_disk())?;
    kind.note(layout, libvirt.uri(), "a run of miniascape was interrupted")?;
    match work(&libvirt) {
        Ok(done) => {
            kind.forget(layout)?;
            Ok(done)
        }
        // A name that was asked for is asked for anew; nobody waits for it.
        Err(error @ InstallError::NameTaken { .. })
            if matches!(kind, PendingKind::RegisterGuest { name: Some(_), .. }) =>
        {
            kind.forget(layout)?;
            Err(error.into())
        }
        Err(error) => {
            let noted = install::note_failure(layout, &libvirt, kind, &error);
            Err(recorded(error.into(), noted))
        }
    }
}

/// The first failure stays the one that is told, also when it could not be recorded.
fn recorded(failure: Failure, noted: std::io::Result<()>) -> Failure {
    match noted {
        Ok(()) => {
            failure.hint("this is recorded as pending: the next run of miniascape that can finishes it")
        }
        Err(error) => failure.hint(format!("this could not be recorded as pending either: {error}")),
    }
}

/// What `--format json` tells of work that is left for later.
#[derive(Serialize)]
struct Left<'a> {
    #[serde(flatten)]
    work: &'a PendingKind,
    pending: bool,
    dry_run: bool,
}

/// Leaves work to the first run of miniascape in another system's root.
fn defer(context: &Context, kind: &PendingKind, dry_run: bool, reason: &str) -> Result<(), Failure> {
    if !dry_run {
        kind.note(context.layout(), install::SYSTEM, reason)?;
    }
    let value = Left {
        work: kind,
        pending: true,
        dry_run,
    };
    context.output().report(&value, || {
        let done = if dry_run { "would be" } else { "is" };
        format!("{kind}: {done} left for the first run of miniascape in that system")
    })
}

/// What `--format json` tells of a registration; the first three of all instances together.
#[derive(Serialize)]
struct Told<'a> {
    guest: Option<&'a GuestName>,
    changed: bool,
    notes: Vec<&'a str>,
    guests: &'a [Registered],
}

pub(super) fn register(
    context: &Context,
    package: &GuestPackage,
    name: Option<&GuestName>,
    trust: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    let layout = context.layout();
    let kind = PendingKind::RegisterGuest {
        package: package.clone(),
        name: name.cloned(),
        trust,
    };
    if let Err(error @ InstalledError::Missing(_)) = package::show(layout, package) {
        // Nothing to be kept for later: the package is not there.
        return Err(error.into());
    }
    if !layout.is_live() {
        return defer(context, &kind, dry_run, "installed into another system's root");
    }
    let done = or_pending(context, &kind, dry_run, |libvirt| {
        let (virt, _) = guest::virt_type(layout, dry_run)?;
        let wish = Wish {
            package,
            name,
            trust,
            virt,
            dry_run,
        };
        install::register(layout, libvirt, &wish)
    })?;
    if name.is_some() && !dry_run {
        finish_first(context, package);
    }
    let told = Told {
        guest: done.first().map(|registered| &registered.guest),
        changed: done.iter().any(|registered| registered.changed),
        notes: done
            .iter()
            .flat_map(|registered| &registered.notes)
            .map(String::as_str)
            .collect(),
        guests: &done,
    };
    for note in &told.notes {
        context.output().note(format!("note: {note}"));
    }
    context.output().report(&told, || {
        let lines = done.iter().map(|registered| {
            let name = &registered.guest;
            match (registered.changed, dry_run) {
                (false, _) => format!("{name} is registered already"),
                (true, true) => format!("{name} would be registered"),
                (true, false) => format!("{name} registered; start it with: miniascape guest start {name}"),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// The package's first instance, if it waits because its name was taken: with an instance of another name there is no
/// more to be made. What fails stays on record.
fn finish_first(context: &Context, package: &GuestPackage) {
    let waiting = install::pending(context.layout()).unwrap_or_default();
    let Some((kind, trust)) = waiting.into_iter().find_map(|work| match &work.kind {
        PendingKind::RegisterGuest {
            package: other,
            name: None,
            trust,
        } if other == package => Some((work.kind.clone(), *trust)),
        _ => None,
    }) else {
        return;
    };
    let done = or_pending(context, &kind, false, |libvirt| {
        register_all(context, libvirt, package, trust)
    });
    if let Err(failure) = done {
        tracing::warn!(work = %kind, "still pending: {}", failure.message());
    }
}

/// Registers what a package's scriptlet does: its guests that are there, or its first one.
pub(in crate::cli) fn register_all(
    context: &Context,
    libvirt: &Libvirt,
    package: &GuestPackage,
    trust: bool,
) -> Result<Vec<Registered>, InstallError> {
    let (virt, _) = guest::virt_type(context.layout(), false)?;
    let wish = Wish {
        package,
        name: None,
        trust,
        virt,
        dry_run: false,
    };
    install::register(context.layout(), libvirt, &wish)
}

pub(super) fn unregister(context: &Context, package: &GuestPackage, dry_run: bool) -> Result<(), Failure> {
    let layout = context.layout();
    let kind = PendingKind::UnregisterGuest {
        package: package.clone(),
    };
    if !layout.is_live() {
        return defer(context, &kind, dry_run, "removed from another system's root");
    }
    let done = if dry_run {
        or_pending(context, &kind, true, |libvirt| {
            install::unregister(layout, libvirt, package, true)
        })?
    } else {
        unregister_with(context, package, |_| Ok(()))?
    };
    for note in &done.notes {
        context.output().warn(note);
    }
    context.output().report(&done, || {
        let mut lines = Vec::new();
        if done.still_installed {
            lines.push(format!("{package} is still installed; nothing to do"));
        }
        if let Some(successor) = &done.left_to {
            lines.push(format!("the guests of {package} are those of {successor} now"));
        }
        let would = if dry_run { "would be " } else { "" };
        for name in &done.undefined {
            let disks = layout.instance_disks(name);
            lines.push(format!(
                "{name} {would}unregistered; its disks stay in {}",
                disks.named().display()
            ));
        }
        for name in &done.running {
            lines.push(format!("{name} is running and stays until it is off"));
        }
        lines.join("\n")
    })
}

/// Unregisters the guests of a package after `before`, with which they are on record as to be unregistered. Those that
/// run stay on record.
pub(in crate::cli) fn unregister_with(
    context: &Context,
    package: &GuestPackage,
    before: impl FnOnce(&Libvirt) -> Result<(), InstallError>,
) -> Result<Unregistered, Failure> {
    let layout = context.layout();
    let kind = PendingKind::UnregisterGuest {
        package: package.clone(),
    };
    let done = or_pending(context, &kind, false, |libvirt| {
        before(libvirt)?;
        install::unregister(layout, libvirt, package, false)
    })?;
    if !done.running.is_empty() {
        kind.note(layout, context.uri(), "a guest of it is running")?;
    }
    Ok(done)
}
