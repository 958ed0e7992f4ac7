//! A network whose guests come and go: what they bring is looked at before it is written, and a registered network
//! follows at once, as far as its dnsmasq only has to read its files again. Writing what a guest brings is `dropin`'s
//! business.

use super::apply::{Beside, RegisterError, Step, Target, update_beside};
use super::dropin::{Brought, take_back};
use super::{
    Applied, CompileError, FindError, Finder, Found, NetworkError, StateError, Warning, compile, find,
    registered,
};
use crate::host::bus::{self, BusError};
use crate::host::{Layout, Libvirt, Services};
use crate::lease::{self, LeaseFileError};
use crate::name::{GuestName, HostName, Mac, NetworkName};
use crate::template::{TemplateError, Templates};
use std::net::IpAddr;

/// Why a network does not follow what guests bring or take away. What they brought stays on record: the next update of
/// the network takes it up.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Its definition has mistakes, or is gone.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// There is no definition that could be read.
    #[error(transparent)]
    Find(#[from] FindError),
    /// More than its hosts has changed since it was registered or updated.
    #[error("the definition of {0} has other changes, which are not made for a guest's sake")]
    OtherChanges(NetworkName),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A template is at fault.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It cannot be updated.
    #[error(transparent)]
    Update(#[from] RegisterError),
    /// Its record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its leases cannot be read.
    #[error(transparent)]
    Leases(#[from] LeaseFileError),
    /// Its dnsmasq cannot be told.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// What became of the entries of one guest in a network; fewer hosts than entries if some were left out.
#[derive(Debug, Clone, Default)]
pub struct Landed {
    /// Its hosts as the network has them.
    pub hosts: Vec<(HostName, Vec<IpAddr>)>,
    /// Addresses that others have, with whose they are.
    pub taken: Vec<(IpAddr, HostName)>,
    /// What was said of its file: why others were left out.
    pub remarks: Vec<Warning>,
}

impl Landed {
    fn of(found: &Found, layout: &Layout, guest: &GuestName, entries: &[Brought]) -> Self {
        let place = layout.guest_hosts(found.network.name(), guest);
        let shown = place.on_disk().display().to_string();
        let landed = entries.iter().filter_map(|entry| {
            // Under whatever origin: people may have written the same.
            let host = found.network.host_by_mac(*entry.macs.first()?)?;
            let addresses: Vec<IpAddr> = host.addresses().collect();
            let same = host.name == entry.name && entry.ips.iter().all(|ip| addresses.contains(ip));
            same.then(|| (host.name.clone(), addresses))
        });
        let own = |mac: &Mac| entries.iter().any(|entry| entry.macs.contains(mac));
        let taken = entries.iter().flat_map(|entry| &entry.ips).filter_map(|ip| {
            let mut others = found
                .network
                .hosts()
                .iter()
                .filter(|host| !host.macs.iter().any(own));
            let other = others.find(|host| host.addresses().any(|address| address == *ip))?;
            Some((*ip, other.name.clone()))
        });
        Self {
            hosts: landed.collect(),
            taken: taken.collect(),
            remarks: found
                .warnings
                .iter()
                .filter(|warning| warning.file == shown)
                .cloned()
                .collect(),
        }
    }
}

/// What would become of `entries` if `guest` brought them into `network`; `None` if no definition of that is known, so
/// that nobody can tell. Nothing is written.
pub fn preview(
    layout: &Layout,
    libvirt: &Libvirt,
    network: &NetworkName,
    guest: &GuestName,
    entries: &[Brought],
) -> Result<Option<Landed>, RefreshError> {
    let finder = Finder::to_refresh(layout).assuming(network, guest, entries);
    let found = found(&finder, network, |finder, path| match path {
        Some(path) => Ok(finder.read(path)?),
        None => Ok(finder.find(network.as_str())?),
    })?;
    let Some(found) = found else { return Ok(None) };
    follow(&found, layout, libvirt, true)?;
    Ok(Some(Landed::of(&found, layout, guest, entries)))
}

/// Lets the network follow what `guest` brought, `entries`, or took away; `None` if no definition of it is known, so that
/// this has to wait until there is one. A network that is not registered only gets on record what `auto` stands for.
pub fn refresh(
    layout: &Layout,
    libvirt: &Libvirt,
    network: &NetworkName,
    guest: &GuestName,
    entries: &[Brought],
) -> Result<Option<Landed>, RefreshError> {
    let finder = Finder::to_refresh(layout);
    let found = found(&finder, network, |finder, path| match path {
        Some(path) => Ok(finder.settle_at(path, path)?),
        None => Ok(finder.settle(network.as_str())?),
    })?;
    let Some(found) = found else { return Ok(None) };
    follow(&found, layout, libvirt, false)?;
    Ok(Some(Landed::of(&found, layout, guest, entries)))
}

/// Updates the network, if it is registered, as far as its dnsmasq only has to read its files again.
fn follow(found: &Found, layout: &Layout, libvirt: &Libvirt, dry_run: bool) -> Result<(), RefreshError> {
    let (network, name) = (&found.network, found.network.name());
    let Some(applied) = Applied::read(layout, name)? else {
        return Ok(());
    };
    let templates = Templates::with_replacements(layout.templates().on_disk())?;
    let compiled = compile(network, layout, &templates)?;
    let services = Services::of(layout);
    let target = Target {
        layout,
        libvirt,
        services: &services,
    };
    let update = |dry_run| {
        update_beside(
            network,
            &compiled,
            &applied.source,
            &target,
            dry_run,
            Beside::Unplugged,
        )
    };
    let planned = update(true)?;
    let harmless = |step: &Step| matches!(step, Step::WriteFiles | Step::AddHosts | Step::ReloadDnsmasq);
    if !planned.steps.iter().all(harmless) {
        return Err(RefreshError::OtherChanges(name.clone()));
    }
    if !dry_run {
        update(false)?;
    }
    Ok(())
}

/// The network's definition: that which it is registered from, else that of its name.
fn found(
    finder: &Finder<'_>,
    network: &NetworkName,
    find: impl Fn(&Finder<'_>, Option<&std::path::Path>) -> Result<Found, RefreshError>,
) -> Result<Option<Found>, RefreshError> {
    let layout = finder.layout();
    if let Some(applied) = Applied::read(layout, network)? {
        return find(finder, Some(&applied.source)).map(Some);
    }
    if find::defined(layout).iter().any(|(name, _)| name == network) {
        return find(finder, None).map(Some);
    }
    Ok(None)
}

/// Takes away what `guest`, which has gone, brought into networks: entries, and the leases that it holds by `macs`. What
/// cannot be done now comes back as remarks that say how it can be done.
pub fn leave(
    layout: &Layout,
    libvirt: &Libvirt,
    guest: &GuestName,
    macs: &[Mac],
) -> Result<Vec<String>, StateError> {
    let mut remarks = Vec::new();
    for network in take_back(layout, guest)? {
        if let Err(error) = refresh(layout, libvirt, &network, guest, &[]) {
            remarks.push(format!(
                "the network {network} still has an entry of {guest}: {error}; `miniascape net update {network}` removes it"
            ));
        }
    }
    for applied in registered(layout)?.into_iter().filter(|applied| applied.dnsmasq) {
        let network = &applied.name;
        if let Err(error) = forget_leases(layout, network, macs) {
            remarks.push(format!(
                "the leases of {guest} in {network} stay until they end: {error}"
            ));
        }
    }
    Ok(remarks)
}

/// Makes the network's dnsmasq forget the leases of `macs`.
fn forget_leases(layout: &Layout, network: &NetworkName, macs: &[Mac]) -> Result<(), RefreshError> {
    for lease in lease::read(layout.leases(network).on_disk())? {
        if lease.mac.is_some_and(|mac| macs.contains(&mac)) {
            bus::delete_lease(network, lease.ip)?;
        }
    }
    Ok(())
}
