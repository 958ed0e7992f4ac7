//! An opened chain, or what an NBD server exports: the disk as the guest sees it, its extents, and the bytes in them.
//!
//! A file that a header names is opened only after the caller allowed it. Nothing is locked and nothing written; who
//! reads an image that a guest writes to reads nonsense (`ensure_unused` tells).

use super::info::{Backing, following};
use super::layer::{Layer, Packed, Piece, Stamp, Stored};
use super::nbd::{Export, ExportReader, Kind};
use super::unpack::Unpacker;
use super::{Format, ImageError, QcowHeader, header};
use crate::image::bytes::read_padded;
use crate::name::printable;
use fs_err as fs;
use std::io::{self, Seek};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// libvirt follows no longer chains (`VIR_STORAGE_MAX_CHAIN_DEPTH`, 200); nor does anyone who wants to read from one.
pub const MAX_DEPTH: usize = 200;

/// Guest bytes that one thread works on at a time: a multiple of the largest cluster.
pub(super) const WINDOW: u64 = 4 << 20;

/// Says whether a file that a header names may be opened in that format.
pub type Permit<'a> = &'a dyn Fn(&Path, Format) -> bool;

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

/// A run of guest bytes that come from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First guest byte.
    pub start: u64,
    /// Number of bytes.
    pub length: u64,
    /// Where they are.
    pub place: Place,
}

/// Where guest bytes are. `layer` counts from 0, the image itself, downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In no layer: they read as zeros.
    Nowhere,
    /// In a layer that says that they are zeros.
    Zero {
        /// The layer.
        layer: usize,
    },
    /// In a file, as they are.
    Plain {
        /// The layer.
        layer: usize,
        /// Where they start in the layer's data file.
        offset: u64,
    },
    /// In the export, at the same place as in the guest.
    Exported,
    /// In a compressed cluster.
    Packed {
        /// The layer.
        layer: usize,
        /// Where the compressed bytes start in the layer's file.
        offset: u64,
        /// Their number, rounded up.
        length: u64,
        /// Bytes of the cluster before these.
        skip: u64,
    },
}

impl Extent {
    /// First guest byte behind it.
    pub const fn end(&self) -> u64 {
        self.start + self.length
    }
}

impl Place {
    /// True if the bytes are zeros without anyone looking at them.
    pub const fn reads_zero(self) -> bool {
        matches!(self, Self::Nowhere | Self::Zero { .. })
    }
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
                open_layer(path, format, permit).map_err(|error| match (error, disk.layers.last()) {
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
            next = layer_below(&layer, permit)?;
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

/// Cuts ranges of whole windows into windows.
pub(super) fn cut(ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let starts = |(start, end): (u64, u64)| {
        (start..end)
            .step_by(index(WINDOW))
            .map(move |at| (at, end.min(at + WINDOW)))
    };
    ranges.into_iter().flat_map(starts).collect()
}

/// Sorts ranges and joins those that touch.
pub(super) fn merge(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn push(extents: &mut Vec<Extent>, start: u64, end: u64, place: Place) {
    if start >= end {
        return;
    }
    if let Some(last) = extents.last_mut()
        && last.end() == start
    {
        let goes_on = match (last.place, place) {
            (Place::Nowhere, Place::Nowhere) | (Place::Exported, Place::Exported) => true,
            (Place::Zero { layer: a }, Place::Zero { layer: b }) => a == b,
            (
                Place::Plain { layer: a, offset },
                Place::Plain {
                    layer: b,
                    offset: next,
                },
            ) => a == b && offset + last.length == next,
            _ => false,
        };
        if goes_on {
            last.length = end - last.start;
            return;
        }
    }
    extents.push(Extent {
        start,
        length: end - start,
        place,
    });
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

/// A length that is known to fit into memory.
pub(super) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("memory is addressed by 64 bits")
}

fn open_file(path: &Path) -> Result<(fs::File, u64, Stamp), ImageError> {
    let mut options = fs::OpenOptions::new();
    // A FIFO must not hold us up.
    options
        .read(true)
        .options_mut()
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::Missing {
                path: path.to_owned(),
            });
        }
        Err(e) => return Err(e.into()),
    };
    let meta = file.metadata()?;
    let size = if meta.is_file() {
        meta.len()
    } else if meta.file_type().is_block_device() {
        file.seek(io::SeekFrom::End(0))?
    } else {
        return Err(ImageError::NotAFile {
            path: path.to_owned(),
        });
    };
    Ok((file, size, Stamp::of(&meta)))
}

fn open_layer(path: PathBuf, format: Format, permit: Permit<'_>) -> Result<Layer, ImageError> {
    let (file, file_size, stamp) = open_file(&path)?;
    let mut layer = Layer {
        path,
        // As QEMU does: a guest sees whole sectors.
        virtual_size: file_size.next_multiple_of(512),
        file,
        file_size,
        stamp,
        qcow2: None,
        data: None,
        run: Mutex::default(),
    };
    if format == Format::Raw {
        return Ok(layer);
    }
    let header = header::read(&layer.file, &layer.path)?;
    layer.virtual_size = header.virtual_size;
    if header.encrypted {
        return Err(ImageError::Unsupported {
            path: layer.path,
            what: "encryption".into(),
            hint: "make a plain copy with `qemu-img convert` and the key",
        });
    }
    if header.external_data {
        layer.data = Some(open_data(&layer, &header, permit)?);
    }
    layer.qcow2 = Some(header);
    Ok(layer)
}

fn open_data(
    layer: &Layer,
    header: &QcowHeader,
    permit: Permit<'_>,
) -> Result<(fs::File, u64, Stamp), ImageError> {
    let Some(recorded) = &header.data_file else {
        return Err(ImageError::Header {
            path: layer.path.clone(),
            reason: "its data lies in another file, which it does not name".into(),
        });
    };
    let file = following(recorded, &layer.path)?;
    ensure_permitted(&layer.path, "data", &file, Format::Raw, permit)?;
    open_file(&file)
}

fn layer_below(layer: &Layer, permit: Permit<'_>) -> Result<Option<(PathBuf, Format)>, ImageError> {
    let Some(header) = &layer.qcow2 else {
        return Ok(None);
    };
    let Some(backing) = Backing::of(header) else {
        return Ok(None);
    };
    let file = backing.resolve(&layer.path)?;
    let Some(format) = backing.format else {
        return Err(match &header.backing_format {
            None => ImageError::NoBackingFormat {
                path: layer.path.clone(),
                backing: printable(&backing.recorded, 200),
            },
            Some(other) => ImageError::Unsupported {
                path: layer.path.clone(),
                what: format!("a backing file in the format {}", printable(other, 40)),
                hint: "make it one qcow2 image with `qemu-img convert`",
            },
        });
    };
    ensure_permitted(&layer.path, "backing", &file, format, permit)?;
    Ok(Some((file, format)))
}

fn ensure_permitted(
    image: &Path,
    role: &'static str,
    file: &Path,
    format: Format,
    permit: Permit<'_>,
) -> Result<(), ImageError> {
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if permit(&real, format) {
        return Ok(());
    }
    Err(ImageError::BackingNotAllowed {
        image: image.to_owned(),
        role,
        backing: real,
    })
}
