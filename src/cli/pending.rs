//! Finishing what earlier runs could not: called before every command that changes things, and by the daemon.

use super::Context;
use miniascape::host::{Libvirt, Services, files};
use miniascape::name::{NetworkName, printable};
use miniascape::network::Target;
use miniascape::template::Templates;
use miniascape::{guest, install, network};

/// Tries all pending work once, but not that of the network `except`. What still cannot be done is told and stays
/// pending: the command that was asked for is not held up by it.
pub(super) fn finish(context: &Context, libvirt: &Libvirt, except: Option<&NetworkName>) {
    note_overlooked(context);
    tell(context, libvirt, except, true);
}

/// As [`finish`], for what the package manager calls: what is not on record may be what it is about to bring.
pub(super) fn finish_noted(context: &Context, libvirt: &Libvirt) {
    tell(context, libvirt, None, true);
}

/// As [`finish`], for one who comes back: what is pending for the same reason as before is told in the log only.
pub(super) fn finish_again(context: &Context, libvirt: &Libvirt) {
    tell(context, libvirt, None, false);
}

/// Puts on record what a package manager has done and no scriptlet could tell.
pub(super) fn note_overlooked(context: &Context) {
    if context.is_for_root() {
        return;
    }
    if let Err(error) = install::note_overlooked(context.layout()) {
        tracing::warn!(%error, "installed guest packages cannot be looked at");
    }
}

/// Removes what killed runs left in the run directory and among the pending work, that no later run of theirs would come upon.
pub(super) fn tidy(context: &Context) {
    let layout = context.layout();
    // There may be no such directory yet.
    let _ = files::remove_dead_drafts(layout.pending().on_disk());
    files::remove_stale_locks(layout.run().on_disk(), layout.daemon_lock().on_disk());
}

/// True if anything is pending. What cannot be looked at counts: the attempt will tell why.
pub(super) fn is_any(context: &Context) -> bool {
    let layout = context.layout();
    let guests = install::pending(layout).map_or(true, |all| !all.is_empty());
    guests
        || install::is_any_unlinked(layout)
        || guest::live::is_any(layout)
        || network::pending(layout).map_or(true, |all| !all.is_empty())
}

fn tell(context: &Context, libvirt: &Libvirt, except: Option<&NetworkName>, old_news: bool) {
    let layout = context.layout();
    if context.is_for_root() {
        return;
    }
    tidy(context);
    finish_live(context, libvirt);
    // Guests that start need their networks.
    finish_networks(context, libvirt, except, old_news);
    if let Err(error) = install::link_returned(layout) {
        tracing::warn!(%error, "images that came back cannot be linked");
    }
    let virt = || guest::virt_type(layout, false).map(|(virt, _)| virt);
    match install::finish(layout, libvirt, virt) {
        Ok(all) => {
            for done in all {
                match done.result {
                    Ok(()) => context
                        .output()
                        .note(format!("finished pending work: {}", done.kind)),
                    Err(error) => tracing::warn!(work = %done.kind, %error, "still pending"),
                }
            }
        }
        Err(error) => tracing::warn!(%error, "pending work cannot be looked at"),
    }
}

/// A guest that a killed run has left frozen comes before all else.
fn finish_live(context: &Context, libvirt: &Libvirt) {
    match guest::live::undo_dead(context.layout(), libvirt) {
        Ok(all) => {
            for undone in all {
                let guest = printable(&undone.guest, 64);
                match undone.result {
                    Ok(()) => context.output().note(format!(
                        "undone what an interrupted live pack of {guest} had left"
                    )),
                    Err(error) => {
                        tracing::warn!("what an interrupted live pack of {guest} has left: {error}");
                    }
                }
            }
        }
        Err(error) => tracing::warn!(%error, "interrupted live packs cannot be looked at"),
    }
}

fn finish_networks(context: &Context, libvirt: &Libvirt, except: Option<&NetworkName>, old_news: bool) {
    let layout = context.layout();
    let templates = match Templates::with_replacements(layout.templates().on_disk()) {
        Ok(templates) => templates,
        Err(error) => {
            // Nobody needs them as long as nothing is pending.
            tracing::debug!(%error, "pending networks cannot be looked at");
            return;
        }
    };
    let services = Services::of(layout);
    let target = Target {
        layout,
        libvirt,
        services: &services,
    };
    match network::finish(&target, &templates, except) {
        Ok(all) => {
            for done in all {
                let (name, verb) = (done.network, done.work.verb());
                match done.result {
                    Ok(()) => context
                        .output()
                        .note(format!("finished pending work: {verb} the network {name}")),
                    Err(error) if done.news || old_news => {
                        tracing::warn!("to {verb} the network {name} is still pending: {error}");
                    }
                    Err(error) => tracing::debug!("to {verb} the network {name} is still pending: {error}"),
                }
            }
        }
        Err(error) => tracing::warn!(%error, "pending work cannot be looked at"),
    }
}
