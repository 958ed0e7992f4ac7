//! Backup jobs, freezing and checkpoints of running domains: calls for which the `virt` crate has no wrapper. When to make
//! which is decided elsewhere.

use super::{Libvirt, LibvirtError, absent};
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::time::Duration;
use uuid::Uuid;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

/// What came of asking a guest's agent to freeze its file systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freeze {
    /// That many are frozen.
    Frozen(u32),
    /// The guest has no agent, or it does not answer: nothing is frozen. libvirt's words.
    NoAgent(String),
    /// It was asked, and what it did is not known. libvirt's words.
    Unknown(String),
}

/// What becomes of the dirty bitmaps of a checkpoint that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bitmaps {
    /// They go, too.
    Delete,
    /// They stay in the disks.
    Leave,
}

impl Libvirt {
    pub(super) fn with_running<T>(
        &self,
        uuid: Uuid,
        what: &str,
        act: impl FnOnce(&Domain) -> Result<T, Error>,
    ) -> Result<T, LibvirtError> {
        let wrap = |e: &_| self.error(format!("{what} the guest {uuid}"), e);
        let domain = self
            .connection
            .lookup_domain_by_uuid(uuid)
            .map_err(|e| wrap(&e))?;
        act(&domain).map_err(|e| wrap(&e))
    }

    /// Begins a backup job, and makes a checkpoint in the same moment if there is XML for one.
    pub fn begin_backup(&self, uuid: Uuid, job: &str, checkpoint: Option<&str>) -> Result<(), LibvirtError> {
        self.with_running(uuid, "begin a backup job of", |domain| {
            let job = c_string(job);
            let checkpoint = checkpoint.map(c_string);
            let checkpoint = checkpoint.as_ref().map_or(ptr::null(), |xml| xml.as_ptr());
            // SAFETY: the domain and both strings outlive the call; no checkpoint is a null pointer.
            let result = unsafe { sys::virDomainBackupBegin(domain.as_ptr(), job.as_ptr(), checkpoint, 0) };
            done(result)
        })
    }

    /// The XML of the backup job that runs; `None` if none does, or the domain does not.
    pub fn backup_job(&self, uuid: Uuid) -> Result<Option<String>, LibvirtError> {
        self.with_running(uuid, "look for a backup job of", |domain| {
            // SAFETY: the domain outlives the call.
            let xml = unsafe { sys::virDomainBackupGetXMLDesc(domain.as_ptr(), 0) };
            let found = if xml.is_null() {
                Err(Error::last_error())
            } else {
                // SAFETY: a string that ends with a zero, malloc'ed and ours, is copied and then freed, once.
                Ok(unsafe {
                    let text = CStr::from_ptr(xml).to_string_lossy().into_owned();
                    free(xml.cast());
                    text
                })
            };
            // A domain that has stopped has no jobs.
            match absent(found, ErrorNumber::NoDomainBackup) {
                Err(error) if error.code().known() == Some(ErrorNumber::OperationInvalid) => Ok(None),
                found => found,
            }
        })
    }

    /// Ends the job that runs on the domain, whatever it is.
    pub fn abort_job(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.with_running(uuid, "end the backup job of", |domain| {
            // SAFETY: the domain outlives the call.
            done(unsafe { sys::virDomainAbortJob(domain.as_ptr()) })
        })
    }

    /// Asks the guest's agent to freeze its file systems, and waits for `patience` at most, in whole seconds.
    pub fn freeze(&self, uuid: Uuid, patience: Duration) -> Result<Freeze, LibvirtError> {
        let seconds = c_int::try_from(patience.as_secs()).unwrap_or(c_int::MAX);
        self.with_running(uuid, "freeze the file systems of", |domain| {
            // SAFETY: the domain outlives the calls; no list of mount points means all of them.
            let frozen = unsafe {
                // An agent that never answers would hold us up for ever; an old libvirt knows no limit.
                sys::virDomainAgentSetResponseTimeout(domain.as_ptr(), seconds, 0);
                sys::virDomainFSFreeze(domain.as_ptr(), ptr::null_mut(), 0, 0)
            };
            let Ok(count) = u32::try_from(frozen) else {
                let error = Error::last_error();
                let words = error.message().to_owned();
                // One code for an agent that could not even be spoken to, and for one that was told and has not answered:
                // that one may still do it. libvirt's qemu_agent.c has the words.
                let not_told = ["not connected", "synchronization"]
                    .iter()
                    .any(|part| words.contains(part));
                return match error.code().known() {
                    Some(ErrorNumber::AgentUnresponsive) if !not_told => Ok(Freeze::Unknown(words)),
                    Some(
                        ErrorNumber::ArgumentUnsupported
                        | ErrorNumber::OperationUnsupported
                        | ErrorNumber::AgentUnresponsive,
                    ) => Ok(Freeze::NoAgent(words)),
                    Some(
                        ErrorNumber::AgentUnsynced
                        | ErrorNumber::AgentCommandTimeout
                        | ErrorNumber::AgentCommandFailed
                        | ErrorNumber::InternalError,
                    ) => Ok(Freeze::Unknown(words)),
                    _ => Err(error),
                };
            };
            Ok(Freeze::Frozen(count))
        })
    }

