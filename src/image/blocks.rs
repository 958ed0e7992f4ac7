//! A disk's content as a list of its blocks' digests, in bytes: whoever has the list can tell what of another disk differs
//! from this one without having it.
//!
//! All numbers are unsigned and little-endian:
//!
//! ```text
//! 0   8 bytes  `MABLOCKS`
//! 8   4 bytes  version of the form, 1
//! 12  4 bytes  bytes of a block, 65536
//! 16  8 bytes  number of runs
//! 24  8 bytes  number of blocks
//! 32  runs of neighbouring blocks that are not all zero, ascending, 16 bytes each: number of the first, how many
//! …   the blocks' BLAKE3 digests, 32 bytes each, in order
//! ```
//!
//! Such a list vouches for itself: its content digest, which [`Content::from_list`] computes, is made of these blocks.

use super::bytes::index;
use super::digest::{BLOCK, Content, ContentBuilder, REMEMBERED};

const MAGIC: &[u8; 8] = b"MABLOCKS";
const VERSION: u32 = 1;
const LENGTH: u32 = 64 * 1024;
const HEAD: usize = 32;
const RUN: usize = 16;
/// More than any disk has: offsets fit a signed number of 64 bits.
const MOST: u64 = (i64::MAX as u64) / BLOCK as u64;

impl Content {
    /// The list of all blocks; none of a disk with so much data that they are not all remembered.
    pub fn list(&self) -> Option<Vec<u8>> {
        if !self.is_whole() {
            return None;
        }
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (start, _) in &self.blocks {
            let number = start / BLOCK as u64;
            match runs.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => runs.push((number, 1)),
            }
        }
        let mut list = Vec::with_capacity(HEAD + runs.len() * RUN + self.blocks.len() * 32);
        list.extend(MAGIC);
        list.extend(VERSION.to_le_bytes());
        list.extend(LENGTH.to_le_bytes());
        list.extend((runs.len() as u64).to_le_bytes());
        list.extend((self.blocks.len() as u64).to_le_bytes());
        for (first, count) in runs {
            list.extend(first.to_le_bytes());
            list.extend(count.to_le_bytes());
        }
        for (_, digest) in &self.blocks {
            list.extend(digest.as_bytes());
        }
        Some(list)
    }

    /// Reads a list that may come from anyone; the error is one sentence. Whether it is that of a certain disk, the
    /// content digest tells.
    pub fn from_list(list: &[u8]) -> Result<Self, String> {
        let head = list.first_chunk::<HEAD>().ok_or("it has no head")?;
        if &head[..8] != MAGIC {
            return Err("it is no list of blocks".into());
        }
        if head[8..12] != VERSION.to_le_bytes() || head[12..16] != LENGTH.to_le_bytes() {
            return Err("its form is one that this miniascape does not read".into());
        }
        let (runs, blocks) = (number(head, 16), number(head, 24));
        let bounded = blocks <= REMEMBERED as u64 && runs <= blocks;
        if !bounded || list.len() != HEAD + index(runs) * RUN + index(blocks) * 32 {
            return Err("its length is not what its head says".into());
        }
        let (runs, digests) = list[HEAD..].split_at(index(runs) * RUN);
        let mut digests = digests.as_chunks::<32>().0.iter();
        let mut builder = ContentBuilder::default();
        let mut least = 0;
        for run in runs.as_chunks::<RUN>().0 {
            let (first, count) = (number(run, 0), number(run, 8));
            if first < least || first > MOST || count == 0 || count > digests.len() as u64 {
                return Err("its runs are not in order, or longer than the list".into());
            }
            for (block, digest) in (first..).zip(digests.by_ref().take(index(count))) {
                builder.add((block * BLOCK as u64, blake3::Hash::from_bytes(*digest)));
            }
            // Runs that touch would be one.
            least = first + count + 1;
        }
        if digests.len() > 0 {
            return Err("it has digests of no block".into());
        }
        Ok(builder.finish())
    }
}

/// The number at `at`, which is within `bytes`.
fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(blocks: &[u64]) -> Content {
        let mut builder = ContentBuilder::default();
        for block in blocks {
            builder.add((block * BLOCK as u64, blake3::hash(&block.to_le_bytes())));
        }
        builder.finish()
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        for blocks in [&[][..], &[0], &[1, 2, 3, 7, 900], &[5, 6, 8]] {
            let content = content(blocks);
            let list = content.list().unwrap();
            assert_eq!(Content::from_list(&list).unwrap(), content);
            for length in 0..list.len() {
                assert!(Content::from_list(&list[..length]).is_err());
            }
        }
    }

    #[test]
    fn what_is_no_list_is_an_error_and_another_list_has_another_digest() {
        let content = content(&[1, 2, 3, 7]);
        let list = content.list().unwrap();
        for at in 0..list.len() {
            for bit in [0, 7] {
                let mut other = list.clone();
                other[at] ^= 1 << bit;
                let read = Content::from_list(&other);
                assert!(
                    read.is_err() || read.is_ok_and(|read| read.digest() != content.digest()),
                    "byte {at}"
                );
            }
        }
    }
}
