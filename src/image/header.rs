//! The header of a qcow2 image with its extensions (QEMU's docs/interop/qcow2.txt, "Header" and "Header extensions").
//!
//! Bytes in, checked values out: nothing here opens a file that a header names, and every number that later code
//! multiplies, allocates or seeks by has been held against the format's limits.

use super::ImageError;
use super::bytes::{be32, be64, read_at};
use crate::name::printable;
use fs_err as fs;
use std::path::Path;

/// `QFI` and 0xfb.
pub(super) const MAGIC: [u8; 4] = [0x51, 0x46, 0x49, 0xfb];
/// The most that a header with its extensions can take: one cluster of the largest size, in bytes.
const LARGEST: usize = 2 << 20;
/// What is read first; nearly every header ends there.
const FIRST: usize = 4096;
/// The specification's bound on the backing file's name, in bytes.
const MAX_NAME: u32 = 1023;
/// QEMU's own bounds (block/qcow2.h): bytes of an L1 table, bytes of a refcount table, number of snapshots.
const MAX_L1: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
const MAX_SNAPSHOTS: u32 = 65536;

/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;

/// Header extensions.
const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXT_DATA_FILE: u32 = 0x4441_5441;
const EXT_BITMAPS: u32 = 0x2385_2875;
const EXT_ENCRYPTION: u32 = 0x0537_be77;

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Raw deflate.
    Zlib,
    /// One zstd frame for each cluster.
    Zstd,
}

/// What a qcow2 header says, checked against the format's rules. Nothing in here was checked against the rest of the
/// file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "bits of the header")]
pub struct QcowHeader {
    /// 2 or 3.
    pub version: u32,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    /// A cluster has two to the power of this bytes: 9 to 21.
    pub cluster_bits: u32,
    /// The backing file's name as recorded: untrusted text.
    pub backing: Option<String>,
    /// The backing file's format as recorded.
    pub backing_format: Option<String>,
    /// True if the guest's data lies in another file.
    pub external_data: bool,
    /// The name of that file as recorded: untrusted text.
    pub data_file: Option<String>,
    /// True if the clusters are encrypted.
    pub encrypted: bool,
    /// Number of internal snapshots.
    pub snapshots: u32,
    /// Where the snapshot table starts in the file.
    pub(super) snapshots_offset: u64,
    /// Number of entries of the active L1 table and where it starts.
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    /// Where the refcount table starts and how many clusters it has.
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u32,
    /// A refcount has two to the power of this bits: 0 to 6.
    pub(super) refcount_order: u32,
    /// True if each cluster has 32 parts with a state of their own.
    pub extended_l2: bool,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// True if the refcounts may be behind the tables after a crash ("lazy refcounts"); reading needs none of them.
    pub dirty: bool,
    /// Where the directory of persistent bitmaps starts, its bytes and its number of entries.
    pub(super) bitmaps: Option<(u64, u64, u32)>,
    /// Where the LUKS header lies and its length.
    pub(super) encryption_header: Option<(u64, u64)>,
}

/// Reads the header of `path` if it is a qcow2 image; `None` if it is something else.
pub fn peek(path: &Path) -> Result<Option<QcowHeader>, ImageError> {
    let file = fs::File::open(path)?;
    let mut magic = [0; 4];
    if read_at(&file, &mut magic, 0)? < 4 || magic != MAGIC {
        return Ok(None);
    }
    read(&file, path).map(Some)
}

/// Reads the header of a qcow2 image.
pub(super) fn read(file: &fs::File, path: &Path) -> Result<QcowHeader, ImageError> {
    let broken = |reason| ImageError::Header {
        path: path.to_owned(),
        reason,
    };
    let mut head = vec![0; FIRST];
    let got = read_at(file, &mut head, 0)?;
    head.truncate(got);
    if head.get(..4) != Some(&MAGIC) {
        let reason = "it does not start with the format's magic number; is it a raw image?";
        return Err(broken(reason.into()));
    }
    // A header that goes on behind a page is rare.
    if let Ok(header) = QcowHeader::parse(&head) {
        return Ok(header);
    }
    head.resize(LARGEST, 0);
    let got = read_at(file, &mut head, 0)?;
    QcowHeader::parse(&head[..got]).map_err(broken)
}

