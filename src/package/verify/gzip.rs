//! gzip (RFC 1952), to be read only: rpmbuild packs so where nobody tells it otherwise. One member, and its checksum
//! counts.

use crate::package::stream::Crc32;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};
use std::io::{self, BufRead, Read};

/// Bits of the header's flags: what stands between it and the data.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
/// The longest name or comment.
const MAX_TEXT: usize = 4096;

/// The content of a gzip member.
pub(super) struct Gunzip<R> {
    inner: R,
    state: Option<Box<InflateState>>,
    crc: Crc32,
    length: u32,
    ended: bool,
}

impl<R: BufRead> Gunzip<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            state: None,
            crc: Crc32::new(),
            length: 0,
            ended: false,
        }
    }

    fn header(&mut self) -> io::Result<()> {
        let [a, b, method, flags, ..]: [u8; 10] = self.array()?;
        if [a, b, method] != [0x1f, 0x8b, 8] || flags > 0x1f {
            return Err(bad("this is not gzip"));
        }
        if flags & EXTRA != 0 {
            let length = u16::from_le_bytes(self.array()?);
            io::copy(&mut (&mut self.inner).take(length.into()), &mut io::sink())?;
        }
        for text in [NAME, COMMENT] {
            let mut length = 0;
            while flags & text != 0 && self.array::<1>()? != [0] {
                length += 1;
                if length > MAX_TEXT {
                    return Err(bad("a name without end in gzip's header"));
                }
            }
        }
        if flags & HEADER_CRC != 0 {
            self.array::<2>()?;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn trailer(&mut self) -> io::Result<()> {
        let [crc, length] = [self.array()?, self.array()?].map(u32::from_le_bytes);
        if (crc, length) != (self.crc.value(), self.length) {
            return Err(bad("gzip's checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.state.is_none() {
            self.header()?;
        }
        let mut state = self
            .state
            .take()
            .unwrap_or_else(|| InflateState::new_boxed(DataFormat::Raw));
        let read = loop {
            let input = self.inner.fill_buf()?;
            let at_end = input.is_empty();
            let result = inflate(&mut state, input, buffer, MZFlush::None);
            self.inner.consume(result.bytes_consumed);
            let read = result.bytes_written;
            match result.status {
                Ok(MZStatus::StreamEnd) => {
                    self.ended = true;
                    break read;
                }
                Ok(_) if read > 0 => break read,
                Ok(_) if result.bytes_consumed > 0 => {}
                _ if at_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => return Err(bad("damaged gzip data")),
            }
        };
        self.state = Some(state);
        self.crc.update(&buffer[..read]);
        self.length = self.length.wrapping_add(u32::try_from(read).unwrap_or(0));
        if self.ended {
            self.trailer()?;
        }
        Ok(read)
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
