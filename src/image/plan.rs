//! What a new qcow2 image will hold, decided cluster by cluster before any of it is written, so that its exact size
//! is known.
//!
//! The decision depends on what a guest reads and on nothing else: however the source stores its bytes, and whatever
//! the number of cores, equal disks give equal plans, and equal plans equal files. Where things lie in the new file is
//! `layout`'s business, writing it `stream`'s and `write`'s.

use super::bytes::index;
use super::digest::{BLOCK, Block, Content, ContentBuilder, ContentDigest, ContentHasher, REMEMBERED};
use super::disk::Disk;
use super::judge::{Digests, Judge, Under, windows};
use super::layout::Layout;
use super::ordered::in_order;
use super::stream::PlanStream;
use super::{Format, ImageError};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The format's bound on a backing file's name, in bytes.
const MAX_NAME: usize = 1023;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// What a cluster of the new image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Left to the backing file; without one it reads as zeros.
    Hole,
    /// Zeros that hide what the backing file has.
    Zero,
    /// Bytes of its own.
    Data,
}

/// The clusters that one L2 table of the new image describes, a bit for each.
#[derive(Debug, Clone)]
pub(super) struct Table {
    data: Box<[u64]>,
    zero: Box<[u64]>,
    /// Number of data clusters in all tables before this one.
    pub(super) before: u64,
}

impl Table {
    /// The entries of data clusters, ascending.
    pub(super) fn data(&self) -> impl Iterator<Item = u64> + '_ {
        ones(&self.data)
    }

    /// The entries of clusters of zeros, ascending.
    pub(super) fn zeros(&self) -> impl Iterator<Item = u64> + '_ {
        ones(&self.zero)
    }

    /// True if all it has is zeros.
    pub(super) fn is_without_data(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> u64 {
        self.data.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }
}

/// A qcow2 image that could be written: plain, version 3, its clusters in guest order behind the tables.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) disk: Arc<Disk>,
    pub(super) cluster_bits: u32,
    pub(super) backing: Option<(String, Format)>,
    /// By number of their L1 entry; those that would be empty are left out.
    pub(super) tables: BTreeMap<u64, Table>,
    pub(super) layout: Layout,
    /// The digest of what the data clusters held when they were looked at, if it was made: as a content digest, of these
    /// clusters only.
    pub(super) data: Option<ContentDigest>,
    /// The digests of their blocks, the first of them at least, if the disk has files beside its export.
    pub(super) blocks: Arc<[Block]>,
}

/// A run of guest bytes that become data clusters one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// First guest byte, at a cluster's start.
    pub(super) start: u64,
    /// Guest bytes; at the disk's end that may be less than whole clusters.
    pub(super) length: u64,
    /// Where they go in the new file.
    pub(super) offset: u64,
}

