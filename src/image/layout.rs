//! Where things lie in a new qcow2 image: header, refcounts, L1 table, L2 tables, then the guest's data, each thing in
//! whole clusters. All of it follows from four numbers.

use super::bytes::index;
use super::layer::{COPIED, ZERO};
use super::plan::Plan;

/// Bytes of our header: version 3 without the fields that came later.
const HEADER: usize = 104;
/// The header extension with the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// The places of a new image's parts: offsets in bytes, numbers of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) cluster_bits: u32,
    pub(super) virtual_size: u64,
    pub(super) refcount_table: u64,
    pub(super) refcount_table_clusters: u64,
    pub(super) refcount_blocks: u64,
    pub(super) refcount_block_count: u64,
    pub(super) l1: u64,
    pub(super) l1_entries: u64,
    pub(super) l2: u64,
    pub(super) data: u64,
    /// All clusters of the file.
    pub(super) clusters: u64,
}

impl Layout {
    /// An image with `tables` L2 tables and `data` data clusters.
    pub(super) fn new(cluster_bits: u32, virtual_size: u64, tables: u64, data: u64) -> Self {
        let cluster = 1u64 << cluster_bits;
        let l1_entries = virtual_size.div_ceil(cluster * (cluster / 8));
        let l1_clusters = (l1_entries * 8).div_ceil(cluster).max(1);
        let fixed = 1 + l1_clusters + tables + data;
        // The refcounts count themselves, too; more of them never need fewer.
        let (mut blocks, mut block_tables) = (1, 1);
        let clusters = loop {
            let clusters = fixed + blocks + block_tables;
            let needed = clusters.div_ceil(cluster / 2);
            let needed_tables = needed.div_ceil(cluster / 8);
            if (needed, needed_tables) == (blocks, block_tables) {
                break clusters;
            }
            (blocks, block_tables) = (needed, needed_tables);
        };
        let refcount_blocks = 1 + block_tables;
        let l1 = refcount_blocks + blocks;
        let l2 = l1 + l1_clusters;
        Self {
            cluster_bits,
            virtual_size,
            refcount_table: cluster,
            refcount_table_clusters: block_tables,
            refcount_blocks: refcount_blocks * cluster,
            refcount_block_count: blocks,
            l1: l1 * cluster,
            l1_entries,
            l2: l2 * cluster,
            data: (l2 + tables) * cluster,
            clusters,
        }
    }

    /// The header's cluster.
    pub(super) fn header(&self, backing: Option<(&str, &str)>, zstd: bool) -> Vec<u8> {
        let length = if zstd { HEADER + 8 } else { HEADER };
        let mut head = vec![0; 1 << self.cluster_bits];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
        put(0, &super::header::MAGIC);
        put(4, &3u32.to_be_bytes());
        put(20, &self.cluster_bits.to_be_bytes());
        put(24, &self.virtual_size.to_be_bytes());
        put(36, &word(self.l1_entries));
        put(40, &self.l1.to_be_bytes());
        put(48, &self.refcount_table.to_be_bytes());
        put(56, &word(self.refcount_table_clusters));
        if zstd {
            // Incompatible feature 3: a compression type other than deflate; 1 is zstd.
            put(72, &(1u64 << 3).to_be_bytes());
            put(104, &[1]);
        }
        // Refcounts of 2^4 bits.
        put(96, &4u32.to_be_bytes());
        put(100, &word(length as u64));
        let mut at = length;
        if let Some((name, format)) = backing {
            put(at, &BACKING_FORMAT.to_be_bytes());
            put(at + 4, &word(format.len() as u64));
            put(at + 8, format.as_bytes());
            at += 8 + format.len().next_multiple_of(8);
            // The end of the extensions is eight zeros.
            at += 8;
            put(8, &(at as u64).to_be_bytes());
            put(16, &word(name.len() as u64));
            put(at, name.as_bytes());
        }
        head
    }

    /// Cluster `number` of the refcount table.
    pub(super) fn refcount_table(&self, number: u64) -> Vec<u8> {
        let cluster = 1u64 << self.cluster_bits;
        let first = number * (cluster / 8);
        let mut bytes = Vec::with_capacity(index(cluster));
        for block in first..self.refcount_block_count.min(first + cluster / 8) {
            bytes.extend((self.refcount_blocks + block * cluster).to_be_bytes());
        }
        bytes.resize(index(cluster), 0);
        bytes
    }

    /// Refcount block `number`, with every cluster of the file in use once.
    pub(super) fn refcount_block(&self, number: u64) -> Vec<u8> {
        let cluster = 1u64 << self.cluster_bits;
        let used = (self.clusters - number * (cluster / 2)).min(cluster / 2);
        let mut bytes = 1u16.to_be_bytes().repeat(index(used));
        bytes.resize(index(cluster), 0);
        bytes
    }
}

impl Plan {
    /// The L1 table, filled up to whole clusters.
    pub(super) fn l1(&self) -> Vec<u8> {
        let cluster = 1u64 << self.cluster_bits;
        let mut bytes = vec![0; index(self.layout.l2 - self.layout.l1)];
        for (position, number) in (0u64..).zip(self.tables.keys()) {
            let entry = COPIED | (self.layout.l2 + position * cluster);
            let at = index(number * 8);
            bytes[at..at + 8].copy_from_slice(&entry.to_be_bytes());
        }
        bytes
    }

    /// The L2 table with L1 entry `number`.
    pub(super) fn l2(&self, number: u64) -> Vec<u8> {
        let cluster = 1u64 << self.cluster_bits;
        let table = &self.tables[&number];
        let mut bytes = vec![0; index(cluster)];
        let mut put = |entry: u64, value: u64| {
            let at = index(entry * 8);
            bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        };
        for entry in table.zeros() {
            put(entry, ZERO);
        }
        for (position, entry) in (table.before..).zip(table.data()) {
            put(entry, COPIED | (self.layout.data + position * cluster));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_cover_themselves() {
        for (bits, tables, data) in [
            (16, 0, 0),
            (16, 1, 1),
            (16, 4, 32_762),
            (16, 4, 32_763),
            (16, 9, 1 << 28),
            (21, 1, 7),
        ] {
            let layout = Layout::new(bits, 1 << 40, tables, data);
            let cluster = 1u64 << bits;
            assert!(
                layout.refcount_block_count * (cluster / 2) >= layout.clusters,
                "{layout:?}"
            );
            assert!(
                (layout.refcount_block_count - 1) * (cluster / 2) < layout.clusters,
                "{layout:?}"
            );
            assert!(layout.refcount_table_clusters * (cluster / 8) >= layout.refcount_block_count);
            assert_eq!(layout.data + data * cluster, layout.clusters * cluster);
        }
    }
}
