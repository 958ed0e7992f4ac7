//! Writing a planned image with compressed clusters: zstd, on all cores, the same bytes whatever their number.
//!
//! Sizes are known only when all is compressed, so this needs a file to come back to: header and tables lie before the
//! data, the refcounts behind it.

use super::ImageError;
use super::bytes::{index, write_at};
use super::disk::DiskReader;
use super::layer::{COMPRESSED, COPIED, ZERO};
use super::layout::Layout;
use super::ordered::in_order;
use super::plan::{Plan, Run, Table};
use fs_err as fs;
use zstd::zstd_safe::{CCtx, CParameter};

/// Guest bytes that one thread compresses at a time.
const PIECE: u64 = 1 << 20;

/// A cluster as it will be stored.
enum Cluster {
    Packed(Vec<u8>),
    /// Compressing does not make it smaller.
    Plain(Vec<u8>),
}

impl Plan {
    /// Writes the planned image into `file`, which must be empty, with clusters compressed by zstd at `level`. Returns
    /// the file's size in bytes. Nothing is synced. `advance` is told the number of guest bytes after each piece.
    pub fn write_packed(
        &self,
        file: &fs::File,
        level: i32,
        advance: &mut dyn FnMut(u64),
    ) -> Result<u64, ImageError> {
        let mut image = Writer::new(self, file);
        in_order(
            self.runs(PIECE.max(1 << self.cluster_bits)),
            || {
                let mut packer = Packer::new(self, level);
                move |run: Run| packer.pack(&run).map(|clusters| (run, clusters))
            },
            |(run, clusters): (Run, Vec<Cluster>)| {
                image.place(run.start, &clusters)?;
                advance(run.length);
                Ok(())
            },
        )?;
        image.finish()
    }
}

/// Compresses clusters, in one thread.
struct Packer<'a> {
    plan: &'a Plan,
    reader: DiskReader<'a>,
    context: CCtx<'static>,
    buffer: Vec<u8>,
    packed: Vec<u8>,
}

impl<'a> Packer<'a> {
    fn new(plan: &'a Plan, level: i32) -> Self {
        let mut context = CCtx::create();
        // Levels are clamped by zstd; there is nothing else to refuse.
        let _ = context.set_parameter(CParameter::CompressionLevel(level));
        Self {
            plan,
            reader: plan.disk.reader(),
            context,
            buffer: Vec::new(),
            // What does not get smaller by a sector is stored as it is.
            packed: vec![0; (1 << plan.cluster_bits) - 512],
        }
    }

    fn pack(&mut self, run: &Run) -> Result<Vec<Cluster>, ImageError> {
        let cluster = 1usize << self.plan.cluster_bits;
        self.buffer.clear();
        self.buffer.resize(index(run.length).next_multiple_of(cluster), 0);
        self.reader
            .read(run.start, &mut self.buffer[..index(run.length)])?;
        let clusters = self.buffer.chunks_exact(cluster).map(|plain| {
            match self.context.compress2(self.packed.as_mut_slice(), plain) {
                Ok(length) => Cluster::Packed(self.packed[..length].to_vec()),
                Err(_) => Cluster::Plain(plain.to_vec()),
            }
        });
        Ok(clusters.collect())
    }
}

/// Lays clusters out, in guest order, and keeps the books.
struct Writer<'a> {
    plan: &'a Plan,
    file: &'a fs::File,
    cluster: u64,
    /// Where the next compressed bytes go, if they fit before `open`.
    cursor: u64,
    /// The end of the cluster that the cursor is in.
    open: u64,
    /// The first cluster that nothing has.
    end: u64,
    /// References to each cluster of the file.
    refcounts: Vec<u16>,
    /// The L2 table that is being filled: its L1 entry and its entries.
    table: Option<(u64, Vec<u64>)>,
}

impl<'a> Writer<'a> {
    fn new(plan: &'a Plan, file: &'a fs::File) -> Self {
        let cluster = 1u64 << plan.cluster_bits;
        let start = Self::l2(plan) + plan.tables.len() as u64 * cluster;
        Self {
            plan,
            file,
            cluster,
            cursor: start,
            open: start,
            end: start,
            refcounts: vec![1; index(start / cluster)],
            table: None,
        }
    }

    /// The L1 table comes right behind the header, the L2 tables behind that.
    fn l2(plan: &Plan) -> u64 {
        (1 << plan.cluster_bits) + (plan.layout.l2 - plan.layout.l1)
    }

    fn place(&mut self, guest: u64, clusters: &[Cluster]) -> Result<(), ImageError> {
        let mut batch = Batch::default();
        // Compressed ones first: they go on where the last ones ended.
        for packed in [true, false] {
            for (number, cluster) in (guest / self.cluster..).zip(clusters) {
                let entry = match cluster {
                    Cluster::Packed(bytes) if packed => {
                        let offset = self.room(bytes.len() as u64);
                        batch.put(self.file, offset, bytes)?;
                        let sectors = (offset + bytes.len() as u64 - 1) / 512 - offset / 512;
                        COMPRESSED | sectors << (62 - (self.plan.cluster_bits - 8)) | offset
                    }
                    Cluster::Plain(bytes) if !packed => {
                        let offset = self.end;
                        self.extend(1);
                        self.refcounts[index(offset / self.cluster)] = 1;
                        batch.put(self.file, offset, bytes)?;
                        COPIED | offset
                    }
                    _ => continue,
                };
                self.enter(number, entry)?;
            }
        }
        batch.write(self.file)
    }

