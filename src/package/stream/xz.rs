//! xz streams made by hand ("The .xz File Format", version 1.2.1): blocks of plain bytes before and after the blocks of
//! one encoder run, and an index of all of them.
//!
//! As with zstd a plain block keeps its place and length whatever is written into it. Blocks of xz do not lean on each
//! other, but the index at a stream's end lists every one. rpm and dpkg read one stream and no more.

use super::blocks::collect;
use super::crc32::Crc32;
use std::io;

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const FOOTER_MAGIC: &[u8; 2] = b"YZ";
/// Stream flags: a CRC-32 after each block. Packages have digests beside it where their format knows them.
const FLAGS: [u8; 2] = [0, 1];
/// Bytes of a stream's header, and of its footer.
const HEADER: usize = 12;
/// Bytes of the check after a block.
const CHECK: u64 = 4;
/// Everything begins at a multiple of this.
const ALIGN: usize = 4;
/// The most bytes of an uncompressed chunk of LZMA2.
const MAX_CHUNK: usize = 64 * 1024;
/// The header of a plain block, without its CRC: its length, no sizes, the one filter LZMA2 with a window of 4 KiB.
const PLAIN: [u8; 8] = [2, 0, 0x21, 1, 0, 0, 0, 0];

/// What the index says of a block: its bytes without padding, and the bytes that were packed.
pub(super) type Record = (u64, u64);

/// The begin of a stream with `prefix`.
pub(super) fn open(prefix: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(FLAGS);
    out.extend(Crc32::of(&FLAGS).to_le_bytes());
    plain(&mut out, prefix);
    out
}

/// The end of the stream whose prefix had `prefix` bytes and whose image is in `blocks`: `suffix`, which may be empty.
pub(super) fn close(prefix: usize, blocks: &[Record], suffix: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut records = vec![record(prefix)];
    records.extend(blocks);
    if !suffix.is_empty() {
        plain(&mut out, suffix);
        records.push(record(suffix.len()));
    }
    let mut index = vec![0];
    number(&mut index, records.len() as u64);
    for (stored, plain) in records {
        number(&mut index, stored);
        number(&mut index, plain);
    }
    index.resize(index.len().next_multiple_of(ALIGN), 0);
    index.extend(Crc32::of(&index).to_le_bytes());
    let back = u32::try_from(index.len() / ALIGN - 1).unwrap_or(u32::MAX);
    let mut footer = back.to_le_bytes().to_vec();
    footer.extend(FLAGS);
    out.extend(index);
    out.extend(Crc32::of(&footer).to_le_bytes());
    out.extend(footer);
    out.extend(FOOTER_MAGIC);
    out
}

/// Adds a block that holds `bytes` as they are.
fn plain(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.extend(PLAIN);
    out.extend(Crc32::of(&PLAIN).to_le_bytes());
    for (number, chunk) in bytes.chunks(MAX_CHUNK).enumerate() {
        // The first one forgets what was before.
        out.push(if number == 0 { 1 } else { 2 });
        let length = u16::try_from(chunk.len() - 1).unwrap_or(u16::MAX);
        out.extend(length.to_be_bytes());
        out.extend(chunk);
    }
    out.push(0);
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
    out.extend(Crc32::of(bytes).to_le_bytes());
}

/// The record of a plain block of `size` bytes.
const fn record(size: usize) -> Record {
    let stored = PLAIN.len() + 4 + 3 * size.div_ceil(MAX_CHUNK) + size + 1;
    (stored as u64 + CHECK, size as u64)
}

/// A number of variable length: seven bits in each byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Such a number at `at`, and where the next thing stands.
fn number_at(bytes: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// Takes the stream of one encoder run apart: what comes out are its blocks.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    state: State,
    /// The part of a header that has come so far, or the last bytes of the stream.
    held: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Header,
    /// A block's header, or the first byte of the index.
    Block,
    Body(u64),
    Index,
}

