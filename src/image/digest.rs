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
const BLOCK: usize = 64 * 1024;
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
    let mut outer = blake3::Hasher::new();
    let mut done = 0;
    let windows = disk.windows()?;
    in_order(
        windows.into_iter(),
        || {
            let mut reader = disk.reader();
            move |(start, end)| blocks(disk, &mut reader, start, end).map(|blocks| (end, blocks))
        },
        |(end, blocks): (u64, Vec<(u64, blake3::Hash)>)| {
            for (start, hash) in blocks {
                outer.update(&start.to_le_bytes());
                outer.update(hash.as_bytes());
            }
            advance(end - done);
            done = end;
            Ok(())
        },
    )?;
    advance(disk.virtual_size() - done);
    Ok(ContentDigest(outer.finalize()))
}

/// The digests of the blocks of `start..end` that are not all zero.
fn blocks(
    disk: &Disk,
    reader: &mut DiskReader<'_>,
    start: u64,
    end: u64,
) -> Result<Vec<(u64, blake3::Hash)>, ImageError> {
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
            block[length..].fill(0);
            if !is_zero(&block) {
                hashes.push((at, blake3::hash(&block)));
            }
            at += BLOCK as u64;
        }
    }
    Ok(hashes)
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
