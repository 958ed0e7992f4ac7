//! What an image is and what it stands on, as its header tells it.

use super::header::{self, Compression, QcowHeader};
use super::layer::{Layer, Stamp};
use super::{Format, ImageError, MAX_DEPTH, snapshots};
use crate::host::{CommandError, Program, access};
use crate::name::printable;
use fs_err as fs;
use std::io::{self, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is known about one image file. Nothing in here was checked against another file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageInfo {
    /// The file, absolute.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// Length of the file, in bytes, holes included.
    pub file_size: u64,
    /// Bytes that the file takes on the disk.
    pub disk_usage: u64,
    /// Version of a qcow2 header.
    pub version: Option<u32>,
    /// Bytes of a qcow2 cluster.
    pub cluster_size: Option<u64>,
    /// How compressed clusters of a qcow2 image would be compressed.
    pub compression: Option<Compression>,
    /// The backing file that the header names.
    pub backing: Option<Backing>,
    /// The external data file as the header records it: untrusted text.
    pub data_file: Option<String>,
    /// True if the data is encrypted.
    pub encrypted: bool,
    /// Names of its internal snapshots, made printable.
    pub snapshots: Vec<String>,
    /// True if everyone on the host may read the file, its directories' permissions considered.
    pub world_readable: bool,
}

/// A backing file as a header records it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Backing {
    /// The name, as recorded: untrusted text, often relative.
    pub recorded: String,
    /// The recorded format. `None` if there is none or it is not one of [`Format`].
    pub format: Option<Format>,
}

/// An image and all that it stands on: never empty, the image that the guest writes to first, the very base last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(pub Vec<ImageInfo>);

/// Describes the image `path`, read as `format`. Opens that file only, and locks nothing.
///
/// The format is never guessed: a guest can write a qcow2 header into its raw disk. An external data file is refused:
/// who only names the image would make QEMU open it.
pub fn info(path: &Path, format: Format) -> Result<ImageInfo, ImageError> {
    let info = describe(path, format)?;
    if info.data_file.is_some() {
        return Err(ImageError::Unsupported {
            path: info.path,
            what: "an external data file".into(),
            hint: "make it one file with `miniascape image convert`",
        });
    }
    Ok(info)
}

/// As [`info`], for images with an external data file too. It is named and not opened.
pub fn describe(path: &Path, format: Format) -> Result<ImageInfo, ImageError> {
    let path = std::path::absolute(path)?;
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ImageError::Missing { path }),
        Err(e) => return Err(e.into()),
    };
    let is_device = meta.file_type().is_block_device();
    if !meta.is_file() && !is_device {
        return Err(ImageError::NotAFile { path });
    }
    let mut file = fs::File::open(&path)?;
    // A device has no length of its own and says nothing about holes.
    let (file_size, disk_usage) = if is_device {
        let size = file.seek(io::SeekFrom::End(0))?;
        (size, size)
    } else {
        (meta.len(), meta.blocks() * 512)
    };
    let mut info = ImageInfo {
        world_readable: access::world_readable(&path)?,
        format,
        virtual_size: file_size.next_multiple_of(512),
        file_size,
        disk_usage,
        version: None,
        cluster_size: None,
        compression: None,
        backing: None,
        data_file: None,
        encrypted: false,
        snapshots: Vec::new(),
        path,
    };
    if format == Format::Raw {
        return Ok(info);
    }
    let header = header::read(&file, &info.path)?;
    info.virtual_size = header.virtual_size;
    info.version = Some(header.version);
    info.cluster_size = Some(header.cluster_size());
    info.compression = Some(header.compression);
    info.backing = Backing::of(&header);
    info.encrypted = header.encrypted;
    if header.external_data {
        info.data_file = Some(header.data_file.clone().unwrap_or_default());
    }
    let layer = Layer {
        path: info.path,
        virtual_size: header.virtual_size,
        file,
        file_size,
        stamp: Stamp::of(&meta),
        qcow2: Some(header),
        data: None,
        run: Mutex::default(),
    };
    let (snapshots, _) = snapshots::read(&layer)?;
    info.snapshots = snapshots.into_iter().map(|snapshot| snapshot.name).collect();
    info.path = layer.path;
    Ok(info)
}

