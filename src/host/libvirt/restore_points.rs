//! What libvirt keeps account of beside a domain's definition: snapshots and checkpoints. They are read out before the
//! definition goes, and told to libvirt again when it is back; the data itself lies in the disks.

use super::{Libvirt, LibvirtError};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::ptr;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::{Error, ErrorNumber};
use virt::sys;

/// A snapshot or checkpoint, as libvirt describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Its name, unique among those of its kind of one domain.
    pub name: String,
    /// libvirt's description, from which it can be told again.
    pub xml: String,
    /// True for the snapshot that the domain is on.
    #[serde(default)]
    pub current: bool,
}

impl Libvirt {
    /// The snapshots of a domain, each after the one that it stands on.
    pub fn snapshots(&self, domain: &str) -> Result<Vec<RestorePoint>, LibvirtError> {
        self.with_domain(domain, "read the snapshots of", |d| {
            let list = d.list_all_snapshots(sys::VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
            let read = |snapshot: &DomainSnapshot| {
                Ok(RestorePoint {
                    name: snapshot.name()?,
                    xml: snapshot.xml_desc(sys::VIR_DOMAIN_SNAPSHOT_XML_SECURE)?,
                    current: snapshot.is_current(0)?,
                })
            };
            unsupported_is_none(list)?.iter().map(read).collect()
        })
    }

    /// Tells libvirt of snapshots that it does not know; how many.
    pub fn restore_snapshots(&self, domain: &str, snapshots: &[RestorePoint]) -> Result<usize, LibvirtError> {
        self.with_domain(domain, "bring back the snapshots of", |d| {
            let known = unsupported_is_none(d.list_all_snapshots(0))?;
            let known = known
                .iter()
                .map(DomainSnapshot::name)
                .collect::<Result<Vec<_>, _>>()?;
            let mut count = 0;
            for snapshot in snapshots
                .iter()
                .filter(|snapshot| !known.contains(&snapshot.name))
            {
                let current = if snapshot.current {
                    sys::VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT
                } else {
                    0
                };
                d.create_snapshot_xml(&snapshot.xml, sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE | current)?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Makes libvirt forget the snapshots and checkpoints of a domain; what they left in disks stays there.
    pub fn forget_restore_points(&self, domain: &str) -> Result<(), LibvirtError> {
        self.with_domain(domain, "forget the snapshots of", |d| {
            let list = d.list_all_snapshots(sys::VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
            for snapshot in unsupported_is_none(list)?.iter().rev() {
                snapshot.delete(sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)?;
            }
            for checkpoint in Checkpoint::all(d)?.iter().rev() {
                checkpoint.forget()?;
            }
            Ok(())
        })
    }

    /// The checkpoints of a domain, each after the one that it stands on.
    pub fn checkpoints(&self, domain: &str) -> Result<Vec<RestorePoint>, LibvirtError> {
        self.with_domain(domain, "read the checkpoints of", |d| {
            Checkpoint::all(d)?.iter().map(Checkpoint::read).collect()
        })
    }

    /// Tells libvirt of checkpoints that it does not know; how many. The domain has to run.
    pub fn restore_checkpoints(&self, domain: &str, points: &[RestorePoint]) -> Result<usize, LibvirtError> {
        self.with_domain(domain, "bring back the checkpoints of", |d| {
            let known: Vec<String> = Checkpoint::all(d)?.iter().map(Checkpoint::name).collect();
            let missing = points.iter().filter(|point| !known.contains(&point.name));
            missing
                .map(|point| Checkpoint::tell(d, &point.xml))
                .collect::<Result<Vec<()>, Error>>()
                .map(|all| all.len())
        })
    }
}

/// Drivers that cannot do a thing have none of it.
fn unsupported_is_none<T>(list: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match list {
        Err(e) if e.code().known() == Some(ErrorNumber::NoSupport) => Ok(Vec::new()),
        list => list,
    }
}

/// A checkpoint that libvirt has handed out, which the virt crate does not know.
struct Checkpoint(sys::virDomainCheckpointPtr);

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: libvirt has handed it out once, and it is given back once.
        unsafe { sys::virDomainCheckpointFree(self.0) };
    }
}

impl Checkpoint {
    fn all(domain: &Domain) -> Result<Vec<Self>, Error> {
        let mut list: *mut sys::virDomainCheckpointPtr = ptr::null_mut();
        // SAFETY: the domain outlives the call, and `list` may be written to.
        let count = unsafe {
            sys::virDomainListAllCheckpoints(
                domain.as_ptr(),
                &raw mut list,
                sys::VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return unsupported_is_none(Err(Error::last_error()));
        };
        // SAFETY: libvirt has made a list of `count` checkpoints, each ours from now on.
        let all = (0..count)
            .map(|index| Self(unsafe { *list.add(index) }))
            .collect();
        // SAFETY: the list itself is malloc's, and ours to free.
        unsafe { free(list.cast()) };
        Ok(all)
    }

    fn name(&self) -> String {
        // SAFETY: the name is a string with a zero at its end, and lives as long as the checkpoint.
        let name = unsafe { CStr::from_ptr(sys::virDomainCheckpointGetName(self.0)) };
        name.to_string_lossy().into_owned()
    }

    fn read(&self) -> Result<RestorePoint, Error> {
        // SAFETY: the checkpoint lives during the call.
        let text: *mut c_char =
            unsafe { sys::virDomainCheckpointGetXMLDesc(self.0, sys::VIR_DOMAIN_CHECKPOINT_XML_SECURE) };
        if text.is_null() {
            return Err(Error::last_error());
        }
        // SAFETY: a string with a zero at its end, made for us.
        let xml = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: it is malloc's, and ours to free.
        unsafe { free(text.cast()) };
        Ok(RestorePoint {
            name: self.name(),
            xml,
            current: false,
        })
    }

    fn forget(&self) -> Result<(), Error> {
        let flags: c_uint = sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY;
        // SAFETY: the checkpoint lives during the call.
        if unsafe { sys::virDomainCheckpointDelete(self.0, flags) } < 0 {
            return Err(Error::last_error());
        }
        Ok(())
    }

    fn tell(domain: &Domain, xml: &str) -> Result<(), Error> {
        // libvirt's own text has no zero in it; one that has is cut there and refused by libvirt.
        let xml = CString::new(xml.split('\0').next().unwrap_or_default()).unwrap_or_default();
        let flags: c_uint = sys::VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE;
        // SAFETY: domain and text live during the call.
        let made = unsafe { sys::virDomainCheckpointCreateXML(domain.as_ptr(), xml.as_ptr(), flags) };
        if made.is_null() {
            return Err(Error::last_error());
        }
        drop(Self(made));
        Ok(())
    }
}

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Undefines and defines a domain, with what was made of it by `make`; what it had before and has afterwards.
    fn gone_and_back(name: &str, make: impl Fn(&Libvirt, &Domain)) -> [Vec<RestorePoint>; 2] {
        let libvirt = Libvirt::connect("test:///default").unwrap();
        let xml = format!(
            "<domain type='test'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/x'/><target dev='vda'/>\
             </disk></devices></domain>"
        );
        let uuid = libvirt.define_domain(name, &xml).unwrap();
        make(&libvirt, &libvirt.find_domain(name).unwrap().unwrap());
        let [snapshots, checkpoints] = [
            libvirt.snapshots(name).unwrap(),
            libvirt.checkpoints(name).unwrap(),
        ];
        let definition = libvirt.definition(uuid).unwrap().unwrap();
        libvirt.undefine_keeping_data(name).unwrap();
        assert_eq!(libvirt.definition(uuid).unwrap(), None);
        libvirt.define_domain(name, &definition).unwrap();
        // libvirt takes checkpoints of running domains only.
        libvirt.start_domain(name).unwrap();
        for times in [1, 0] {
            assert_eq!(
                libvirt.restore_snapshots(name, &snapshots).unwrap(),
                snapshots.len() * times
            );
            assert_eq!(
                libvirt.restore_checkpoints(name, &checkpoints).unwrap(),
                checkpoints.len() * times
            );
        }
        let after = [
            libvirt.snapshots(name).unwrap(),
            libvirt.checkpoints(name).unwrap(),
        ]
        .concat();
        libvirt.destroy_domain(name).unwrap();
        libvirt.undefine_keeping_data(name).unwrap();
        [[snapshots, checkpoints].concat(), after]
    }

    #[test]
    fn snapshots_go_with_the_definition_and_come_back() {
        let [before, after] = gone_and_back("snapshots", |_, domain| {
            for name in ["one", "two", "three"] {
                let snapshot = format!("<domainsnapshot><name>{name}</name></domainsnapshot>");
                domain.create_snapshot_xml(&snapshot, 0).unwrap();
            }
        });
        let told: Vec<_> = before
            .iter()
            .map(|point| (point.name.as_str(), point.current))
            .collect();
        assert_eq!(told, [("one", false), ("two", false), ("three", true)]);
        assert_eq!(before, after);
    }

    #[test]
    fn checkpoints_go_with_the_definition_and_come_back() {
        let [before, after] = gone_and_back("checkpoints", |libvirt, domain| {
            libvirt.start_domain("checkpoints").unwrap();
            let xml = CString::new("<domaincheckpoint><name>c</name></domaincheckpoint>").unwrap();
            // SAFETY: both live during the call.
            let made = unsafe { sys::virDomainCheckpointCreateXML(domain.as_ptr(), xml.as_ptr(), 0) };
            assert!(!made.is_null(), "{}", Error::last_error());
            drop(Checkpoint(made));
            libvirt.destroy_domain("checkpoints").unwrap();
        });
        assert_eq!(before.len(), 1);
        assert_eq!(before, after);
    }
}
