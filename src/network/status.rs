//! What a network is doing: definition, record, libvirt, dnsmasq and leases side by side, and what is wrong.

use super::apply::{Guests, guests_of};
use super::drift::{self, Drift, Look};
use super::{Observed, Pending, StateError, Unmet, find, pending, registered};
use crate::host::{Layout, Libvirt, LibvirtError, ServiceError, Services};
use crate::lease::{self, LeaseFileError};
use crate::name::NetworkName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Why a network's state could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Neither libvirt nor a definition file nor a record has it.
    #[error("there is no network {0}: libvirt has none, and no definition file has that name")]
    Unknown(NetworkName),
    /// libvirt cannot be reached, or failed.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// The record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// The lease file is damaged.
    #[error(transparent)]
    Leases(#[from] LeaseFileError),
    /// Nobody can tell whether dnsmasq runs.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Who made a libvirt network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// miniascape.
    Miniascape,
    /// Somebody else.
    Other,
}

/// A line of `net list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The network's name; libvirt allows more than [`NetworkName`] does.
    pub name: String,
    /// True if a definition file has this name.
    pub defined: bool,
    /// True if miniascape has registered it.
    pub registered: bool,
    /// What waits until libvirt can be asked: "register" or "unregister".
    pub pending: Option<&'static str>,
    /// True if libvirt has started it; `None` if libvirt does not know it.
    pub active: Option<bool>,
    /// Its bridge, if libvirt knows it.
    pub bridge: Option<String>,
    /// Who made libvirt's network, if there is one.
    pub owner: Option<Owner>,
}

/// All networks that have a definition file, a record, or an object in libvirt, if there is one; by name.
pub fn overview(layout: &Layout, libvirt: Option<&Libvirt>) -> Result<Vec<Overview>, StatusError> {
    let live = libvirt.map_or(Ok(Vec::new()), Libvirt::networks)?;
    let records: BTreeSet<String> = registered(layout)?
        .into_iter()
        .map(|a| a.name.to_string())
        .collect();
    let files: BTreeSet<String> = find::defined(layout)
        .into_iter()
        .map(|(name, _)| name.to_string())
        .collect();
    let waiting: BTreeMap<String, &'static str> = pending(layout)?
        .into_iter()
        .map(|wish| (wish.network.to_string(), wish.work.verb()))
        .collect();
    let names: BTreeSet<String> = live
        .iter()
        .map(|n| n.name.clone())
        .chain(records.iter().cloned())
        .chain(files.iter().cloned())
        .chain(waiting.keys().cloned())
        .collect();
    let describe = |name: String| {
        let record = live.iter().find(|n| n.name == name);
        let observed = record.map(|n| Observed::parse(&n.xml));
        Overview {
            defined: files.contains(&name),
            registered: records.contains(&name),
            pending: waiting.get(&name).copied(),
            active: record.map(|n| n.active),
            bridge: observed.as_ref().and_then(|o| o.bridge.clone()),
            owner: observed.map(|o| if o.ours { Owner::Miniascape } else { Owner::Other }),
            name,
        }
    };
    Ok(names.into_iter().map(describe).collect())
}

/// What `net status NAME` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts are independent of each other"
)]
pub struct Status {
    /// The network.
    pub name: NetworkName,
    /// True if miniascape has registered it.
    pub registered: bool,
    /// What waits to be done with it, if anything.
    pub pending: Option<Pending>,
    /// True if libvirt has it.
    pub in_libvirt: bool,
    /// True if libvirt has started it.
    pub active: bool,
    /// True if libvirt starts it at boot.
    pub autostart: bool,
    /// Who made libvirt's network.
    pub owner: Option<Owner>,
    /// Its bridge.
    pub bridge: Option<String>,
    /// True if a dnsmasq of ours is to serve it.
    pub wants_dnsmasq: bool,
    /// The process of that dnsmasq.
    pub dnsmasq_pid: Option<u32>,
    /// How many leases the lease file has.
    pub leases: usize,
    /// Running guests with an interface in it.
    pub guests: Vec<String>,
    /// What is not as it should be, with what to do about it; empty if all is well.
    pub problems: Vec<String>,
    /// Those of them that somebody else's changes are.
    #[serde(skip)]
    pub drift: Vec<Drift>,
    /// Those of them that the host is the reason for.
    #[serde(skip)]
    pub unmet: Vec<Unmet>,
}

