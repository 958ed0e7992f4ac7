//! Putting a network back to what it was before an update that failed.

use super::guests::replug;
use super::journal;
use super::step::take;
use super::{RegisterError, Step, Target};
use crate::domain::Plug;
use crate::host::files;
use crate::name::NetworkName;
use crate::network::{Applied, compile, firewall};
use std::io;

/// What the network was before the update.
pub(super) struct Before {
    files: Vec<(&'static str, Option<Vec<u8>>)>,
    xml: Option<String>,
    applied: Applied,
}

impl Before {
    /// Notes how the network is: its files, libvirt's definition `xml`, its record.
    pub(super) fn note(
        name: &NetworkName,
        xml: Option<&String>,
        applied: Applied,
        target: &Target<'_>,
    ) -> io::Result<Self> {
        let dir = target.layout.network(name);
        let content = |file| Ok((file, files::read_if_there(dir.join(file).on_disk())?));
        Ok(Self {
            files: compile::FILES
                .into_iter()
                .map(content)
                .collect::<io::Result<_>>()?,
            xml: xml.cloned(),
            applied,
        })
    }
}

/// Puts back what the `taken` steps, the last of which failed, have changed, and plugs the `guests` in again; the error
/// then says whether that worked.
pub(super) fn undo(
    name: &NetworkName,
    taken: &[Step],
    before: &Before,
    guests: &[(String, Plug)],
    target: &Target<'_>,
    cause: RegisterError,
) -> RegisterError {
    cause.taken_back(name, put_back(name, taken, before, guests, target))
}

fn put_back(
    name: &NetworkName,
    taken: &[Step],
    before: &Before,
    guests: &[(String, Plug)],
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    for (file, content) in &before.files {
        let path = target.layout.network(name).join(file);
        match content {
            Some(content) => drop(files::write(path.on_disk(), content, 0o644)?),
            None => drop(files::remove(path.on_disk())?),
        }
    }
    if (taken.contains(&Step::Define) || taken.contains(&Step::Undefine))
        && let Some(xml) = &before.xml
    {
        target.libvirt.define_network(name.as_str(), xml)?;
        take(Step::Autostart, name, target)?;
    }
    if taken.contains(&Step::Stop) {
        if target
            .libvirt
            .network(name.as_str())?
            .is_some_and(|record| record.active)
        {
            take(Step::Stop, name, target)?;
        }
        take(Step::Start, name, target)?;
    }
    if taken.contains(&Step::OpenFirewall) || taken.contains(&Step::CloseFirewall) {
        firewall::put_back(&before.applied, target.layout)?;
    }
    if before.applied.dnsmasq {
        // It may have read files of the update only if a step has told it to; or it has lost its bridge.
        if taken
            .iter()
            .any(|step| !matches!(step, Step::WriteFiles | Step::Define | Step::Autostart))
        {
            take(Step::RestartDnsmasq, name, target)?;
        }
    } else if target.services.running(name)?.pid.is_some() {
        take(Step::StopDnsmasq, name, target)?;
    }
    if let Some(bridge) = before.applied.bridge.as_ref().filter(|_| !guests.is_empty()) {
        replug(guests, bridge, target.libvirt)?;
    }
    before.applied.write(target.layout)?;
    Ok(journal::give_up(&before.applied, target.layout)?)
}
