//! One opened image file of a chain: where its guest bytes lie, piece by piece, without a look at what lies below it.
//!
//! Tables are read for the range that is asked for and not kept, so that memory does not grow with the image. Every
//! offset that a table names is checked before it is used.

use super::bytes::{be64, named, read_padded};
use super::header::QcowHeader;
use super::{Format, ImageError};
use fs_err as fs;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The host offset in an L1 or L2 entry: bits 9 to 55.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// L2 entry: the cluster is compressed.
pub(super) const COMPRESSED: u64 = 1 << 62;
/// L1 or L2 entry: the refcount is exactly one.
pub(super) const COPIED: u64 = 1 << 63;
/// L2 entry, version 3: the cluster reads as zeros.
pub(super) const ZERO: u64 = 1;
/// Table entries that are read at once.
const ENTRIES: u64 = 64 * 1024;

/// How a run of guest bytes is stored in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Not at all: the layer below says what it is.
    Hole,
    /// As the statement that it is zeros.
    Zero,
    /// As it is, from this offset of the layer's data file on.
    Plain(u64),
    /// In a compressed cluster, `skip` bytes after its start.
    Packed { at: Packed, skip: u64 },
}

/// Where a compressed cluster lies in the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A run of guest bytes that are stored alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) stored: Stored,
}

