//! The outer form of a Debian package: deb(5), an `ar` archive of three members.

/// How the archive begins.
pub(in crate::package) const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Bytes of a member's header.
pub(in crate::package) const HEADER: usize = 60;
/// The most bytes of a member: its length is written in ten decimal digits.
pub(in crate::package) const MAX_MEMBER: u64 = 9_999_999_999;

/// A member's header. `size` is at most [`MAX_MEMBER`].
pub(in crate::package) fn header(name: &str, mtime: u32, size: u64) -> Vec<u8> {
    let mut out = format!("{name:<16}{mtime:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 100_644);
    out.truncate(HEADER);
    out.into_bytes()
}

/// A small member with its content.
pub(in crate::package) fn member(name: &str, mtime: u32, content: &[u8]) -> Vec<u8> {
    let mut out = header(name, mtime, content.len() as u64);
    out.extend(content);
    out.extend(padding(content.len() as u64));
    out
}

/// What follows a member: each begins at an even place.
pub(in crate::package) fn padding(size: u64) -> &'static [u8] {
    if size.is_multiple_of(2) { b"" } else { b"\n" }
}
