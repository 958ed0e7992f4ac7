//! The table of a qcow2 image's internal snapshots (QEMU's docs/interop/qcow2.txt, "Snapshots"). They are named and
//! counted, never read as disks.

use super::ImageError;
use super::bytes::{be32, be64};
use super::layer::Layer;
use crate::name::printable;

/// QEMU's bound on one entry's extra data, in bytes (block/qcow2.h).
const MAX_EXTRA: u32 = 1024;
/// Bytes of an entry's fixed part.
const FIXED: u64 = 40;

/// One internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Its name, made printable.
    pub(super) name: String,
    pub(super) l1_offset: u64,
    pub(super) l1_entries: u32,
}

/// Reads the table: the snapshots, and its length in bytes.
pub(super) fn read(layer: &Layer) -> Result<(Vec<Snapshot>, u64), ImageError> {
    let mut snapshots = Vec::new();
    let Some(header) = &layer.qcow2 else {
        return Ok((snapshots, 0));
    };
    let start = header.snapshots_offset;
    let mut at = start;
    for number in 0..header.snapshots {
        let broken = |what: &str| layer.damaged(format!("snapshot {number} of its table {what}"));
        let fixed = layer.table(at, FIXED)?;
        let lengths = be32(&fixed, 12).unwrap_or(0);
        let (id, name) = (u64::from(lengths >> 16), u64::from(lengths & 0xffff));
        let extra = be32(&fixed, 36).unwrap_or(0);
        if extra > MAX_EXTRA {
            return Err(broken(&format!("has {extra} bytes of extra data")));
        }
        let name_at = at + FIXED + u64::from(extra) + id;
        let bytes = layer.table(name_at, name)?;
        let l1_entries = be32(&fixed, 8).unwrap_or(0);
        let l1_offset = be64(&fixed, 0).unwrap_or(0);
        if !l1_offset.is_multiple_of(header.cluster_size()) || u64::from(l1_entries) > (32 << 20) / 8 {
            return Err(broken(&format!(
                "has an L1 table of {l1_entries} entries at {l1_offset}"
            )));
        }
        snapshots.push(Snapshot {
            name: printable(&String::from_utf8_lossy(&bytes), 80),
            l1_offset,
            l1_entries,
        });
        at = (name_at + name).next_multiple_of(8);
    }
    Ok((snapshots, at - start))
}
