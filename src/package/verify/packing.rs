//! Unpacking what comes from a stranger: zstd, xz and gzip, with a bound on the memory that each takes.

use super::gzip::Gunzip;
use super::input::{BUFFER, Checked, Fault, Source};
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::io::{self, BufRead, BufReader, Read};

/// The largest window of zstd that is unpacked, as a power of two: what zstd itself takes without being asked.
const WINDOW_LOG: u32 = 27;
/// The most memory that xz gets, in bytes: what rpm gives it, and more than any of its levels needs.
const XZ_MEMORY: u64 = 100 * 1024 * 1024;

/// How something is packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Packing {
    Plain,
    Zstd,
    Xz,
    Gzip,
}

/// How many zstd frames or xz streams a reader of the format takes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Frames {
    One,
    Any,
}

impl Packing {
    /// What a file's name ends with, behind `.tar`.
    pub(super) fn of_suffix(suffix: &str) -> Option<Self> {
        match suffix {
            "" => Some(Self::Plain),
            ".zst" => Some(Self::Zstd),
            ".xz" => Some(Self::Xz),
            ".gz" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// What rpm calls it.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name {
            "zstd" => Some(Self::Zstd),
            "xz" => Some(Self::Xz),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    /// What begins like this.
    pub(super) fn of_start(start: &[u8]) -> Self {
        match start {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x1f, 0x8b, ..] => Self::Gzip,
            _ => Self::Plain,
        }
    }
}

/// Unpacks all of `packed` and has it read by `read`, to its end.
pub(super) fn unpack<T>(
    name: &'static str,
    packed: impl Read,
    packing: Packing,
    frames: Frames,
    read: impl FnOnce(&mut Source<&mut dyn Read>) -> Checked<T>,
) -> Checked<T> {
    let io = |e: io::Error| Fault::new(name, e.to_string());
    let mut packed = BufReader::with_capacity(BUFFER, packed);
    let done = match packing {
        Packing::Plain => all(name, &mut packed, read)?,
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(&mut packed).map_err(io)?;
            decoder.window_log_max(WINDOW_LOG).map_err(io)?;
            if frames == Frames::One {
                decoder = decoder.single_frame();
            }
            all(name, &mut decoder, read)?
        }
        Packing::Xz => {
            let flags = if frames == Frames::Any { CONCATENATED } else { 0 };
            let stream = Stream::new_stream_decoder(XZ_MEMORY, flags).map_err(|e| io(e.into()))?;
            all(name, &mut XzDecoder::new_stream(&mut packed, stream), read)?
        }
        Packing::Gzip => all(name, &mut Gunzip::new(&mut packed), read)?,
    };
    if packed.fill_buf().map_err(io)?.is_empty() {
        Ok(done)
    } else {
        Err(Fault::new(name, "something follows the end of what is packed"))
    }
}

/// Has all of `plain` read by `read`.
fn all<T>(
    name: &'static str,
    plain: &mut dyn Read,
    read: impl FnOnce(&mut Source<&mut dyn Read>) -> Checked<T>,
) -> Checked<T> {
    let mut source = Source::new(name, plain);
    let done = read(&mut source)?;
    source.end()?;
    Ok(done)
}
