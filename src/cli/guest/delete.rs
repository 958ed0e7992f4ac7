//! `miniascape guest delete`.

use crate::cli::confirm::ask;
use crate::cli::{Context, Failure};
use miniascape::guest::{self, Deleted};
use miniascape::name::{NetworkName, printable};

pub(super) fn delete(
    context: &Context,
    name: &str,
    disks: bool,
    yes: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    let libvirt = context.local_libvirt(dry_run)?;
    if !yes && !dry_run {
        // What would be refused is refused before anyone is asked.
        let would = guest::delete(context.layout(), &libvirt, name, disks, true)?;
        confirm(&would)?;
    }
    let done = guest::delete(context.layout(), &libvirt, name, disks, dry_run)?;
    for note in &done.notes {
        context.output().warn(note);
    }
    context.output().report(&done, || told(&done, dry_run))
}

fn confirm(would: &Deleted) -> Result<(), Failure> {
    let guest = &would.guest;
    let disks = match &would.removed {
        Some(dir) => format!(" and its disks in {}", dir.display()),
        None => String::new(),
    };
    ask(
        guest,
        &format!("delete the guest {guest}{disks}"),
        "is not deleted without being sure",
        "is kept",
    )
}

fn told(done: &Deleted, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let mut lines = vec![format!("{} {would}deleted", done.guest)];
    if !done.networks.is_empty() {
        let networks: Vec<&str> = done.networks.iter().map(NetworkName::as_str).collect();
        lines.push(format!("its entries in {} {would}removed", networks.join(", ")));
    }
    if let Some(dir) = &done.removed {
        lines.push(format!("its disks in {} {would}removed", dir.display()));
    }
    for file in &done.kept {
        let file = printable(&file.to_string_lossy(), 400);
        lines.push(format!(
            "the disk {file} {}",
            if dry_run { "would stay" } else { "stays" }
        ));
    }
    lines.join("\n")
}
