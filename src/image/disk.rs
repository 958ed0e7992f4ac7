//! An opened chain, or what an NBD server exports: the disk as the guest sees it, its extents, and the bytes in them.
//!
//! A file that a header names is opened only after the caller allowed it. Nothing is locked and nothing written; who
//! reads an image that a guest writes to reads nonsense (`ensure_unused` tells).

use super::bytes::{index, read_padded};
use super::extent::{Extent, Place, WINDOW, cut, merge, push};
use super::layer::{Layer, Packed, Piece, Stamp, Stored};
use super::nbd::{Export, ExportReader, Kind};
use super::open::{self, Permit};
use super::unpack::Unpacker;
use super::{Format, ImageError};
use std::path::Path;
use std::sync::Arc;

/// libvirt follows no longer chains (`VIR_STORAGE_MAX_CHAIN_DEPTH`, 200); nor does anyone who wants to read from one.
pub const MAX_DEPTH: usize = 200;

/// The images that make up a disk, opened.
#[derive(Debug)]
pub struct Disk {
    /// What is read in place of layers, if it is there.
    pub(super) export: Option<Arc<Export>>,
    pub(super) layers: Vec<Layer>,
    /// The files that the exported disk was in when the export began, and that a guest goes on writing to: what is read from
    /// them is believed by its digest only.
    pub(super) beside: Option<Box<Disk>>,
}

impl Disk {
    /// Opens the image `path`, read as `format`, and all that it stands on. `permit` is asked about each backing and
    /// data file, by its real path.
    pub fn open(path: &Path, format: Format, permit: Permit<'_>) -> Result<Self, ImageError> {
        let mut disk = Self {
            export: None,
            layers: Vec::new(),
            beside: None,
        };
        let mut seen = Vec::new();
        let mut next = Some((std::path::absolute(path)?, format));
        while let Some((path, format)) = next {
            let layer =
                open::layer(path, format, permit).map_err(|error| match (error, disk.layers.last()) {
                    (ImageError::Missing { path }, Some(above)) => ImageError::MissingBacking {
                        image: above.path.clone(),
                        backing: path,
                    },
                    (error, _) => error,
                })?;
            let id = layer.stamp.id;
            if seen.contains(&id) {
                return Err(ImageError::Header {
                    reason: format!("it stands on {}, which stands on it", layer.path.display()),
                    path: disk.layers.pop().map_or(layer.path, |above| above.path),
                });
            }
            seen.push(id);
            next = open::below(&layer, permit)?;
            disk.layers.push(layer);
            if disk.layers.len() == MAX_DEPTH && next.is_some() {
                return Err(ImageError::Header {
                    path: disk.layers.swap_remove(MAX_DEPTH - 1).path,
                    reason: format!(
                        "it is number {MAX_DEPTH} of its chain and stands on one more; no more are followed"
                    ),
                });
            }
        }
        Ok(disk)
    }

    /// The disk that a server exports. If the files in which the guest has it are given, what is read a second time comes
    /// from there, as long as its digest is that of the first time: a server takes more of the processor's time.
    pub fn exported(export: Arc<Export>, beside: Option<Self>) -> Self {
        Self {
            export: Some(export),
            layers: Vec::new(),
            beside: beside.map(Box::new),
        }
    }

    /// Size of the disk that the guest sees, in bytes.
    pub fn virtual_size(&self) -> u64 {
        match &self.export {
            Some(export) => export.size(),
            None => self.layers[0].virtual_size,
        }
    }

    /// What the disk is called in messages: its uppermost file, or the socket of its export.
    pub(super) fn path(&self) -> &Path {
        match &self.export {
            Some(export) => export.socket(),
            None => &self.layers[0].path,
        }
    }

