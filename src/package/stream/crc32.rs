//! CRC-32 as gzip and xz use it (RFC 1952, section 8). It finds accidents; against intent there are the SHA-256s.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut byte, mut start) = (0, 0u32);
    while byte < table.len() {
        let (mut rest, mut bit) = (start, 0);
        while bit < 8 {
            rest = if rest & 1 == 1 {
                0xedb8_8320 ^ rest >> 1
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
        start += 1;
    }
    table
}

/// A checksum, over as many pieces as there are.
#[derive(Debug, Clone, Copy)]
pub(in crate::package) struct Crc32(u32);

impl Crc32 {
    pub(in crate::package) const fn new() -> Self {
        Self(u32::MAX)
    }

    pub(in crate::package) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let low = self.0.to_le_bytes()[0];
            self.0 = self.0 >> 8 ^ TABLE[usize::from(low ^ byte)];
        }
    }

    pub(in crate::package) const fn value(self) -> u32 {
        !self.0
    }

    /// That of `bytes`.
    pub(in crate::package) fn of(bytes: &[u8]) -> u32 {
        let mut crc = Self::new();
        crc.update(bytes);
        crc.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_value() {
        assert_eq!(Crc32::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc32::of(b""), 0);
    }
}
