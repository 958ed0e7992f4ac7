//! Small things about bytes: lengths, big-endian numbers, zeros, and reads at a place of a file.

use fs_err as fs;
use std::io;
use std::os::unix::fs::FileExt;

/// A length that is known to fit into memory.
pub(super) fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("memory is addressed by 64 bits")
}

/// The big-endian number at `at`, if the bytes are there.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}

/// The big-endian number at `at`, if the bytes are there.
pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_be_bytes(*field))
}

/// True if all bytes are zero. Compares with zeros that stay in the processor's cache, by the C library's `memcmp`:
/// as fast as memory, without optimisation too.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Fills `buffer` from `offset` on as far as the file goes; returns the number of bytes.
pub(super) fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.file().read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(named(file, &e)),
        }
    }
    Ok(done)
}

/// Fills `buffer` from `offset` on; past the file's end QEMU reads zeros, and so do we.
pub(super) fn read_padded(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let got = read_at(file, buffer, offset)?;
    buffer[got..].fill(0);
    Ok(())
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: &fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.file()
        .write_all_at(bytes, offset)
        .map_err(|e| named(file, &e))
}

/// The error with the file's name.
pub(super) fn named(file: &fs::File, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.path().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_found() {
        let mut bytes = vec![0; 5000];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in [0, 63, 4095, 4096, 4999] {
            bytes[at] = 0x10;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }
}
