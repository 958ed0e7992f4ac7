//! Is a qcow2 file sound? Every cluster that its tables use is counted and held against its refcounts (QEMU's
//! docs/interop/qcow2.txt). What the clusters hold is for digests to tell.

use super::ImageError;
use super::bytes::{be32, be64, index};
use super::disk::Disk;
use super::header::QcowHeader;
use super::layer::{COMPRESSED, COPIED, Layer, OFFSET, ZERO};
use super::snapshots;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Problems that are told; the others are only counted.
const TOLD: usize = 20;
/// More clusters than any image that is worth checking has; four bytes are kept for each.
const MOST_CLUSTERS: u64 = 1 << 28;
/// Table entries that are read at once.
const ENTRIES: u64 = 8192;

/// What was found in one image file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Soundness {
    /// The file.
    pub path: PathBuf,
    /// Clusters of the file that are in use.
    pub used: u64,
    /// Clusters that nothing uses, although the refcounts say so: harmless, `qemu-img check -r leaks` frees them.
    pub leaked: u64,
    /// True if the refcounts were left behind by a crash of a guest with lazy refcounts, so that they say nothing.
    pub dirty: bool,
    /// Number of problems.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<String>,
}

impl Disk {
    /// Checks the tables of each file of the chain, the image itself first. Raw files have none.
    pub fn verify(&self) -> Result<Vec<Soundness>, ImageError> {
        self.layers.iter().map(check).collect()
    }
}

fn check(layer: &Layer) -> Result<Soundness, ImageError> {
    let mut found = Soundness {
        path: layer.path.clone(),
        used: 0,
        leaked: 0,
        dirty: false,
        problem_count: 0,
        problems: Vec::new(),
    };
    let Some(header) = &layer.qcow2 else {
        return Ok(found);
    };
    found.dirty = header.dirty;
    let clusters = layer.file_size.div_ceil(header.cluster_size());
    if clusters > MOST_CLUSTERS {
        return Err(ImageError::Unsupported {
            path: layer.path.clone(),
            what: format!("checking a file of {clusters} clusters"),
            hint: "use `qemu-img check`",
        });
    }
    let mut books = Books {
        layer,
        header,
        uses: vec![0; index(clusters)],
        found,
    };
    let counts = books.refcounts()?;
    books.tables(&counts)?;
    Ok(books.compare(&counts))
}

/// How an L2 table is used.
#[derive(Clone, Copy)]
struct Shared {
    /// The first guest byte that it describes, for one of its users.
    guest: u64,
    /// By how many L1 entries.
    times: u32,
    /// True if one of them is what the guest sees.
    active: bool,
}

struct Books<'a> {
    layer: &'a Layer,
    header: &'a QcowHeader,
    /// How often each cluster is used.
    uses: Vec<u32>,
    found: Soundness,
}

