//! Finishing what earlier runs could not: called before every command that changes things, and by the daemon.

use super::Context;
use miniascape::host::{Libvirt, Services};
use miniascape::network::{Deferred, Target};
use miniascape::template::Templates;
use miniascape::{guest, install, network};

/// Tries all pending work once. What still cannot be done is told and stays pending: the command that was asked for
/// is not held up by it.
pub(super) fn finish(context: &Context, libvirt: &Libvirt) {
    let layout = context.layout();
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
    // Networks become pending for the system they were written for, which is not some user's or a simulator's libvirt.
    if libvirt.uri() != Context::SYSTEM {
        return;
    }
    let Ok(templates) = Templates::with_replacements(layout.templates().on_disk()) else {
        return;
    };
    let services = Services::of(layout);
    match network::finish(
        &Target {
            layout,
            libvirt,
            services: &services,
        },
        &templates,
    ) {
        Ok(all) => {
            for done in all {
                let name = done.network;
                let work = match done.work {
                    Deferred::Register => "register",
                    Deferred::Unregister => "unregister",
                };
                match done.result {
                    Ok(()) => context
                        .output()
                        .note(format!("finished pending work: {work} the network {name}")),
                    Err(error) => tracing::warn!(network = %name, %error, "still pending"),
                }
            }
        }
        Err(error) => tracing::warn!(%error, "pending work cannot be looked at"),
    }
}
