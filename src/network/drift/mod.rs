//! What somebody else has changed about a registered network since miniascape applied it: libvirt's network, the generated
//! files, dnsmasq, the bridge. It is looked at and named here; `network::apply` undoes it.

pub(super) mod xml;

use super::apply::Guests;
use super::compile;
use super::diff::{Impact, Reader};
use super::{Applied, Needs, Observed};
use crate::host::bridges::{self, Kind};
use crate::host::{Layout, NetworkRecord, ServiceError, Services, bus, files, links, services};
use crate::name::{Digest, InterfaceName, NetworkName};
use serde::Serialize;
use sha2::Digest as _;
use std::io;
use std::net::IpAddr;

/// Something that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// What it is.
    pub what: String,
    /// How it is undone.
    pub remedy: Remedy,
    /// What undoing it interrupts.
    pub impact: Impact,
    /// The running guests that this concerns, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<String>,
    #[serde(skip)]
    pub(super) reader: Option<Reader>,
}

/// How drift is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// By `net update`.
    Update,
    /// By `net update --adopt`, which keeps what is worth keeping.
    Adopt,
    /// By whoever did it.
    People,
}

impl Drift {
    fn new(what: impl Into<String>, reader: Option<Reader>) -> Self {
        Self {
            what: what.into(),
            remedy: Remedy::Update,
            impact: reader.map_or(Impact::Live, Reader::impact),
            guests: Vec::new(),
            reader,
        }
    }

    /// The words for it with what to do about it.
    pub fn advice(&self, network: &NetworkName) -> String {
        match self.remedy {
            Remedy::Update => format!("{}: `miniascape net update {network}` puts that right", self.what),
            Remedy::Adopt => format!(
                "{}: `miniascape net update {network} --adopt` keeps its reservations and stops it",
                self.what
            ),
            Remedy::People => self.what.clone(),
        }
    }
}

/// The process of the network's dnsmasq as its manager knows it.
pub(super) fn dnsmasq_pid(
    layout: &Layout,
    services: &Services,
    name: &NetworkName,
) -> Result<Option<u32>, ServiceError> {
    match services.running(name) {
        Ok(running) => Ok(running.pid),
        // The daemon's socket is not for everyone, and a daemon that is not there runs nothing new.
        Err(ServiceError::NoManager { .. } | ServiceError::NotForUs(_)) => {
            Ok(services::recorded_pid(layout, name))
        }
        Err(error) => Err(error),
    }
}

/// What is looked at.
pub(super) struct Look<'a> {
    pub(super) layout: &'a Layout,
    pub(super) applied: &'a Applied,
    /// libvirt's network; `None` if there is none.
    pub(super) record: Option<&'a NetworkRecord>,
    /// The process of dnsmasq as its manager knows it.
    pub(super) dnsmasq: Option<u32>,
    /// The running guests.
    pub(super) guests: &'a Guests,
    /// False if bridges are another host's.
    pub(super) local: bool,
}

