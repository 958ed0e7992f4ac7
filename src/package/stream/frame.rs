//! Zstandard frames made by hand (RFC 8878, section 3.1.1): plain blocks before and after the blocks of one encoder run.
//!
//! A plain block keeps its place and length whatever is written into it, so what it says can be filled in later; and
//! the blocks of one run can stand in several frames. Two runs in one frame would not do: a block may lean on the
//! tables and the offsets of the one before it. dpkg reads the first frame of a file only, so one it has to be.

use super::blocks::collect;
use std::io;

/// Magic number, little-endian.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The most bytes of a plain block, if the window is not smaller; the encoder's never is.
const MAX_BLOCK: usize = 128 * 1024;
/// Magic number, descriptor, window: a frame header without dictionary, content size and checksum.
const HEADER: usize = 6;
const BLOCK_HEADER: usize = 3;
/// Block types.
const RAW: u32 = 0;
const RLE: u32 = 1;

/// The begin of a frame whose window is at least `window` (a Window_Descriptor), with `prefix` in plain blocks.
pub(super) fn open(window: u8, prefix: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + prefix.len() + 64);
    out.extend(MAGIC);
    out.extend([0, window]);
    for piece in prefix.chunks(MAX_BLOCK) {
        out.extend(block_header(RAW, piece.len(), false));
        out.extend(piece);
    }
    out
}

/// The end of a frame: `suffix` in a plain block. It may be empty and is at most 128 KiB.
pub(super) fn close(suffix: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_HEADER + suffix.len());
    out.extend(block_header(RAW, suffix.len(), true));
    out.extend(suffix);
    out
}

fn block_header(kind: u32, size: usize, last: bool) -> [u8; BLOCK_HEADER] {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let [a, b, c, _] = (size << 3 | kind << 1 | u32::from(last)).to_le_bytes();
    [a, b, c]
}

/// Takes the frame of one encoder run apart: what comes out are its blocks, none of them marked as the last.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    state: State,
    /// The part of a header that has come so far.
    held: Vec<u8>,
    window: Option<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Header,
    BlockHeader,
    Body {
        left: usize,
        last: bool,
    },
    End,
}

impl super::blocks::Blocks for Blocks {
    fn feed(&mut self, mut input: &[u8], out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while !input.is_empty() {
            match self.state {
                State::Header => {
                    if collect(&mut self.held, &mut input, HEADER) {
                        if self.held[..4] != MAGIC || self.held[4] != 0 {
                            return Err(io::Error::other("zstd made a frame of an unknown kind"));
                        }
                        self.window = Some(self.held[5]);
                        self.held.clear();
                        self.state = State::BlockHeader;
                    }
                }
                State::BlockHeader => {
                    if collect(&mut self.held, &mut input, BLOCK_HEADER) {
                        self.begin_block(out)?;
                    }
                }
                State::Body { left, last } => {
                    let (piece, rest) = input.split_at(left.min(input.len()));
                    out(piece)?;
                    input = rest;
                    self.state = State::after(left - piece.len(), last);
                }
                State::End => return Err(io::Error::other("zstd wrote more than one frame")),
            }
        }
        Ok(())
    }
}

impl Blocks {
    /// The Window_Descriptor of the frame, once it has come.
    pub(super) const fn window(&self) -> Option<u8> {
        self.window
    }

    /// True once the last block has come.
    pub(super) const fn ended(&self) -> bool {
        matches!(self.state, State::End)
    }

    fn begin_block(&mut self, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let header = u32::from_le_bytes([self.held[0], self.held[1], self.held[2], 0]);
        self.held.clear();
        let (last, kind) = (header & 1 == 1, header >> 1 & 3);
        let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
        let stored = if kind == RLE { 1 } else { size };
        // The encoder's way to say that nothing more comes.
        if size > 0 {
            out(&block_header(kind, size, false))?;
        }
        self.state = State::after(stored, last);
        Ok(())
    }
}

impl State {
    const fn after(left: usize, last: bool) -> Self {
        match (left, last) {
            (0, true) => Self::End,
            (0, false) => Self::BlockHeader,
            _ => Self::Body { left, last },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Blocks as _;
    use super::*;
    use std::io::Write;

    fn blocks(frame: &[u8], step: usize) -> (u8, Vec<u8>) {
        let mut blocks = Blocks::default();
        let mut out = Vec::new();
        for piece in frame.chunks(step) {
            blocks
                .feed(piece, &mut |bytes| {
                    out.extend(bytes);
                    Ok(())
                })
                .unwrap();
        }
        assert!(blocks.ended());
        (blocks.window().unwrap(), out)
    }

    #[test]
    fn a_frame_made_by_hand_reads_as_one() {
        // Words that repeat, then noise, then one letter: compressed, raw and RLE blocks.
        let mut plain: Vec<u8> = b"the quick brown fox "
            .iter()
            .copied()
            .cycle()
            .take(300_000)
            .collect();
        let mut state = 1u32;
        plain.extend((0..300_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        }));
        plain.extend(vec![b'x'; 900_000]);
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.multithread(2).unwrap();
        encoder.write_all(&plain).unwrap();
        let frame = encoder.finish().unwrap();
        let (window, body) = blocks(&frame, 1);
        assert_eq!(blocks(&frame, 100_000), (window, body.clone()));
        let prefix = vec![b'p'; 200_000];
        let mut made = open(window, &prefix);
        made.extend(&body);
        made.extend(close(b"suffix"));
        let read = zstd::decode_all(&made[..]).unwrap();
        assert_eq!(read, [&prefix[..], &plain, b"suffix"].concat());
        // Exactly one frame.
        let mut again = made.clone();
        again.extend(zstd::encode_all(&b"second"[..], 3).unwrap());
        let mut first = Vec::new();
        std::io::Read::read_to_end(
            &mut zstd::Decoder::new(&again[..]).unwrap().single_frame(),
            &mut first,
        )
        .unwrap();
        assert_eq!(first, read);
    }

    #[test]
    fn a_frame_may_have_plain_blocks_only() {
        let made = [open(0x58, b"a"), close(b"")].concat();
        assert_eq!(zstd::decode_all(&made[..]).unwrap(), b"a");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let feed = |bytes: &[u8]| Blocks::default().feed(bytes, &mut |_| Ok(()));
        assert!(feed(b"no frame at all").is_err());
        let mut frame = open(0x58, b"a");
        frame.extend(close(b""));
        frame.push(0);
        assert!(feed(&frame).is_err());
    }
}
