//! The bytes of a planned image from first to last, made as they are asked for: never more than a few clusters are in
//! memory.

use super::ImageError;
use super::bytes::index;
use super::digest::{BLOCK, Block, ContentHasher, hash_blocks};
use super::disk::{Disk, DiskReader};
use super::plan::{Plan, Run};
use std::io::{self, Read};

/// Bytes that are read at once from the source.
const PIECE: u64 = 1 << 20;

/// The parts of the file, in its order.
enum Part {
    Header,
    RefcountTable(u64),
    RefcountBlock(u64),
    L1,
    /// Position among the L2 tables.
    L2(u64),
    Data(Run),
}

/// Hands out a planned image's bytes in order. Where the plan has digested its data, this does it again, and other data
/// is an error at the end. After an error it is of no more use.
pub struct PlanStream<'a> {
    plan: &'a Plan,
    parts: Box<dyn Iterator<Item = Part> + Send + 'a>,
    reader: DiskReader<'a>,
    /// Reads the files beside an export.
    beside: Option<DiskReader<'a>>,
    /// The blocks of the piece that was read last.
    blocks: Vec<Block>,
    /// Bytes that somebody asks for in smaller pieces than they come in, and how many have been handed out.
    piece: Vec<u8>,
    taken: usize,
    /// What is left to be read of a run, and how many bytes of the file that makes.
    run: Run,
    left: u64,
    /// What has been read so far.
    data: Option<ContentHasher>,
}

impl std::fmt::Debug for PlanStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanStream").finish_non_exhaustive()
    }
}

impl<'a> PlanStream<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let layout = &plan.layout;
        let parts = std::iter::once(Part::Header)
            .chain((0..layout.refcount_table_clusters).map(Part::RefcountTable))
            .chain((0..layout.refcount_block_count).map(Part::RefcountBlock))
            .chain(std::iter::once(Part::L1))
            .chain(plan.tables.keys().copied().map(Part::L2))
            .chain(plan.runs(PIECE.max(1 << plan.cluster_bits)).map(Part::Data));
        Self {
            plan,
            parts: Box::new(parts),
            reader: plan.disk.reader(),
            beside: plan.disk.beside.as_deref().map(Disk::reader),
            blocks: Vec::new(),
            piece: Vec::new(),
            taken: 0,
            run: Run {
                start: 0,
                length: 0,
                offset: 0,
            },
            left: 0,
            data: plan.data.map(|_| ContentHasher::default()),
        }
    }

    /// Only what stands before the data.
    pub(super) fn next_table(&mut self) -> Option<&[u8]> {
        let part = self.parts.next()?;
        self.piece = self.table(&part)?;
        Some(&self.piece)
    }

    /// The next bytes of the file, as many as there is room for in `buffer`, or fewer; none after its last. Without a
    /// copy if `buffer` has room for 64 KiB.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let waiting = &self.piece[self.taken..];
            if !waiting.is_empty() {
                let count = buffer.len().min(waiting.len());
                buffer[..count].copy_from_slice(&waiting[..count]);
                self.taken += count;
                return Ok(count);
            }
            if self.left > 0 {
                if let whole @ 1.. = buffer.len() / BLOCK {
                    return self.data(&mut buffer[..whole * BLOCK]);
                }
                let mut piece = std::mem::take(&mut self.piece);
                piece.resize(BLOCK, 0);
                self.data(&mut piece)?;
                (self.piece, self.taken) = (piece, 0);
                continue;
            }
            let Some(part) = self.parts.next() else {
                return self.ensure_same().map(|()| 0);
            };
            (self.piece, self.taken) = (self.table(&part).unwrap_or_default(), 0);
            if let Part::Data(run) = part {
                self.left = run.length.next_multiple_of(1 << self.plan.cluster_bits);
                self.run = run;
            }
        }
    }

    /// The next bytes of the run; `buffer` has room for whole blocks. A cluster that the disk's end cuts goes on with
    /// zeros.
    fn data(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let Run { start, length, .. } = self.run;
        let count = self.left.min(buffer.len() as u64);
        let guest = length.min(count);
        let (data, rest) = buffer[..index(count)].split_at_mut(index(guest));
        if !self.read_beside(start, data) {
            self.reader.read(start, data)?;
            self.digest(start, data);
        }
        rest.fill(0);
        if let Some(seen) = &mut self.data {
            self.blocks.drain(..).for_each(|block| seen.add(block));
        }
        self.run.start += guest;
        self.run.length -= guest;
        self.left -= count;
        Ok(index(count))
    }

    /// Fills `data` from the files beside an export; false if they do not have any more what was planned.
    fn read_beside(&mut self, start: u64, data: &mut [u8]) -> bool {
        let Some(beside) = &mut self.beside else {
            return false;
        };
        let all = &self.plan.blocks;
        let place = |at: u64| all.partition_point(|(block, _)| *block < at);
        let planned = &all[place(start)..place(start + data.len() as u64)];
        // While a guest writes, any mistake may show in what the files say.
        if planned.is_empty() || beside.read(start, data).is_err() {
            return false;
        }
        self.digest(start, data);
        self.blocks == planned
    }

    /// Makes the digests of a piece, if they are asked for.
    fn digest(&mut self, start: u64, data: &[u8]) {
        self.blocks.clear();
        if self.data.is_some() {
            hash_blocks(start, data, &mut |block| self.blocks.push(block));
        }
    }

    /// Fails, once, if the data that was read is not what the plan was made of.
    fn ensure_same(&mut self) -> Result<(), ImageError> {
        match self.data.take() {
            Some(seen) if Some(seen.finish()) != self.plan.data => Err(ImageError::Changed {
                path: self.plan.disk.path().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn table(&self, part: &Part) -> Option<Vec<u8>> {
        let layout = &self.plan.layout;
        Some(match *part {
            Part::Header => {
                let backing = self.plan.backing.as_ref();
                layout.header(
                    backing.map(|(name, format)| (name.as_str(), format.as_str())),
                    false,
                )
            }
            Part::RefcountTable(number) => layout.refcount_table(number),
            Part::RefcountBlock(number) => layout.refcount_block(number),
            Part::L1 => self.plan.l1(),
            Part::L2(number) => self.plan.l2(number),
            Part::Data(_) => return None,
        })
    }
}

impl Read for PlanStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer).map_err(|error| match error {
            ImageError::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Disk, Format};
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    #[test]
    fn other_data_than_was_planned_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 20).unwrap();
        file.as_file().write_all_at(b"something", 100_000).unwrap();
        file.as_file().write_all_at(b"the end", (3 << 20) - 7).unwrap();
        let disk = Arc::new(Disk::open(file.path(), Format::Raw, &|_, _| false).unwrap());
        let (plan, _) = Plan::flat_with_content(&disk, 65536, &mut |_| {}).unwrap();
        let mut first = Vec::new();
        plan.write_to(&mut first, &mut |_| {}).unwrap();
        assert_eq!(first.len() as u64, plan.size());
        // What the bytes are does not depend on how many are asked for.
        let (mut stream, mut second, mut buffer) = (plan.stream(), Vec::<u8>::new(), vec![0; 70_001]);
        for size in [1, 9, 511, 65_535, 65_537, 70_001].into_iter().cycle() {
            match stream.read(&mut buffer[..size]).unwrap() {
                0 => break,
                count => second.extend(&buffer[..count]),
            }
        }
        assert!(first == second);
        file.as_file().write_all_at(b"S", 100_000).unwrap();
        let error = plan.write_to(&mut Vec::new(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, ImageError::Changed { .. }), "{error}");
    }
}
