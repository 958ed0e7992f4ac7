//! The archive inside an RPM: rpm's own form of cpio, whose entries say only which file of the header's list follows.
//! It holds files of any size; `rpm2archive` makes a tar file of it, `rpm2cpio` refuses it.

/// How an entry begins.
pub(in crate::package) const MAGIC: &[u8; 6] = b"07070X";
/// Bytes of an entry's header with its padding.
pub(in crate::package) const ENTRY: usize = 16;
/// Everything begins at a multiple of this.
const ALIGN: u64 = 4;

/// The header of the file number `index`.
pub(in crate::package) fn entry(index: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(format!("{index:08x}").bytes());
    out.resize(ENTRY, 0);
    out
}

/// What follows a file's content.
pub(in crate::package) fn padding(size: u64) -> Vec<u8> {
    vec![0; usize::try_from(size.next_multiple_of(ALIGN) - size).unwrap_or(0)]
}

/// The end of the archive: an entry of the ordinary form with a name of its own.
pub(in crate::package) fn trailer() -> Vec<u8> {
    let mut out = b"070701".to_vec();
    for field in 0..13 {
        let value = match field {
            // Links, and the length of the name.
            4 => 1,
            11 => 11,
            _ => 0,
        };
        out.extend(format!("{value:08x}").bytes());
    }
    out.extend(b"TRAILER!!!\0");
    out.extend(padding(out.len() as u64));
    out
}
