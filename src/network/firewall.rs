//! When the host's firewall is opened for a network's boot files, and closed again; how, is `host::firewall`'s business.
//!
//! An opening is made by register and update and goes with unregister. It is the kernel's, so it is made again before
//! dnsmasq starts: by `net firewall` in its unit, or by the daemon.

use super::apply::{Step, Target};
use super::boot::BootNeeds;
use super::{Applied, Network, StateError, registered};
use crate::host::firewall::{self, FirewallError, Opening};
use crate::host::{CommandError, Layout};
use crate::name::{InterfaceName, NetworkName};

/// True if this is the host whose firewall guests meet: not libvirt's simulator, and not another host.
fn is_ours(target: &Target<'_>) -> bool {
    target.layout.is_live() && target.libvirt.is_local() && !target.libvirt.uri().starts_with("test:")
}

/// The bridge that is to be open.
fn wanted(needs: Option<&BootNeeds>) -> Option<&InterfaceName> {
    needs.and_then(|needs| needs.bridge.as_ref())
}

/// What is to be done to the firewall so that it is as `network` needs it. `applied` is the record of what was done
/// before; where it tells that nothing was open, nothing is looked for.
pub(super) fn step(
    network: &Network,
    applied: Option<&Applied>,
    target: &Target<'_>,
) -> Result<Option<Step>, CommandError> {
    let needs = BootNeeds::of(network);
    let bridge = wanted(needs.as_ref());
    let closed = applied.is_some_and(|record| record.is_whole() && bridge_of(record).is_none());
    if !is_ours(target) || !firewall::is_usable() || bridge.is_none() && closed {
        return Ok(None);
    }
    let opening = firewall::opening(network.name(), bridge)?;
    Ok(match (bridge, opening) {
        (Some(_), Opening::Open) | (None, Opening::Closed) => None,
        (Some(_), _) => Some(Step::OpenFirewall),
        (None, _) => Some(Step::CloseFirewall),
    })
}

/// The bridge that the record says is open.
fn bridge_of(record: &Applied) -> Option<&InterfaceName> {
    wanted(record.needs.as_ref().and_then(|needs| needs.boot.as_ref()))
}

/// True if anything is open for the network `name`.
pub(super) fn is_open(name: &NetworkName, target: &Target<'_>) -> Result<bool, CommandError> {
    Ok(is_ours(target) && firewall::opening(name, None)? != Opening::Closed)
}

/// Opens the firewall as `network` needs it.
pub(super) fn open(network: &Network, layout: &Layout) -> Result<(), FirewallError> {
    match wanted(BootNeeds::of(network).as_ref()) {
        Some(bridge) => firewall::open(layout, network.name(), bridge),
        None => Ok(()),
    }
}

/// Makes the firewall as the record says that it was.
pub(super) fn put_back(record: &Applied, layout: &Layout) -> Result<(), FirewallError> {
    match bridge_of(record) {
        Some(bridge) => firewall::open(layout, &record.name, bridge),
        None => firewall::close(layout, &record.name),
    }
}

/// Opens the firewall for a registered network that needs it, unless it is open; true if it was opened. The kernel
/// forgets rules when the host restarts, and so does a firewall that is loaded anew.
pub fn restore_opening(record: &Applied, layout: &Layout) -> Result<bool, FirewallError> {
    let Some(bridge) = bridge_of(record).filter(|_| layout.is_live()) else {
        return Ok(false);
    };
    if firewall::opening(&record.name, Some(bridge))? == Opening::Open {
        return Ok(false);
    }
    firewall::open(layout, &record.name, bridge).map(|()| true)
}

/// As [`restore_opening`], for all registered networks; what fails is told in the log.
pub fn restore_openings(layout: &Layout) -> Result<(), StateError> {
    for record in registered(layout)? {
        if let Err(error) = restore_opening(&record, layout) {
            tracing::error!(network = %record.name, %error, "the firewall cannot be opened for boot files");
        }
    }
    Ok(())
}