    fn extend(&mut self, clusters: u64) {
        self.end += clusters * self.cluster;
        self.refcounts.resize(index(self.end / self.cluster), 0);
    }

    /// Finds room for compressed bytes and counts the references.
    fn room(&mut self, length: u64) -> u64 {
        let full = |refcounts: &[u16], cursor: u64| {
            refcounts
                .get(index(cursor / self.cluster))
                .is_some_and(|count| *count == u16::MAX)
        };
        if self.cursor + length > self.open && self.open != self.end || full(&self.refcounts, self.cursor) {
            // No more in this cluster.
            (self.cursor, self.open) = (self.end, self.end);
        }
        let offset = self.cursor;
        let stop = offset + length;
        if stop > self.open {
            self.extend((stop - self.open).div_ceil(self.cluster));
            self.open = self.end;
        }
        self.cursor = stop;
        for count in &mut self.refcounts[index(offset / self.cluster)..=index((stop - 1) / self.cluster)] {
            *count += 1;
        }
        offset
    }

    fn enter(&mut self, number: u64, value: u64) -> Result<(), ImageError> {
        let entries = self.cluster / 8;
        let wanted = number / entries;
        if self.table.as_ref().is_none_or(|(present, _)| *present != wanted) {
            self.write_table()?;
            self.table = Some((wanted, self.zeros(wanted)));
        }
        if let Some((_, table)) = &mut self.table {
            table[index(number % entries)] = value;
        }
        Ok(())
    }

    /// An L2 table in which only the clusters of zeros are entered.
    fn zeros(&self, number: u64) -> Vec<u64> {
        let mut table = vec![0; index(self.cluster / 8)];
        for entry in self.plan.tables.get(&number).into_iter().flat_map(Table::zeros) {
            table[index(entry)] = ZERO;
        }
        table
    }

    fn write_table(&mut self) -> Result<(), ImageError> {
        if let Some((number, table)) = self.table.take() {
            self.write_l2(number, &table)?;
        }
        Ok(())
    }

    fn write_l2(&self, number: u64, table: &[u64]) -> Result<(), ImageError> {
        let position = self.plan.tables.range(..number).count() as u64;
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        Ok(write_at(
            self.file,
            &bytes,
            Self::l2(self.plan) + position * self.cluster,
        )?)
    }

    fn finish(mut self) -> Result<u64, ImageError> {
        self.write_table()?;
        // Tables with zeros only were never begun.
        for (number, table) in &self.plan.tables {
            if table.is_without_data() {
                self.write_l2(*number, &self.zeros(*number))?;
            }
        }
        let l1: Vec<u8> = {
            let entries = index(self.plan.layout.l1_entries);
            let mut l1 = vec![0u64; entries];
            for (position, number) in (0u64..).zip(self.plan.tables.keys()) {
                l1[index(*number)] = COPIED | (Self::l2(self.plan) + position * self.cluster);
            }
            l1.iter().flat_map(|entry| entry.to_be_bytes()).collect()
        };
        write_at(self.file, &l1, self.cluster)?;
        // The refcounts lie behind all else and count themselves, too.
        let used = self.end / self.cluster;
        let (mut blocks, mut tables) = (1, 1);
        let clusters = loop {
            let clusters = used + blocks + tables;
            let needed = clusters.div_ceil(self.cluster / 2);
            let needed_tables = needed.div_ceil(self.cluster / 8);
            if (needed, needed_tables) == (blocks, tables) {
                break clusters;
            }
            (blocks, tables) = (needed, needed_tables);
        };
        self.refcounts.resize(index(clusters), 1);
        let layout = Layout {
            l1: self.cluster,
            refcount_table: self.end,
            refcount_table_clusters: tables,
            refcount_blocks: self.end + tables * self.cluster,
            refcount_block_count: blocks,
            clusters,
            ..self.plan.layout
        };
        let size = clusters * self.cluster;
        self.file.set_len(size)?;
        for number in 0..tables {
            write_at(
                self.file,
                &layout.refcount_table(number),
                layout.refcount_table + number * self.cluster,
            )?;
        }
        for (number, block) in (0u64..).zip(self.refcounts.chunks(index(self.cluster / 2))) {
            let bytes: Vec<u8> = block.iter().flat_map(|count| count.to_be_bytes()).collect();
            write_at(self.file, &bytes, layout.refcount_blocks + number * self.cluster)?;
        }
        let backing = self.plan.backing.as_ref();
        let backing = backing.map(|(name, format)| (name.as_str(), format.as_str()));
        write_at(self.file, &layout.header(backing, true), 0)?;
        Ok(size)
    }
}

/// Bytes that lie one behind the other and are written together.
#[derive(Default)]
struct Batch {
    offset: u64,
    bytes: Vec<u8>,
}

impl Batch {
    fn put(&mut self, file: &fs::File, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
        if self.offset + self.bytes.len() as u64 != offset {
            self.write(file)?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, file: &fs::File) -> Result<(), ImageError> {
        write_at(file, &self.bytes, self.offset)?;
        self.bytes.clear();
        Ok(())
    }
}