impl Books<'_> {
    fn problem(&mut self, text: String) {
        self.found.problem_count += 1;
        if self.found.problems.len() < TOLD {
            self.found.problems.push(text);
        }
    }

    /// Counts `times` uses of each cluster that has some of these bytes; false if they do not lie within the file.
    fn count(&mut self, offset: u64, length: u64, times: u32, what: &str) -> bool {
        let cluster = self.header.cluster_size();
        let end = offset.saturating_add(length);
        if length == 0 || end.div_ceil(cluster) > self.uses.len() as u64 {
            if length > 0 {
                let size = self.layer.file_size;
                self.problem(format!(
                    "{what} is said to lie at {offset}, but the file ends at {size}"
                ));
            }
            return false;
        }
        for uses in &mut self.uses[index(offset / cluster)..index(end.div_ceil(cluster))] {
            *uses = uses.saturating_add(times);
        }
        true
    }

    /// As [`Books::count`] for what has to begin with a cluster.
    fn count_aligned(&mut self, offset: u64, length: u64, what: &str) -> bool {
        if !offset.is_multiple_of(self.header.cluster_size()) {
            self.problem(format!("{what} is said to start at {offset}, within a cluster"));
            return false;
        }
        self.count(offset, length, 1, what)
    }

    /// Reads the refcounts of all clusters of the file.
    fn refcounts(&mut self) -> Result<Vec<u32>, ImageError> {
        let (header, cluster) = (self.header, self.header.cluster_size());
        let mut counts = vec![0; self.uses.len()];
        let length = u64::from(header.refcount_table_clusters) * cluster;
        if !self.count_aligned(header.refcount_table_offset, length, "the refcount table") {
            return Ok(counts);
        }
        // A table may end with the file.
        let length = length.min(self.layer.file_size.saturating_sub(header.refcount_table_offset));
        let table = self.layer.table(header.refcount_table_offset, length)?;
        let per_block = index((cluster * 8) >> header.refcount_order);
        for (number, entry) in table.chunks_exact(8).enumerate() {
            let offset = be64(entry, 0).unwrap_or(0) & !511;
            if offset == 0 || !self.count_aligned(offset, cluster, &format!("refcount block {number}")) {
                continue;
            }
            let first = number * per_block;
            let Some(counts) = counts.get_mut(first..) else {
                continue;
            };
            let block = self.layer.table(offset, cluster)?;
            for (position, count) in counts.iter_mut().take(per_block).enumerate() {
                *count = refcount(&block, position, header.refcount_order);
            }
        }
        Ok(counts)
    }

    /// Walks all other tables.
    fn tables(&mut self, counts: &[u32]) -> Result<(), ImageError> {
        let (layer, header) = (self.layer, self.header);
        self.count(0, 1, 1, "the header");
        let mut tables = BTreeMap::new();
        self.l1(header.l1_offset, header.l1_entries, Some(counts), &mut tables)?;
        let (snapshots, length) = snapshots::read(layer)?;
        self.count(header.snapshots_offset, length, 1, "the snapshot table");
        for snapshot in snapshots {
            self.l1(snapshot.l1_offset, snapshot.l1_entries, None, &mut tables)?;
        }
        for (offset, shared) in tables {
            self.l2(offset, shared, counts)?;
        }
        if let Some((offset, length)) = header.encryption_header {
            self.count(offset, length, 1, "the encryption header");
        }
        if let Some((offset, length, number)) = header.bitmaps {
            self.bitmaps(offset, length, number)?;
        }
        Ok(())
    }

    /// Reads an L1 table and collects what it names. `counts` are given for the active one, whose entries say whether
    /// their refcount is one. Each table is read once, so that the work does not outgrow the file.
    fn l1(
        &mut self,
        offset: u64,
        entries: u32,
        counts: Option<&[u32]>,
        tables: &mut BTreeMap<u64, Shared>,
    ) -> Result<(), ImageError> {
        let length = u64::from(entries) * 8;
        if entries == 0 || !self.count_aligned(offset, length, "an L1 table") {
            return Ok(());
        }
        let cluster = self.header.cluster_size();
        let own = &self.uses[index(offset / cluster)..index((offset + length).div_ceil(cluster))];
        if own.iter().any(|uses| *uses > 1) {
            self.problem(format!("the L1 table at {offset} lies where something else is"));
            return Ok(());
        }
        let table = self.layer.table(offset, length)?;
        for (number, entry) in (0u64..).zip(table.chunks_exact(8)) {
            let entry = be64(entry, 0).unwrap_or(0);
            let guest = number.saturating_mul(self.header.table_span());
            if entry & OFFSET == 0 {
                continue;
            }
            let what = format!("the L2 table for guest byte {guest}");
            if self.count_aligned(entry & OFFSET, cluster, &what) {
                self.copied(entry, counts, &what);
                let shared = tables.entry(entry & OFFSET).or_insert(Shared {
                    guest,
                    times: 0,
                    active: false,
                });
                shared.times += 1;
                shared.active |= counts.is_some();
            }
        }
        Ok(())
    }

    /// Walks an L2 table.
    fn l2(&mut self, offset: u64, shared: Shared, counts: &[u32]) -> Result<(), ImageError> {
        let cluster = self.header.cluster_size();
        let width = if self.header.extended_l2 { 16 } else { 8 };
        let counts = shared.active.then_some(counts);
        let mut at = shared.guest;
        let mut done = 0;
        while done < cluster {
            let length = (cluster - done).min(ENTRIES * width);
            let table = self.layer.table(offset + done, length)?;
            for entry in table.chunks_exact(index(width)) {
                self.entry(be64(entry, 0).unwrap_or(0), at, shared.times, counts);
                at = at.saturating_add(cluster);
            }
            done += length;
        }
        Ok(())
    }

    /// Counts what an L2 entry names, `times` times.
    fn entry(&mut self, entry: u64, guest: u64, times: u32, counts: Option<&[u32]>) {
        // Named only when something is wrong: there may be millions.
        let what = || format!("the data of guest byte {guest}");
        if entry & COMPRESSED != 0 {
            match self.layer.packed(self.header, guest, entry) {
                // The last sector may be cut.
                Ok(at) => {
                    let length = at.length.min(self.layer.file_size - at.offset);
                    self.count(at.offset, length, times, "a compressed cluster");
                }
                Err(ImageError::Damaged { reason, .. }) => self.problem(reason),
                Err(error) => self.problem(error.to_string()),
            }
            return;
        }
        if entry & OFFSET == 0 || self.layer.data.is_some() {
            return;
        }
        if self.header.version < 3 && entry & ZERO != 0 {
            self.problem(format!(
                "the entry of guest byte {guest} has a bit that version 2 lacks"
            ));
        }
        let (offset, cluster) = (entry & OFFSET, self.header.cluster_size());
        if !offset.is_multiple_of(cluster) || offset / cluster >= self.uses.len() as u64 {
            self.count_aligned(offset, cluster, &what());
            return;
        }
        let uses = &mut self.uses[index(offset / cluster)];
        *uses = uses.saturating_add(times);
        if entry & COPIED != 0 {
            self.copied(entry, counts, &what());
        }
    }

    /// A guest writes straight to what it takes for its own; that must not be shared.
    fn copied(&mut self, entry: u64, counts: Option<&[u32]>, what: &str) {
        let cluster = index((entry & OFFSET) / self.header.cluster_size());
        let count = counts.and_then(|counts| counts.get(cluster)).copied();
        if entry & COPIED != 0 && !self.header.dirty && count.is_some_and(|count| count > 1) {
            self.problem(format!(
                "{what} is marked as used once, and counted {} times",
                count.unwrap_or(0)
            ));
        }
    }

    /// Persistent bitmaps ("Bitmaps extension"): the directory, each bitmap's table, the clusters that it names.
    fn bitmaps(&mut self, offset: u64, length: u64, number: u32) -> Result<(), ImageError> {
        if !self.count_aligned(offset, length, "the directory of bitmaps") {
            return Ok(());
        }
        let mut at = offset;
        for _ in 0..number {
            let entry = self.layer.table(at, 24)?;
            let (table, entries) = (be64(&entry, 0).unwrap_or(0), be32(&entry, 8).unwrap_or(0));
            let name = u64::from(be32(&entry, 16).unwrap_or(0) & 0xffff);
            let extra = u64::from(be32(&entry, 20).unwrap_or(0));
            if self.count_aligned(table, u64::from(entries) * 8, "a bitmap's table") {
                for entry in self.layer.table(table, u64::from(entries) * 8)?.chunks_exact(8) {
                    let offset = be64(entry, 0).unwrap_or(0) & OFFSET;
                    if offset != 0 {
                        self.count_aligned(offset, self.header.cluster_size(), "a part of a bitmap");
                    }
                }
            }
            at = (at + 24 + extra + name).next_multiple_of(8);
        }
        Ok(())
    }

    fn compare(mut self, counts: &[u32]) -> Soundness {
        let uses = std::mem::take(&mut self.uses);
        for (number, (&used, &counted)) in uses.iter().zip(counts).enumerate() {
            self.found.used += u64::from(used > 0);
            if self.header.dirty || used == counted {
                continue;
            }
            if used > counted {
                let offset = number as u64 * self.header.cluster_size();
                self.problem(format!(
                    "the cluster at {offset} is used {used} times, and counted {counted} times"
                ));
            } else {
                self.found.leaked += 1;
            }
        }
        self.found
    }
}

/// Refcount `position` of a block, of two to the power of `order` bits.
fn refcount(block: &[u8], position: usize, order: u32) -> u32 {
    match order {
        0..=2 => {
            let (bits, each) = (1 << order, 8 >> order);
            let byte = block.get(position / each).copied().unwrap_or(0);
            u32::from(byte >> (position % each * bits) & ((1u8 << bits) - 1))
        }
        3 => u32::from(block.get(position).copied().unwrap_or(0)),
        4 => be32(block, (position * 2) & !3).map_or(0, |pair| {
            if position.is_multiple_of(2) {
                pair >> 16
            } else {
                pair & 0xffff
            }
        }),
        5 => be32(block, position * 4).unwrap_or(0),
        _ => be64(block, position * 8).map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)),
    }
}
