//! Writing a planned image into a file, its data by several threads at once.

use super::ImageError;
use super::bytes::{index, write_at};
use super::disk::DiskReader;
use super::extent::Place;
use super::ordered::in_order;
use super::plan::{Plan, Run};
use fs_err as fs;

/// Bytes that one thread writes at a time.
const PIECE: u64 = 4 << 20;

impl Plan {
    /// Writes the planned image into `file`, which must be empty. The bytes are those of [`Plan::stream`]. Nothing is
    /// synced. `advance` is told the number of bytes of data after each piece.
    pub fn write_file(&self, file: &fs::File, advance: &mut dyn FnMut(u64)) -> Result<(), ImageError> {
        file.set_len(self.size())?;
        let mut stream = self.stream();
        let mut at = 0;
        while let Some(table) = stream.next_table() {
            write_at(file, table, at)?;
            at += table.len() as u64;
        }
        self.copy(file, |run| run.offset, advance)
    }

    /// Writes what a guest reads into `file`, which must be empty, as a raw image; where the plan has no data is a
    /// hole. Nothing is synced.
    pub fn write_raw(&self, file: &fs::File, advance: &mut dyn FnMut(u64)) -> Result<(), ImageError> {
        file.set_len(self.virtual_size())?;
        self.copy(file, |run| run.start, advance)
    }

    fn copy(
        &self,
        file: &fs::File,
        place: impl Fn(&Run) -> u64 + Sync,
        advance: &mut dyn FnMut(u64),
    ) -> Result<(), ImageError> {
        in_order(
            self.runs(PIECE),
            || {
                let mut copier = Copier {
                    reader: self.disk.reader(),
                    plan: self,
                    file,
                    buffer: Vec::new(),
                };
                let place = &place;
                move |run| copier.copy(&run, place(&run)).map(|()| run.length)
            },
            |bytes| {
                advance(bytes);
                Ok(())
            },
        )
    }
}

struct Copier<'a> {
    plan: &'a Plan,
    reader: DiskReader<'a>,
    file: &'a fs::File,
    buffer: Vec<u8>,
}

impl Copier<'_> {
    fn copy(&mut self, run: &Run, to: u64) -> Result<(), ImageError> {
        let extents = self.plan.disk.extents(run.start, run.start + run.length)?;
        for extent in &extents {
            let to = to + (extent.start - run.start);
            match extent.place {
                // The file is new: zeros are there.
                Place::Nowhere | Place::Zero { .. } => {}
                Place::Plain { .. } | Place::Exported | Place::Packed { .. } => {
                    let mut done = 0;
                    while done < extent.length {
                        let length = (extent.length - done).min(STEP);
                        self.buffer.resize(index(length), 0);
                        self.reader
                            .read_mapped(&extents, extent.start + done, &mut self.buffer)?;
                        write_at(self.file, &self.buffer, to + done)?;
                        done += length;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Bytes that are copied at once: they stay in the processor's cache.
const STEP: u64 = 256 << 10;
