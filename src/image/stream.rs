//! The bytes of a planned image from first to last, made as they are asked for: never more than a few clusters are in
//! memory.

use super::ImageError;
use super::disk::{DiskReader, index};
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

/// Hands out a planned image's bytes in order, as pieces or by [`Read`]. After an error it is of no more use.
pub struct PlanStream<'a> {
    plan: &'a Plan,
    parts: Box<dyn Iterator<Item = Part> + Send + 'a>,
    reader: DiskReader<'a>,
    piece: Vec<u8>,
    /// How much of the piece [`Read`] has handed out.
    taken: usize,
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
            piece: Vec::new(),
            taken: 0,
        }
    }

    /// Only what stands before the data.
    pub(super) fn next_table(&mut self) -> Option<&[u8]> {
        let part = self.parts.next()?;
        self.piece = self.table(&part)?;
        Some(&self.piece)
    }

    /// The next bytes of the file; `None` after its last.
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>, ImageError> {
        let Some(part) = self.parts.next() else {
            self.piece.clear();
            return Ok(None);
        };
        if let Some(table) = self.table(&part) {
            self.piece = table;
        } else if let Part::Data(run) = part {
            let length = run.length.next_multiple_of(1 << self.plan.cluster_bits);
            self.piece.resize(index(length), 0);
            let (data, rest) = self.piece.split_at_mut(index(run.length));
            self.reader.read(run.start, data)?;
            rest.fill(0);
        }
        Ok(Some(&self.piece))
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
        while self.taken == self.piece.len() {
            self.taken = 0;
            match self.next_piece() {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(0),
                Err(ImageError::Io(e)) => return Err(e),
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.taken);
        buffer[..count].copy_from_slice(&self.piece[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
