//! DHCP that somebody has written into libvirt's network, with `virsh net-update` or an editor: libvirt then runs a dnsmasq
//! of its own beside ours. Nothing goes on beside that: the reservations would be lost. `--adopt` keeps them in a file
//! beside the definition, and takes them out of libvirt's network, which ends that dnsmasq; guests stay plugged in.
//!
//! The file is written first, so that a run which is killed is made up for by the next one.

use super::update::{Beside, update_beside};
use super::{RegisterError, Report, Step, Target, lock, owned};
use crate::host::libvirt::DhcpSection;
use crate::host::{NetworkRecord, files};
use crate::name::{HostName, Mac, NetworkName};
use crate::network::compile::Compiled;
use crate::network::drift::dhcp_entries;
use crate::network::drift::xml::{self, What};
use crate::network::dropin::Brought;
use crate::network::find::Finder;
use crate::network::{DROP_IN, Found, Network, NetworkError};
use crate::schema;
use serde::Serialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why DHCP entries of libvirt's network were not adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The file for them is there and cannot be read.
    #[error("{}: {reason}; nothing was changed", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The definition cannot be read with them.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// libvirt or a file stands in the way.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// What became of the DHCP entries of libvirt's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// Reservations that stand in [`Adopted::file`] now.
    pub kept: Vec<String>,
    /// What was not kept, and why.
    pub dropped: Vec<Dropped>,
    /// The file.
    pub file: PathBuf,
    /// What was done.
    #[serde(skip)]
    steps: Vec<Step>,
    /// The new content of the file.
    #[serde(skip)]
    content: Option<String>,
}

/// An entry that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The entry.
    pub entry: String,
    /// Why.
    pub reason: String,
}

/// Refuses to go on beside DHCP entries of libvirt's network, which would be lost.
pub(super) fn refuse(name: &NetworkName, record: Option<&NetworkRecord>) -> Result<(), RegisterError> {
    let entries = record.map(dhcp_entries).unwrap_or_default();
    if entries.is_empty() {
        return Ok(());
    }
    Err(RegisterError::OwnDhcp {
        network: name.clone(),
        entries: entries.iter().map(|entry| entry.what.to_string()).collect(),
    })
}

/// Keeps the reservations in libvirt's network that fit into the definition that was `found`, and takes all DHCP entries
/// out of libvirt's network.
pub fn adopt_reservations(found: &Found, target: &Target<'_>, dry_run: bool) -> Result<Adopted, AdoptError> {
    let (layout, name) = (target.layout, found.network.name());
    let _lock = lock(layout, name, dry_run).map_err(RegisterError::from)?;
    let record = owned(target.libvirt, name)?;
    let mut adopted = Adopted {
        kept: Vec::new(),
        dropped: Vec::new(),
        file: layout.adopted_hosts(name).on_disk().to_owned(),
        steps: Vec::new(),
        content: None,
    };
    let Some(record) = record else { return Ok(adopted) };
    let entries = dhcp_entries(&record);
    if entries.is_empty() {
        return Ok(adopted);
    }
    let mut new = Vec::new();
    for entry in &entries {
        match judge(&entry.what, &found.network) {
            Ok(host) => new.push((entry.what.to_string(), host)),
            Err(reason) => adopted.dropped.push(Dropped {
                entry: entry.what.to_string(),
                reason,
            }),
        }
    }
    adopted.fit(new, found, target)?;
    if adopted.content.is_some() {
        adopted.steps.push(Step::Adopt);
    }
    adopted.steps.push(Step::StopLibvirtDnsmasq);
    if dry_run {
        return Ok(adopted);
    }
    if let Some(content) = &adopted.content {
        let dir = layout.guests_hosts(name);
        let write = || {
            files::make_dir(dir.on_disk(), 0o755)?;
            files::write(&adopted.file, content.as_bytes(), 0o644)
        };
        write().map_err(RegisterError::from)?;
    }
    take_out(name, &record, target)?;
    Ok(adopted)
}

