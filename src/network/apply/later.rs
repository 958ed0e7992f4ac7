//! What cannot be done now because libvirt cannot be asked: it is put on record, and `network::finish` does it when it
//! can. Nothing live is contacted or changed here.

use super::bridge::refuse_interface;
use super::step::{has_files, remove_files, write_files};
use super::{RegisterError, Report, Step};
use crate::host::{Layout, files};
use crate::name::NetworkName;
use crate::network::compile::Compiled;
use crate::network::{Applied, Deferred, Network, Pending, Wait, registered};
use std::io;
use std::path::Path;

/// What was put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferral {
    /// The steps; nothing if it was on record already.
    pub report: Report,
    /// True if something waits now, false if nothing has to.
    pub pending: bool,
}

/// In another system's root nobody else works.
fn lock(layout: &Layout, name: &NetworkName, dry_run: bool) -> io::Result<Option<files::Lock>> {
    super::lock(layout, name, dry_run || !layout.is_live())
}

/// Notes that the network is to be registered, with a copy of its definition's text, from which that is done. Into
/// another system's root its generated files are written as well, to be looked at and shipped; on this host they would
/// be read by a dnsmasq that serves the network as it is now.
pub fn register_later(
    network: &Network,
    compiled: &Compiled,
    definition: &[u8],
    source: &Path,
    wait: Wait<'_>,
    layout: &Layout,
    dry_run: bool,
) -> Result<Deferral, RegisterError> {
    let name = network.name();
    let _lock = lock(layout, name, dry_run)?;
    let (copy, dir) = (layout.kept_definition(name), layout.network(name));
    if layout.is_live() {
        refuse_known_clash(network, layout)?;
    }
    let source = if layout.is_live() { source } else { copy.named() };
    let wish = Pending::register(name, source.to_owned(), wait);
    let is = |path: &Path, content: &[u8]| {
        Ok::<_, io::Error>(files::read_if_there(path)?.as_deref() == Some(content))
    };
    let mut steps = Vec::new();
    if !layout.is_live() {
        let mut stale = false;
        for file in compiled.files() {
            stale |= !is(dir.join(file.name).on_disk(), file.content.as_bytes())?;
        }
        if stale {
            steps.push(Step::WriteFiles);
        }
    }
    if !Pending::read(layout, name)?.is_some_and(|before| before.is_same(&wish))
        || !is(copy.on_disk(), definition)?
    {
        steps.push(Step::Defer);
    }
    if !dry_run {
        if steps.contains(&Step::WriteFiles) {
            write_files(compiled, layout, name)?;
        }
        if steps.contains(&Step::Defer) {
            put(&wish, definition, layout)?;
        }
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    Ok(Deferral {
        report,
        pending: true,
    })
}

/// Writes the wish, after a copy of the definition's text.
fn put(wish: &Pending, definition: &[u8], layout: &Layout) -> io::Result<()> {
    files::make_dir(layout.network(&wish.network).on_disk(), 0o755)?;
    let copy = layout.kept_definition(&wish.network);
    files::write(copy.on_disk(), definition, 0o644)?;
    wish.write(layout)
}

/// Notes that the network is to be registered by whoever comes next, should this run be killed. The caller holds the
/// network's lock.
pub(super) fn defer(
    name: &NetworkName,
    definition: &[u8],
    source: &Path,
    wait: Wait<'_>,
    layout: &Layout,
) -> io::Result<()> {
    put(
        &Pending::register(name, source.to_owned(), wait),
        definition,
        layout,
    )
}

/// Refuses what would be refused later, as far as that is known without libvirt. An interface that has the bridge's
/// name may well be the network's own, if there is any trace of it.
fn refuse_known_clash(network: &Network, layout: &Layout) -> Result<(), RegisterError> {
    let name = network.name();
    let Some(bridge) = network.own_bridge() else {
        return Ok(());
    };
    if let Some(other) = registered(layout)?
        .into_iter()
        .find(|other| other.name != *name && other.bridge.as_ref() == Some(bridge))
        && Pending::read(layout, &other.name)?.is_none()
    {
        return Err(RegisterError::BridgeOfNetwork {
            network: name.clone(),
            bridge: bridge.clone(),
            owner: other.name.to_string(),
        });
    }
    if has_files(layout, name) {
        Ok(())
    } else {
        refuse_interface(network)
    }
}

/// Notes that the network `name` is to go; with `force` whoever is plugged into it. A registration that only waits is
/// cancelled instead.
pub fn unregister_later(
    name: &NetworkName,
    force: bool,
    wait: Wait<'_>,
    layout: &Layout,
    dry_run: bool,
) -> Result<Deferral, RegisterError> {
    let _lock = lock(layout, name, dry_run)?;
    let before = Pending::read(layout, name)?;
    let wish = Pending::unregister(name, force, wait);
    let known = Applied::read_sound(layout, name)?.is_some();
    let (steps, pending): (&[Step], bool) = match before {
        Some(before) if before.is_same(&wish) => (&[], true),
        // Nothing of it was ever made: libvirt has not heard of it.
        Some(before) if before.work == Deferred::RegisterNetwork && !has_files(layout, name) => {
            (&[Step::RemoveFiles, Step::Forget], false)
        }
        // A root may be in use as a system already, whose libvirt knows what it registered.
        None if !layout.is_live() && !known && has_files(layout, name) => (&[Step::RemoveFiles], false),
        None if !layout.is_live() && !known => (&[], false),
        _ => (&[Step::Defer], true),
    };
    for step in steps.iter().filter(|_| !dry_run) {
        match step {
            Step::Defer => wish.write(layout)?,
            // The wish goes first, so that a killed run leaves none without its definition.
            Step::RemoveFiles => {
                Pending::forget(layout, name)?;
                remove_files(layout, name)?;
            }
            _ => {}
        }
    }
    let report = Report {
        network: name.clone(),
        steps: steps.to_vec(),
    };
    Ok(Deferral { report, pending })
}
