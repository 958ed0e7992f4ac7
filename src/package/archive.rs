//! Tar files for packages and trees: sorted by the caller, owned by root, every time the same, no extension but GNU's
//! long names. dpkg refuses sparse and PAX members.

/// Bytes of a tar block.
const BLOCK: u64 = 512;

/// A piece of a tar file, in memory.
#[derive(Debug)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    mtime: u64,
}

impl Archive {
    /// An empty one whose members carry the time `mtime`, seconds since 1970.
    pub(super) const fn new(mtime: u64) -> Self {
        Self {
            bytes: Vec::new(),
            mtime,
        }
    }

    /// Adds a directory, whose path ends with a slash.
    pub(super) fn directory(&mut self, path: &str, mode: u32) {
        self.add(tar::EntryType::Directory, path, mode, 0, "");
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.begin(path, mode, content.len() as u64);
        self.bytes.extend(content);
        self.bytes.extend(padding(content.len() as u64));
    }

    /// Adds the header of a file whose `size` bytes, and their [`padding`], the caller writes himself.
    pub(super) fn begin(&mut self, path: &str, mode: u32, size: u64) {
        self.add(tar::EntryType::Regular, path, mode, size, "");
    }

    /// Adds another name of a file that is in the archive already.
    pub(super) fn link(&mut self, path: &str, mode: u32, target: &str) {
        self.add(tar::EntryType::Link, path, mode, 0, target);
    }

    /// What has been added.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn add(&mut self, kind: tar::EntryType, path: &str, mode: u32, size: u64, target: &str) {
        self.long(tar::EntryType::GNULongLink, target);
        self.long(tar::EntryType::GNULongName, path);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode & 0o7777);
        header.set_size(size);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        // Readers take the numbers where these names are unknown; both fit.
        let _ = header.set_username("root").and(header.set_groupname("root"));
        put(&mut header.as_old_mut().name, path);
        put(&mut header.as_old_mut().linkname, target);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
    }

    /// A name that does not fit into a header comes before it, as the content of an entry of its own.
    fn long(&mut self, kind: tar::EntryType, name: &str) {
        let mut header = tar::Header::new_gnu();
        if name.len() <= header.as_old().name.len() {
            return;
        }
        let mut content = name.as_bytes().to_vec();
        content.push(0);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        put(&mut header.as_old_mut().name, "././@LongLink");
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(&content);
        self.bytes.extend(padding(content.len() as u64));
    }
}

/// As much of `name` as fits.
fn put(field: &mut [u8; 100], name: &str) {
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name.as_bytes()[..length]);
}

/// What follows a file's content of `size` bytes.
pub(super) fn padding(size: u64) -> Vec<u8> {
    vec![0; usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0)]
}

/// The end of a tar file.
pub(super) const fn end() -> [u8; 1024] {
    [0; 1024]
}
