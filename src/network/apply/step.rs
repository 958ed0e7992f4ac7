//! The steps that change the host, and taking one. Which steps are needed is planned next door.

use super::{RegisterError, Target, added, journal};
use crate::host::{Layout, files, firewall};
use crate::name::NetworkName;
use crate::network::compile::{self, Compiled};
use crate::network::diff::KEPT;
use crate::network::{Deferred, Pending};
use serde::Serialize;
use std::io;

/// One thing that is done to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Write the generated files.
    WriteFiles,
    /// Put on record that it is registered, where there is nothing else to do.
    Record,
    /// Define the network in libvirt, or define it anew.
    Define,
    /// Let libvirt start it at boot.
    Autostart,
    /// Write down the leases of libvirt's dnsmasq for ours.
    TakeLeases,
    /// Stop it in libvirt.
    Stop,
    /// Remove the bridge that a libvirt which was killed while it started the network has left.
    RemoveBridge,
    /// Start it in libvirt.
    Start,
    /// Put the taps of running guests on its new bridge, and let the guests ask for addresses again.
    Replug,
    /// Keep reservations that somebody has written into libvirt's network.
    Adopt,
    /// Take DHCP out of libvirt's network, which stops libvirt's own dnsmasq.
    StopLibvirtDnsmasq,
    /// Let its machines ask this host for boot files.
    OpenFirewall,
    /// Let them not any more.
    CloseFirewall,
    /// Start its dnsmasq, now and at boot.
    StartDnsmasq,
    /// Start its dnsmasq anew, so that it reads its configuration.
    RestartDnsmasq,
    /// Let its dnsmasq take in hosts that are new, without re-reading all of them.
    AddHosts,
    /// Let its dnsmasq re-read hosts and reservations.
    ReloadDnsmasq,
    /// Stop its dnsmasq for good.
    StopDnsmasq,
    /// Remove the definition from libvirt.
    Undefine,
    /// Remove the generated files.
    RemoveFiles,
    /// Leave libvirt and dnsmasq for later: for the time when libvirt answers, or the system whose files these are.
    Defer,
    /// Forget what an earlier run left for later.
    Forget,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::WriteFiles => "write its files",
            Self::Record => "put it on record",
            Self::Define => "define it in libvirt",
            Self::Autostart => "set it to start at boot",
            Self::TakeLeases => "take over the leases of libvirt's dnsmasq",
            Self::Stop => "stop it",
            Self::RemoveBridge => "remove the bridge that a killed libvirt left",
            Self::Start => "start it",
            Self::Replug => "plug running guests in again",
            Self::Adopt => "keep libvirt's reservations",
            Self::StopLibvirtDnsmasq => "take DHCP out of libvirt's network, which ends libvirt's dnsmasq",
            Self::OpenFirewall => "open the firewall for boot files",
            Self::CloseFirewall => "close the firewall for boot files",
            Self::StartDnsmasq => "start its dnsmasq",
            Self::RestartDnsmasq => "restart its dnsmasq",
            Self::AddHosts => "let its dnsmasq take in the new hosts",
            Self::ReloadDnsmasq => "let its dnsmasq re-read hosts and reservations",
            Self::StopDnsmasq => "stop its dnsmasq",
            Self::Undefine => "remove it from libvirt",
            Self::RemoveFiles => "remove its files",
            Self::Defer => "leave libvirt and dnsmasq for later",
            Self::Forget => "forget what was left for later",
        })
    }
}