impl QcowHeader {
    /// Reads a header from the first bytes of a file: its first cluster, or all of a shorter file.
    pub fn parse(head: &[u8]) -> Result<Self, String> {
        if head.get(..4) != Some(&MAGIC) {
            return Err("it does not start with the format's magic number".into());
        }
        let version = word(head, 4)?;
        if !matches!(version, 2 | 3) {
            return Err(format!("version {version} is unknown"));
        }
        let cluster_bits = word(head, 20)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(format!("a cluster cannot have 2^{cluster_bits} bytes"));
        }
        let virtual_size = long(head, 24)?;
        if i64::try_from(virtual_size).is_err() {
            return Err(format!("a disk cannot have {virtual_size} bytes"));
        }
        let later = version == 3;
        let features = if later { long(head, 72)? } else { 0 };
        let length = if later { word(head, 100)? } else { 72 };
        if later && !(104..=1 << cluster_bits).contains(&length) {
            return Err(format!("its header says that it is {length} bytes long"));
        }
        if features & CORRUPT != 0 {
            return Err("it is marked as corrupt; `qemu-img check -r all` may repair it".into());
        }
        if features & !KNOWN != 0 {
            let bit = (features & !KNOWN).trailing_zeros();
            return Err(format!(
                "it needs the incompatible feature {bit}, which is unknown"
            ));
        }
        let compression = match (length > 104).then(|| head.get(104)).flatten() {
            None | Some(0) => Compression::Zlib,
            Some(1) => Compression::Zstd,
            Some(other) => return Err(format!("its compression type {other} is unknown")),
        };
        let mut header = Self {
            version,
            virtual_size,
            cluster_bits,
            backing: None,
            backing_format: None,
            external_data: features & EXTERNAL_DATA != 0,
            data_file: None,
            encrypted: word(head, 32)? != 0,
            snapshots: word(head, 60)?,
            snapshots_offset: long(head, 64)?,
            l1_entries: word(head, 36)?,
            l1_offset: long(head, 40)?,
            refcount_table_offset: long(head, 48)?,
            refcount_table_clusters: word(head, 56)?,
            refcount_order: if later { word(head, 96)? } else { 4 },
            extended_l2: features & EXTENDED_L2 != 0,
            compression,
            dirty: features & DIRTY != 0,
            bitmaps: None,
            encryption_header: None,
        };
        header.check()?;
        let names = header.backing_name(head)?;
        header.extensions(head, length as usize, names)?;
        Ok(header)
    }

    /// Bytes of a cluster.
    pub const fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Guest bytes that one L2 table, which is one cluster, describes.
    pub(super) const fn table_span(&self) -> u64 {
        let entry_bits = if self.extended_l2 { 4 } else { 3 };
        1 << (2 * self.cluster_bits - entry_bits)
    }

    fn check(&self) -> Result<(), String> {
        let aligned = |what: &str, offset: u64| {
            if offset.is_multiple_of(self.cluster_size()) && i64::try_from(offset).is_ok() {
                Ok(())
            } else {
                Err(format!(
                    "its {what} is said to start at {offset}, which is no cluster's start"
                ))
            }
        };
        if self.extended_l2 && self.cluster_bits < 14 {
            return Err("clusters with parts cannot be smaller than 16 KiB".into());
        }
        if self.refcount_order > 6 {
            return Err(format!("a refcount cannot have 2^{} bits", self.refcount_order));
        }
        if u64::from(self.l1_entries) * 8 > MAX_L1 {
            return Err(format!("an L1 table of {} entries is too large", self.l1_entries));
        }
        let needed = self.virtual_size.div_ceil(self.table_span());
        if u64::from(self.l1_entries) < needed {
            return Err(format!(
                "its L1 table has {} entries, but a disk of {} bytes needs {needed}",
                self.l1_entries, self.virtual_size
            ));
        }
        aligned("L1 table", self.l1_offset)?;
        aligned("refcount table", self.refcount_table_offset)?;
        if u64::from(self.refcount_table_clusters) << self.cluster_bits
            > MAX_REFCOUNT_TABLE.max(self.cluster_size())
        {
            let clusters = self.refcount_table_clusters;
            return Err(format!("a refcount table of {clusters} clusters is too large"));
        }
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(format!("{} snapshots are too many", self.snapshots));
        }
        if self.snapshots > 0 {
            aligned("snapshot table", self.snapshots_offset)?;
        }
        Ok(())
    }

    /// Reads the backing file's name; returns where the extensions have to end.
    fn backing_name(&mut self, head: &[u8]) -> Result<usize, String> {
        let limit = head.len().min(1 << self.cluster_bits);
        let offset = long(head, 8)?;
        if offset == 0 {
            return Ok(limit);
        }
        let size = word(head, 16)?;
        if size > MAX_NAME {
            return Err(format!("its backing file's name is {size} bytes long"));
        }
        let start = usize::try_from(offset).ok().filter(|start| *start < limit);
        let name = start.and_then(|start| head.get(start..start + size as usize));
        let (Some(start), Some(name)) = (start, name) else {
            return Err(format!(
                "its backing file's name is said to lie at {offset}, outside of the header"
            ));
        };
        if size > 0 {
            self.backing = Some(text("its backing file's name", name)?);
        }
        Ok(start)
    }

    fn extensions(&mut self, head: &[u8], mut at: usize, end: usize) -> Result<(), String> {
        while at + 8 <= end {
            let (kind, length) = (word(head, at)?, word(head, at + 4)? as usize);
            let body = at + 8;
            if kind == 0 {
                return Ok(());
            }
            let Some(content) = head
                .get(body..body.saturating_add(length))
                .filter(|_| body + length <= end)
            else {
                return Err(format!(
                    "its header extension {kind:#x} at {at} is said to be {length} bytes long"
                ));
            };
            match kind {
                EXT_BACKING_FORMAT => self.backing_format = Some(text("its backing file's format", content)?),
                EXT_DATA_FILE => self.data_file = Some(text("its data file's name", content)?),
                EXT_BITMAPS => {
                    self.bitmaps = Some((long(content, 16)?, long(content, 8)?, word(content, 0)?));
                }
                EXT_ENCRYPTION => self.encryption_header = Some((long(content, 0)?, long(content, 8)?)),
                _ => {}
            }
            at = body + length.next_multiple_of(8);
        }
        Ok(())
    }
}

