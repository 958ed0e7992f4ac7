//! `net register`: from a compiled network to libvirt's network with its own dnsmasq.

use super::guests::refuse_in_use;
use super::step::{take, write_files};
use super::{RegisterError, Report, Step, Target, lock, owned};
use crate::host::{Layout, Libvirt, NetworkRecord, files};
use crate::name::NetworkName;
use crate::network::compile::{self, Compiled};
use crate::network::{Applied, Network, Observed};
use std::path::Path;

/// What the plan of a registration is made from.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts are independent of each other"
)]
struct Facts {
    existing: Option<NetworkRecord>,
    files_changed: bool,
    xml_changed: bool,
    conf_changed: bool,
    recorded: bool,
    dnsmasq_running: bool,
}

/// The steps of a registration.
fn plan(facts: &Facts, needs_dnsmasq: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut add = |step, wanted| {
        if wanted {
            steps.push(step);
        }
    };
    let active = facts.existing.as_ref().is_some_and(|n| n.active);
    let restart = active && facts.xml_changed;
    add(Step::WriteFiles, facts.files_changed || !facts.recorded);
    add(Step::Define, facts.existing.is_none() || facts.xml_changed);
    add(
        Step::Autostart,
        facts.existing.as_ref().is_none_or(|n| !n.autostart),
    );
    add(Step::Stop, restart);
    add(Step::Start, restart || !active);
    match (needs_dnsmasq, facts.dnsmasq_running) {
        (true, false) => add(Step::StartDnsmasq, true),
        (true, true) if facts.conf_changed => add(Step::RestartDnsmasq, true),
        (true, true) => add(Step::ReloadDnsmasq, facts.files_changed && !facts.xml_changed),
        (false, running) => add(Step::StopDnsmasq, running),
    }
    steps
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
    let name = network.name();
    let layout = target.layout;
    let _lock = lock(layout, name, dry_run)?;
    let existing = owned(target.libvirt, name)?;
    refuse_taken_bridge(network, existing.as_ref(), target.libvirt)?;
    if network.needs_dnsmasq() {
        target.services.check()?;
    }
    let recorded = Applied::read(layout, name)?.is_some_and(|a| a.digest == compiled.digest() && !a.pending);
    let dir = layout.network(name);
    let mut facts = Facts {
        recorded,
        ..Facts::default()
    };
    for file in compiled.files() {
        let before = files::read_if_there(dir.join(file.name).on_disk())?;
        let changed = before.as_deref() != Some(file.content.as_bytes());
        facts.files_changed |= changed;
        facts.conf_changed |= changed && file.name == compile::DNSMASQ_CONF;
        facts.xml_changed |= changed && file.name == compile::LIBVIRT_XML;
    }
    facts.xml_changed &= existing.is_some();
    facts.dnsmasq_running = if network.needs_dnsmasq() || layout.dnsmasq_conf(name).on_disk().exists() {
        target.services.running(name)?.pid.is_some()
    } else {
        false
    };
    let fresh = existing.is_none();
    let uuid = existing.as_ref().map(|n| n.uuid);
    facts.existing = existing;
    let steps = plan(&facts, network.needs_dnsmasq());
    if steps.contains(&Step::Stop) {
        refuse_in_use(name, network.bridge().as_str(), target.libvirt)?;
    }
    let report = Report {
        network: name.clone(),
        steps,
    };
    if dry_run {
        return Ok(report);
    }
    let done = report.steps.iter().try_for_each(|step| match step {
        Step::WriteFiles => write_files(compiled, layout, name),
        Step::Define => {
            let xml = with_uuid(compiled.libvirt_xml(), uuid);
            Ok(target.libvirt.define_network(name.as_str(), &xml)?)
        }
        other => take(*other, name, target),
    });
    let record = || {
        let applied = Applied::new(network, compiled.digest(), source.to_owned());
        applied.write(layout).map(drop).map_err(RegisterError::from)
    };
    if let Err(error) = done.and_then(|()| record()) {
        if fresh {
            undo(name, target);
        }
        return Err(error);
    }
    Ok(report)
}

/// Writes the files of a network into another system's root, with a copy of the `definition`'s text, from which the
/// first run of miniascape there registers it.
pub fn register_offline(
    network: &Network,
    compiled: &Compiled,
    definition: &[u8],
    layout: &Layout,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let name = network.name();
    let copy = layout.kept_definition(name);
    let mut applied = Applied::new(network, compiled.digest(), copy.named().to_owned());
    applied.pending = true;
    let mut steps = Vec::new();
    if Applied::read(layout, name)?.is_none_or(|before| before.digest != applied.digest) {
        steps.extend([Step::WriteFiles, Step::Defer]);
        if !dry_run {
            write_files(compiled, layout, name)?;
            files::write(copy.on_disk(), definition, 0o644)?;
            applied.write(layout)?;
        }
    }
    Ok(Report {
        network: name.clone(),
        steps,
    })
}

fn refuse_taken_bridge(
    network: &Network,
    existing: Option<&NetworkRecord>,
    libvirt: &Libvirt,
) -> Result<(), RegisterError> {
    let bridge = network.bridge();
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
    let mine = existing.is_some_and(|r| r.active && same(r));
    if !mine && libvirt.is_local() && Path::new("/sys/class/net").join(bridge.as_str()).exists() {
        return Err(RegisterError::BridgeOfHost {
            network: network.name().clone(),
            bridge: bridge.clone(),
        });
    }
    Ok(())
}

/// libvirt takes a definition of a known name only with that network's uuid.
fn with_uuid(xml: &str, uuid: Option<uuid::Uuid>) -> String {
    match uuid {
        Some(uuid) => xml.replacen("</name>", &format!("</name>\n  <uuid>{uuid}</uuid>"), 1),
        None => xml.to_owned(),
    }
}

/// Takes back a registration that failed half way. Failures here are told in the log only: the first error is what
/// the user has to know, and the next run repairs.
fn undo(name: &NetworkName, target: &Target<'_>) {
    for step in [Step::StopDnsmasq, Step::Stop, Step::Undefine, Step::RemoveFiles] {
        if let Err(error) = take(step, name, target) {
            tracing::info!(network = %name, %step, %error, "not taken back");
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

    #[test]
    fn a_registered_network_needs_no_step() {
        let facts = Facts {
            existing: Some(record(true)),
            recorded: true,
            dnsmasq_running: true,
            ..Facts::default()
        };
        assert_eq!(plan(&facts, true), []);
    }

    #[test]
    fn new_reservations_do_not_restart_anything() {
        let facts = Facts {
            existing: Some(record(true)),
            files_changed: true,
            dnsmasq_running: true,
            ..Facts::default()
        };
        assert_eq!(plan(&facts, true), [Step::WriteFiles, Step::ReloadDnsmasq]);
    }

    #[test]
    fn a_new_network_is_defined_before_it_is_started() {
        let facts = Facts {
            files_changed: true,
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
    fn the_uuid_goes_behind_the_name() {
        let xml = "<network>\n  <name>n</name>\n</network>";
        let nil = uuid::Uuid::nil();
        assert_eq!(
            with_uuid(xml, Some(nil)),
            format!("<network>\n  <name>n</name>\n  <uuid>{nil}</uuid>\n</network>")
        );
        assert_eq!(with_uuid(xml, None), xml);
    }
}
