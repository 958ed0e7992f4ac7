//! Guests that stand still, and those who can tell: the guest's agent, and libvirt where an error has stopped the guest.

use super::backup::{c_string, done};
use super::{Libvirt, LibvirtError};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::time::Duration;
use uuid::Uuid;
use virt::domain::{Domain, DomainPausedReason, DomainStateReason};
use virt::enumutil::Enum;
use virt::sys;

impl Libvirt {
    /// Whether the guest's agent answers within `patience`, in whole seconds: libvirt's words if not. It is asked for the time.
    pub fn ask_agent(&self, uuid: Uuid, patience: Duration) -> Result<Result<(), String>, LibvirtError> {
        let seconds = c_int::try_from(patience.as_secs()).unwrap_or(c_int::MAX);
        self.with_running(uuid, "speak to the agent of", |domain| {
            let (mut time, mut fraction) = (0, 0);
            // SAFETY: the domain and both numbers outlive the calls.
            let asked = unsafe {
                // An agent that never answers would hold us up for ever; an old libvirt knows no limit.
                sys::virDomainAgentSetResponseTimeout(domain.as_ptr(), seconds, 0);
                sys::virDomainGetTime(domain.as_ptr(), &raw mut time, &raw mut fraction, 0)
            };
            Ok(done(asked).map_err(|error| error.message().to_owned()))
        })
    }

    /// Size of a disk as the running guest sees it, in bytes.
    pub fn disk_size(&self, uuid: Uuid, target: &str) -> Result<u64, LibvirtError> {
        self.with_running(uuid, "read the size of a disk of", |domain| {
            domain.block_info(target, 0).map(|info| info.capacity)
        })
    }

    /// True if some job copies, merges or moves a disk of the running guest.
    pub fn has_block_job(&self, uuid: Uuid, target: &str) -> Result<bool, LibvirtError> {
        self.with_running(uuid, "look for a job of a disk of", |domain| {
            let target = c_string(target);
            let mut job = MaybeUninit::uninit();
            // SAFETY: the domain, the name and the place for the answer, which nobody reads, outlive the call.
            let found = unsafe {
                sys::virDomainGetBlockJobInfo(domain.as_ptr(), target.as_ptr(), job.as_mut_ptr(), 0)
            };
            done(found).map(|()| found > 0)
        })
    }

    /// True if the hypervisor has stopped the guest because something could not be read or written.
    pub fn is_stopped_by_error(&self, uuid: Uuid) -> Result<bool, LibvirtError> {
        self.with_running(uuid, "read the state of", |domain| {
            let stopped = Enum::Known(DomainPausedReason::IOError);
            Ok(domain.state()?.1 == Enum::Known(DomainStateReason::Paused(stopped)))
        })
    }

    /// True if libvirt is at some job of the domain: a backup job that is just being begun has no XML yet.
    pub fn is_at_a_job(&self, uuid: Uuid) -> Result<bool, LibvirtError> {
        let none = c_int::try_from(sys::VIR_DOMAIN_JOB_NONE).unwrap_or(0);
        self.with_running(uuid, "look for jobs of", |domain| {
            domain.job_info().map(|job| job.r#type != none)
        })
    }

    /// Lets a guest that was stopped go on.
    pub fn resume(&self, uuid: Uuid) -> Result<(), LibvirtError> {
        self.with_running(uuid, "resume", Domain::resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In libvirt's simulator nobody is stopped by an error, and everybody tells the time.
    #[test]
    fn nobody_stands_still_in_the_simulator() {
        let libvirt = Libvirt::connect("test:///default").unwrap();
        let uuid = libvirt.domain("test").unwrap().unwrap().uuid;
        assert!(!libvirt.is_stopped_by_error(uuid).unwrap());
        assert_eq!(libvirt.ask_agent(uuid, Duration::from_secs(1)).unwrap(), Ok(()));
        assert!(!libvirt.is_at_a_job(uuid).unwrap_or(false));
        assert!(libvirt.resume(uuid).is_err(), "it runs");
        assert!(libvirt.or_again(Duration::ZERO).is_ok());
    }
}
