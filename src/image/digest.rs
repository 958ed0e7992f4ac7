//! Two digests: of an image's file, which names it, and of its guest-visible content, which tells equal disks
//! however they are stored.

use super::bytes::is_zero;
use super::ordered::in_order;
use super::{Disk, DiskReader, ImageError};
use crate::name::Digest;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Bytes of one guest block of the content digest.
pub(super) const BLOCK: usize = 64 * 1024;
/// The most blocks that are remembered of a disk: 40 MB, for 64 GiB of data.
pub(super) const REMEMBERED: usize = 1 << 20;
/// About how many blocks are read although they are said to be unchanged.
const TESTED: usize = 64;
/// Bytes read at once from a file.
const BUFFER: usize = 1024 * 1024;

/// A digest of what a guest reads from a disk, whatever the format and layout of its files: BLAKE3 over, for each
/// 64 KiB block that is not all zero, in order, its byte offset as an unsigned 64-bit little-endian number and the
/// BLAKE3 digest of the block. A shorter last block counts as filled up with zeros. Written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest(blake3::Hash);

impl std::fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_hex().as_str())
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match blake3::Hash::from_hex(text) {
            Ok(hash) if lower => Ok(Self(hash)),
            _ => Err(format!(
                "`{}` is not a content digest: 64 lower-case hexadecimal digits are needed",
                crate::name::printable(text, 80)
            )),
        }
    }
}

impl serde::Serialize for ContentDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ContentDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The SHA-256 digest of a file. `advance` is told the number of bytes after each piece.
pub fn sha256_file(path: &Path, advance: &mut dyn FnMut(u64)) -> Result<Digest, ImageError> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            n => {
                hasher.update(&buffer[..n]);
                advance(n as u64);
            }
        }
    }
}

/// The content digest of a disk. `advance` is told the number of guest bytes after each piece.
pub fn content_digest(disk: &Disk, advance: &mut dyn FnMut(u64)) -> Result<ContentDigest, ImageError> {
    Content::of(disk, advance).map(|content| content.digest)
}

/// A block that is not all zero: its byte offset and its digest.
pub(super) type Block = (u64, blake3::Hash);

/// Puts a content digest together from blocks in their order.
#[derive(Debug, Default)]
pub(super) struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    pub(super) fn add(&mut self, (start, hash): Block) {
        self.0.update(&start.to_le_bytes());
        self.0.update(hash.as_bytes());
    }

    pub(super) fn finish(&self) -> ContentDigest {
        ContentDigest(self.0.finalize())
    }
}

/// The content of a disk that has been read: its digest, and those of its first blocks, so that a disk that stands on
/// this one needs not be read where it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    digest: ContentDigest,
    /// Ascending.
    pub(super) blocks: Vec<Block>,
    /// Where one does not remember any more.
    until: u64,
}

impl Content {
    /// Reads a disk. `advance` is told the number of guest bytes after each piece.
    pub fn of(disk: &Disk, advance: &mut dyn FnMut(u64)) -> Result<Self, ImageError> {
        let mut builder = ContentBuilder::default();
        let mut done = 0;
        let windows = disk.windows()?;
        in_order(
            windows.into_iter(),
            || {
                let mut reader = disk.reader();
                move |(start, end)| blocks(disk, &mut reader, start, end).map(|blocks| (end, blocks))
            },
            |(end, blocks): (u64, Vec<Block>)| {
                for block in blocks {
                    builder.add(block);
                }
                advance(end - done);
                done = end;
                Ok(())
            },
        )?;
        advance(disk.virtual_size() - done);
        Ok(builder.finish())
    }

    /// The digest.
    pub const fn digest(&self) -> ContentDigest {
        self.digest
    }

    /// True if all blocks are remembered.
    pub(super) const fn is_whole(&self) -> bool {
        self.until == u64::MAX
    }

    /// The digest of the block at `start`, if it is not all zero, and whether it is one of the few by which a claim that
    /// nothing has changed is tested.
    pub(super) fn block(&self, start: u64) -> Option<(blake3::Hash, bool)> {
        let place = self.blocks.binary_search_by_key(&start, |(at, _)| *at).ok()?;
        let step = (self.blocks.len() / TESTED).max(1);
        Some((self.blocks[place].1, place % step == step / 2))
    }

    /// The ranges of whole windows that have blocks, ascending.
    pub(super) fn outline(&self, window: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (at, _) in &self.blocks {
            let start = at - at % window;
            if ranges.last().is_none_or(|(last, _)| *last != start) {
                ranges.push((start, start + window));
            }
        }
        ranges
    }

