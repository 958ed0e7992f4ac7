//! How the images in packages are compressed, and how a compressed stream is put together from a beginning that is
//! filled in later, an image, and an end.

use super::blocks::Blocks;
use super::{frame, xz};
use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder, Stream};
use std::io::{self, Write};
use zstd::zstd_safe::CParameter;

/// zstd's own default: it keeps up with disks, and more saves little.
const DEFAULT_LEVEL: i32 = 3;
/// Bytes that one thread compresses at a time. The result depends on it, so it is the same everywhere; and with
/// the number of threads it bounds the memory. Half of it costs a tenth of the speed.
const JOB: u32 = 8 * 1024 * 1024;
/// The most threads. At zstd's default level they are as fast as the one that makes the image's SHA-256.
const MAX_THREADS: usize = 6;
/// xz's own default.
const XZ_LEVEL: i32 = 6;
/// Bytes of a block of xz, which one thread compresses at a time, and the most that an encoder looks back. Both bound
/// the memory: at the highest level a thread takes about 65 MiB.
const XZ_BLOCK: u64 = 8 * 1024 * 1024;
const XZ_WINDOW: u32 = 4 * 1024 * 1024;

/// The compression of a package set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "name", content = "level", rename_all = "lowercase")]
pub enum Codec {
    /// Zstandard with a level from 1 to 19.
    Zstd(i32),
    /// xz with a level from 1 to 6: slower and smaller, for targets whose rpm or dpkg knows no zstd.
    Xz(i32),
    /// None at all.
    None,
}

/// What the end of a stream has to say of the image in it: where the format is xz, the lengths of its blocks.
#[derive(Debug, Clone, Default)]
pub(in crate::package) struct Listing(Vec<xz::Record>);

impl Default for Codec {
    fn default() -> Self {
        Self::Zstd(DEFAULT_LEVEL)
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    /// `zstd`, `zstd:LEVEL`, `xz`, `xz:LEVEL` or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let level = |text: &str, most| {
            let level = text.parse().ok().filter(|level| (1..=most).contains(level));
            let shown = crate::name::printable(text, 20);
            level.ok_or_else(|| format!("`{shown}`: levels are 1 to {most}"))
        };
        match text.split_once(':') {
            None if text == "zstd" => Ok(Self::default()),
            None if text == "xz" => Ok(Self::Xz(XZ_LEVEL)),
            None if text == "none" => Ok(Self::None),
            Some(("zstd", text)) => level(text, 19).map(Self::Zstd),
            // What xz calls 7 to 9 is 6 with a longer look back.
            Some(("xz", text)) => level(text, XZ_LEVEL).map(Self::Xz),
            _ => Err("the compressions are zstd, zstd:LEVEL, xz, xz:LEVEL and none".into()),
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd:{level}"),
            Self::Xz(level) => write!(f, "xz:{level}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Codec {
    /// What follows `.tar` in a file's name.
    pub(in crate::package) const fn suffix(self) -> &'static str {
        match self {
            Self::Zstd(_) => ".zst",
            Self::Xz(_) => ".xz",
            Self::None => "",
        }
    }

    /// The compressor as rpm and dpkg-deb call it.
    pub(in crate::package) const fn name(self) -> &'static str {
        match self {
            Self::Zstd(_) => "zstd",
            Self::Xz(_) => "xz",
            Self::None => "none",
        }
    }

    /// Starts a run of the encoder; its blocks go to `out`.
    pub(super) fn encoder<W: Write>(self, out: W) -> io::Result<Run<W>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        self.encoder_with(u32::try_from(threads.min(MAX_THREADS)).unwrap_or(1), out)
    }

    /// Always the encoder with threads: one thread gives the same bytes as many, none gives others.
    fn encoder_with<W: Write>(self, threads: u32, out: W) -> io::Result<Run<W>> {
        match self {
            Self::Zstd(level) => {
                let blocks = BlockWriter {
                    blocks: frame::Blocks::default(),
                    out,
                };
                let mut encoder = zstd::Encoder::new(blocks, level)?;
                encoder.include_contentsize(false)?;
                encoder.include_checksum(false)?;
                encoder.multithread(threads)?;
                encoder.set_parameter(CParameter::JobSize(JOB))?;
                Ok(Run::Zstd(encoder))
            }
            Self::Xz(level) => {
                let blocks = BlockWriter {
                    blocks: xz::Blocks::default(),
                    out,
                };
                let stream = MtStreamBuilder::new()
                    .threads(threads)
                    .block_size(XZ_BLOCK)
                    .filters(filters(level)?)
                    .check(Check::Crc32)
                    .encoder()?;
                Ok(Run::Xz(liblzma::write::XzEncoder::new_stream(blocks, stream)))
            }
            Self::None => Ok(Run::None(out)),
        }
    }

    /// The beginning of a stream. It has the same length for every `prefix` of one length.
    pub(in crate::package) fn open(self, prefix: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(_) => Ok(frame::open(self.window()?, prefix)),
            Self::Xz(_) => Ok(xz::open(prefix)),
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

    /// The end of a stream that was opened with `prefix` bytes, and through which `image` has passed; `suffix` is at
    /// most 128 KiB.
    pub(in crate::package) fn close(self, prefix: usize, image: &Listing, suffix: &[u8]) -> Vec<u8> {
        match self {
            Self::Zstd(_) => frame::close(suffix),
            Self::Xz(_) => xz::close(prefix, &image.0, suffix),
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
            Self::Xz(level) => {
                let stream = Stream::new_stream_encoder(&filters(level)?, Check::Crc32)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
                encoder.write_all(content)?;
                encoder.finish()
            }
            Self::None => Ok(content.to_vec()),
        }
    }
}