    /// The files, the image itself first. An export is none.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&Path, Format)> {
        self.layers
            .iter()
            .map(|layer| (layer.path.as_path(), layer.format()))
    }

    /// The disk that the last image of the chain is by itself, opened once more; an export that stands on nothing, if it
    /// is one.
    pub fn bottom(&self) -> Result<Self, ImageError> {
        let Some(bottom) = self.layers.last() else {
            return Ok(Self {
                export: self.export.clone(),
                layers: Vec::new(),
                beside: None,
            });
        };
        let data = bottom.data.as_ref().map(|(file, ..)| file.path().to_owned());
        Self::open(&bottom.path, bottom.format(), &|path, _| {
            data.as_deref() == Some(path)
        })
    }

    /// The extents of `start..end`, in order and without gaps. Behind the disk's end there is nothing.
    pub fn extents(&self, start: u64, end: u64) -> Result<Vec<Extent>, ImageError> {
        let mut extents = Vec::new();
        let Some(export) = &self.export else {
            self.extents_from(0, start, end, &mut extents)?;
            return Ok(extents);
        };
        let within = export.size().clamp(start, end);
        let mut at = start;
        while at < within {
            let (kind, stop) = export.run(at, within);
            match kind {
                Kind::Data => push(&mut extents, at, stop, Place::Exported),
                Kind::Zero => push(&mut extents, at, stop, Place::Nowhere),
            }
            at = stop;
        }
        push(&mut extents, within, end, Place::Nowhere);
        Ok(extents)
    }

    fn extents_from(
        &self,
        depth: usize,
        start: u64,
        end: u64,
        extents: &mut Vec<Extent>,
    ) -> Result<(), ImageError> {
        let mut pieces = Vec::new();
        let within = self
            .layers
            .get(depth)
            .map_or(start, |layer| layer.virtual_size.clamp(start, end));
        if let Some(layer) = self.layers.get(depth)
            && within > start
        {
            layer.map(start, within, &mut pieces)?;
        }
        for Piece { start, end, stored } in pieces {
            let place = match stored {
                // Chains are at most 200 deep, and so is this.
                Stored::Hole => {
                    self.extents_from(depth + 1, start, end, extents)?;
                    continue;
                }
                Stored::Zero => Place::Zero { layer: depth },
                Stored::Plain(offset) => Place::Plain { layer: depth, offset },
                Stored::Packed { at, skip } => Place::Packed {
                    layer: depth,
                    offset: at.offset,
                    length: at.length,
                    skip,
                },
            };
            push(extents, start, end, place);
        }
        push(extents, within, end, Place::Nowhere);
        Ok(())
    }

    /// All extents of the disk, in order and without gaps.
    pub fn map(&self) -> Result<Vec<Extent>, ImageError> {
        let mut all = Vec::new();
        let mut at = 0;
        for (start, end) in self.windows()? {
            push(&mut all, at, start, Place::Nowhere);
            for extent in self.extents(start, end)? {
                push(&mut all, extent.start, extent.end(), extent.place);
            }
            at = end;
        }
        push(&mut all, at, self.virtual_size(), Place::Nowhere);
        Ok(all)
    }

    /// The parts of the disk outside of which no layer has anything, in whole windows, ascending.
    pub(super) fn outline(&self) -> Result<Vec<(u64, u64)>, ImageError> {
        let mut all = self
            .export
            .as_ref()
            .map_or_else(Vec::new, |export| export.outline(WINDOW));
        for layer in &self.layers {
            all.extend(layer.outline(WINDOW)?);
        }
        all.retain_mut(|(start, end)| {
            // A smaller layer's last window goes on in the others.
            *end = self.widened(*end);
            *start < self.virtual_size()
        });
        Ok(merge(all))
    }

    /// The end of the window that a range ends in.
    pub(super) fn widened(&self, end: u64) -> u64 {
        end.next_multiple_of(WINDOW).min(self.virtual_size())
    }

    /// Fails if a file of the chain is not as it was when it was opened.
    pub fn ensure_unchanged(&self) -> Result<(), ImageError> {
        for layer in &self.layers {
            for (file, stamp) in layer.stamps() {
                if Stamp::of(&file.metadata()?) != stamp {
                    return Err(ImageError::Changed {
                        path: file.path().to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The parts of the disk in which there may be something, cut into pieces for several threads. No two of them share
    /// a cluster of any layer.
    pub(super) fn windows(&self) -> Result<Vec<(u64, u64)>, ImageError> {
        Ok(cut(self.outline()?))
    }

    /// A reader of guest bytes; each thread has its own.
    pub fn reader(&self) -> DiskReader<'_> {
        DiskReader {
            disk: self,
            export: self.export.as_deref().map(ExportReader::new),
            unpacker: Unpacker::default(),
        }
    }
}

/// Reads guest bytes, and keeps the last compressed cluster that it opened.
#[derive(Debug)]
pub struct DiskReader<'a> {
    disk: &'a Disk,
    export: Option<ExportReader<'a>>,
    unpacker: Unpacker,
}

impl DiskReader<'_> {
    /// Fills `buffer` with the guest bytes from `start` on, which must lie within the virtual size.
    pub fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        let extents = self.disk.extents(start, start + buffer.len() as u64)?;
        self.read_mapped(&extents, start, buffer)
    }

    /// As [`DiskReader::read`], with the extents known: ascending, and covering all of the range.
    pub fn read_mapped(
        &mut self,
        extents: &[Extent],
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), ImageError> {
        let end = start + buffer.len() as u64;
        let first = extents.partition_point(|extent| extent.end() <= start);
        for extent in &extents[first..] {
            if extent.start >= end {
                break;
            }
            let (from, to) = (extent.start.max(start), extent.end().min(end));
            let inner = from - extent.start;
            let part = &mut buffer[index(from - start)..index(to - start)];
            match extent.place {
                Place::Nowhere | Place::Zero { .. } => part.fill(0),
                Place::Exported => match &mut self.export {
                    Some(export) => export.read(from, part)?,
                    None => part.fill(0),
                },
                Place::Plain { layer, offset } => {
                    read_padded(self.disk.layers[layer].data_file().0, part, offset + inner)?;
                }
                Place::Packed {
                    layer,
                    offset,
                    length,
                    skip,
                } => {
                    let at = Packed { offset, length };
                    let cluster = self.unpacker.cluster(&self.disk.layers[layer], layer, at)?;
                    let skip = index(skip + inner);
                    part.copy_from_slice(&cluster[skip..skip + part.len()]);
                }
            }
        }
        Ok(())
    }
}
