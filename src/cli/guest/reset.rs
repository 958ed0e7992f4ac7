//! `miniascape guest reset`.

use crate::cli::confirm::ask;
use crate::cli::{Context, Failure};
use miniascape::guest;
use miniascape::install::{self, Reset};

pub(super) fn reset(
    context: &Context,
    name: &str,
    keep: bool,
    yes: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    let layout = context.layout();
    let libvirt = context.local_libvirt(dry_run)?;
    let (virt, _) = guest::virt_type(layout, dry_run)?;
    let run = |dry_run| install::reset(layout, &libvirt, name, keep, virt, dry_run);
    if !yes && !dry_run {
        // What would be refused is refused before anyone is asked.
        let would = run(true)?;
        context.output().note(told(&would, true));
        ask(
            &would.guest,
            &format!("reset the guest {}", called(&would)),
            "is not reset without being sure",
            "is kept",
        )?;
    }
    let done = run(dry_run)?;
    for note in &done.notes {
        context.output().note(format!("note: {note}"));
    }
    context.output().report(&done, || told(&done, dry_run))
}

/// By the name that the user sees, and the instance's own where that is another.
fn called(done: &Reset) -> String {
    match &done.domain {
        Some(domain) if domain != done.guest.as_str() => format!("{domain} (the instance {})", done.guest),
        _ => done.guest.to_string(),
    }
}

fn told(done: &Reset, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let mut lines = vec![format!(
        "{} {would}reset to version {} of its package",
        called(done),
        done.version
    )];
    lines.extend(
        done.removed
            .iter()
            .map(|disk| format!("{} {would}removed", disk.display())),
    );
    lines.extend(
        done.aside
            .iter()
            .map(|disk| format!("the old disk {would}kept as {}", disk.display())),
    );
    lines.extend(done.lost.iter().cloned());
    lines.join("\n")
}