impl Plan {
    /// The whole disk in one image, clusters of zeros left out. `cluster_size` is a power of two, from 64 KiB to
    /// 2 MiB. `advance` is told the number of guest bytes after each piece.
    pub fn flat(
        disk: &Arc<Disk>,
        cluster_size: u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<Self, ImageError> {
        Self::new(disk, Under::Nothing, cluster_size, Digests::No, advance).map(|(plan, _)| plan)
    }

    /// As [`Plan::flat`], with the digest of the disk's content made on the way. The plan's [`PlanStream`] then fails if
    /// it finds other data than was there.
    pub fn flat_with_content(
        disk: &Arc<Disk>,
        cluster_size: u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(Self, Content), ImageError> {
        let (plan, content) = Self::new(disk, Under::Nothing, cluster_size, Digests::All, advance)?;
        Ok((plan, content.finish()))
    }

    /// What of the disk differs from `base`, whatever either is stored in. Clusters that are equal are left out. A base
    /// that is shorter goes on with zeros. The name of the backing file is set by [`Plan::on`].
    pub fn delta(
        disk: &Arc<Disk>,
        base: &Disk,
        cluster_size: u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<Self, ImageError> {
        Self::new(disk, Under::Disk(base), cluster_size, Digests::No, advance).map(|(plan, _)| plan)
    }

    /// As [`Plan::delta`], with the digest of the disk's content made on the way, as by [`Plan::flat_with_content`]. What
    /// the disk has in common with the base is taken from `known`, the base's content.
    pub fn delta_with_content(
        disk: &Arc<Disk>,
        base: &Disk,
        known: Option<&Content>,
        cluster_size: u64,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(Self, Content), ImageError> {
        let digests = known.map_or(Digests::All, Digests::Without);
        let (plan, content) = Self::new(disk, Under::Disk(base), cluster_size, digests, advance)?;
        Ok((plan, content.finish()))
    }

    /// What of the disk differs from one whose content was `known`, in clusters of 64 KiB: as [`Plan::delta_with_content`]
    /// against that disk, which need not be there. With `by_changes`, what the dirty bitmap of its export calls unchanged
    /// since that content is not read; where it is found to be wrong, that is [`ImageError::WrongBitmap`].
    pub fn since(
        disk: &Arc<Disk>,
        known: &Content,
        by_changes: bool,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(Self, Content), ImageError> {
        let under = Under::Content { known, by_changes };
        let (plan, content) = Self::new(disk, under, BLOCK as u64, Digests::All, advance)?;
        Ok((plan, content.finish()))
    }

    /// The same with `name` recorded as the backing file, as it is given: relative to the new image's directory. That
    /// changes neither size nor place of anything else.
    pub fn on(mut self, name: &str, format: Format) -> Result<Self, ImageError> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            let shown = crate::name::printable(name, 80);
            let reason =
                format!("`{shown}` cannot be recorded as a backing file: 1 to {MAX_NAME} bytes are needed");
            return Err(ImageError::Io(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                reason,
            )));
        }
        self.backing = Some((name.to_owned(), format));
        Ok(self)
    }

    /// The disk that is read.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The new file's size in bytes, exactly.
    pub fn size(&self) -> u64 {
        self.layout.clusters << self.cluster_bits
    }

    /// Bytes of it that are the guest's; the rest is tables.
    pub fn data_size(&self) -> u64 {
        self.size() - self.layout.data
    }

    /// Size of the disk that the guest will see, in bytes.
    pub fn virtual_size(&self) -> u64 {
        self.disk.virtual_size()
    }

    /// The new file's bytes from first to last, [`Plan::size`] of them.
    pub fn stream(&self) -> PlanStream<'_> {
        PlanStream::new(self)
    }

    /// Writes all of the new file to `out`. `advance` is told the number of bytes after each piece.
    pub fn write_to(&self, out: &mut dyn Write, advance: &mut dyn FnMut(u64)) -> Result<(), ImageError> {
        let mut stream = self.stream();
        let mut buffer = vec![0; PIECE];
        loop {
            match stream.fill(&mut buffer)? {
                0 => return Ok(()),
                count => {
                    out.write_all(&buffer[..count])?;
                    advance(count as u64);
                }
            }
        }
    }

    fn new(
        disk: &Arc<Disk>,
        under: Under<'_>,
        cluster_size: u64,
        digests: Digests<'_>,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(Self, ContentBuilder), ImageError> {
        if !cluster_size.is_power_of_two() || !(1 << 16..=1 << 21).contains(&cluster_size) {
            let reason = format!("a cluster of {cluster_size} bytes is not among 64 KiB, 128 KiB, … 2 MiB");
            return Err(ImageError::Io(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                reason,
            )));
        }
        let cluster_bits = cluster_size.trailing_zeros();
        let entries = cluster_size / 8;
        let mut tables: BTreeMap<u64, Table> = BTreeMap::new();
        let read = disk.layers.iter().map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let mut done = 0;
        let (mut all, mut written) = (ContentBuilder::default(), ContentHasher::default());
        let mut remembered = Vec::new();
        let most = disk.beside.as_ref().map_or(0, |_| REMEMBERED);
        in_order(
            windows(disk, under)?.into_iter(),
            || {
                let mut judge = Judge::new(disk, under, cluster_size, digests, &read);
                move |(start, end)| judge.window(start, end).map(|judged| (start, end, judged))
            },
            |(start, end, (states, blocks)): (u64, u64, (Vec<State>, Vec<Block>))| {
                for block in blocks {
                    all.add(block);
                    if states[index((block.0 - start) >> cluster_bits)] == State::Data {
                        written.add(block);
                        if remembered.len() < most {
                            remembered.push(block);
                        }
                    }
                }
                for (cluster, state) in (start >> cluster_bits..).zip(states) {
                    if state == State::Hole {
                        continue;
                    }
                    let table = tables
                        .entry(cluster / entries)
                        .or_insert_with(|| Table::new(index(entries)));
                    let entry = index(cluster % entries);
                    let bits = if state == State::Data {
                        &mut table.data
                    } else {
                        &mut table.zero
                    };
                    bits[entry / 64] |= 1 << (entry % 64);
                }
                advance(end - done);
                done = end;
                Ok(())
            },
        )?;
        advance(disk.virtual_size() - done);
        let mut data = 0;
        for table in tables.values_mut() {
            table.before = data;
            data += table.count();
        }
        let layout = Layout::new(cluster_bits, disk.virtual_size(), tables.len() as u64, data);
        let plan = Self {
            disk: Arc::clone(disk),
            cluster_bits,
            backing: None,
            tables,
            layout,
            data: digests.asked().then(|| written.finish()),
            blocks: remembered.into(),
        };
        Ok((plan, all))
    }

    /// The guest bytes that become data clusters, ascending, in runs of at most `most` bytes (whole clusters).
    pub(super) fn runs(&self, most: u64) -> impl Iterator<Item = Run> + '_ {
        let cluster = 1u64 << self.cluster_bits;
        let entries = cluster / 8;
        let size = self.virtual_size();
        let mut clusters = self
            .tables
            .iter()
            .flat_map(move |(number, table)| table.data().map(move |entry| number * entries + entry))
            .peekable();
        let mut offset = self.layout.data;
        std::iter::from_fn(move || {
            let first = clusters.next()?;
            let mut count = 1;
            while (count + 1) * cluster <= most && clusters.next_if_eq(&(first + count)).is_some() {
                count += 1;
            }
            let start = first * cluster;
            let run = Run {
                start,
                length: (count * cluster).min(size - start),
                offset,
            };
            offset += count * cluster;
            Some(run)
        })
    }
}

impl Table {
    fn new(entries: usize) -> Self {
        Self {
            data: vec![0; entries / 64].into(),
            zero: vec![0; entries / 64].into(),
            before: 0,
        }
    }
}

/// The numbers of the bits that are set, ascending.
fn ones(bits: &[u64]) -> impl Iterator<Item = u64> + '_ {
    (0..).zip(bits).flat_map(|(word, bits): (u64, &u64)| {
        let mut left = *bits;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.checked_sub(1)?;
            Some(word * 64 + u64::from(bit))
        })
    })
}
