//! The format of an image of which nothing was said, from its first bytes, and a VHD's last ones.
//!
//! A guest can write any header into its raw disk, so a guess is good enough only where nothing else is opened without
//! being asked about (`Allow`), and for files that a person named. Where it decides what a guest is given, it is not.

use super::bytes::read_at;
use super::{Format, ImageError, header};
use fs_err as fs;
use std::path::Path;

/// The signature of a VHD's header and of its last sector.
const VHD: &[u8] = b"conectix";

/// What a file seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// A format that is read here.
    Own(Format),
    /// A format that `qemu-img` reads, by its name there.
    Foreign(&'static str),
}

/// Looks at the first bytes of `path`. What has no known signature is raw.
pub fn guess(path: &Path) -> Result<Guess, ImageError> {
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(ImageError::Missing {
                path: path.to_owned(),
            });
        }
        Err(e) => return Err(e.into()),
        Ok(meta) if meta.is_dir() => {
            return Err(ImageError::NotAFile {
                path: path.to_owned(),
            });
        }
        // A FIFO would wait for a writer; opening it as an image says what it is.
        Ok(meta) if !meta.is_file() => return Ok(Guess::Own(Format::Raw)),
        Ok(_) => {}
    }
    let file = fs::File::open(path)?;
    let mut head = [0; 512];
    read_at(&file, &mut head, 0)?;
    let guess = of(&head);
    if guess == Guess::Own(Format::Raw) {
        // A VHD of fixed size is raw but for a last sector that says so.
        let last = file.metadata()?.len().saturating_sub(512);
        read_at(&file, &mut head, last)?;
        if head.starts_with(VHD) {
            return Ok(Guess::Foreign("vpc"));
        }
    }
    Ok(guess)
}

fn of(head: &[u8; 512]) -> Guess {
    // The numbers are those of QEMU's block drivers.
    let starts = |text: &[u8]| head.starts_with(text);
    if starts(&header::MAGIC) {
        Guess::Own(Format::Qcow2)
    } else if starts(b"KDMV") || starts(b"COWD") || starts(b"# Disk DescriptorFile") {
        Guess::Foreign("vmdk")
    } else if starts(b"vhdxfile") {
        Guess::Foreign("vhdx")
    } else if starts(VHD) {
        Guess::Foreign("vpc")
    } else if head[64..68] == [0x7f, 0x10, 0xda, 0xbe] {
        Guess::Foreign("vdi")
    } else {
        Guess::Own(Format::Raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_known() {
        let head = |at: usize, text: &[u8]| {
            let mut head = [0; 512];
            head[at..at + text.len()].copy_from_slice(text);
            of(&head)
        };
        assert_eq!(head(0, b"QFI\xfb"), Guess::Own(Format::Qcow2));
        assert_eq!(head(0, b"KDMV"), Guess::Foreign("vmdk"));
        assert_eq!(head(64, &[0x7f, 0x10, 0xda, 0xbe]), Guess::Foreign("vdi"));
        assert_eq!(head(1, b"QFI\xfb"), Guess::Own(Format::Raw));
    }
}
