//! A file that is being written in one go, except for its beginning, which is written again when all is known.

use fs_err as fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The file. Its beginning keeps its length.
#[derive(Debug)]
pub(in crate::package) struct Draft {
    file: fs::File,
    head: usize,
    length: u64,
}

impl Draft {
    /// Creates the file with a beginning as long as the final one.
    pub(in crate::package) fn create(path: &Path, head: &[u8]) -> io::Result<Self> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        file.write_all(head)?;
        Ok(Self {
            file,
            head: head.len(),
            length: head.len() as u64,
        })
    }

    /// Appends bytes.
    pub(in crate::package) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Bytes after the beginning.
    pub(in crate::package) const fn body(&self) -> u64 {
        self.length - self.head as u64
    }

    /// Writes the final beginning; returns the file's path. Nothing is synced yet.
    pub(in crate::package) fn finish(self, head: &[u8]) -> io::Result<PathBuf> {
        if head.len() != self.head {
            return Err(io::Error::other(format!(
                "{}: the beginning has {} bytes where {} were kept for it",
                self.file.path().display(),
                head.len(),
                self.head
            )));
        }
        let path = self.file.path().to_owned();
        self.file
            .file()
            .write_all_at(head, 0)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(path)
    }
}