/// What changes when somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Device and inode.
    pub(super) id: (u64, u64),
    size: u64,
    written: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &std::fs::Metadata) -> Self {
        Self {
            id: (meta.dev(), meta.ino()),
            size: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// An opened image file.
#[derive(Debug)]
pub(super) struct Layer {
    /// Its path, absolute.
    pub(super) path: PathBuf,
    /// Size of the disk that the guest sees, in bytes.
    pub(super) virtual_size: u64,
    pub(super) file: fs::File,
    pub(super) file_size: u64,
    pub(super) stamp: Stamp,
    /// The header; a raw image has none.
    pub(super) qcow2: Option<QcowHeader>,
    /// The external data file with its size.
    pub(super) data: Option<(fs::File, u64, Stamp)>,
    /// The run of data in a raw image that was found last. To find where one ends takes a tmpfs a look at each page.
    pub(super) run: Mutex<(u64, u64)>,
}

impl Layer {
    pub(super) fn format(&self) -> Format {
        if self.qcow2.is_some() {
            Format::Qcow2
        } else {
            Format::Raw
        }
    }

    /// The file that plain data lies in, and its size.
    pub(super) fn data_file(&self) -> (&fs::File, u64) {
        match &self.data {
            Some((file, size, _)) => (file, *size),
            None => (&self.file, self.file_size),
        }
    }

    /// Which file plain data lies in.
    pub(super) fn data_id(&self) -> (u64, u64) {
        self.data.as_ref().map_or(self.stamp, |(_, _, stamp)| *stamp).id
    }

    /// The open files and what they were when they were opened.
    pub(super) fn stamps(&self) -> impl Iterator<Item = (&fs::File, Stamp)> {
        let data = self.data.iter().map(|(file, _, stamp)| (file, *stamp));
        std::iter::once((&self.file, self.stamp)).chain(data)
    }

    /// Appends what this layer has of `start..end` to `pieces`, which must end at `start`. The range must lie within
    /// the layer's virtual size.
    pub(super) fn map(&self, start: u64, end: u64, pieces: &mut Vec<Piece>) -> Result<(), ImageError> {
        match &self.qcow2 {
            None => self.map_raw(start, end, pieces),
            Some(header) => self.map_qcow2(header, start, end, pieces),
        }
    }

    /// The parts of the disk outside of which this layer has nothing, found without reading L2 tables: ascending, each
    /// widened to whole windows of `window` bytes.
    pub(super) fn outline(&self, window: u64) -> Result<Vec<(u64, u64)>, ImageError> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut add = |start: u64, end: u64| {
            let start = start - start % window;
            let end = end.next_multiple_of(window).min(self.virtual_size);
            match ranges.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => ranges.push((start, end)),
            }
            end
        };
        let Some(header) = &self.qcow2 else {
            let mut at = 0;
            while let Some(start) = self
                .seek(at, SeekFrom::Data)?
                .filter(|at| *at < self.virtual_size)
            {
                let end = self.seek(start, SeekFrom::Hole)?.unwrap_or(self.virtual_size);
                at = add(start, end.max(start + 1));
            }
            return Ok(ranges);
        };
        let span = header.table_span();
        let mut tables: u64 = 0;
        let used = self.virtual_size.div_ceil(span);
        let mut first = 0;
        while first < used {
            let count = (used - first).min(ENTRIES);
            let table = self.table(header.l1_offset + first * 8, count * 8)?;
            for (index, entry) in (first..).zip(table.chunks_exact(8)) {
                if be64(entry, 0).unwrap_or(0) & OFFSET != 0 {
                    tables += 1;
                    add(
                        index * span,
                        (index + 1).saturating_mul(span).min(self.virtual_size),
                    );
                }
            }
            first += count;
        }
        if tables > self.file_size.div_ceil(header.cluster_size()) {
            return Err(self.damaged(format!(
                "{tables} L2 tables cannot lie in {} bytes",
                self.file_size
            )));
        }
        Ok(ranges)
    }

    fn seek(&self, at: u64, whence: fn(u64) -> SeekFrom) -> Result<Option<u64>, ImageError> {
        match rustix::fs::seek(self.file.file(), whence(at)) {
            Ok(found) => Ok(Some(found)),
            // Nothing from there on.
            Err(Errno::NXIO) => Ok(None),
            // A file system or device that knows of no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(match whence(at) {
                SeekFrom::Data(_) if at < self.file_size => Some(at),
                SeekFrom::Hole(_) => Some(self.file_size),
                _ => None,
            }),
            Err(e) => Err(named(&self.file, &io::Error::from(e)).into()),
        }
    }

    /// The first run of data of a raw image from `at` on. What is taken for data may have become a hole since, which reads
    /// as the same.
    fn run(&self, at: u64) -> Result<Option<(u64, u64)>, ImageError> {
        let last = || self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, end) = *last();
        if (start..end).contains(&at) {
            return Ok(Some((at, end)));
        }
        let Some(data) = self.seek(at, SeekFrom::Data)? else {
            return Ok(None);
        };
        let hole = self.seek(data, SeekFrom::Hole)?.unwrap_or(self.virtual_size);
        *last() = (data, hole);
        Ok(Some((data, hole)))
    }

    fn map_raw(&self, start: u64, end: u64, pieces: &mut Vec<Piece>) -> Result<(), ImageError> {
        let mut at = start;
        while at < end {
            let (data, hole) = self.run(at)?.unwrap_or((end, end));
            let data = data.clamp(at, end);
            push(pieces, at, data, Stored::Zero);
            if data == end {
                break;
            }
            let hole = hole.clamp(data + 1, end);
            push(pieces, data, hole, Stored::Plain(data));
            at = hole;
        }
        Ok(())
    }

    fn map_qcow2(
        &self,
        header: &QcowHeader,
        start: u64,
        end: u64,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), ImageError> {
        let span = header.table_span();
        let mut at = start;
        while at < end {
            let first = at / span;
            let count = ((end - 1) / span - first + 1).min(ENTRIES);
            let table = self.table(header.l1_offset + first * 8, count * 8)?;
            for (index, entry) in (first..).zip(table.chunks_exact(8)) {
                let offset = be64(entry, 0).unwrap_or(0) & OFFSET;
                let stop = (index + 1).saturating_mul(span).min(end);
                if offset == 0 {
                    push(pieces, at, stop, Stored::Hole);
                } else {
                    self.map_table(header, offset, at, stop, pieces)?;
                }
                at = stop;
            }
        }
        Ok(())
    }

    /// Maps `start..end`, which one L2 table at `table` describes.
    fn map_table(
        &self,
        header: &QcowHeader,
        table: u64,
        start: u64,
        end: u64,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), ImageError> {
        if !table.is_multiple_of(header.cluster_size()) {
            return Err(self.damaged(format!(
                "the L2 table for guest byte {start} starts at {table}, within a cluster"
            )));
        }
        let width: u64 = if header.extended_l2 { 16 } else { 8 };
        let within = start % header.table_span();
        let first = within >> header.cluster_bits;
        let count = ((within + (end - start) - 1) >> header.cluster_bits) - first + 1;
        let mut done = 0;
        let mut guest = start - start % header.cluster_size();
        while done < count {
            let take = (count - done).min(ENTRIES);
            let entries = self.table(table + (first + done) * width, take * width)?;
            for entry in entries.chunks_exact(usize::try_from(width).unwrap_or(16)) {
                let low = be64(entry, 0).unwrap_or(0);
                let parts = be64(entry, 8);
                self.map_cluster(header, guest, (start, end), (low, parts), pieces)?;
                guest += header.cluster_size();
            }
            done += take;
        }
        Ok(())
    }

    fn map_cluster(
        &self,
        header: &QcowHeader,
        guest: u64,
        (start, end): (u64, u64),
        (entry, parts): (u64, Option<u64>),
        pieces: &mut Vec<Piece>,
    ) -> Result<(), ImageError> {
        let cluster = header.cluster_size();
        let (from, to) = (guest.max(start), (guest + cluster).min(end));
        if entry & COMPRESSED != 0 {
            let at = self.packed(header, guest, entry)?;
            pieces.push(Piece {
                start: from,
                end: to,
                stored: Stored::Packed {
                    at,
                    skip: from - guest,
                },
            });
            return Ok(());
        }
        let offset = entry & OFFSET;
        // Offset 0 is the header's place, except in a file that has data only.
        let allocated = offset != 0 || (self.data.is_some() && entry & COPIED != 0);
        if allocated {
            self.check_plain(header, guest, offset)?;
        }
        let Some(parts) = parts else {
            let stored = match (entry & ZERO != 0, allocated) {
                (true, _) if header.version < 3 => {
                    return Err(self.damaged(format!(
                        "the entry of guest byte {guest} has a bit that version 2 lacks"
                    )));
                }
                (true, _) => Stored::Zero,
                (false, true) => Stored::Plain(offset + (from - guest)),
                (false, false) => Stored::Hole,
            };
            push(pieces, from, to, stored);
            return Ok(());
        };
        let part = cluster / 32;
        for index in 0..32 {
            let (first, last) = (guest + index * part, guest + (index + 1) * part);
            let (first, last) = (first.max(start), last.min(end));
            if first >= last {
                continue;
            }
            let is_data = parts >> index & 1 != 0;
            let is_zero = parts >> (32 + index) & 1 != 0;
            let stored = match (is_data, is_zero) {
                (true, false) if allocated => Stored::Plain(offset + (first - guest)),
                (false, true) => Stored::Zero,
                (false, false) => Stored::Hole,
                _ => {
                    return Err(self.damaged(format!(
                        "the states of the parts at guest byte {guest} contradict each other"
                    )));
                }
            };
            push(pieces, first, last, stored);
        }
        Ok(())
    }

    fn check_plain(&self, header: &QcowHeader, guest: u64, offset: u64) -> Result<(), ImageError> {
        let (_, size) = self.data_file();
        if !offset.is_multiple_of(header.cluster_size()) {
            Err(self.damaged(format!(
                "the data of guest byte {guest} is said to start at {offset}, within a cluster"
            )))
        } else if offset >= size {
            Err(self.damaged(format!(
                "the data of guest byte {guest} is said to start at {offset}, but the file ends at {size}; was it cut?"
            )))
        } else {
            Ok(())
        }
    }

    /// Takes a compressed cluster's entry apart.
    pub(super) fn packed(&self, header: &QcowHeader, guest: u64, entry: u64) -> Result<Packed, ImageError> {
        let length_bits = header.cluster_bits - 8;
        let offset_bits = 62 - length_bits;
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = (entry >> offset_bits & ((1 << length_bits) - 1)) + 1;
        let length = sectors * 512 - offset % 512;
        if self.data.is_some() {
            return Err(self.damaged(format!(
                "guest byte {guest} is compressed, which an external data file excludes"
            )));
        }
        if offset >= self.file_size {
            return Err(self.damaged(format!(
                "the data of guest byte {guest} is said to start at {offset}, but the file ends at {}; was it cut?",
                self.file_size
            )));
        }
        Ok(Packed { offset, length })
    }

    /// Bytes of a table, which has to lie within the file.
    pub(super) fn table(&self, offset: u64, length: u64) -> Result<Vec<u8>, ImageError> {
        if offset.checked_add(length).is_none_or(|end| end > self.file_size) {
            return Err(self.damaged(format!(
                "a table is said to lie at {offset}, but the file ends at {}; was it cut?",
                self.file_size
            )));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        read_padded(&self.file, &mut bytes, offset)?;
        Ok(bytes)
    }

    pub(super) fn damaged(&self, reason: String) -> ImageError {
        ImageError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Appends a piece, or lengthens the last one if the new one goes on with it.
fn push(pieces: &mut Vec<Piece>, start: u64, end: u64, stored: Stored) {
    if start >= end {
        return;
    }
    if let Some(last) = pieces.last_mut()
        && last.end == start
    {
        let goes_on = match (last.stored, stored) {
            (Stored::Hole, Stored::Hole) | (Stored::Zero, Stored::Zero) => true,
            (Stored::Plain(before), Stored::Plain(after)) => before + (start - last.start) == after,
            _ => false,
        };
        if goes_on {
            last.end = end;
            return;
        }
    }
    pieces.push(Piece { start, end, stored });
}