/// The state of one network. Without `libvirt`, which cannot be asked now, only what the files tell.
pub fn status(
    layout: &Layout,
    libvirt: Option<&Libvirt>,
    services: &Services,
    name: &NetworkName,
) -> Result<Status, StatusError> {
    let record = libvirt.map_or(Ok(None), |libvirt| libvirt.network(name.as_str()))?;
    let applied = registered(layout)?.into_iter().find(|a| a.name == *name);
    let pending = Pending::read(layout, name).map_err(StateError::from)?;
    let unheard = record.is_none() && applied.is_none() && pending.is_none();
    if unheard && !find::defined(layout).iter().any(|(known, _)| known == name) {
        return Err(StatusError::Unknown(name.clone()));
    }
    let observed = record
        .as_ref()
        .map(|n| Observed::parse(n.live_xml.as_ref().unwrap_or(&n.xml)));
    let bridge = observed
        .as_ref()
        .and_then(|o| o.bridge.clone())
        .or_else(|| Some(applied.as_ref()?.bridge.as_ref()?.to_string()));
    let wants_dnsmasq = applied.as_ref().is_some_and(|a| a.dnsmasq);
    let dnsmasq_pid = if wants_dnsmasq {
        drift::dnsmasq_pid(layout, services, name)?
    } else {
        None
    };
    let guests = match libvirt {
        Some(libvirt) if bridge.is_some() && record.is_some() => Guests::running(libvirt)?,
        _ => Guests::default(),
    };
    let mut status = Status {
        name: name.clone(),
        registered: applied.is_some(),
        pending,
        in_libvirt: record.is_some(),
        active: record.as_ref().is_some_and(|n| n.active),
        autostart: record.as_ref().is_some_and(|n| n.autostart),
        owner: observed
            .as_ref()
            .map(|o| if o.ours { Owner::Miniascape } else { Owner::Other }),
        guests: match (&bridge, libvirt) {
            (Some(bridge), _) => guests.named(name, bridge),
            (None, Some(libvirt)) => match &applied {
                Some(applied) => guests_of(applied, libvirt)?,
                None => Vec::new(),
            },
            (None, None) => Vec::new(),
        },
        bridge,
        wants_dnsmasq,
        dnsmasq_pid,
        leases: if wants_dnsmasq {
            lease::read(layout.leases(name).on_disk())?.len()
        } else {
            0
        },
        problems: Vec::new(),
        drift: Vec::new(),
        unmet: Vec::new(),
    };
    status.problems = pending_problem(&status).into_iter().collect();
    if let Some(libvirt) = libvirt {
        let look = applied.as_ref().map(|applied| Look {
            layout,
            applied,
            record: record.as_ref(),
            dnsmasq: dnsmasq_pid,
            guests: &guests,
            local: libvirt.is_local(),
        });
        match problems(&status, look.as_ref())? {
            Found::Words(words) => status.problems.extend(words),
            Found::Drift(drift) => {
                let advice = drift.iter().map(|drift| drift.advice(name));
                status.problems.extend(advice);
                status.drift = drift;
            }
        }
    }
    // What an inactive network needs is not missed.
    let needs = applied.as_ref().and_then(|applied| applied.needs.as_ref());
    if let Some(needs) = needs.filter(|needs| status.active || !needs.mode.in_libvirt())
        && layout.is_live()
        && libvirt.is_some_and(Libvirt::is_local)
    {
        status.unmet = needs.unmet(true);
        status
            .problems
            .extend(status.unmet.iter().map(ToString::to_string));
    }
    Ok(status)
}

fn pending_problem(status: &Status) -> Option<String> {
    let wish = status.pending.as_ref()?;
    Some(format!(
        "to {} it is pending: {}; `miniascape daemon --once` does it",
        wish.work.verb(),
        wish.reason
    ))
}

enum Found {
    Words(Option<String>),
    Drift(Vec<Drift>),
}

/// What is wrong with a network. One that is only defined, or only libvirt's, has nothing wrong with it.
fn problems(status: &Status, look: Option<&Look<'_>>) -> Result<Found, StateError> {
    let name = &status.name;
    let Some(look) = look else {
        let lost = (status.owner == Some(Owner::Miniascape)).then(|| {
            format!(
                "libvirt has it but its files are gone: `miniascape net register {name}` brings them back"
            )
        });
        return Ok(Found::Words(lost));
    };
    if status.owner == Some(Owner::Other) {
        let theirs = "libvirt's network of this name was made by someone else".to_owned();
        return Ok(Found::Words(Some(theirs)));
    }
    Ok(Found::Drift(look.drift()?))
}
