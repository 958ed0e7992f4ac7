//! Networks as a package manager's hooks make them follow: on record as pending before anything is changed, so that a
//! run which is killed is finished by the next one, and never under running guests, who would lose their network. Which
//! networks these are is `network::brought`'s business.

use super::guests::{guests_in, users};
use super::later::defer;
use super::register::register_locked;
use super::update::{Beside, update_locked};
use super::{RegisterError, Report, Step, Target, lock};
use crate::host::{LibvirtError, files};
use crate::name::NetworkName;
use crate::network::compile::Compiled;
use crate::network::{Applied, Network, Observed, Pending, Wait};
use fs_err as fs;
use std::path::Path;

/// Why a network that a hook has begun with, and was killed, is still pending.
const INTERRUPTED: &str = "a run of miniascape was interrupted";

/// Registers the network, or makes it follow if it is registered, as far as no running guest loses its network for it.
/// `definition` is the text of `source`. Where libvirt goes away in between it stays pending.
pub fn follow(
    network: &Network,
    compiled: &Compiled,
    definition: &[u8],
    source: &Path,
    target: &Target<'_>,
) -> Result<Report, RegisterError> {
    let (name, layout) = (network.name(), target.layout);
    let _lock = lock(layout, name, false)?;
    let before = Pending::read(layout, name)?;
    let copy = layout.kept_definition(name);
    let copied = files::read_if_there(copy.on_disk())?;
    let is_registered = Applied::read_sound(layout, name)?.is_some();
    let go = |dry_run| {
        if is_registered {
            update_locked(network, compiled, source, target, dry_run, Beside::Unplugged)
        } else {
            register_locked(network, compiled, source, target, dry_run)
        }
    };
    let planned = go(true)?;
    if planned.steps.contains(&Step::Replug) {
        let bridge = network.bridge().map(ToString::to_string).unwrap_or_default();
        return Err(RegisterError::InUse {
            network: name.clone(),
            guests: guests_in(name, &bridge, target.libvirt)?,
        });
    }
    if planned.steps.is_empty() {
        return go(false);
    }
    let wait = Wait {
        uri: target.libvirt.uri(),
        reason: INTERRUPTED,
    };
    defer(name, definition, source, wait, layout)?;
    let done = go(false);
    match &done {
        Err(error) if error.is_libvirt_away() => {}
        // What was refused is refused again; only what was wanted before this run still is.
        Err(_) => {
            match before {
                Some(wish) => wish.write(layout)?,
                None => drop(Pending::forget(layout, name)?),
            }
            match copied {
                Some(text) => drop(files::write(copy.on_disk(), &text, 0o644)?),
                None => drop(files::remove(copy.on_disk())?),
            }
            if !is_registered {
                // Not if there is anything in it.
                let _ = fs::remove_dir(layout.network(name).on_disk());
            }
        }
        Ok(_) => {}
    }
    done
}

/// The guests that have an interface in the registered network `name`, running or not: it is theirs as long as there
/// are any.
pub fn users_of(name: &NetworkName, target: &Target<'_>) -> Result<Vec<String>, LibvirtError> {
    let record = target.libvirt.network(name.as_str())?;
    let bridge = record.and_then(|record| Observed::parse(&record.xml).bridge);
    users(name, bridge.as_deref().unwrap_or_default(), target.libvirt)
}