impl Look<'_> {
    /// All drift, libvirt's first.
    pub(super) fn drift(&self) -> io::Result<Vec<Drift>> {
        let (mut found, xml) = self.files()?;
        found.splice(0..0, self.libvirt(xml.as_deref()));
        found.extend(self.dnsmasq());
        if self.local && self.record.is_some_and(|record| record.active) {
            found.extend(self.bridge().or_else(|| self.unplugged()));
        }
        Ok(found)
    }

    fn libvirt(&self, applied: Option<&str>) -> Vec<Drift> {
        let in_libvirt = self
            .applied
            .needs
            .as_ref()
            .is_none_or(|needs| needs.mode.in_libvirt());
        let Some(record) = self.record else {
            let gone = Drift {
                impact: Impact::Live,
                ..Drift::new("libvirt does not know the network", Some(Reader::Running))
            };
            return if in_libvirt { vec![gone] } else { Vec::new() };
        };
        let mut found = Vec::new();
        if !record.active {
            found.push(Drift {
                impact: Impact::Live,
                ..Drift::new("libvirt's network is not started", Some(Reader::Running))
            });
        }
        if !record.autostart {
            found.push(Drift::new(
                "libvirt does not start the network at boot",
                Some(Reader::Definition),
            ));
        }
        if let Some(applied) = applied {
            let saved = xml::differences(applied, &record.xml);
            let live = match &record.live_xml {
                Some(live) => xml::differences_of_running(applied, live),
                None => saved.clone(),
            };
            for line in &live {
                let when = if saved.contains(line) {
                    ""
                } else {
                    " (until it is restarted)"
                };
                found.push(Drift::new(
                    format!("libvirt's network: {line}{when}"),
                    Some(Reader::Running),
                ));
            }
            for line in saved.iter().filter(|line| !live.contains(line)) {
                let what = format!("libvirt's network: {line} (from its next start on)");
                found.push(Drift::new(what, Some(Reader::Definition)));
            }
        }
        found.extend(own_dhcp(record));
        found
    }

    /// Generated files that are others or gone, and the XML that was applied, if that is still there.
    fn files(&self) -> io::Result<(Vec<Drift>, Option<String>)> {
        let dir = self.layout.network(&self.applied.name);
        let mut found = Vec::new();
        let mut xml = None;
        for (name, digest) in &self.applied.files {
            let reader = match name.as_str() {
                compile::LIBVIRT_XML => None,
                compile::DNSMASQ_CONF => Some(Reader::Conf),
                _ => Some(Reader::Data),
            };
            match files::read_if_there(dir.join(name).on_disk())? {
                None => found.push(Drift::new(format!("the generated file {name} is gone"), reader)),
                Some(content) if Digest::from_bytes(sha2::Sha256::digest(&content).into()) != *digest => {
                    found.push(Drift::new(
                        format!("the generated file {name} was changed"),
                        reader,
                    ));
                }
                Some(content) if name == compile::LIBVIRT_XML => xml = String::from_utf8(content).ok(),
                Some(_) => {}
            }
        }
        Ok((found, xml))
    }

    fn dnsmasq(&self) -> Vec<Drift> {
        let name = &self.applied.name;
        if !self.applied.dnsmasq {
            return Vec::new();
        }
        let mut found = Vec::new();
        if self.dnsmasq.is_none() {
            found.push(Drift::new("its dnsmasq does not run", Some(Reader::Conf)));
        } else if !self.applied.files.contains_key(compile::DNSMASQ_CONF) {
            let what = "its dnsmasq may run with an older configuration: an update was interrupted";
            found.push(Drift::new(what, Some(Reader::Conf)));
        }
        // Who may not ask the bus does not know.
        if let Ok(Some(pid)) = bus::dnsmasq_pid(name)
            && self.dnsmasq != Some(pid)
        {
            found.push(Drift {
                remedy: Remedy::People,
                ..Drift::new(
                    format!("the process {pid}, which is not miniascape's, answers as its dnsmasq: stop it (`kill {pid}`)"),
                    None,
                )
            });
        }
        found
    }

    fn bridge(&self) -> Option<Drift> {
        let needs = self.applied.needs.as_ref()?;
        lost(needs).map(|what| Drift::new(what, Some(Reader::Running)))
    }

    /// Running guests whose interfaces others have taken from the bridge, or libvirt with the bridge before this one.
    fn unplugged(&self) -> Option<Drift> {
        let bridge = Observed::parse(self.record?.live_xml.as_ref()?).bridge?;
        let mut guests: Vec<String> = Vec::new();
        let mut taps = Vec::new();
        for (guest, plug) in self.guests.unplugged(&self.applied.name, &bridge) {
            let master = plug.tap.parse().ok().and_then(|tap| links::master(&tap));
            let elsewhere = master.map_or_else(String::new, |master| format!(", which is in {master}"));
            taps.push(format!("{} of {guest}{elsewhere}", plug.tap));
            guests.push(guest);
        }
        guests.dedup();
        let what = format!("guests are not plugged into {bridge}: {}", taps.join("; "));
        (!guests.is_empty()).then(|| Drift {
            guests,
            ..Drift::new(what, Some(Reader::Running))
        })
    }
}

/// libvirt's own dnsmasq beside ours, if it runs or would run.
fn own_dhcp(record: &NetworkRecord) -> Option<Drift> {
    let entries = dhcp_entries(record);
    if entries.is_empty() {
        return None;
    }
    let shown: Vec<String> = entries.iter().map(|entry| entry.what.to_string()).collect();
    let runs = record
        .live_xml
        .as_ref()
        .is_some_and(|live| !xml::dhcp_entries(live).is_empty());
    let verb = if runs { "runs" } else { "will run" };
    Some(Drift {
        what: format!(
            "libvirt {verb} a dnsmasq of its own beside ours, because of <dhcp> in its network: {}",
            shown.join(", ")
        ),
        remedy: Remedy::Adopt,
        impact: Impact::Live,
        guests: Vec::new(),
        reader: None,
    })
}

/// What libvirt hands out, or will, by a server of its own: the live entries, then those of its next start.
pub(super) fn dhcp_entries(record: &NetworkRecord) -> Vec<xml::Entry> {
    let mut entries: Vec<xml::Entry> = record
        .live_xml
        .as_deref()
        .map(xml::dhcp_entries)
        .unwrap_or_default();
    for entry in xml::dhcp_entries(&record.xml) {
        if !entries.iter().any(|known| known.what == entry.what) {
            entries.push(entry);
        }
    }
    entries
}

/// What an active network has lost of its own bridge; `None` if all is there.
pub(super) fn lost(needs: &Needs) -> Option<String> {
    let bridge: &InterfaceName = needs.bridge.as_ref().filter(|_| needs.mode.makes_bridge())?;
    if bridges::kind(bridge) != Kind::Bridge {
        return Some(format!("the bridge {bridge} is gone"));
    }
    // Where ip(8) cannot be asked, nothing is known to be lost.
    let all = bridges::addresses().ok()?;
    let has = |address: &IpAddr| {
        all.iter()
            .filter(|link| link.interface == bridge.as_str())
            .any(|link| link.list.iter().any(|own| own.local.as_ref() == Some(address)))
    };
    let missing: Vec<String> = needs
        .gateways
        .iter()
        .filter(|address| !has(address))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "the bridge {bridge} does not have the address {}",
        missing.join(", ")
    ))
}
