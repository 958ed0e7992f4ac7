//! `miniascape package remove`: a guest package away from this host, by whoever brought it. Its guests leave libvirt;
//! their disks stay.

use super::install::hand_over;
use crate::cli::guest::packaged;
use crate::cli::{Context, Failure};
use miniascape::host::command::Run;
use miniascape::install::{self, PendingKind, Unpacking, Unregistered};
use miniascape::name::Digest;
use miniascape::package::{self, GuestPackage, InstalledError};
use serde::Serialize;

/// What `--format json` tells.
#[derive(Serialize)]
struct Told<'a> {
    package: &'a GuestPackage,
    dry_run: bool,
    /// The program that removes it, with its arguments; none for what came out of a tar file.
    command: Option<Vec<String>>,
    /// Images that went with it.
    images: Vec<String>,
    #[serde(flatten)]
    guests: Unregistered,
}

pub(super) fn run(context: &Context, package: &GuestPackage, dry_run: bool) -> Result<(), Failure> {
    let layout = context.layout();
    if layout.is_standard() {
        super::need_root("removing packages")?;
    }
    let managed = install::managed(layout, &[package.to_string()])?;
    if let Some(managed) = managed.get(package.as_str()) {
        if !layout.is_live() {
            return Err(Failure::usage(format!(
                "{package} was installed by {}, which has to remove it from that system",
                managed.manager.as_str()
            )));
        }
        return by_manager(
            context,
            package,
            &install::remove_run(managed.manager, package.as_str())?,
            dry_run,
        );
    }
    if !install::is_unpacked(layout, package)? {
        if let Err(error @ InstalledError::Missing(_)) = package::show(layout, package) {
            return Err(error.into());
        }
        let dir = layout.guest_package(package.guest());
        return Err(Failure::refused(format!(
            "{package} came neither by rpm or dpkg nor out of a tar file; nothing was changed"
        ))
        .hint(format!(
            "whoever put it there removes it: {}, then `miniascape guest unregister {package}`",
            dir.named().display()
        )));
    }
    unpacked(context, package, dry_run)
}

fn by_manager(context: &Context, package: &GuestPackage, run: &Run, dry_run: bool) -> Result<(), Failure> {
    let layout = context.layout();
    let before = install::outcome(layout, None, package)?;
    if !dry_run {
        hand_over(context, run)?;
        if package::show(layout, package).is_ok() {
            return Err(Failure::failed(format!(
                "{} has ended well, and {package} is still there",
                run.line()
            )));
        }
        // What may have been ours before the package manager took it over.
        let _unpacking = Unpacking::begin(layout)?;
        install::tidy(layout)?;
    }
    let libvirt = context.libvirt_for_reading()?;
    let after = install::outcome(layout, Some(&libvirt), package)?;
    let (mut guests, mut still) = (Vec::new(), Vec::new());
    for guest in before.guests {
        let there = after
            .guests
            .iter()
            .any(|now| now.name == guest.name && now.registered);
        if there && !dry_run {
            &mut still
        } else {
            &mut guests
        }
        .push(guest.name);
    }
    let told = Told {
        package,
        dry_run,
        command: Some(run.words()),
        images: Vec::new(),
        guests: Unregistered {
            undefined: guests,
            running: still,
            notes: after.pending,
            ..Unregistered::default()
        },
    };
    tell(context, &told, if dry_run { Some(run) } else { None })
}

/// As the scriptlets of a package do it, and in their order.
fn unpacked(context: &Context, package: &GuestPackage, dry_run: bool) -> Result<(), Failure> {
    let layout = context.layout();
    let kind = PendingKind::UnregisterGuest {
        package: package.clone(),
    };
    let unpacking = Unpacking::begin(layout)?;
    let guests = match (layout.is_live(), dry_run) {
        (false, true) => Unregistered::default(),
        (false, false) => {
            kind.note(layout, install::SYSTEM, "removed from another system's root")?;
            install::take_away(layout, package)?;
            Unregistered::default()
        }
        (true, true) => Unregistered {
            undefined: install::outcome(layout, None, package)?
                .guests
                .into_iter()
                .map(|guest| guest.name)
                .collect(),
            ..Unregistered::default()
        },
        (true, false) => {
            // Nothing goes while libvirt cannot be asked.
            drop(context.local_libvirt(true)?);
            packaged::unregister_with(context, package, |_| install::take_away(layout, package))?
        }
    };
    let images = if dry_run {
        Vec::new()
    } else {
        install::tidy(layout)?
    };
    drop(unpacking);
    let told = Told {
        package,
        dry_run,
        command: None,
        images: images.iter().map(Digest::file_name).collect(),
        guests,
    };
    tell(context, &told, None)
}

fn tell(context: &Context, told: &Told<'_>, run: Option<&Run>) -> Result<(), Failure> {
    let layout = context.layout();
    let package = told.package;
    for note in &told.guests.notes {
        context.output().warn(note);
    }
    context.output().report(told, || {
        let would = if told.dry_run { "would be " } else { "" };
        let mut lines: Vec<String> = run
            .map(|run| format!("would run: {}", run.line()))
            .into_iter()
            .collect();
        lines.push(format!("{package} {would}removed"));
        if !told.images.is_empty() {
            lines.push(format!(
                "{} images that nobody needs any more went with it",
                told.images.len()
            ));
        }
        for name in &told.guests.undefined {
            let disks = layout.instance_disks(name);
            lines.push(format!(
                "{name} {would}unregistered; its disks stay in {}",
                disks.named().display()
            ));
        }
        for name in &told.guests.running {
            lines.push(format!("{name} is running and stays until it is off"));
        }
        lines.join("\n")
    })
}
