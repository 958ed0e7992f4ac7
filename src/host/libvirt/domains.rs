//! libvirt's domains: reading their state, life cycle, definition.

use super::{Libvirt, LibvirtError, absent, without_unknown_flags};
use crate::name::printable;
use serde::Serialize;
use std::time::{Duration, Instant};
use uuid::Uuid;
use virt::domain::{Domain, DomainState as VirtState};
use virt::error::ErrorNumber;
use virt::sys;

/// What a domain is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainState {
    /// Executing, or waiting for a resource.
    Running,
    /// Suspended, by a user or by an I/O error.
    Paused,
    /// Shutting down: QEMU is still there.
    ShuttingDown,
    /// Not running.
    Shutoff,
    /// Not running, after a crash.
    Crashed,
    /// Suspended by the guest itself.
    PmSuspended,
    /// Something this program does not know.
    Unknown,
}

impl DomainState {
    /// True if a QEMU process exists, which may write to the disks.
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Shutoff | Self::Crashed)
    }
}

impl std::fmt::Display for DomainState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShuttingDown => "shutting-down",
            Self::Shutoff => "shutoff",
            Self::Crashed => "crashed",
            Self::PmSuspended => "pm-suspended",
            Self::Unknown => "unknown",
        })
    }
}

/// What libvirt knows of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    /// Its name, as libvirt has it.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
    /// What it is doing.
    pub state: DomainState,
    /// True if libvirt keeps its definition while it is off.
    pub persistent: bool,
    /// The definition that the next start will use (transient domains: the live one).
    pub xml: String,
}

/// What ties a domain's definition to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocker {
    /// The memory of a guest that was put to sleep on the disk (managed save).
    SavedState,
    /// Snapshots that libvirt keeps account of.
    Snapshots,
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SavedState => "a saved state",
            Self::Snapshots => "snapshots",
        })
    }
}

impl Blocker {
    /// The command with which a user removes it from the domain `name`.
    pub fn remedy(self, name: &str) -> String {
        match self {
            Self::SavedState => format!(
                "start it and shut it down, or drop that state as if the plug had been pulled: \
                 `virsh managedsave-remove {name}`"
            ),
            Self::Snapshots => {
                format!("remove them (`virsh snapshot-list {name}`, `virsh snapshot-delete {name} SNAPSHOT`)")
            }
        }
    }
}

/// A graceful shutdown that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum GraceError {
    /// libvirt failed.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// The guest was asked and is still running.
    #[error("the guest {name} has not shut down within {} s", timeout.as_secs())]
    StillRunning {
        /// Which guest.
        name: String,
        /// How long it was given.
        timeout: Duration,
    },
}

impl Libvirt {
    pub(super) fn find_domain(&self, name: &str) -> Result<Option<Domain>, LibvirtError> {
        absent(self.connection.lookup_domain_by_name(name), ErrorNumber::NoDomain)
            .map_err(|e| self.error(format!("look for the guest {name}"), &e))
    }

    pub(super) fn with_domain<T>(
        &self,
        name: &str,
        what: &str,
        act: impl FnOnce(&Domain) -> Result<T, virt::error::Error>,
    ) -> Result<T, LibvirtError> {
        let wrap = |e: &_| self.error(format!("{what} the guest {name}"), e);
        let domain = self
            .connection
            .lookup_domain_by_name(name)
            .map_err(|e| wrap(&e))?;
        act(&domain).map_err(|e| wrap(&e))
    }

    fn domain_record(&self, domain: &Domain) -> Result<DomainRecord, LibvirtError> {
        let read = || {
            let persistent = domain.is_persistent()?;
            Ok(DomainRecord {
                name: domain.name()?,
                uuid: domain.uuid()?,
                state: state(domain)?,
                persistent,
                xml: domain.xml_desc(if persistent {
                    sys::VIR_DOMAIN_XML_INACTIVE
                } else {
                    0
                })?,
            })
        };
        read().map_err(|e: virt::error::Error| self.error("read a guest's state", &e))
    }

