//! Two digests: of an image's file, which names it, and of its guest-visible content, which tells equal disks
//! however they are stored.

use super::{Format, ImageError, qemu};
use crate::name::Digest;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::os::unix::fs::FileExt;
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

/// The content digest of an image whose files are `files`: the image itself first, then what it stands on.
///
/// Only images without compressed or encrypted clusters can be read this way, such as those that
/// [`super::convert`] makes. `advance` is told the number of guest bytes after each extent.
pub fn content_digest(
    files: &[(&Path, Format)],
    advance: &mut dyn FnMut(u64),
) -> Result<ContentDigest, ImageError> {
    let Some(&(top, format)) = files.first() else {
        return Ok(Blocks::new().finish());
    };
    let open = files
        .iter()
        .map(|(path, _)| fs::File::open(*path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut blocks = Blocks::new();
    let mut buffer = vec![0; BUFFER];
    for extent in qemu::map(top, format)? {
        if extent.data && !extent.zero {
            let (Some(offset), Some(file)) = (extent.offset, open.get(extent.depth)) else {
                return Err(ImageError::Unsupported {
                    path: top.to_owned(),
                    what: "compressed or foreign data".into(),
                    hint: "make a plain copy with `qemu-img convert -O qcow2`",
                });
            };
            let mut done = 0;
            while done < extent.length {
                let take = usize::try_from(extent.length - done).map_or(BUFFER, |left| left.min(BUFFER));
                let got = read_at(file, &mut buffer[..take], offset.saturating_add(done))?;
                // Past a file's end QEMU reads zeros.
                buffer[got..take].fill(0);
                blocks.put(extent.start + done, &buffer[..take]);
                done += take as u64;
            }
        }
        advance(extent.length);
    }
    Ok(blocks.finish())
}

/// Fills `buffer` from `offset` on as far as the file goes; returns the number of bytes.
fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.file().read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(std::io::Error::new(
                    e.kind(),
                    format!("{}: {e}", file.path().display()),
                ));
            }
        }
    }
    Ok(done)
}

/// Collects guest bytes, given in ascending order, into blocks.
struct Blocks {
    outer: blake3::Hasher,
    block: Vec<u8>,
    start: u64,
}

impl Blocks {
    fn new() -> Self {
        Self {
            outer: blake3::Hasher::new(),
            block: vec![0; BLOCK],
            start: 0,
        }
    }

    fn put(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let start = at - within as u64;
            if start != self.start {
                self.flush();
                self.start = start;
            }
            let take = bytes.len().min(BLOCK - within);
            self.block[within..within + take].copy_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            at += take as u64;
        }
    }

    fn flush(&mut self) {
        if self.block.iter().any(|b| *b != 0) {
            self.outer.update(&self.start.to_le_bytes());
            self.outer.update(blake3::hash(&self.block).as_bytes());
            self.block.fill(0);
        }
    }

    fn finish(mut self) -> ContentDigest {
        self.flush();
        ContentDigest(self.outer.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[(u64, &[u8])]) -> ContentDigest {
        let mut blocks = Blocks::new();
        for (at, bytes) in pieces {
            blocks.put(*at, bytes);
        }
        blocks.finish()
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
    fn pieces_and_zeros_make_no_difference() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let whole = of(&[(1000, &bytes)]);
        let cut: Vec<(u64, &[u8])> = bytes
            .chunks(7001)
            .enumerate()
            .map(|(i, c)| (1000 + 7001 * i as u64, c))
            .collect();
        assert_eq!(of(&cut), whole);
        let mut padded = cut.clone();
        let zeros = vec![0; 300_000];
        padded.push((1_000_000, &zeros));
        assert_eq!(of(&padded), whole);
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
