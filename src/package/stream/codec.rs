//! How the images in packages are compressed, and how a compressed stream is put together from a beginning that is
//! filled in later, an image, and an end.

use super::frame::{self, Blocks};
use std::io::{self, Write};
use zstd::zstd_safe::CParameter;

/// zstd's own default: it keeps up with disks, and more saves little.
const DEFAULT_LEVEL: i32 = 3;
/// Bytes that one thread compresses at a time. The result depends on it, so it is the same everywhere; and with
/// the number of threads it bounds the memory.
const JOB: u32 = 4 * 1024 * 1024;
/// The most threads.
const MAX_THREADS: usize = 12;

/// The compression of a package set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "name", content = "level", rename_all = "lowercase")]
pub enum Codec {
    /// Zstandard with a level from 1 to 19.
    Zstd(i32),
    /// None at all.
    None,
}

impl Default for Codec {
    fn default() -> Self {
        Self::Zstd(DEFAULT_LEVEL)
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    /// `zstd`, `zstd:LEVEL` or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str| {
            let level = text.parse().ok().filter(|level| (1..=19).contains(level));
            level.ok_or_else(|| format!("`{}`: levels are 1 to 19", crate::name::printable(text, 20)))
        };
        match text.split_once(':') {
            None if text == "zstd" => Ok(Self::default()),
            None if text == "none" => Ok(Self::None),
            Some(("zstd", text)) => level(text).map(Self::Zstd),
            _ => Err("the compressions are zstd, zstd:LEVEL and none".into()),
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Codec {
    /// What follows `.tar` in a file's name.
    pub(in crate::package) const fn suffix(self) -> &'static str {
        match self {
            Self::Zstd(_) => ".zst",
            Self::None => "",
        }
    }

    /// Starts a run of the encoder; its blocks go to `out`.
    pub(super) fn encoder<W: Write>(self, out: W) -> io::Result<Run<W>> {
        match self {
            Self::Zstd(level) => {
                let blocks = BlockWriter {
                    blocks: Blocks::default(),
                    out,
                };
                let mut encoder = zstd::Encoder::new(blocks, level)?;
                encoder.include_contentsize(false)?;
                encoder.include_checksum(false)?;
                // Always the encoder with threads: one thread gives the same bytes as many, none gives others.
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                encoder.multithread(u32::try_from(threads.min(MAX_THREADS)).unwrap_or(1))?;
                encoder.set_parameter(CParameter::JobSize(JOB))?;
                Ok(Run::Zstd(encoder))
            }
            Self::None => Ok(Run::None(out)),
        }
    }

    /// The beginning of a stream. It has the same length for every `prefix` of one length.
    pub(in crate::package) fn open(self, prefix: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(_) => Ok(frame::open(self.window()?, prefix)),
            Self::None => Ok(prefix.to_vec()),
        }
    }

    /// The window of every run at this level: an encoder that does not know how much will come takes the same always.
    fn window(self) -> io::Result<u8> {
        if let Run::Zstd(mut encoder) = self.encoder(io::sink())? {
            encoder.write_all(&[0])?;
            encoder.flush()?;
            if let Some(window) = encoder.get_ref().blocks.window() {
                return Ok(window);
            }
        }
        Err(io::Error::other("zstd tells no window"))
    }

    /// The end of a stream; `suffix` is at most 128 KiB.
    pub(in crate::package) fn close(self, suffix: &[u8]) -> Vec<u8> {
        match self {
            Self::Zstd(_) => frame::close(suffix),
            Self::None => suffix.to_vec(),
        }
    }

    /// A whole stream of its own, for small content. It ends with a checksum, because not every format has a digest of
    /// what is in it.
    pub(in crate::package) fn whole(self, content: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
                encoder.include_checksum(true)?;
                encoder.write_all(content)?;
                encoder.finish()
            }
            Self::None => Ok(content.to_vec()),
        }
    }
}

/// A run of the encoder.
pub(super) enum Run<W: Write> {
    Zstd(zstd::Encoder<'static, BlockWriter<W>>),
    None(W),
}

impl<W: Write> Run<W> {
    /// Where the blocks go.
    pub(super) fn out(&mut self) -> &mut W {
        match self {
            Self::Zstd(encoder) => &mut encoder.get_mut().out,
            Self::None(out) => out,
        }
    }

    /// Ends the run; all blocks have gone out then.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Zstd(encoder) => {
                let writer = encoder.finish()?;
                if writer.blocks.ended() {
                    Ok(writer.out)
                } else {
                    Err(io::Error::other("zstd did not end its frame"))
                }
            }
            Self::None(out) => Ok(out),
        }
    }
}

impl<W: Write> Write for Run<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on the blocks of the frame that is written to it.
pub(super) struct BlockWriter<W> {
    blocks: Blocks,
    out: W,
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let out = &mut self.out;
        self.blocks.feed(bytes, &mut |piece| out.write_all(piece))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_keeps_its_length() {
        for codec in [Codec::default(), Codec::Zstd(19), Codec::None] {
            let [a, b] = [b"abc", b"xyz"].map(|prefix| codec.open(prefix).unwrap());
            assert_eq!(a.len(), b.len());
            let whole = codec.whole(b"content").unwrap();
            match codec {
                Codec::Zstd(_) => assert_eq!(zstd::decode_all(&whole[..]).unwrap(), b"content"),
                Codec::None => assert_eq!(whole, b"content"),
            }
        }
    }

    #[test]
    fn codecs_have_names() {
        for (text, codec) in [
            ("zstd", Codec::Zstd(3)),
            ("zstd:19", Codec::Zstd(19)),
            ("none", Codec::None),
        ] {
            assert_eq!(text.parse(), Ok(codec));
        }
        for text in ["", "zstd:", "zstd:0", "zstd:20", "gzip", "none:1"] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
