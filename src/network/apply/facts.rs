//! What a registration or an update finds, and the steps that come of it. Taking them is `work`'s business.

use super::added::{self, Added, Lists};
use super::{RegisterError, Step, Target, owned};
use crate::host::{Layout, NetworkRecord, files, links};
use crate::network::compile::{self, Compiled};
use crate::network::drift;
use crate::network::firewall;
use crate::network::observed::bridge_mac;
use crate::network::{Applied, Needs, Network, Observed};

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

/// True if libvirt has made the network's bridge and does not know it any more: it was killed while it started the
/// network, `record`, so nobody was plugged in yet. The hardware address, which libvirt chose, tells.
pub(super) fn is_leftover(network: &Network, record: &NetworkRecord) -> bool {
    let Some(bridge) = network.own_bridge() else {
        return false;
    };
    let same_bridge = Observed::parse(&record.xml).bridge.as_deref() == Some(bridge.as_str());
    let address = bridge_mac(&record.xml);
    !record.active && same_bridge && address.is_some() && links::idle_bridge(bridge) == address
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
}