    /// Asks the guest's agent to thaw all file systems; the number of those that were frozen.
    pub fn thaw(&self, uuid: Uuid) -> Result<u32, LibvirtError> {
        self.with_running(uuid, "thaw the file systems of", |domain| {
            // SAFETY: the domain outlives the call; no list of mount points means all of them.
            let thawed = unsafe { sys::virDomainFSThaw(domain.as_ptr(), ptr::null_mut(), 0, 0) };
            u32::try_from(thawed).map_err(|_| Error::last_error())
        })
    }

    /// Takes back the limit that [`Libvirt::freeze`] has set on the agent's answers.
    pub fn unlimit_agent(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        let block = sys::VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK;
        self.with_running(uuid, "reset the time limit of the agent of", |domain| {
            // SAFETY: the domain outlives the call.
            done(unsafe { sys::virDomainAgentSetResponseTimeout(domain.as_ptr(), block, 0) })
        })
    }

    /// Whether the domain has a checkpoint of that name.
    pub fn has_checkpoint(&self, uuid: Uuid, name: &str) -> Result<bool, LibvirtError> {
        let found = self.with_running(uuid, "look for a checkpoint of", |domain| {
            checkpoint(domain, name)
        })?;
        Ok(found.is_some())
    }

    /// Deletes a checkpoint; false if it was not there. Only one that runs can be told to delete the bitmaps, too.
    pub fn delete_checkpoint(&self, uuid: Uuid, name: &str, bitmaps: Bitmaps) -> Result<bool, LibvirtError> {
        self.with_running(uuid, "delete a checkpoint of", |domain| {
            let Some(found) = checkpoint(domain, name)? else {
                return Ok(false);
            };
            let leave = sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY;
            // SAFETY: the checkpoint is ours until it is dropped.
            let delete = |flags| done(unsafe { sys::virDomainCheckpointDelete(found.0, flags) });
            let deleted = match bitmaps {
                Bitmaps::Leave => delete(leave),
                Bitmaps::Delete => match delete(0) {
                    // So it is where a disk has another file now, without the bitmap.
                    Err(e) if e.code().known() == Some(ErrorNumber::InternalError) => delete(leave),
                    deleted => deleted,
                },
            };
            deleted.map(|()| true)
        })
    }
}

/// A reference to a checkpoint.
struct Checkpoint(sys::virDomainCheckpointPtr);

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: libvirt has given us this reference, and here it is given back, once.
        unsafe { sys::virDomainCheckpointFree(self.0) };
    }
}

fn checkpoint(domain: &Domain, name: &str) -> Result<Option<Checkpoint>, Error> {
    let name = c_string(name);
    // SAFETY: the domain and the name outlive the call.
    let found = unsafe { sys::virDomainCheckpointLookupByName(domain.as_ptr(), name.as_ptr(), 0) };
    if found.is_null() {
        return absent(Err(Error::last_error()), ErrorNumber::NoDomainCheckpoint);
    }
    Ok(Some(Checkpoint(found)))
}

pub(super) fn done(result: c_int) -> Result<(), Error> {
    if result < 0 {
        return Err(Error::last_error());
    }
    Ok(())
}

pub(super) fn c_string(text: &str) -> CString {
    // XML and names of ours have no zero byte.
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libvirt's simulator knows no backup jobs: what it refuses comes back as an error, and nothing is called amiss.
    #[test]
    fn what_the_driver_cannot_do_is_an_error() {
        let libvirt = Libvirt::connect("test:///default").unwrap();
        let uuid = libvirt.domain("test").unwrap().unwrap().uuid;
        let error = libvirt.begin_backup(uuid, "<domainbackup/>", None).unwrap_err();
        assert!(error.to_string().contains("begin a backup job"), "{error}");
        assert!(libvirt.backup_job(uuid).is_err());
        assert!(libvirt.abort_job(uuid).is_err());
        assert!(!libvirt.has_checkpoint(uuid, "none").unwrap());
        assert!(!libvirt.delete_checkpoint(uuid, "none", Bitmaps::Delete).unwrap());
    }
}
