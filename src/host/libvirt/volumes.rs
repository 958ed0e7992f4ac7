//! Volumes of storage pools: where they are on this host.

use super::{Libvirt, LibvirtError, absent};
use std::path::PathBuf;
use virt::error::ErrorNumber;
use virt::storage_pool::StoragePool;

impl Libvirt {
    /// The file or device of a volume of a storage pool, both given by name; `None` if there is no such pool or volume.
    /// libvirt knows the volumes of active pools only.
    pub fn volume_path(&self, pool: &str, volume: &str) -> Result<Option<PathBuf>, LibvirtError> {
        let fail = |e: &_| self.error(format!("find the volume {volume} of the storage pool {pool}"), e);
        let pools = self.connection.list_all_storage_pools(0).map_err(|e| fail(&e))?;
        let named = |found: &&StoragePool| found.name().is_ok_and(|name| name == pool);
        let Some(found) = pools.iter().find(named) else {
            return Ok(None);
        };
        let found = found.lookup_storage_vol_by_name(volume);
        let Some(found) = absent(found, ErrorNumber::NoStorageVolume).map_err(|e| fail(&e))? else {
            return Ok(None);
        };
        found.path().map(|path| Some(path.into())).map_err(|e| fail(&e))
    }
}
