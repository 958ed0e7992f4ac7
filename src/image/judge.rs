//! What each cluster of a new image becomes: a hole, zeros or data. By what the disk itself says where that is enough, by
//! its bytes otherwise, and beside what the image is to stand on.

use super::ImageError;
use super::bytes::{index, is_zero};
use super::digest::{Block, Content, hash_blocks};
use super::disk::{Disk, DiskReader};
use super::extent::{Extent, Place, WINDOW, cut, merge};
use super::plan::State;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The last cluster of a file may be cut.
const LARGEST_CLUSTER: u64 = 2 << 20;
/// Bytes that are looked at first: data nearly always shows at once.
const PROBE: usize = 4096;

/// Which blocks are to be digested while the plan is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Digests<'a> {
    No,
    All,
    /// All but those that are the base's, whose content this is.
    Without(&'a Content),
}

impl Digests<'_> {
    pub(super) const fn asked(self) -> bool {
        !matches!(self, Self::No)
    }
}

/// What a new image stands on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Under<'a> {
    /// On nothing.
    Nothing,
    /// On this disk.
    Disk(&'a Disk),
    /// On a disk of which only the content is known.
    Content {
        known: &'a Content,
        /// Whether what the export calls unchanged is taken for that.
        by_changes: bool,
    },
}

/// Where one of the two disks may have something.
pub(super) fn windows(disk: &Disk, under: Under<'_>) -> Result<Vec<(u64, u64)>, ImageError> {
    let size = disk.virtual_size();
    let mut all = disk.outline()?;
    let below = match under {
        Under::Nothing => Vec::new(),
        Under::Disk(base) => base.outline()?,
        Under::Content { known, .. } => known.outline(WINDOW),
    };
    let below = below.into_iter().filter(|(start, _)| *start < size);
    all.extend(below.map(|(start, end)| (start, disk.widened(end))));
    Ok(cut(merge(all)))
}

/// Decides what clusters are, in one thread.
pub(super) struct Judge<'a> {
    reader: DiskReader<'a>,
    disk: &'a Disk,
    /// Bytes that each layer's tables have named so far.
    read: &'a [AtomicU64],
    base: Option<(&'a Disk, DiskReader<'a>)>,
    under: Under<'a>,
    cluster: u64,
    ours: Vec<u8>,
    theirs: Vec<u8>,
    digests: Digests<'a>,
    /// The digests of this window's blocks, if they are asked for.
    blocks: Vec<Block>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        disk: &'a Disk,
        under: Under<'a>,
        cluster: u64,
        digests: Digests<'a>,
        read: &'a [AtomicU64],
    ) -> Self {
        Self {
            reader: disk.reader(),
            disk,
            read,
            base: match under {
                Under::Disk(base) => Some((base, base.reader())),
                Under::Nothing | Under::Content { .. } => None,
            },
            under,
            cluster,
            ours: vec![0; index(cluster)],
            theirs: vec![0; index(cluster)],
            digests,
            blocks: Vec::new(),
        }
    }

    pub(super) fn window(&mut self, start: u64, end: u64) -> Result<(Vec<State>, Vec<Block>), ImageError> {
        let extents = self.disk.extents(start, end)?;
        self.ensure_possible(&extents)?;
        let below = match &self.base {
            Some((base, _)) => base.extents(start, end)?,
            None => Vec::new(),
        };
        let mut states = Vec::new();
        let mut at = start;
        while at < end {
            let stop = (at + self.cluster).min(end);
            let mine = overlapping(&extents, at, stop);
            let state = match self.under {
                Under::Disk(_) => self.compare(mine, overlapping(&below, at, stop), at, stop)?,
                Under::Content { known, by_changes } => {
                    self.block(mine, known.block(at), by_changes, at, stop)?
                }
                Under::Nothing => {
                    if self.has_data(mine, at, stop)? {
                        State::Data
                    } else {
                        State::Hole
                    }
                }
            };
            states.push(state);
            at = stop;
        }
        Ok((states, std::mem::take(&mut self.blocks)))
    }

    /// Refuses tables that name more data than their file has bytes: a small file would become an endless one.
    fn ensure_possible(&self, extents: &[Extent]) -> Result<(), ImageError> {
        for extent in extents {
            if let Place::Plain { layer, .. } = extent.place {
                let before = self.read[layer].fetch_add(extent.length, Ordering::Relaxed);
                let layer = &self.disk.layers[layer];
                if before + extent.length > layer.data_file().1.saturating_add(LARGEST_CLUSTER) {
                    return Err(layer.damaged("its tables name more data than the file has bytes".into()));
                }
            }
        }
        Ok(())
    }

    fn has_data(&mut self, extents: &[Extent], start: u64, end: u64) -> Result<bool, ImageError> {
        if self.digests.asked() {
            let before = self.blocks.len();
            if !zeros(extents) {
                self.digest(extents, start, end)?;
            }
            return Ok(self.blocks.len() > before);
        }
        for extent in extents.iter().filter(|extent| !extent.place.reads_zero()) {
            let (mut at, stop) = (extent.start.max(start), extent.end().min(end));
            let mut length = PROBE;
            while at < stop {
                let part = &mut self.ours[..length.min(index(stop - at))];
                self.reader.read_mapped(extents, at, part)?;
                if !is_zero(part) {
                    return Ok(true);
                }
                at += part.len() as u64;
                length = self.ours.len();
            }
        }
        Ok(false)
    }

    /// Adds the digests of a cluster's blocks.
    fn digest(&mut self, extents: &[Extent], start: u64, end: u64) -> Result<(), ImageError> {
        let ours = &mut self.ours[..index(end - start)];
        self.reader.read_mapped(extents, start, ours)?;
        hash_blocks(start, ours, &mut |block| self.blocks.push(block));
        Ok(())
    }

    fn compare(
        &mut self,
        mine: &[Extent],
        below: &[Extent],
        start: u64,
        end: u64,
    ) -> Result<State, ImageError> {
        let Some((base, base_reader)) = &mut self.base else {
            return Ok(State::Data);
        };
        if zeros(mine) && zeros(below) {
            return Ok(State::Hole);
        }
        if self.disk.same_bytes(mine, base, below, start, end) {
            let known = match self.digests {
                Digests::No => return Ok(State::Hole),
                Digests::All => None,
                Digests::Without(known) => known.known(start, end),
            };
            match known {
                Some(blocks) => self.blocks.extend(blocks),
                None => self.digest(mine, start, end)?,
            }
            return Ok(State::Hole);
        }
        let length = index(end - start);
        let theirs = &mut self.theirs[..length];
        base_reader.read_mapped(below, start, theirs)?;
        if zeros(mine) {
            return Ok(if is_zero(theirs) { State::Hole } else { State::Zero });
        }
        let ours = &mut self.ours[..length];
        self.reader.read_mapped(mine, start, ours)?;
        if self.digests.asked() {
            hash_blocks(start, ours, &mut |block| self.blocks.push(block));
        }
        Ok(if ours == theirs {
            State::Hole
        } else if is_zero(ours) {
            State::Zero
        } else {
            State::Data
        })
    }
}

