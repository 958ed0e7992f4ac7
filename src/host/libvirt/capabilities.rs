//! What this libvirt can run, as XML; reading that is others' business.

use super::{Libvirt, LibvirtError};

/// A storage pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRecord {
    /// Its name.
    pub name: String,
    /// True if it is started.
    pub active: bool,
    /// Its definition.
    pub xml: String,
}

impl Libvirt {
    /// The host and the emulators that libvirt knows (<https://libvirt.org/formatcaps.html>).
    pub fn capabilities(&self) -> Result<String, LibvirtError> {
        let caps = self.connection.capabilities();
        caps.map_err(|e| self.error("tell its capabilities", &e))
    }

    /// What a machine of that kind can have (<https://libvirt.org/formatdomaincaps.html>).
    pub fn domain_capabilities(
        &self,
        arch: &str,
        machine: Option<&str>,
        virt: &str,
    ) -> Result<String, LibvirtError> {
        let caps = self
            .connection
            .domain_capabilities(None, Some(arch), machine, Some(virt), 0);
        caps.map_err(|e| self.error(format!("tell what {arch} machines can have"), &e))
    }

    /// All storage pools, active or not, by name.
    pub fn pools(&self) -> Result<Vec<PoolRecord>, LibvirtError> {
        let read = || {
            let mut all = Vec::new();
            for pool in self.connection.list_all_storage_pools(0)? {
                all.push(PoolRecord {
                    name: pool.name()?,
                    active: pool.is_active()?,
                    xml: pool.xml_desc(0)?,
                });
            }
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(all)
        };
        read().map_err(|e: virt::error::Error| self.error("list the storage pools", &e))
    }
}
