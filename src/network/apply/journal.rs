//! What is noted before a network is stopped under running guests, so that a run which is killed is made up for: who was
//! plugged in, for whoever changes the network next; and that the update is to be finished, for the daemon and all who
//! look for pending work.

use super::{RegisterError, Target};
use crate::domain::Plug;
use crate::host::{Layout, Libvirt, files, links};
use crate::name::{InterfaceName, NetworkName};
use crate::network::{Applied, Deferred, Pending, Wait};
use crate::yaml::MAX_FILE;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The file in the network's directory.
pub(super) const FILE: &str = "plugs.json";
/// The version of its form.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Noted {
    format: u32,
    plugs: Vec<NotedPlug>,
}

#[derive(Serialize, Deserialize)]
struct NotedPlug {
    guest: String,
    tap: String,
    down: String,
    up: String,
}

/// Notes `guests`, who are about to lose their plugs, and that the network is to follow the definition `source`, unless
/// something else is on record to be done with it.
pub(super) fn begin(
    name: &NetworkName,
    guests: &[(String, Plug)],
    source: &Path,
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    let layout = target.layout;
    let plugs = guests.iter().cloned().map(|(guest, plug)| NotedPlug {
        guest,
        tap: plug.tap,
        down: plug.down,
        up: plug.up,
    });
    let noted = Noted {
        format: FORMAT,
        plugs: plugs.collect(),
    };
    if !noted.plugs.is_empty() {
        let content = serde_json::to_vec(&noted).map_err(io::Error::other)?;
        files::write(layout.network(name).join(FILE).on_disk(), &content, 0o600)?;
    }
    if Pending::read(layout, name)?.is_some() {
        return Ok(());
    }
    let copy = layout.kept_definition(name);
    if source != copy.named() {
        let definition = files::read_at_most(source, MAX_FILE)?;
        files::write(copy.on_disk(), &definition, 0o644)?;
    }
    let wait = Wait {
        uri: target.libvirt.uri(),
        reason: "a run of miniascape was interrupted",
    };
    let wish = Pending::register(name, source.to_owned(), wait);
    Ok(Pending { force: true, ..wish }.write(layout)?)
}

/// The guests of an update that was killed, as far as they still run with these taps.
pub(super) fn left(
    name: &NetworkName,
    layout: &Layout,
    libvirt: &Libvirt,
) -> Result<Vec<(String, Plug)>, RegisterError> {
    let place = layout.network(name).join(FILE);
    let Some(content) = files::read_if_there(place.on_disk())? else {
        return Ok(Vec::new());
    };
    let noted = match serde_json::from_slice::<Noted>(&content) {
        Ok(noted) if noted.format == FORMAT => noted.plugs,
        _ => {
            tracing::error!(path = %place.on_disk().display(), "a record of plugs that cannot be read");
            return Ok(Vec::new());
        }
    };
    let running = libvirt.domains()?;
    let runs = |guest: &str| running.iter().any(|d| d.name == guest && d.state.is_active());
    let there = |tap: &str| tap.parse::<InterfaceName>().is_ok_and(|tap| links::exists(&tap));
    let still = noted
        .into_iter()
        .filter(|plug| runs(&plug.guest) && there(&plug.tap));
    Ok(still
        .map(|plug| {
            let NotedPlug { guest, tap, down, up } = plug;
            (guest, Plug { tap, down, up })
        })
        .collect())
}

/// Forgets who was plugged in, when they are again.
pub(super) fn end(name: &NetworkName, layout: &Layout) -> io::Result<()> {
    files::remove(layout.network(name).join(FILE).on_disk()).map(drop)
}

/// As [`end`], and that an update is to be finished, because it was taken back or nothing is left to do: the network is
/// as `applied` says.
pub(super) fn give_up(applied: &Applied, layout: &Layout) -> io::Result<()> {
    let name = &applied.name;
    end(name, layout)?;
    let wish = Pending::read(layout, name)?;
    let ours = |wish: &Pending| wish.work == Deferred::RegisterNetwork && wish.force;
    if !wish.as_ref().is_none_or(ours) {
        return Ok(());
    }
    Pending::forget(layout, name)?;
    // Also what a run has left that was killed between the two.
    let copy = layout.kept_definition(name);
    let wished = wish.and_then(|wish| wish.source);
    if applied.source != copy.named() && wished.as_deref() != Some(copy.named()) {
        files::remove(copy.on_disk())?;
    }
    Ok(())
}