/// Fails if some program, such as the QEMU of a running guest, has the image open for writing. Told by QEMU's own
/// locks, so it also notices guests that libvirt does not know.
pub fn ensure_unused(image: &ImageInfo) -> Result<(), ImageError> {
    let finished = Program::find("qemu-img", "qemu-utils")?
        .run()
        .args(["info", "-f", image.format.as_str()])
        .arg(&image.path)
        .finish()?;
    if finished.status.success() {
        return Ok(());
    }
    // QEMU's block/file-posix.c, raw_check_lock_bytes: `Failed to get … lock`.
    if finished.stderr.contains("Failed to get") && finished.stderr.contains("lock") {
        return Err(ImageError::InUse {
            path: image.path.clone(),
        });
    }
    Err(CommandError::Failed {
        command: finished.command,
        status: finished.status,
        stderr: finished.stderr,
    }
    .into())
}

impl Backing {
    /// The file meant, seen from the image `of`: relative names start at that image's directory, as QEMU has it.
    /// Names that are not file names (`json:…`, `nbd://…`) are refused.
    pub fn resolve(&self, of: &Path) -> Result<PathBuf, ImageError> {
        following(&self.recorded, of)
    }

    /// The backing file that a header names.
    pub(super) fn of(header: &QcowHeader) -> Option<Self> {
        let format = header.backing_format.as_deref();
        header.backing.as_ref().map(|recorded| Self {
            recorded: recorded.clone(),
            format: format.and_then(Format::from_name),
        })
    }
}

/// The file that the image `of` means by `recorded`.
pub(super) fn following(recorded: &str, of: &Path) -> Result<PathBuf, ImageError> {
    let name = recorded.strip_prefix("file:").unwrap_or(recorded);
    let protocol = name.split('/').next().is_some_and(|first| first.contains(':'));
    if protocol || name.is_empty() || name.contains('\0') {
        return Err(ImageError::Unsupported {
            path: of.to_owned(),
            what: format!("the file that it names as `{}`", printable(recorded, 200)),
            hint: "only plain files are followed; make it one image with `qemu-img convert`",
        });
    }
    Ok(of.parent().unwrap_or(Path::new("/")).join(name))
}

/// Describes the image `path` and all images below it, of which `allow` says whether each may be opened.
///
/// `allow` gets a backing file's path and recorded format. A chain that goes in a circle is refused.
pub fn chain(
    path: &Path,
    format: Format,
    allow: &dyn Fn(&Path, Format) -> bool,
) -> Result<Chain, ImageError> {
    let mut images = vec![info(path, format)?];
    let mut seen = vec![fs::canonicalize(path)?];
    loop {
        let above = &images[images.len() - 1];
        let Some(backing) = &above.backing else {
            return Ok(Chain(images));
        };
        let below = below(above, backing, allow)?;
        let real = fs::canonicalize(&below.path)?;
        if seen.contains(&real) || images.len() == MAX_DEPTH {
            return Err(ImageError::Header {
                path: above.path.clone(),
                reason: if seen.contains(&real) {
                    format!("it stands on {}, which stands on it", real.display())
                } else {
                    format!("more than {MAX_DEPTH} images stand on each other")
                },
            });
        }
        seen.push(real);
        images.push(below);
    }
}

/// Describes the backing file of `above`.
fn below(
    above: &ImageInfo,
    backing: &Backing,
    allow: &dyn Fn(&Path, Format) -> bool,
) -> Result<ImageInfo, ImageError> {
    let file = backing.resolve(&above.path)?;
    let Some(format) = backing.format else {
        return Err(ImageError::NoBackingFormat {
            path: above.path.clone(),
            backing: printable(&backing.recorded, 200),
        });
    };
    if !allow(&file, format) {
        return Err(ImageError::BackingNotAllowed {
            image: above.path.clone(),
            role: "backing",
            backing: file,
        });
    }
    match info(&file, format) {
        Err(ImageError::Missing { path }) => Err(ImageError::MissingBacking {
            image: above.path.clone(),
            backing: path,
        }),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backing(recorded: &str) -> Backing {
        Backing {
            recorded: recorded.into(),
            format: Some(Format::Qcow2),
        }
    }

    #[test]
    fn relative_names_start_beside_the_image() {
        let of = Path::new("/srv/my disks/top.qcow2");
        for (name, file) in [
            ("base.qcow2", "/srv/my disks/base.qcow2"),
            ("../b/x", "/srv/my disks/../b/x"),
            ("/abs/x:y", "/abs/x:y"),
            ("file:/abs/x", "/abs/x"),
        ] {
            assert_eq!(backing(name).resolve(of).unwrap(), Path::new(file));
        }
    }

    #[test]
    fn names_that_are_not_files_are_refused() {
        for name in [
            "json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}",
            "nbd://host/x",
            "fat:rw:/etc",
            "",
        ] {
            assert!(backing(name).resolve(Path::new("/a/b")).is_err(), "{name}");
        }
    }
}