    /// The domain of exactly this name.
    pub fn domain(&self, name: &str) -> Result<Option<DomainRecord>, LibvirtError> {
        self.find_domain(name)?
            .map(|domain| self.domain_record(&domain))
            .transpose()
    }

    /// The domain of this identity.
    pub fn domain_by_uuid(&self, uuid: Uuid) -> Result<Option<DomainRecord>, LibvirtError> {
        absent(self.connection.lookup_domain_by_uuid(uuid), ErrorNumber::NoDomain)
            .map_err(|e| self.error(format!("look for the guest {uuid}"), &e))?
            .map(|domain| self.domain_record(&domain))
            .transpose()
    }

    /// The definition of the domain of this identity as the next start will use it, passwords of displays included;
    /// `None` if there is no such domain.
    pub fn definition(&self, uuid: Uuid) -> Result<Option<String>, LibvirtError> {
        let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
        absent(self.connection.lookup_domain_by_uuid(uuid), ErrorNumber::NoDomain)
            .and_then(|domain| domain.map(|domain| domain.xml_desc(flags)).transpose())
            .map_err(|e| self.error(format!("read the definition of the guest {uuid}"), &e))
    }

    /// All domains, running or not, by name.
    pub fn domains(&self) -> Result<Vec<DomainRecord>, LibvirtError> {
        let all = self
            .connection
            .list_all_domains(0)
            .map_err(|e| self.error("list the guests", &e))?;
        let mut records = Vec::new();
        for domain in &all {
            match self.domain_record(domain) {
                Ok(record) => records.push(record),
                // Undefined, or gone with its run, since it was listed.
                Err(_) if self.has_gone(domain) => {}
                Err(error) => return Err(error),
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    fn has_gone(&self, domain: &Domain) -> bool {
        let Ok(uuid) = domain.uuid() else { return false };
        matches!(
            absent(self.connection.lookup_domain_by_uuid(uuid), ErrorNumber::NoDomain),
            Ok(None)
        )
    }

    /// The live XML of a running domain.
    pub fn live_domain_xml(&self, name: &str) -> Result<String, LibvirtError> {
        self.with_domain(name, "read the XML of", |d| d.xml_desc(0))
    }

    /// The state of the domain `name`.
    pub fn domain_state(&self, name: &str) -> Result<DomainState, LibvirtError> {
        self.with_domain(name, "read the state of", state)
    }

    /// Defines, or redefines, a persistent domain; libvirt checks the XML against its schema first.
    pub fn define_domain(&self, name: &str, xml: &str) -> Result<Uuid, LibvirtError> {
        self.connection
            .define_domain_xml_flags(xml, sys::VIR_DOMAIN_DEFINE_VALIDATE)
            .and_then(|domain| domain.uuid())
            .map_err(|e| self.error(format!("define the guest {name}"), &e))
    }

    /// Starts a defined domain.
    pub fn start_domain(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_domain(name, "start", Domain::create)
    }

    /// Stops a domain at once, as pulling the plug does.
    pub fn destroy_domain(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_domain(name, "stop", Domain::destroy)
    }

    /// Asks the guest to shut down (ACPI button, or its agent) and does not wait.
    pub fn ask_shutdown(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_domain(name, "shut down", Domain::shutdown)
    }

    /// Removes the definition and what libvirt knows of checkpoints; firmware variables and TPM state stay on the disk.
    ///
    /// libvirt refuses for a domain with a saved state or snapshots, which would be lost with the definition: that is [`LibvirtError::Blocked`], which says what to do about it.
    pub fn undefine_domain(&self, name: &str) -> Result<(), LibvirtError> {
        self.refuse_blocked(name)?;
        self.with_domain(name, "undefine", |d| {
            let nvram = sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
            // libvirt knows the second flag since 8.9; before, it had no way to keep a TPM's state but the domain's
            // own `persistent_state`.
            let both = nvram | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM;
            without_unknown_flags(both, nvram, |flags| {
                without_unknown_flags(flags, 0, |flags| d.undefine_flags(flags))
            })
        })
    }

    /// As [`Libvirt::undefine_domain`], also for a domain with snapshots and checkpoints, of which libvirt then knows
    /// nothing more, and a saved state, which is lost if its file has not been put aside.
    pub fn undefine_keeping_data(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_domain(name, "undefine", |d| {
            let snapshots =
                sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
            let checkpoints = snapshots | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
            let nvram = checkpoints | sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM;
            // The first is known since libvirt 8.9, the second is what came before; the simulator has no firmware.
            let mut last = Ok(());
            for flags in [
                nvram | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM,
                nvram,
                checkpoints,
                snapshots,
            ] {
                last = d.undefine_flags(flags);
                if !matches!(&last, Err(e) if e.code().known() == Some(ErrorNumber::InvalidArg)) {
                    break;
                }
            }
            last
        })
    }

    /// True if the memory of the domain was saved by libvirt, to be gone on with at its next start.
    pub fn has_saved_state(&self, name: &str) -> Result<bool, LibvirtError> {
        self.with_domain(name, "look at", |d| d.has_managed_save(0))
    }

    /// Drops the saved state of a domain, if it has one.
    pub fn drop_saved_state(&self, name: &str) -> Result<(), LibvirtError> {
        self.with_domain(name, "drop the saved state of", |d| {
            if d.has_managed_save(0)? {
                d.managed_save_remove(0)?;
            }
            Ok(())
        })
    }

    /// As [`Libvirt::undefine_domain`], and firmware variables and TPM state go too.
    pub fn undefine_domain_and_state(&self, name: &str) -> Result<(), LibvirtError> {
        self.refuse_blocked(name)?;
        self.with_domain(name, "undefine", |d| {
            let nvram = sys::VIR_DOMAIN_UNDEFINE_NVRAM | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
            without_unknown_flags(nvram | sys::VIR_DOMAIN_UNDEFINE_TPM, nvram, |flags| {
                without_unknown_flags(flags, 0, |flags| d.undefine_flags(flags))
            })
        })
    }

    fn refuse_blocked(&self, name: &str) -> Result<(), LibvirtError> {
        let found = self.with_domain(name, "look at", |d| {
            if d.has_managed_save(0)? {
                return Ok(Some(Blocker::SavedState));
            }
            match d.num_snapshots(0) {
                Ok(1..) => Ok(Some(Blocker::Snapshots)),
                Ok(0) => Ok(None),
                // Drivers without snapshots have none.
                Err(e) if e.code().known() == Some(ErrorNumber::NoSupport) => Ok(None),
                Err(e) => Err(e),
            }
        })?;
        match found {
            None => Ok(()),
            Some(blocker) => Err(LibvirtError::Blocked {
                name: printable(name, 64),
                blocker,
            }),
        }
    }

    /// Changes a device of a running domain to what `xml`, its whole element, says.
    pub fn update_live_device(&self, name: &str, xml: &str) -> Result<(), LibvirtError> {
        let live = sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE;
        self.with_domain(name, "change a device of", |d| d.update_device_flags(xml, live))
    }

    /// Waits until the domain's state is one that `wanted` accepts; the last state seen when `timeout` has passed.
    ///
    /// The state is asked for a few times a second: libvirt's events would need an event loop in its own thread,
    /// for no gain that a user can notice.
    pub fn wait_domain(
        &self,
        name: &str,
        timeout: Duration,
        wanted: impl Fn(DomainState) -> bool,
    ) -> Result<Result<DomainState, DomainState>, LibvirtError> {
        let start = Instant::now();
        loop {
            let state = self.domain_state(name)?;
            if wanted(state) {
                return Ok(Ok(state));
            }
            if start.elapsed() >= timeout {
                return Ok(Err(state));
            }
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    /// Asks the guest to shut down and waits until it has. The button is pressed again every ten seconds, since a
    /// guest that is still booting misses it. A guest that has been asked may go for good when it is off.
    pub fn shutdown_domain(&self, name: &str, timeout: Duration) -> Result<(), GraceError> {
        let start = Instant::now();
        let mut asked = false;
        loop {
            match self.ask_shutdown(name) {
                Ok(()) => asked = true,
                // It may have gone between two requests.
                Err(_) if asked && self.find_domain(name)?.is_none() => return Ok(()),
                Err(_) if !self.domain_state(name)?.is_active() => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            let left = timeout.saturating_sub(start.elapsed());
            let pause = left.min(Duration::from_secs(10));
            match self.wait_domain(name, pause, |s| !s.is_active()) {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => {}
                Err(_) if self.find_domain(name)?.is_none() => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            if start.elapsed() >= timeout {
                return Err(GraceError::StillRunning {
                    name: name.to_owned(),
                    timeout,
                });
            }
        }
    }
}

fn state(domain: &Domain) -> Result<DomainState, virt::error::Error> {
    Ok(match domain.state()?.0.known() {
        Some(VirtState::Running | VirtState::Blocked) => DomainState::Running,
        Some(VirtState::Paused) => DomainState::Paused,
        Some(VirtState::Shutdown) => DomainState::ShuttingDown,
        Some(VirtState::Shutoff) => DomainState::Shutoff,
        Some(VirtState::Crashed) => DomainState::Crashed,
        Some(VirtState::PMSuspended) => DomainState::PmSuspended,
        Some(VirtState::NoState) | None => DomainState::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_goes_through_its_life_in_the_simulator() {
        let libvirt = Libvirt::connect("test:///default").unwrap();
        let xml =
            "<domain type='test'><name>d1</name><memory>65536</memory><os><type>hvm</type></os></domain>";
        let uuid = libvirt.define_domain("d1", xml).unwrap();
        assert_eq!(libvirt.domain("d1").unwrap().unwrap().state, DomainState::Shutoff);
        libvirt.start_domain("d1").unwrap();
        assert_eq!(
            libvirt.domain_by_uuid(uuid).unwrap().unwrap().state,
            DomainState::Running
        );
        libvirt.shutdown_domain("d1", Duration::from_secs(1)).unwrap();
        assert_eq!(libvirt.domain_state("d1").unwrap(), DomainState::Shutoff);
        libvirt.undefine_domain("d1").unwrap();
        assert!(libvirt.domain("d1").unwrap().is_none());
    }

    #[test]
    fn saved_state_and_snapshots_block_with_advice() {
        let libvirt = Libvirt::connect("test:///default").unwrap();
        let xml = "<domain type='test'><name>blocked</name><memory>65536</memory><os><type>hvm</type></os></domain>";
        libvirt.define_domain("blocked", xml).unwrap();
        let blocked = || match libvirt.undefine_domain("blocked") {
            Err(LibvirtError::Blocked { blocker, .. }) => blocker,
            other => panic!("{other:?}"),
        };
        let domain = libvirt.find_domain("blocked").unwrap().unwrap();
        let snapshot = "<domainsnapshot><name>s1</name></domainsnapshot>";
        let snapshot = domain.create_snapshot_xml(snapshot, 0).unwrap();
        assert_eq!(blocked(), Blocker::Snapshots);
        assert!(libvirt.domain("blocked").unwrap().is_some());
        snapshot.delete(0).unwrap();
        libvirt.start_domain("blocked").unwrap();
        domain.managed_save(0).unwrap();
        assert_eq!(blocked(), Blocker::SavedState);
        assert!(
            Blocker::SavedState
                .remedy("blocked")
                .contains("managedsave-remove blocked")
        );
        domain.managed_save_remove(0).unwrap();
        libvirt.undefine_domain("blocked").unwrap();
    }
}
