//! Taking the output of one encoder run apart into its blocks, as it comes: what the formats have in common. What their
//! headers look like is theirs (`frame`, `xz`).

use std::io;

/// Takes the output of one encoder run apart.
pub(super) trait Blocks {
    /// Takes the next piece of it and hands pieces of blocks to `out`.
    fn feed(&mut self, input: &[u8], out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

/// Moves bytes from `input` to `held` until these are `size`; true if they are.
pub(super) fn collect(held: &mut Vec<u8>, input: &mut &[u8], size: usize) -> bool {
    let (piece, rest) = input.split_at((size - held.len()).min(input.len()));
    held.extend(piece);
    *input = rest;
    held.len() == size
}