    /// The blocks of `start..end`, if they are remembered. A block that is cut there may go on in this disk.
    pub(super) fn known(&self, start: u64, end: u64) -> Option<&[Block]> {
        let place = |at| self.blocks.partition_point(|(start, _)| *start < at);
        let whole = end.is_multiple_of(BLOCK as u64);
        (whole && end <= self.until).then(|| &self.blocks[place(start)..place(end)])
    }
}

/// A [`Content`] that is being put together from blocks in their order.
#[derive(Debug)]
pub(super) struct ContentBuilder {
    hasher: ContentHasher,
    blocks: Vec<Block>,
    until: u64,
}

impl Default for ContentBuilder {
    fn default() -> Self {
        Self {
            hasher: ContentHasher::default(),
            blocks: Vec::new(),
            until: u64::MAX,
        }
    }
}

impl ContentBuilder {
    pub(super) fn add(&mut self, block: Block) {
        self.hasher.add(block);
        if self.blocks.len() < REMEMBERED {
            self.blocks.push(block);
        } else {
            self.until = self.until.min(block.0);
        }
    }

    pub(super) fn finish(self) -> Content {
        Content {
            digest: self.hasher.finish(),
            blocks: self.blocks,
            until: self.until,
        }
    }
}

/// The digests of the blocks of `start..end` that are not all zero.
fn blocks(disk: &Disk, reader: &mut DiskReader<'_>, start: u64, end: u64) -> Result<Vec<Block>, ImageError> {
    let extents = disk.extents(start, end)?;
    let mut hashes = Vec::new();
    let mut block = vec![0; BLOCK];
    let mut at = start;
    for extent in extents.iter().filter(|extent| !extent.place.reads_zero()) {
        // The block that the extent begins in may be done.
        at = at.max(extent.start - extent.start % BLOCK as u64);
        while at < extent.end() {
            let length = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
            reader.read_mapped(&extents, at, &mut block[..length])?;
            hash_blocks(at, &block[..length], &mut |block| hashes.push(block));
            at += BLOCK as u64;
        }
    }
    Ok(hashes)
}

/// Hands out the digests of the blocks of `bytes` that are not all zero. The first begins with the first byte, the guest's
/// byte `start`; only the disk's last may be cut.
pub(super) fn hash_blocks(start: u64, bytes: &[u8], take: &mut dyn FnMut(Block)) {
    for (at, block) in (start..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
        if is_zero(block) {
            continue;
        }
        let hash = if block.len() == BLOCK {
            blake3::hash(block)
        } else {
            let mut whole = block.to_vec();
            whole.resize(BLOCK, 0);
            blake3::hash(&whole)
        };
        take((at, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Format;
    use std::io::{Seek, Write};

    fn of(pieces: &[(u64, &[u8])]) -> ContentDigest {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(20 << 20).unwrap();
        for (at, bytes) in pieces {
            file.seek(std::io::SeekFrom::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        let disk = Disk::open(file.path(), Format::Raw, &|_, _| false).unwrap();
        let mut seen = 0;
        let digest = content_digest(&disk, &mut |n| seen += n).unwrap();
        assert_eq!(seen, 20 << 20);
        digest
    }

    #[test]
    fn the_definition_by_hand() {
        let mut block = vec![0; BLOCK];
        block[5] = 7;
        let mut outer = blake3::Hasher::new();
        outer.update(&(3 * BLOCK as u64).to_le_bytes());
        outer.update(blake3::hash(&block).as_bytes());
        let expected = ContentDigest(outer.finalize());
        assert_eq!(of(&[(3 * BLOCK as u64 + 5, &[7])]), expected);
        assert_eq!(expected.to_string().parse::<ContentDigest>().unwrap(), expected);
    }

    #[test]
    fn holes_and_zeros_are_alike() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let whole = of(&[(1000, &bytes)]);
        let zeros = vec![0; 300_000];
        assert_eq!(of(&[(1000, &bytes), (1_000_000, &zeros)]), whole);
        assert_ne!(of(&[(1001, &bytes)]), whole);
        assert_ne!(of(&[]), whole);
    }

    #[test]
    fn sha256_of_a_file_is_the_known_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let mut seen = 0;
        let digest = sha256_file(&path, &mut |n| seen += n).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(seen, 3);
    }
}
