//! Opening a layer of a chain, and finding the one below it. A file that a header names is opened only after the caller
//! allowed it.

use super::info::{Backing, following};
use super::layer::{Layer, Stamp};
use super::{Format, ImageError, QcowHeader, header};
use crate::name::printable;
use fs_err as fs;
use std::io::{self, Seek};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Says whether a file that a header names may be opened in that format.
pub type Permit<'a> = &'a dyn Fn(&Path, Format) -> bool;

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

/// Opens the file `path` as `format`, and its data file.
pub(super) fn layer(path: PathBuf, format: Format, permit: Permit<'_>) -> Result<Layer, ImageError> {
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

/// What a layer stands on.
pub(super) fn below(layer: &Layer, permit: Permit<'_>) -> Result<Option<(PathBuf, Format)>, ImageError> {
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