fn text(what: &str, bytes: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => {
            let shown = printable(&String::from_utf8_lossy(bytes), 80);
            Err(format!("{what}, `{shown}`, is no text"))
        }
    }
}

fn word(head: &[u8], at: usize) -> Result<u32, String> {
    be32(head, at).ok_or_else(|| ends(head))
}

fn long(head: &[u8], at: usize) -> Result<u64, String> {
    be64(head, at).ok_or_else(|| ends(head))
}

fn ends(head: &[u8]) -> String {
    format!("it ends inside its header, after {} bytes", head.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(&MAGIC);
        head[7] = 3;
        head[23] = 16;
        head[28..32].copy_from_slice(&0x10_0000u32.to_be_bytes());
        head[39] = 1;
        head[45] = 3;
        head[99] = 4;
        head[103] = 104;
        head
    }

    #[test]
    fn a_plain_header_is_read() {
        let read = QcowHeader::parse(&header()).unwrap();
        assert_eq!((read.version, read.virtual_size), (3, 1 << 20));
        assert!(read.backing.is_none() && !read.encrypted && !read.external_data);
    }

    #[test]
    fn names_and_extensions_are_read() {
        let mut head = header();
        head[104..112].copy_from_slice(&[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 3]);
        head[112..115].copy_from_slice(b"raw");
        head[15] = 0x90;
        head[19] = 4;
        head[0x90..0x94].copy_from_slice(b"base");
        let read = QcowHeader::parse(&head).unwrap();
        assert_eq!(read.backing.as_deref(), Some("base"));
        assert_eq!(read.backing_format.as_deref(), Some("raw"));
        head[111] = 200;
        assert!(QcowHeader::parse(&head).unwrap_err().contains("0xe2792aca"));
    }

    #[test]
    fn lies_are_refused_with_their_reason() {
        let with = |at: usize, value: u8| {
            let mut head = header();
            head[at] = value;
            QcowHeader::parse(&head)
        };
        for (at, value, reason) in [
            (7, 9, "version 9"),
            (23, 40, "2^40"),
            (24, 0x80, "cannot have"),
            (27, 1, "L1 table has 1 entries"),
            (36, 1, "too large"),
            (47, 1, "no cluster's start"),
            (55, 1, "refcount table"),
            (56, 1, "clusters is too large"),
            (60, 1, "snapshots are too many"),
            (79, 2, "corrupt"),
            (79, 0x20, "incompatible feature 5"),
            (99, 7, "2^7 bits"),
            (103, 0, "0 bytes long"),
        ] {
            let error = with(at, value).unwrap_err();
            assert!(error.contains(reason), "{at}: {error}");
        }
        assert!(with(79, 4).unwrap().external_data);
        assert!(with(35, 2).unwrap().encrypted);
        let mut named = header();
        named[15] = 104;
        named[17] = 1;
        assert!(
            QcowHeader::parse(&named)
                .unwrap_err()
                .contains("65536 bytes long")
        );
        named[17] = 0;
        named[19] = 9;
        named[14] = 2;
        assert!(
            QcowHeader::parse(&named)
                .unwrap_err()
                .contains("outside of the header")
        );
        assert!(
            QcowHeader::parse(&header()[..30])
                .unwrap_err()
                .contains("after 30 bytes")
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..512) {
            let _ = QcowHeader::parse(&bytes);
            let mut head = header();
            for (to, byte) in head[at..].iter_mut().zip(&bytes) {
                *to = *byte;
            }
            let _ = QcowHeader::parse(&head);
        }
    }
}