impl Adopted {
    /// True if there was anything to adopt.
    pub fn is_change(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Lets `finder` read the file as it was, or in a dry run would be, written.
    #[must_use]
    pub fn assumed<'a>(&self, finder: Finder<'a>) -> Finder<'a> {
        match &self.content {
            Some(content) => finder.assuming_file(&self.file, content),
            None => finder,
        }
    }

    /// Updates the network to its definition with what was adopted.
    pub fn update(
        &self,
        network: &Network,
        compiled: &Compiled,
        source: &Path,
        target: &Target<'_>,
        dry_run: bool,
    ) -> Result<Report, RegisterError> {
        let mut report = update_beside(network, compiled, source, target, dry_run, Beside::Anything)?;
        report.steps.splice(0..0, self.steps.iter().copied());
        Ok(report)
    }

    /// Makes the new content of the file, of those entries that the network can have.
    fn fit(
        &mut self,
        mut new: Vec<(String, Brought)>,
        found: &Found,
        target: &Target<'_>,
    ) -> Result<(), AdoptError> {
        let unusable = |reason: String| AdoptError::File {
            path: self.file.clone(),
            reason,
        };
        let before = files::read_if_there(&self.file).map_err(RegisterError::from)?;
        let before = before
            .map(String::from_utf8)
            .transpose()
            .map_err(|e| unusable(e.to_string()))?;
        let shown = self.file.display().to_string();
        while !new.is_empty() {
            let hosts: Vec<&Brought> = new.iter().map(|(_, host)| host).collect();
            let content = content(before.as_deref(), &hosts);
            let finder = Finder::to_refresh(target.layout).assuming_file(&self.file, &content);
            let with = finder.read(&found.path)?;
            let remarks: Vec<_> = with
                .warnings
                .iter()
                .filter(|warning| warning.file == shown)
                .collect();
            if let Some(remark) = remarks
                .iter()
                .find(|remark| remark.message.contains("this file of a guest"))
            {
                return Err(unusable(remark.message.clone()));
            }
            let landed = |host: &Brought| {
                let there = host.macs.iter().find_map(|mac| with.network.host_by_mac(*mac));
                there.is_some_and(|there| {
                    there.name == host.name
                        && host.ips.iter().all(|ip| there.addresses().any(|own| own == *ip))
                })
            };
            let (fits, others): (Vec<_>, Vec<_>) = new.into_iter().partition(|(_, host)| landed(host));
            if others.is_empty() {
                self.kept = fits.into_iter().map(|(entry, _)| entry).collect();
                self.content = Some(content);
                return Ok(());
            }
            for (entry, host) in others {
                let line = content.lines().position(|line| line == host.to_line());
                let line = line.and_then(|line| u32::try_from(line + 1).ok());
                let remark = remarks
                    .iter()
                    .find(|remark| Some(remark.line) == line)
                    .or_else(|| remarks.first());
                let reason = remark.map_or("it clashes with another entry", |remark| remark.message.as_str());
                self.dropped.push(Dropped {
                    entry,
                    reason: reason.to_owned(),
                });
            }
            new = fits;
        }
        Ok(())
    }
}

const HEADING: &str = "# Reservations that were made with virsh, taken over by `miniascape net update --adopt`.\n\
    # An entry that is removed here is gone after the next update.\nhosts:\n";

/// The file with `new` entries at its end.
fn content(before: Option<&str>, new: &[&Brought]) -> String {
    let mut text = match before {
        Some(before) => before.trim_end().to_owned(),
        None => schema::with_modeline(&DROP_IN, HEADING.trim_end()),
    };
    for host in new {
        text.push('\n');
        text.push_str(&host.to_line());
    }
    text.push('\n');
    text
}

/// What libvirt's entry is as one of ours, or why it is dropped.
fn judge(what: &What, network: &Network) -> Result<Brought, String> {
    let What::Host { mac, name, ip, .. } = what else {
        return Err("ranges stand in the definition".to_owned());
    };
    let mac: Mac = mac
        .as_deref()
        .ok_or("it has no MAC address")?
        .parse()
        .map_err(|e: crate::name::NameError| e.to_string())?;
    let ip: IpAddr = ip
        .as_deref()
        .ok_or("it has no address")?
        .parse()
        .map_err(|_| "its address cannot be read")?;
    if let Some(host) = network.host_by_mac(mac) {
        let same = host.addresses().any(|own| own == ip);
        return Err(if same {
            format!("{} has this reservation already", host.name)
        } else {
            format!("{} has this MAC address", host.name)
        });
    }
    let domain = network.domain().map(|domain| format!(".{domain}"));
    let given = name.as_deref().map(|name| {
        let short = domain
            .as_ref()
            .and_then(|domain| name.strip_suffix(domain.as_str()));
        short.unwrap_or(name)
    });
    let name = if let Some(Ok(name)) = given.map(str::parse::<HostName>) {
        name
    } else {
        // Without a name, or with one that cannot be one.
        let digits: String = mac.to_string().chars().filter(char::is_ascii_hexdigit).collect();
        format!("adopted-{digits}")
            .parse()
            .map_err(|e: crate::name::NameError| e.to_string())?
    };
    Ok(Brought {
        name,
        macs: vec![mac],
        ips: vec![ip],
    })
}

/// Takes all DHCP entries out of libvirt's network, live and saved. With the last live one libvirt stops its dnsmasq.
fn take_out(name: &NetworkName, record: &NetworkRecord, target: &Target<'_>) -> Result<(), RegisterError> {
    let live = record.live_xml.as_deref().map(|xml| (xml, true));
    for (xml, live) in live
        .into_iter()
        .chain(std::iter::once((record.xml.as_str(), false)))
    {
        for entry in xml::dhcp_entries(xml) {
            let section = match entry.what {
                What::Host { .. } => DhcpSection::Host,
                What::Range { .. } => DhcpSection::Range,
            };
            target
                .libvirt
                .remove_dhcp_entry(name.as_str(), section, entry.ip, &entry.xml, live)?;
        }
    }
    Ok(())
}
