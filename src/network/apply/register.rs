//! `net register`: from a compiled network to libvirt's network with its own dnsmasq.

use super::added::{self, Added, Lists};
use super::guests::{refuse_in_use, replug};
use super::journal;
use super::step::{take, write_files};
use super::{RegisterError, Report, Step, Target, lock, owned};
use super::{adopt, bridge};
use crate::host::{Layout, Libvirt, NetworkRecord, files, links};
use crate::name::{Mac, NetworkName};
use crate::network::compile::{self, Compiled};
use crate::network::diff::keep;
use crate::network::drift;
use crate::network::firewall;
use crate::network::observed::bridge_mac;
use crate::network::{Applied, Deferred, Needs, Network, Observed, Pending};
use std::fmt::Write;
use std::path::Path;

/// What the plan of a registration is made from.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts are independent of each other"
)]
pub(super) struct Facts {
    /// The record of an earlier registration.
    pub(super) record: Option<Applied>,
    /// libvirt's network, if there is one.
    pub(super) existing: Option<NetworkRecord>,
    /// The network's mode has no libvirt network.
    without_libvirt: bool,
    /// Files on the disk are not as compiled, or not recorded as applied.
    stale_files: bool,
    /// libvirt's definition is not the compiled one.
    stale_definition: bool,
    /// The network is active with another bridge, address or connection than the compiled one.
    stale_bridge: bool,
    /// A bridge is there that libvirt made for the network and does not know any more.
    stale_interface: bool,
    /// dnsmasq has not read the compiled configuration.
    stale_conf: bool,
    /// dnsmasq has not read the compiled hosts, reservations or options.
    stale_data: bool,
    /// What dnsmasq has not read are only new hosts.
    pub(super) added: Option<Added>,
    /// dnsmasq runs.
    dnsmasq_running: bool,
    /// What is to be done to the host's firewall.
    firewall: Option<Step>,
}

impl Facts {
    pub(super) fn gather(
        network: &Network,
        compiled: &Compiled,
        target: &Target<'_>,
    ) -> Result<Self, RegisterError> {
        Self::gather_of(network, compiled, target, owned(target.libvirt, network.name())?)
    }

    /// As [`Facts::gather`], for a network of libvirt's that may be somebody else's.
    pub(super) fn gather_of(
        network: &Network,
        compiled: &Compiled,
        target: &Target<'_>,
        existing: Option<NetworkRecord>,
    ) -> Result<Self, RegisterError> {
        let (name, layout) = (network.name(), target.layout);
        let record = Applied::read_sound(layout, name)?;
        let applied = record.as_ref();
        let stale = |file: &compile::File| !applied.is_some_and(|applied| applied.has(file));
        let mut facts = Self::default();
        let mut lists = Vec::new();
        let mut only_lists = true;
        for file in compiled.files() {
            let on_disk = files::read_if_there(layout.network(name).join(file.name).on_disk())?;
            let stale = stale(file);
            // dnsmasq may have read what somebody else has made of a file.
            let foreign = on_disk.as_deref() != Some(file.content.as_bytes());
            facts.stale_files |= stale || foreign;
            match file.name {
                compile::LIBVIRT_XML => facts.stale_definition = stale,
                compile::DNSMASQ_CONF => facts.stale_conf = stale || foreign,
                _ => facts.stale_data |= stale || foreign,
            }
            match file.name {
                compile::ADDN_HOSTS | compile::DHCP_HOSTSFILE => lists.push((file, on_disk)),
                _ => only_lists &= !stale && !foreign,
            }
        }
        let mut gone = compile::FILES
            .into_iter()
            .filter(|name| compiled.file(name).is_none());
        facts.stale_files |= gone.any(|file| layout.network(name).join(file).on_disk().exists());
        facts.without_libvirt = compiled.libvirt_xml().is_none();
        if let (Some(record), Some(xml)) = (&existing, compiled.libvirt_xml()) {
            // Of a network of ours DHCP entries were looked at before: they are no reason to stop it.
            let is_strange = |theirs: &str| {
                let seen = Observed::parse(theirs);
                !seen.ours && seen.served_by_libvirt()
            };
            let local = target.libvirt.is_local();
            facts.stale_definition |=
                !drift::xml::differences(xml, &record.xml).is_empty() || is_strange(&record.xml);
            let differs =
                |live: &String| !drift::xml::differences_of_running(xml, live).is_empty() || is_strange(live);
            facts.stale_bridge = record.live_xml.as_ref().is_some_and(differs)
                || (record.active && local && drift::lost(&Needs::of(network)).is_some());
            facts.stale_interface = is_leftover(network, record) && local;
        }
        if network.needs_dnsmasq() || applied.is_some_and(|applied| applied.dnsmasq) {
            facts.dnsmasq_running = target.services.running(name)?.pid.is_some();
        }
        if facts.stale_data && facts.dnsmasq_running && only_lists && Added::is_watched(compiled) {
            facts.added = added_hosts(network, &lists, applied, layout)?;
        }
        facts.firewall = firewall::step(network, applied, target)?;
        facts.existing = existing;
        facts.record = record;
        Ok(facts)
    }
}