/// Takes a step that needs nothing but the network's name.
pub(super) fn take(step: Step, name: &NetworkName, target: &Target<'_>) -> Result<(), RegisterError> {
    let text = name.as_str();
    match step {
        Step::Autostart => target.libvirt.set_network_autostart(text, true)?,
        Step::Stop => target.libvirt.stop_network(text)?,
        Step::Start => {
            make_place_for_bridges(target);
            let started = target.libvirt.start_network(text);
            started.map_err(|error| RegisterError::of_network(error, true))?;
        }
        Step::StartDnsmasq => {
            added::prepare(target.layout, name)?;
            target.services.start(name)?;
        }
        Step::RestartDnsmasq => {
            added::prepare(target.layout, name)?;
            target.services.restart(name)?;
        }
        Step::ReloadDnsmasq => added::reload(name, target)?,
        Step::StopDnsmasq => drop(target.services.stop(name)?),
        Step::Undefine => target.libvirt.undefine_network(text)?,
        Step::RemoveFiles => remove_files(target.layout, name)?,
        Step::Forget => drop(Pending::forget(target.layout, name)?),
        Step::CloseFirewall => firewall::close(target.layout, name)?,
        // These need more than the name; their verbs take them.
        Step::WriteFiles
        | Step::Record
        | Step::Define
        | Step::TakeLeases
        | Step::RemoveBridge
        | Step::AddHosts
        | Step::Replug
        | Step::Adopt
        | Step::StopLibvirtDnsmasq
        | Step::OpenFirewall
        | Step::Defer => {}
    }
    Ok(())
}

/// What registering a network makes in its directory. The record goes last: as long as it is there, so is the network.
const GENERATED: [&[&str]; 2] = [
    &compile::FILES,
    &[compile::LEASES, KEPT, journal::FILE, "applied.json"],
];

/// Whether anything is left of a network's generated files, though a run be killed before it wrote the record.
pub(super) fn has_files(layout: &Layout, name: &NetworkName) -> bool {
    let dir = layout.network(name);
    GENERATED
        .into_iter()
        .flatten()
        .any(|file| dir.join(file).on_disk().exists())
}

/// Whether there is anything for [`remove_files`] to remove: also what a run that was killed early or late has left,
/// the directory with a copy of the definition, a draft, or nothing.
pub(super) fn has_leftovers(layout: &Layout, name: &NetworkName) -> io::Result<bool> {
    let dir = layout.network(name);
    Ok(has_files(layout, name)
        || layout.kept_definition(name).on_disk().exists()
        || dir.join(compile::ADDED).on_disk().exists()
        || files::has_only_drafts(dir.on_disk())?)
}

/// Removes what was generated; what guests brought (`hosts.d/`) stays for the next registration, and the copy of the
/// definition as long as the network is to be registered from it.
pub(super) fn remove_files(layout: &Layout, name: &NetworkName) -> Result<(), RegisterError> {
    let dir = layout.network(name);
    if !dir.on_disk().is_dir() {
        return Ok(());
    }
    added::remove(layout, name)?;
    for file in GENERATED.into_iter().flatten() {
        files::remove(dir.join(file).on_disk())?;
    }
    if Pending::read(layout, name)?.is_none_or(|wish| wish.work != Deferred::RegisterNetwork) {
        files::remove(layout.kept_definition(name).on_disk())?;
    }
    files::remove_drafts(dir.on_disk())?;
    match fs_err::remove_dir(dir.on_disk()) {
        Err(e)
            if !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(e.into())
        }
        _ => Ok(()),
    }
}

pub(super) fn write_files(
    compiled: &Compiled,
    layout: &Layout,
    name: &NetworkName,
) -> Result<(), RegisterError> {
    let dir = layout.network(name);
    files::make_dir(dir.on_disk(), 0o755)?;
    for stale in compile::FILES
        .into_iter()
        .filter(|name| compiled.file(name).is_none())
    {
        files::remove(dir.join(stale).on_disk())?;
    }
    if compiled.dnsmasq_conf().is_some() {
        added::make(layout, name)?;
    } else {
        added::remove(layout, name)?;
    }
    for file in compiled.files() {
        files::write(dir.join(file.name).on_disk(), file.content.as_bytes(), file.mode)?;
    }
    Ok(())
}

/// libvirt writes down which guests each bridge has, in a directory that only the package of its default network brings:
/// without it, no guest with an interface in a network starts.
fn make_place_for_bridges(target: &Target<'_>) {
    if !target.libvirt.is_local() || target.libvirt.uri().starts_with("test:") {
        return;
    }
    let place = target.layout.libvirt_bridges();
    if let Err(error) = files::make_dir_once(place.on_disk(), 0o755) {
        tracing::debug!(%error, "libvirt's directory for bridges is not made");
    }
}