impl Judge<'_> {
    /// What the block `start..end` is above one that is `known`, if that was not all zero: its digest, and whether an
    /// unchanged one is looked at nonetheless.
    fn block(
        &mut self,
        mine: &[Extent],
        known: Option<(blake3::Hash, bool)>,
        by_changes: bool,
        start: u64,
        end: u64,
    ) -> Result<State, ImageError> {
        let export = self.disk.export.as_ref().filter(|_| by_changes);
        let unchanged = export.is_some_and(|export| !export.may_have_changed(start));
        if unchanged
            && let Some((digest, false)) = known
            && !zeros(mine)
        {
            self.blocks.push((start, digest));
            return Ok(State::Hole);
        }
        let before = self.blocks.len();
        if !zeros(mine) {
            self.digest(mine, start, end)?;
        }
        let found = self.blocks.get(before).map(|(_, digest)| *digest);
        let known = known.map(|(digest, _)| digest);
        match found {
            _ if found == known => Ok(State::Hole),
            _ if unchanged => Err(ImageError::WrongBitmap {
                path: self.disk.path().to_owned(),
                at: start,
            }),
            None => Ok(State::Zero),
            Some(_) => Ok(State::Data),
        }
    }
}

/// True if extents read as zeros without anyone looking at them.
fn zeros(extents: &[Extent]) -> bool {
    extents.iter().all(|extent| extent.place.reads_zero())
}

/// The extents that have bytes in `start..end`.
fn overlapping(extents: &[Extent], start: u64, end: u64) -> &[Extent] {
    let first = extents.partition_point(|extent| extent.end() <= start);
    let last = extents.partition_point(|extent| extent.start < end);
    &extents[first..last]
}

impl Disk {
    /// True if a range that `mine` and `theirs` describe is surely the same in both disks: one run of bytes that lies
    /// in the same place of the same file.
    fn same_bytes(&self, mine: &[Extent], other: &Self, theirs: &[Extent], start: u64, end: u64) -> bool {
        let (&[mine], &[theirs]) = (mine, theirs) else {
            return false;
        };
        if end > mine.end().min(theirs.end()) {
            return false;
        }
        match (mine.place, theirs.place) {
            (
                Place::Plain { layer: a, offset: at },
                Place::Plain {
                    layer: b,
                    offset: there,
                },
            ) => {
                self.layers[a].data_id() == other.layers[b].data_id()
                    && at + (start - mine.start) == there + (start - theirs.start)
            }
            (Place::Exported, Place::Exported) => match (&self.export, &other.export) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            },
            _ => false,
        }
    }
}