/// What has come to the two `lists` of hosts, each with what stands on the disk, if that is what dnsmasq has read and
/// nothing else has changed.
fn added_hosts(
    network: &Network,
    lists: &[(&compile::File, Option<Vec<u8>>)],
    applied: Option<&Applied>,
    layout: &Layout,
) -> Result<Option<Added>, RegisterError> {
    let list = |name: &str| lists.iter().find(|(file, _)| file.name == name);
    let before = |name: &str| match list(name) {
        None => Some(""),
        Some((_, on_disk)) => {
            let content = on_disk.as_deref()?;
            let read = applied?.has_content(name, content);
            std::str::from_utf8(content).ok().filter(|_| read)
        }
    };
    let after = |name: &str| list(name).map_or("", |(file, _)| &file.content);
    let [names, reservations] = [compile::ADDN_HOSTS, compile::DHCP_HOSTSFILE];
    let (Some(old_names), Some(old_reservations)) = (before(names), before(reservations)) else {
        return Ok(None);
    };
    let before = Lists {
        names: old_names,
        reservations: old_reservations,
    };
    let after = Lists {
        names: after(names),
        reservations: after(reservations),
    };
    match Added::between(before, after, network) {
        Some(new) if added::has_room(layout, network.name())? => Ok(Some(new)),
        _ => Ok(None),
    }
}

/// The steps of a registration.
pub(super) fn plan(facts: &Facts, needs_dnsmasq: bool) -> Vec<Step> {
    let active = facts.existing.as_ref().is_some_and(|n| n.active);
    let restart = active && facts.stale_bridge;
    let dnsmasq = match (needs_dnsmasq, facts.dnsmasq_running) {
        (true, false) => Some(Step::StartDnsmasq),
        (true, true) if facts.stale_conf => Some(Step::RestartDnsmasq),
        (true, true) if facts.added.is_some() => Some(Step::AddHosts),
        (true, true) if facts.stale_data => Some(Step::ReloadDnsmasq),
        (false, true) => Some(Step::StopDnsmasq),
        (true, true) | (false, false) => None,
    };
    if facts.without_libvirt {
        let steps = [
            facts.stale_files.then_some(Step::WriteFiles),
            active.then_some(Step::Stop),
            facts.existing.is_some().then_some(Step::Undefine),
            facts.firewall,
            dnsmasq,
        ];
        let steps: Vec<Step> = steps.into_iter().flatten().collect();
        return match (steps.as_slice(), &facts.record) {
            // Its guests bring all that it consists of.
            ([], None) => vec![Step::Record],
            _ => steps,
        };
    }
    let steps = [
        facts.stale_files.then_some(Step::WriteFiles),
        (facts.existing.is_none() || facts.stale_definition).then_some(Step::Define),
        facts
            .existing
            .as_ref()
            .is_none_or(|n| !n.autostart)
            .then_some(Step::Autostart),
        restart.then_some(Step::Stop),
        facts.stale_interface.then_some(Step::RemoveBridge),
        (restart || !active).then_some(Step::Start),
        facts.firewall,
        dnsmasq,
    ];
    steps.into_iter().flatten().collect()
}

/// Registers a network: its files, libvirt's network (defined, autostarted, active), its own dnsmasq. `source` names
/// the definition for messages. With `dry_run` only the steps are told.
pub fn register(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let _lock = lock(target.layout, network.name(), dry_run)?;
    register_locked(network, compiled, source, target, dry_run)
}

