//! What an image is and what it stands on, as `qemu-img info` tells it.

use super::{Format, ImageError, header};
use crate::host::{CommandError, Program, access};
use crate::name::printable;
use fs_err as fs;
use std::io::{self, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

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
    /// The backing file that the header names.
    pub backing: Option<Backing>,
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

/// libvirt follows no longer chains (`VIR_STORAGE_MAX_CHAIN_DEPTH`, 200).
const MAX_DEPTH: usize = 200;

/// The part of `qemu-img info --output=json` that is used (QEMU's qapi/block-core.json, `ImageInfo`).
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    virtual_size: u64,
    #[serde(default)]
    encrypted: bool,
    backing_filename: Option<String>,
    backing_filename_format: Option<String>,
    #[serde(default)]
    snapshots: Vec<Snapshot>,
}

#[derive(serde::Deserialize)]
struct Snapshot {
    name: String,
}

/// Describes the image `path`, read as `format`. Opens that file only, and locks nothing.
///
/// The format is never guessed: a guest can write a qcow2 header into its raw disk.
pub fn info(path: &Path, format: Format) -> Result<ImageInfo, ImageError> {
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
    if format == Format::Qcow2 {
        match header::peek(&path)? {
            None => {
                return Err(ImageError::Header {
                    path,
                    reason: "it does not start with the format's magic number; is it a raw image?".into(),
                });
            }
            Some(head) if head.external_data => {
                return Err(ImageError::Unsupported {
                    path,
                    what: "an external data file".into(),
                    hint: "make it one file with `qemu-img convert -O qcow2`",
                });
            }
            Some(_) => {}
        }
    }
    let finished = Program::find("qemu-img", "qemu-utils")?
        .run()
        .args(["info", "-U", "--output=json", "-f", format.as_str()])
        .arg(&path)
        .output()?;
    let answer: Answer = finished.json()?;
    let world_readable = access::world_readable(&path)?;
    // A device has no length of its own and says nothing about holes.
    let (file_size, disk_usage) = if is_device {
        let size = fs::File::open(&path)?.seek(io::SeekFrom::End(0))?;
        (size, size)
    } else {
        (meta.len(), meta.blocks() * 512)
    };
    Ok(describe(
        path,
        format,
        (file_size, disk_usage),
        world_readable,
        answer,
    ))
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

fn describe(
    path: PathBuf,
    format: Format,
    (file_size, disk_usage): (u64, u64),
    world_readable: bool,
    answer: Answer,
) -> ImageInfo {
    let backing_format = answer.backing_filename_format;
    ImageInfo {
        path,
        format,
        virtual_size: answer.virtual_size,
        file_size,
        disk_usage,
        backing: answer.backing_filename.map(|recorded| Backing {
            recorded,
            format: backing_format.as_deref().and_then(Format::from_name),
        }),
        encrypted: answer.encrypted,
        snapshots: answer.snapshots.iter().map(|s| printable(&s.name, 80)).collect(),
        world_readable,
    }
}

impl Backing {
    /// The file meant, seen from the image `of`: relative names start at that image's directory, as QEMU has it.
    /// Names that are not file names (`json:…`, `nbd://…`) are refused.
    pub fn resolve(&self, of: &Path) -> Result<PathBuf, ImageError> {
        let name = self.recorded.strip_prefix("file:").unwrap_or(&self.recorded);
        let protocol = name.split('/').next().is_some_and(|first| first.contains(':'));
        if protocol || name.is_empty() || name.contains('\0') {
            return Err(ImageError::Unsupported {
                path: of.to_owned(),
                what: format!("the backing file `{}`", printable(&self.recorded, 200)),
                hint: "only a plain file can be packed; copy it and rebase the image on the copy",
            });
        }
        Ok(of.parent().unwrap_or(Path::new("/")).join(name))
    }
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
