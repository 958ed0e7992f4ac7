//! Making a network real, and taking it away: facts about the host in, a list of steps out, then the steps.
//!
//! Every step can be done twice, and `applied.json` is written last, so a run that was killed is finished by the
//! next one. What the files say is decided in `compile`.

use super::compile::{self, Compiled};
use super::{Applied, Network, Observed, StateError};
use crate::domain::{Domain, InterfaceSource};
use crate::host::bus;
use crate::host::{Layout, Libvirt, LibvirtError, NetworkRecord, ServiceError, Services, files};
use crate::name::{InterfaceName, NetworkName};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long dnsmasq has to appear on the bus after its start.
const DNSMASQ_PATIENCE: Duration = Duration::from_secs(5);

/// Why a network was not registered or unregistered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// libvirt has a network of this name that miniascape did not make.
    #[error("libvirt already has a network {0}, and it was not made by miniascape; nothing was changed")]
    Foreign(NetworkName),
    /// Another libvirt network has the bridge.
    #[error("the bridge {bridge} of {network} belongs to the libvirt network {owner}; nothing was changed")]
    BridgeOfNetwork {
        /// The network to be registered.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
        /// Who has it.
        owner: String,
    },
    /// The host has an interface of that name.
    #[error(
        "the host already has an interface {bridge}, which {network} wants as its bridge; nothing was changed"
    )]
    BridgeOfHost {
        /// The network to be registered.
        network: NetworkName,
        /// Its bridge.
        bridge: InterfaceName,
    },
    /// Guests would lose their network.
    #[error(
        "{} plugged into the network {network}, which would have to be stopped; nothing was changed",
        plugged(guests)
    )]
    InUse {
        /// The network.
        network: NetworkName,
        /// Running guests with an interface in it.
        guests: Vec<String>,
    },
    /// libvirt cannot be reached, or refused.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// dnsmasq cannot be started or stopped.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// dnsmasq was started, but does not answer.
    #[error("dnsmasq for {0} was started but did not appear on the D-Bus system bus as {1}")]
    Silent(NetworkName, String),
    /// A file cannot be written or removed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The record is damaged.
    #[error(transparent)]
    State(#[from] StateError),
}

fn plugged(guests: &[String]) -> String {
    match guests {
        [one] => format!("the guest {one} is"),
        many => format!("the guests {} are", many.join(", ")),
    }
}

/// One thing that is done to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Write the generated files.
    WriteFiles,
    /// Define the network in libvirt, or define it anew.
    Define,
    /// Let libvirt start it at boot.
    Autostart,
    /// Stop it in libvirt.
    Stop,
    /// Start it in libvirt.
    Start,
    /// Start its dnsmasq, now and at boot.
    StartDnsmasq,
    /// Start its dnsmasq anew, so that it reads its configuration.
    RestartDnsmasq,
    /// Let its dnsmasq re-read hosts and reservations.
    ReloadDnsmasq,
    /// Stop its dnsmasq for good.
    StopDnsmasq,
    /// Remove the definition from libvirt.
    Undefine,
    /// Remove the generated files.
    RemoveFiles,
    /// Leave libvirt and dnsmasq for the system whose files these are.
    Defer,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::WriteFiles => "write its files",
            Self::Define => "define it in libvirt",
            Self::Autostart => "set it to start at boot",
            Self::Stop => "stop it",
            Self::Start => "start it",
            Self::StartDnsmasq => "start its dnsmasq",
            Self::RestartDnsmasq => "restart its dnsmasq",
            Self::ReloadDnsmasq => "let its dnsmasq re-read hosts and reservations",
            Self::StopDnsmasq => "stop its dnsmasq",
            Self::Undefine => "remove it from libvirt",
            Self::RemoveFiles => "remove its files",
            Self::Defer => "leave libvirt and dnsmasq for the first boot of that system",
        })
    }
}

/// What was done, or with `--dry-run` would be done; nothing if all was as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The network.
    pub network: NetworkName,
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

/// Where a network is to be made real.
#[derive(Debug)]
pub struct Target<'a> {
    /// Where files live.
    pub layout: &'a Layout,
    /// A connection to libvirt.
    pub libvirt: &'a Libvirt,
    /// Who runs dnsmasq.
    pub services: &'a Services,
}

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

