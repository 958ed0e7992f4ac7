//! `miniascape guest delete`.

use crate::cli::{Context, Failure};
use miniascape::guest::{self, Deleted};
use miniascape::name::{GuestName, NetworkName, printable};
use std::io::{IsTerminal, Write};

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
    )
}

/// Asks whoever sits at the terminal; where nobody does, that is a refusal.
pub(super) fn ask(guest: &GuestName, what: &str, unsure: &str) -> Result<(), Failure> {
    let refused = |why: &str| Err(Failure::refused(format!("{guest} {why}; nothing was changed")));
    if !std::io::stdin().is_terminal() {
        return refused(unsure).map_err(|failure| failure.hint("say so: --yes"));
    }
    // Without a terminal to write to nobody answers.
    let _ = write!(std::io::stderr(), "{what}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        refused("is kept")
    }
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