impl super::blocks::Blocks for Blocks {
    fn feed(&mut self, mut input: &[u8], out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while !input.is_empty() {
            match self.state {
                State::Header => {
                    if collect(&mut self.held, &mut input, HEADER) {
                        if self.held[..6] != MAGIC || self.held[6..8] != FLAGS {
                            return Err(io::Error::other("xz made a stream of an unknown kind"));
                        }
                        self.held.clear();
                        self.state = State::Block;
                    }
                }
                State::Block => {
                    let size = (usize::from(*self.held.first().unwrap_or(&input[0])) + 1) * ALIGN;
                    if self.held.is_empty() && input[0] == 0 {
                        self.state = State::Index;
                    } else if collect(&mut self.held, &mut input, size) {
                        let left = self.begin_block()?;
                        out(&self.held)?;
                        self.held.clear();
                        self.state = State::Body(left);
                    }
                }
                State::Body(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (piece, rest) = input.split_at(take);
                    out(piece)?;
                    input = rest;
                    let left = left - take as u64;
                    self.state = if left == 0 {
                        State::Block
                    } else {
                        State::Body(left)
                    };
                }
                // We write an index of our own.
                State::Index => {
                    self.held
                        .extend(&input[input.len().saturating_sub(FOOTER_MAGIC.len())..]);
                    let old = self.held.len().saturating_sub(FOOTER_MAGIC.len());
                    self.held.drain(..old);
                    input = &[];
                }
            }
        }
        Ok(())
    }
}

impl Blocks {
    /// What the index has to say of the blocks, once the stream's end has come.
    pub(super) fn records(self) -> Option<Vec<Record>> {
        let ended = matches!(self.state, State::Index) && self.held == FOOTER_MAGIC;
        ended.then_some(self.records)
    }

    /// Looks at the block's header that is held; returns how many bytes follow it.
    fn begin_block(&mut self) -> io::Result<u64> {
        // The encoder with threads writes both sizes.
        let sizes = (self.held[1] & 0xc0 == 0xc0)
            .then(|| number_at(&self.held, 2))
            .flatten();
        let sizes = sizes.and_then(|(stored, at)| Some((stored, number_at(&self.held, at)?.0)));
        let (stored, plain) = sizes.ok_or_else(|| io::Error::other("xz made a block without sizes"))?;
        self.records
            .push((self.held.len() as u64 + stored + CHECK, plain));
        Ok(stored.next_multiple_of(ALIGN as u64) + CHECK)
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Blocks as _;
    use super::*;
    use crate::package::stream::Codec;
    use std::io::{Read, Write};

    fn decode(stream: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = liblzma::bufread::XzDecoder::new(stream);
        decoder.read_to_end(&mut plain).unwrap();
        assert_eq!(decoder.total_in(), stream.len() as u64, "one stream");
        plain
    }

    #[test]
    fn a_stream_made_by_hand_reads_as_one() {
        // Words, then noise, over more than two blocks of the encoder.
        let mut image: Vec<u8> = b"the quick brown fox "
            .iter()
            .copied()
            .cycle()
            .take(9_000_000)
            .collect();
        let mut state = 1u32;
        image.extend((0..500_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        }));
        let mut run = Codec::Xz(1).encoder(Vec::new()).unwrap();
        for piece in image.chunks(1_234_567) {
            run.write_all(piece).unwrap();
        }
        let (body, listed) = run.finish().unwrap();
        for length in [1, 65_536, 200_000] {
            let prefix = vec![b'p'; length];
            let end = Codec::Xz(1).close(prefix.len(), &listed, b"suffix");
            let whole = [open(&prefix), body.clone(), end].concat();
            assert_eq!(decode(&whole), [&prefix[..], &image, b"suffix"].concat());
        }
        let whole = [open(b"p"), body, Codec::Xz(1).close(1, &listed, b"")].concat();
        assert_eq!(decode(&whole).len(), image.len() + 1);
    }

    #[test]
    fn a_stream_comes_in_pieces_of_any_length() {
        let mut encoder = Codec::Xz(6).encoder(Vec::new()).unwrap();
        encoder.write_all(&vec![7; 100_000]).unwrap();
        let (body, listed) = encoder.finish().unwrap();
        let stream = [open(b"a"), body.clone(), Codec::Xz(6).close(1, &listed, b"")].concat();
        // Our own stream taken apart again has a block without sizes, which is none of the encoder's.
        assert!(Blocks::default().feed(&stream, &mut |_| Ok(())).is_err());
        assert!(
            Blocks::default()
                .feed(b"no stream at all", &mut |_| Ok(()))
                .is_err()
        );
        let alone = [&open(b"")[..HEADER], &body, &stream[stream.len() - 40..]].concat();
        for step in [1, 7, 100_000] {
            let (mut blocks, mut out) = (Blocks::default(), Vec::new());
            for piece in alone.chunks(step) {
                let mut take = |bytes: &[u8]| {
                    out.extend(bytes);
                    Ok(())
                };
                if blocks.feed(piece, &mut take).is_err() {
                    break;
                }
            }
            assert!(out.starts_with(&body), "{step}");
        }
        assert!(Blocks::default().records().is_none());
    }
}