/// Unregisters the network `name`: its dnsmasq stopped, libvirt's network gone, generated files removed. Running
/// guests in it are a reason to refuse, unless `force`.
pub fn unregister(
    name: &NetworkName,
    target: &Target<'_>,
    force: bool,
    dry_run: bool,
) -> Result<Report, RegisterError> {
    let layout = target.layout;
    let _lock = lock(layout, name, dry_run)?;
    let existing = owned(target.libvirt, name)?;
    let has_files = layout.applied(name).on_disk().exists() || layout.dnsmasq_conf(name).on_disk().exists();
    let mut steps = Vec::new();
    if let Some(record) = &existing
        && record.active
    {
        let bridge = Observed::parse(&record.xml).bridge.unwrap_or_default();
        if !force {
            refuse_in_use(name, &bridge, target.libvirt)?;
        }
        steps.push(Step::Stop);
    }
    if existing.is_some() {
        steps.push(Step::Undefine);
    }
    if has_files {
        if layout.dnsmasq_conf(name).on_disk().exists() && target.services.running(name)?.pid.is_some() {
            steps.insert(0, Step::StopDnsmasq);
        }
        steps.push(Step::RemoveFiles);
    }
    if !dry_run {
        steps.iter().try_for_each(|step| take(*step, name, target))?;
    }
    Ok(Report {
        network: name.clone(),
        steps,
    })
}

fn lock(layout: &Layout, name: &NetworkName, dry_run: bool) -> Result<Option<files::Lock>, io::Error> {
    if dry_run {
        Ok(None)
    } else {
        files::Lock::acquire(layout.network_lock(name).on_disk()).map(Some)
    }
}

/// libvirt's network of this name, if there is one; an error if it is not ours.
fn owned(libvirt: &Libvirt, name: &NetworkName) -> Result<Option<NetworkRecord>, RegisterError> {
    let existing = libvirt.network(name.as_str())?;
    match &existing {
        Some(record) if !Observed::parse(&record.xml).ours => Err(RegisterError::Foreign(name.clone())),
        _ => Ok(existing),
    }
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

/// The running guests with an interface in the network, or directly on its bridge.
pub fn guests_in(name: &NetworkName, bridge: &str, libvirt: &Libvirt) -> Result<Vec<String>, LibvirtError> {
    let mut guests = Vec::new();
    for record in libvirt.domains()?.into_iter().filter(|d| d.state.is_active()) {
        let xml = libvirt.live_domain_xml(&record.name)?;
        let plugged = Domain::parse(&xml).is_ok_and(|domain| {
            domain.interfaces.iter().any(|interface| match &interface.source {
                InterfaceSource::Network(network) => network == name.as_str(),
                InterfaceSource::Bridge(host) => host == bridge,
                _ => false,
            })
        });
        if plugged {
            guests.push(record.name);
        }
    }
    Ok(guests)
}

fn refuse_in_use(name: &NetworkName, bridge: &str, libvirt: &Libvirt) -> Result<(), RegisterError> {
    let guests = guests_in(name, bridge, libvirt)?;
    if guests.is_empty() {
        Ok(())
    } else {
        Err(RegisterError::InUse {
            network: name.clone(),
            guests,
        })
    }
}

fn write_files(compiled: &Compiled, layout: &Layout, name: &NetworkName) -> Result<(), RegisterError> {
    let dir = layout.network(name);
    files::make_dir(dir.on_disk(), 0o755)?;
    for file in compiled.files() {
        files::write(dir.join(file.name).on_disk(), file.content.as_bytes(), file.mode)?;
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

/// Takes a step that needs nothing but the network's name.
fn take(step: Step, name: &NetworkName, target: &Target<'_>) -> Result<(), RegisterError> {
    let text = name.as_str();
    match step {
        Step::Autostart => target.libvirt.set_network_autostart(text, true)?,
        Step::Stop => target.libvirt.stop_network(text)?,
        Step::Start => target.libvirt.start_network(text)?,
        Step::StartDnsmasq => {
            target.services.start(name)?;
            await_dnsmasq(name)?;
        }
        Step::RestartDnsmasq => {
            target.services.restart(name)?;
            await_dnsmasq(name)?;
        }
        Step::ReloadDnsmasq => target.services.reload(name)?,
        Step::StopDnsmasq => drop(target.services.stop(name)?),
        Step::Undefine => target.libvirt.undefine_network(text)?,
        Step::RemoveFiles => remove_files(target.layout, name)?,
        Step::WriteFiles | Step::Define | Step::Defer => {}
    }
    Ok(())
}

fn await_dnsmasq(name: &NetworkName) -> Result<(), RegisterError> {
    let deadline = Instant::now() + DNSMASQ_PATIENCE;
    while !bus::has_owner(name).unwrap_or(false) {
        if Instant::now() >= deadline {
            return Err(RegisterError::Silent(name.clone(), bus::dnsmasq_bus_name(name)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Removes what was generated; what guests brought (`hosts.d/`) stays for the next registration.
fn remove_files(layout: &Layout, name: &NetworkName) -> Result<(), RegisterError> {
    let dir = layout.network(name);
    for file in compile::FILES
        .into_iter()
        .chain([compile::LEASES, "definition.yaml", "applied.json"])
    {
        files::remove(dir.join(file).on_disk())?;
    }
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