/// As [`register`], for a caller who holds the network's lock.
pub(in crate::network) fn register_locked(
    network: &Network,
    compiled: &Compiled,
    source: &Path,
    target: &Target<'_>,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let name = network.name();
    let layout = target.layout;
    if network.needs_dnsmasq() {
        target.services.check()?;
    }
    let facts = Facts::gather(network, compiled, target)?;
    adopt::refuse(name, facts.existing.as_ref())?;
    let mut steps = plan(&facts, network.needs_dnsmasq());
    refuse_taken_bridge(network, &steps, facts.existing.as_ref(), target.libvirt)?;
    if steps.contains(&Step::Stop) {
        let live = facts.existing.as_ref().and_then(|r| r.live_xml.as_deref());
        let bridge = live
            .and_then(|xml| Observed::parse(xml).bridge)
            .unwrap_or_default();
        refuse_in_use(name, &bridge, target.libvirt)?;
    }
    bridge::refuse_other_servers(network, &steps, facts.record.as_ref(), target.libvirt)?;
    // Those that a killed update left without a plug.
    let guests = journal::left(name, layout, target.libvirt)?;
    if !guests.is_empty() {
        steps.push(Step::Replug);
    }
    let wish = Pending::read(layout, name)?;
    if wish.is_some() {
        steps.push(Step::Forget);
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run {
        return Ok(report);
    }
    // Nobody is to take away meanwhile what is wanted again.
    if wish.is_some_and(|wish| wish.work == Deferred::UnregisterNetwork) {
        take(Step::Forget, name, target)?;
    }
    begin(facts.record.clone(), compiled, layout)?;
    let mut taken = Vec::new();
    let done = report.steps.iter().try_for_each(|step| {
        match step {
            Step::WriteFiles => write_files(compiled, layout, name)?,
            Step::Define => define(name, compiled, facts.existing.as_ref(), target)?,
            Step::RemoveBridge => remove_bridge(network)?,
            Step::AddHosts => facts
                .added
                .as_ref()
                .map_or(Ok(()), |added| added.tell(network, target))?,
            Step::OpenFirewall => firewall::open(network, layout)?,
            Step::Replug => network
                .bridge()
                .map_or(Ok(()), |bridge| replug(&guests, bridge, target.libvirt))?,
            // Only when the record tells that it is done.
            Step::Forget | Step::Record => {}
            other => take(*other, name, target)?,
        }
        taken.push(*step);
        Ok(())
    });
    let record = || {
        let applied = Applied::new(network, compiled, source.to_owned());
        applied.write(layout)?;
        keep(network, layout)?;
        journal::end(name, layout)?;
        settle(&applied, layout)
    };
    if let Err(error) = done.and_then(|()| record()) {
        // Only what this run has made is taken back, only if nothing was there before, and not if libvirt has gone:
        // what it keeps would have lost its files.
        if facts.existing.is_none() && facts.record.is_none() && !error.is_libvirt_away() {
            undo(&taken, name, target);
        }
        return Err(error);
    }
    Ok(report)
}

/// Marks what is about to change in the record, if there is one.
pub(super) fn begin(
    record: Option<Applied>,
    compiled: &Compiled,
    layout: &Layout,
) -> Result<(), RegisterError> {
    if let Some(mut record) = record
        && record.begin(compiled)
    {
        record.write(layout)?;
    }
    Ok(())
}

/// Forgets what was to be done with the network, now that it is `applied`, and the copy of its definition, unless
/// that is all there is.
pub(super) fn settle(applied: &Applied, layout: &Layout) -> Result<(), RegisterError> {
    Pending::forget(layout, &applied.name)?;
    let copy = layout.kept_definition(&applied.name);
    if applied.source != copy.named() {
        files::remove(copy.on_disk())?;
    }
    Ok(())
}

/// Refuses `steps` for which the network's bridge is needed and somebody else has it.
pub(super) fn refuse_taken_bridge(
    network: &Network,
    steps: &[Step],
    existing: Option<&NetworkRecord>,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let Some(bridge) = network.own_bridge() else {
        return bridge::check_existing(network, libvirt);
    };
    // A network that only goes on has it.
    if !steps
        .iter()
        .any(|step| matches!(step, Step::Define | Step::Start | Step::RemoveBridge))
    {
        return Ok(());
    }
    let of = |record: &NetworkRecord| Observed::parse(&record.xml).bridge;
    let same = |record: &NetworkRecord| of(record).as_deref() == Some(bridge.as_str());
    if let Some(other) = libvirt
        .networks()?
        .into_iter()
        .find(|r| r.name != network.name().as_str() && same(r))
    {
        return Err(RegisterError::BridgeOfNetwork {
            network: network.name().clone(),
            bridge: bridge.clone(),
            owner: other.name,
        });
    }
    let live = |r: &NetworkRecord| r.live_xml.as_deref().and_then(|xml| Observed::parse(xml).bridge);
    let mine = existing.is_some_and(|r| live(r).as_deref() == Some(bridge.as_str()));
    if mine || !libvirt.is_local() || existing.is_some_and(|record| is_leftover(network, record)) {
        return Ok(());
    }
    refuse_interface(network)
}

/// True if libvirt has made the network's bridge and does not know it any more: it was killed while it started the
/// network, `record`, so nobody was plugged in yet. The hardware address, which libvirt chose, tells.
fn is_leftover(network: &Network, record: &NetworkRecord) -> bool {
    let Some(bridge) = network.own_bridge() else {
        return false;
    };
    let same_bridge = Observed::parse(&record.xml).bridge.as_deref() == Some(bridge.as_str());
    let address = bridge_mac(&record.xml);
    !record.active && same_bridge && address.is_some() && links::idle_bridge(bridge) == address
}

/// Removes what a killed libvirt left of a bridge of ours.
pub(super) fn remove_bridge(network: &Network) -> Result<(), RegisterError> {
    if let Some(bridge) = network.own_bridge() {
        links::remove_bridge(bridge)?;
    }
    Ok(())
}

/// Refuses if the host has an interface with the name of a bridge that libvirt is to make.
pub(super) fn refuse_interface(network: &Network) -> Result<(), RegisterError> {
    if let Some(bridge) = network.own_bridge().filter(|bridge| links::exists(bridge)) {
        return Err(RegisterError::BridgeOfHost {
            network: network.name().clone(),
            bridge: bridge.clone(),
        });
    }
    Ok(())
}

/// Defines the network in libvirt, in place of the one that is there.
pub(super) fn define(
    name: &NetworkName,
    compiled: &Compiled,
    existing: Option<&NetworkRecord>,
    target: &Target<'_>,
) -> Result<(), RegisterError> {
    if let Some(xml) = compiled.libvirt_xml() {
        target
            .libvirt
            .define_network(name.as_str(), &in_place_of(xml, existing))
            .map_err(|error| RegisterError::of_network(error, false))?;
    }
    Ok(())
}

/// libvirt takes a definition of a known name only with that network's uuid, and gives its bridge another hardware
/// address, which guests would have to learn, unless the definition has the old one.
fn in_place_of(xml: &str, existing: Option<&NetworkRecord>) -> String {
    let Some(existing) = existing else {
        return xml.to_owned();
    };
    let mut identity = format!("</name>\n  <uuid>{}</uuid>", existing.uuid);
    if let Some(mac) = bridge_mac(&existing.xml).and_then(|mac| mac.parse::<Mac>().ok()) {
        let _ = write!(identity, "\n  <mac address=\"{mac}\"/>");
    }
    xml.replacen("</name>", &identity, 1)
}

/// Takes back the steps of a registration that failed half way, the last first. Failures here are told in the log
/// only: the first error is what the user has to know, and the next run repairs.
fn undo(taken: &[Step], name: &NetworkName, target: &Target<'_>) {
    for step in taken.iter().rev() {
        let back = match step {
            Step::StartDnsmasq => Step::StopDnsmasq,
            Step::OpenFirewall => Step::CloseFirewall,
            Step::Start => Step::Stop,
            Step::Define => Step::Undefine,
            Step::WriteFiles => Step::RemoveFiles,
            _ => continue,
        };
        if let Err(error) = take(back, name, target) {
            tracing::warn!(network = %name, step = %back, %error, "not taken back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(active: bool) -> NetworkRecord {
        NetworkRecord {
            name: "n".into(),
            uuid: uuid::Uuid::nil(),
            active,
            autostart: true,
            xml: String::new(),
            live_xml: None,
        }
    }

    fn registered() -> Facts {
        Facts {
            existing: Some(record(true)),
            dnsmasq_running: true,
            ..Facts::default()
        }
    }

    #[test]
    fn a_registered_network_needs_no_step() {
        assert_eq!(plan(&registered(), true), []);
    }

    #[test]
    fn new_reservations_do_not_restart_anything() {
        let facts = Facts {
            stale_files: true,
            stale_data: true,
            ..registered()
        };
        assert_eq!(plan(&facts, true), [Step::WriteFiles, Step::ReloadDnsmasq]);
    }

    #[test]
    fn hosts_that_are_only_new_are_added() {
        let facts = Facts {
            stale_files: true,
            stale_data: true,
            added: Some(Added::default()),
            ..registered()
        };
        assert_eq!(plan(&facts, true), [Step::WriteFiles, Step::AddHosts]);
        let facts = Facts {
            stale_conf: true,
            ..facts
        };
        assert_eq!(plan(&facts, true), [Step::WriteFiles, Step::RestartDnsmasq]);
    }

    #[test]
    fn a_run_killed_before_dnsmasq_was_told_is_made_up_for() {
        // The files are there; the record of what was applied is older.
        let facts = Facts {
            stale_files: true,
            stale_conf: true,
            stale_data: true,
            ..registered()
        };
        assert_eq!(plan(&facts, true), [Step::WriteFiles, Step::RestartDnsmasq]);
    }

    #[test]
    fn a_new_network_is_defined_before_it_is_started() {
        let facts = Facts {
            stale_files: true,
            stale_definition: true,
            ..Facts::default()
        };
        let steps = [
            Step::WriteFiles,
            Step::Define,
            Step::Autostart,
            Step::Start,
            Step::StartDnsmasq,
        ];
        assert_eq!(plan(&facts, true), steps);
        assert_eq!(plan(&facts, false), &steps[..4]);
    }

    #[test]
    fn what_a_killed_libvirt_left_goes_before_the_start() {
        let facts = Facts {
            existing: Some(record(false)),
            stale_interface: true,
            ..registered()
        };
        assert_eq!(plan(&facts, true), [Step::RemoveBridge, Step::Start]);
    }

    #[test]
    fn another_bridge_needs_a_restart_of_the_network() {
        let facts = Facts {
            stale_files: true,
            stale_definition: true,
            stale_bridge: true,
            stale_conf: true,
            ..registered()
        };
        let steps = [
            Step::WriteFiles,
            Step::Define,
            Step::Stop,
            Step::Start,
            Step::RestartDnsmasq,
        ];
        assert_eq!(plan(&facts, true), steps);
    }

    #[test]
    fn a_network_that_libvirt_is_to_know_nothing_of_is_taken_from_it() {
        let facts = Facts {
            without_libvirt: true,
            ..registered()
        };
        assert_eq!(plan(&facts, true), [Step::Stop, Step::Undefine]);
        let facts = Facts {
            existing: None,
            stale_files: true,
            ..facts
        };
        assert_eq!(plan(&facts, false), [Step::WriteFiles, Step::StopDnsmasq]);
        let nothing = Facts {
            without_libvirt: true,
            ..Facts::default()
        };
        assert_eq!(plan(&nothing, false), [Step::Record]);
    }

    #[test]
    fn a_network_keeps_its_identity_and_its_bridges_address() {
        let xml = "<network>\n  <name>n</name>\n</network>";
        let nil = uuid::Uuid::nil();
        let mut there = record(true);
        let uuid = format!("<network>\n  <name>n</name>\n  <uuid>{nil}</uuid>\n</network>");
        assert_eq!(in_place_of(xml, Some(&there)), uuid);
        there.xml = "<network><name>n</name><mac address='52:54:00:00:00:09'/></network>".into();
        let mac = "</uuid>\n  <mac address=\"52:54:00:00:00:09\"/>";
        assert_eq!(in_place_of(xml, Some(&there)), uuid.replace("</uuid>", mac));
        assert_eq!(in_place_of(xml, None), xml);
    }
}