/// xz's settings at a level, with a shorter look back.
fn filters(level: i32) -> io::Result<Filters> {
    let mut options = LzmaOptions::new_preset(level.unsigned_abs())?;
    let window = 1 << (19 + level.clamp(1, 3));
    options.dict_size(XZ_WINDOW.min(window));
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Ok(filters)
}

/// A run of the encoder.
pub(super) enum Run<W: Write> {
    Zstd(zstd::Encoder<'static, BlockWriter<frame::Blocks, W>>),
    Xz(liblzma::write::XzEncoder<BlockWriter<xz::Blocks, W>>),
    None(W),
}

impl<W: Write> Run<W> {
    /// Where the blocks go.
    pub(super) fn out(&mut self) -> &mut W {
        match self {
            Self::Zstd(encoder) => &mut encoder.get_mut().out,
            Self::Xz(encoder) => &mut encoder.get_mut().out,
            Self::None(out) => out,
        }
    }

    /// Ends the run; all blocks have gone out then.
    pub(super) fn finish(self) -> io::Result<(W, Listing)> {
        match self {
            Self::Zstd(encoder) => {
                let writer = encoder.finish()?;
                if writer.blocks.ended() {
                    Ok((writer.out, Listing::default()))
                } else {
                    Err(io::Error::other("zstd did not end its frame"))
                }
            }
            Self::Xz(encoder) => {
                let writer = encoder.finish()?;
                let listed = writer.blocks.records();
                let listed = listed.ok_or_else(|| io::Error::other("xz did not end its stream"))?;
                Ok((writer.out, Listing(listed)))
            }
            Self::None(out) => Ok((out, Listing::default())),
        }
    }
}

impl<W: Write> Write for Run<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on the blocks of what is written to it.
pub(super) struct BlockWriter<B, W> {
    blocks: B,
    out: W,
}

impl<B: Blocks, W: Write> Write for BlockWriter<B, W> {
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
        for codec in [Codec::default(), Codec::Zstd(19), Codec::Xz(6), Codec::None] {
            let [a, b] = [b"abc", b"xyz"].map(|prefix| codec.open(prefix).unwrap());
            assert_eq!(a.len(), b.len());
            let whole = codec.whole(b"content").unwrap();
            match codec {
                Codec::Zstd(_) => assert_eq!(zstd::decode_all(&whole[..]).unwrap(), b"content"),
                Codec::Xz(_) => assert_eq!(liblzma::decode_all(&whole[..]).unwrap(), b"content"),
                Codec::None => assert_eq!(whole, b"content"),
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let words = b"the quick brown fox jumps over the lazy dog ";
        let image: Vec<u8> = words.iter().copied().cycle().take(26_000_000).collect();
        for codec in [Codec::Zstd(1), Codec::Xz(1)] {
            let packed = |threads, step| {
                let mut run = codec.encoder_with(threads, Vec::new()).unwrap();
                for piece in image.chunks(step) {
                    run.write_all(piece).unwrap();
                }
                run.finish().unwrap().0
            };
            let one = packed(1, 1 << 20);
            for (threads, step) in [(2, 1 << 20), (8, 999_999)] {
                assert!(packed(threads, step) == one, "{codec}, {threads} threads");
            }
        }
    }

    #[test]
    fn codecs_have_names() {
        for (text, codec) in [
            ("zstd", Codec::Zstd(3)),
            ("zstd:19", Codec::Zstd(19)),
            ("xz", Codec::Xz(6)),
            ("xz:1", Codec::Xz(1)),
            ("none", Codec::None),
        ] {
            assert_eq!(text.parse(), Ok(codec));
        }
        for text in ["", "zstd:", "zstd:0", "zstd:20", "xz:0", "xz:9", "gzip", "none:1"] {
            assert!(text.parse::<Codec>().is_err(), "{text}");
        }
    }
}
