//! The protocol's numbers, and its messages as bytes. Pure.

/// What a server says first, and what follows it when it can negotiate.
pub(super) const GREETING: u64 = 0x4e42_444d_4147_4943;
pub(super) const OPTIONS: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const SIMPLE: u32 = 0x6744_6698;
const STRUCTURED: u32 = 0x668e_33ef;

/// Handshake flags, the same in both directions: fixed newstyle, and no padding with zeros.
pub(super) const FIXED: u16 = 1;
pub(super) const NO_ZEROES: u16 = 2;

pub(super) const OPT_GO: u32 = 7;
pub(super) const OPT_STRUCTURED_REPLY: u32 = 8;
pub(super) const OPT_SET_META_CONTEXT: u32 = 10;

pub(super) const REP_ACK: u32 = 1;
pub(super) const REP_INFO: u32 = 3;
pub(super) const REP_META_CONTEXT: u32 = 4;
pub(super) const REP_ERROR: u32 = 1 << 31;

pub(super) const INFO_EXPORT: u16 = 0;
pub(super) const INFO_BLOCK_SIZE: u16 = 3;

pub(super) const CMD_READ: u16 = 0;
pub(super) const CMD_DISCONNECT: u16 = 2;
pub(super) const CMD_BLOCK_STATUS: u16 = 7;

/// The last chunk of a reply.
pub(super) const DONE: u16 = 1;
pub(super) const CHUNK_NONE: u16 = 0;
pub(super) const CHUNK_DATA: u16 = 1;
pub(super) const CHUNK_HOLE: u16 = 2;
pub(super) const CHUNK_STATUS: u16 = 5;
/// Chunks from here on are errors.
pub(super) const CHUNK_ERROR: u16 = 1 << 15;

/// `base:allocation`: the range reads as zeros.
pub(super) const STATUS_ZERO: u32 = 2;
/// `qemu:dirty-bitmap:…`: the range was written to.
pub(super) const STATUS_DIRTY: u32 = 1;

/// The most bytes of an option's reply.
pub(super) const MAX_OPTION_REPLY: u32 = 64 * 1024;
/// The most bytes of a chunk with block status: QEMU sends at most 1 MiB of descriptors.
pub(super) const MAX_STATUS: u32 = (1 << 20) + 4;
/// The most bytes of a chunk that reports an error.
pub(super) const MAX_ERROR: u32 = 6 + 8 + 4096;

/// A client's request to negotiate.
pub(super) fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("options are short");
    let mut bytes = OPTIONS.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A string with its length before it.
pub(super) fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("names are short");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

/// A request of the transmission phase.
pub(super) fn request(command: u16, cookie: u64, offset: u64, length: u32) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..4].copy_from_slice(&REQUEST.to_be_bytes());
    bytes[6..8].copy_from_slice(&command.to_be_bytes());
    bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
    bytes[16..24].copy_from_slice(&offset.to_be_bytes());
    bytes[24..].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The head of a reply to an option: option, type and length.
pub(super) fn option_reply(bytes: &[u8; 20]) -> Result<(u32, u32, u32), &'static str> {
    if u64_at(bytes, 0) != OPTION_REPLY {
        return Err("a reply to an option does not begin as one");
    }
    Ok((u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 16)))
}

/// The head of a reply, of which the first 16 bytes are enough to know its kind.
pub(super) enum Reply {
    /// Without data: cookie and error.
    Simple(u64, u32),
    /// A chunk: flags, type and cookie; its length follows.
    Chunk(u16, u16, u64),
}

pub(super) fn reply(bytes: &[u8; 16]) -> Result<Reply, &'static str> {
    match u32_at(bytes, 0) {
        SIMPLE => Ok(Reply::Simple(u64_at(bytes, 8), u32_at(bytes, 4))),
        STRUCTURED => Ok(Reply::Chunk(u16_at(bytes, 4), u16_at(bytes, 6), u64_at(bytes, 8))),
        _ => Err("a reply does not begin as one"),
    }
}

/// What an error number of the protocol means.
pub(super) fn error(number: u32) -> String {
    let name = match number {
        1 => "not permitted",
        5 => "input/output error",
        12 => "out of memory",
        22 => "invalid request",
        28 => "no space left",
        75 => "the request is too large",
        95 => "not supported",
        108 => "the server is shutting down",
        _ => return format!("error {number}"),
    };
    name.to_owned()
}

/// The numbers at a place that is known to be there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(*bytes[at..].first_chunk().expect("checked"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().expect("checked"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*bytes[at..].first_chunk().expect("checked"))
}
