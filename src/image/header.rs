//! A first look at a qcow2 header, before any other program may open the file.
//!
//! Only the fields that decide whether it is safe to go on are read (QEMU's docs/interop/qcow2.txt, "Header"): an
//! external data file would make `qemu-img` open a second file that nobody allowed.

use super::ImageError;
use fs_err as fs;
use std::io::Read;
use std::path::Path;

/// Bytes of the version 3 header that are looked at.
const LENGTH: usize = 104;
/// `QFI` and 0xfb.
const MAGIC: [u8; 4] = [0x51, 0x46, 0x49, 0xfb];
/// The specification's bound on the backing file's name, in bytes.
const MAX_BACKING_NAME: u32 = 1023;
/// Incompatible feature bit 1: the image is corrupt. Bit 2: external data file.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;

/// What a qcow2 header says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QcowHeader {
    /// 2 or 3.
    pub version: u32,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// True if a backing file is named.
    pub has_backing: bool,
    /// True if the clusters are encrypted.
    pub encrypted: bool,
    /// Number of internal snapshots.
    pub snapshots: u32,
    /// True if the guest's data lies in another file.
    pub external_data: bool,
}

/// Reads the header of `path` if it is a qcow2 image; `None` if it is something else.
pub fn peek(path: &Path) -> Result<Option<QcowHeader>, ImageError> {
    let mut head = Vec::with_capacity(LENGTH);
    fs::File::open(path)?.take(LENGTH as u64).read_to_end(&mut head)?;
    if head.get(..4) != Some(&MAGIC) {
        return Ok(None);
    }
    parse(&head).map(Some).map_err(|reason| ImageError::Header {
        path: path.to_owned(),
        reason,
    })
}

fn parse(head: &[u8]) -> Result<QcowHeader, String> {
    let version = be32(head, 4)?;
    if !matches!(version, 2 | 3) {
        return Err(format!("version {version} is unknown"));
    }
    let backing_offset = be64(head, 8)?;
    let backing_size = be32(head, 16)?;
    if backing_offset != 0 && backing_size > MAX_BACKING_NAME {
        return Err(format!("its backing file's name is {backing_size} bytes long"));
    }
    let cluster_bits = be32(head, 20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(format!("a cluster cannot have 2^{cluster_bits} bytes"));
    }
    let features = if version == 3 { be64(head, 72)? } else { 0 };
    if features & CORRUPT != 0 {
        return Err("it is marked as corrupt; `qemu-img check -r all` may repair it".into());
    }
    let virtual_size = be64(head, 24)?;
    if i64::try_from(virtual_size).is_err() {
        return Err(format!("a disk cannot have {virtual_size} bytes"));
    }
    Ok(QcowHeader {
        version,
        virtual_size,
        has_backing: backing_offset != 0,
        encrypted: be32(head, 32)? != 0,
        snapshots: be32(head, 60)?,
        external_data: features & EXTERNAL_DATA != 0,
    })
}

fn field<const N: usize>(head: &[u8], at: usize) -> Result<[u8; N], String> {
    head.get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("it ends inside its header, after {} bytes", head.len()))
}

fn be32(head: &[u8], at: usize) -> Result<u32, String> {
    field(head, at).map(u32::from_be_bytes)
}

fn be64(head: &[u8], at: usize) -> Result<u64, String> {
    field(head, at).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Vec<u8> {
        let mut head = vec![0; LENGTH];
        head[..4].copy_from_slice(&MAGIC);
        head[7] = 3;
        head[23] = 16;
        head[28..32].copy_from_slice(&0x10_0000u32.to_be_bytes());
        head
    }

    #[test]
    fn a_plain_header_is_read() {
        let read = parse(&header()).unwrap();
        assert_eq!((read.version, read.virtual_size), (3, 1 << 20));
        assert!(!read.has_backing && !read.encrypted && !read.external_data);
    }

    #[test]
    fn lies_are_refused_with_their_reason() {
        let with = |at: usize, value: u8| {
            let mut head = header();
            head[at] = value;
            parse(&head)
        };
        assert!(with(7, 9).unwrap_err().contains("version 9"));
        assert!(with(23, 40).unwrap_err().contains("2^40"));
        assert!(with(24, 0x80).unwrap_err().contains("cannot have"));
        assert!(with(79, 2).unwrap_err().contains("corrupt"));
        assert!(with(79, 4).unwrap().external_data);
        assert!(with(35, 2).unwrap().encrypted);
        let mut named = header();
        named[15] = 104;
        named[17] = 1;
        assert!(parse(&named).unwrap_err().contains("65536 bytes long"));
        assert!(parse(&header()[..30]).unwrap_err().contains("after 30 bytes"));
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..LENGTH)) {
            let _ = parse(&bytes);
        }
    }
}
