//! Reading a stranger's bytes: bounded, counted, digested, and every fault with its place.

use crate::name::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// Bytes that are read at once.
pub(super) const BUFFER: usize = 256 * 1024;
/// The most zeros that follow an archive: GNU tar fills up to 10 KiB, and other values can be chosen.
const MAX_ZEROS: u64 = 1024 * 1024;

/// Something wrong at some place.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) place: String,
    pub(super) what: String,
}

pub(super) type Checked<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

/// Takes files of a package while it is read. What it was given is known to be right only when all was read.
pub(in crate::package) trait Outlet {
    /// The file `path`, as `Verified` has it, begins; false if it is not wanted.
    fn begin(&mut self, path: &str) -> io::Result<bool>;
    /// The next bytes of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// It is complete, and this is its digest.
    fn end(&mut self, digest: &Digest) -> io::Result<()>;
}

/// One file that is written somewhere.
pub(super) struct One<'a> {
    pub(super) path: &'a str,
    pub(super) out: &'a mut dyn Write,
}

impl Outlet for One<'_> {
    fn begin(&mut self, path: &str) -> io::Result<bool> {
        Ok(path == self.path)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    fn end(&mut self, _: &Digest) -> io::Result<()> {
        Ok(())
    }
}

/// Files of the package that are taken while it is read.
pub(super) struct Wanted<'a> {
    pub(super) outlet: &'a mut dyn Outlet,
    /// Why one could not be taken.
    pub(super) failed: Option<io::Error>,
}

/// Bytes in order, counted and digested.
pub(super) struct Source<R> {
    inner: R,
    name: &'static str,
    at: u64,
    digest: Option<Sha256>,
}

impl<R: Read> Source<R> {
    /// `name` is what faults call it: "the file", "data.tar".
    pub(super) const fn new(name: &'static str, inner: R) -> Self {
        Self {
            inner,
            name,
            at: 0,
            digest: None,
        }
    }

    /// The same with a digest of all that is read.
    pub(super) fn digested(name: &'static str, inner: R) -> Self {
        Self {
            digest: Some(Sha256::new()),
            ..Self::new(name, inner)
        }
    }

    /// Bytes read so far.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// The digest of what was read, and what lies below.
    pub(super) fn finish(self) -> (Digest, R) {
        let digest = self.digest.unwrap_or_default();
        (Digest::from_bytes(digest.finalize().into()), self.inner)
    }

    /// A fault here.
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(format!("byte {} of {}", self.at, self.name), what)
    }

    /// Exactly `size` bytes.
    pub(super) fn exact(&mut self, size: usize) -> Checked<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut part = Read::take(&mut *self, size as u64);
        let read = part.read_to_end(&mut bytes);
        match read {
            Ok(n) if n == size => Ok(bytes),
            Ok(_) => Err(self.fault("it ends here, and more has to come")),
            Err(e) => Err(self.fault(e.to_string())),
        }
    }

    /// The next `size` bytes: their digest, and themselves if there are at most `keep`.
    pub(super) fn content(&mut self, size: u64, keep: u64) -> Checked<(Digest, Vec<u8>)> {
        self.content_of("", size, keep, &mut None)
    }

    /// The same of the file `path`, which may be one that is wanted.
    pub(super) fn content_of(
        &mut self,
        path: &str,
        size: u64,
        keep: u64,
        wanted: &mut Option<Wanted<'_>>,
    ) -> Checked<(Digest, Vec<u8>)> {
        let mut wanted = match wanted {
            Some(wanted) => match wanted.outlet.begin(path) {
                Ok(true) => Some(wanted),
                Ok(false) => None,
                Err(error) => return Err(self.not_taken(wanted, error)),
            },
            None => None,
        };
        let mut digest = Sha256::new();
        let mut kept = Vec::new();
        let mut buffer = vec![0; BUFFER];
        let mut left = size;
        while left > 0 {
            let take = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let n = match self.read(&mut buffer[..take]) {
                Ok(0) => return Err(self.fault("it ends here, and more has to come")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.fault(e.to_string())),
            };
            digest.update(&buffer[..n]);
            if size <= keep {
                kept.extend_from_slice(&buffer[..n]);
            }
            if let Some(wanted) = &mut wanted
                && let Err(error) = wanted.outlet.write(&buffer[..n])
            {
                return Err(self.not_taken(wanted, error));
            }
            left -= n as u64;
        }
        let digest = Digest::from_bytes(digest.finalize().into());
        if let Some(wanted) = &mut wanted
            && let Err(error) = wanted.outlet.end(&digest)
        {
            return Err(self.not_taken(wanted, error));
        }
        Ok((digest, kept))
    }

    fn not_taken(&self, wanted: &mut Wanted<'_>, error: io::Error) -> Fault {
        wanted.failed = Some(error);
        self.fault("its content cannot be written")
    }

    /// Zeros up to a multiple of `align`.
    pub(super) fn padding(&mut self, align: u64) -> Checked<()> {
        let size = usize::try_from(self.at.next_multiple_of(align) - self.at).unwrap_or(0);
        if self.exact(size)?.iter().all(|b| *b == 0) {
            Ok(())
        } else {
            Err(self.fault("padding that is not zero"))
        }
    }

    /// Nothing but zeros up to the end, and no end of them.
    pub(super) fn zeros_to_end(&mut self) -> Checked<()> {
        let mut buffer = vec![0; BUFFER];
        let start = self.at;
        loop {
            if self.at - start > MAX_ZEROS {
                return Err(self.fault("zeros without end"));
            }
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) if buffer[..n].iter().all(|b| *b == 0) => {}
                Ok(_) => return Err(self.fault("something follows the end")),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault(e.to_string())),
            }
        }
    }

    /// All that comes, at most `limit` bytes.
    pub(super) fn take_all(&mut self, limit: u64, out: &mut Vec<u8>) -> Checked<()> {
        let read = Read::take(&mut *self, limit).read_to_end(out);
        read.map(drop).map_err(|e| self.fault(e.to_string()))
    }

    /// Nothing more.
    pub(super) fn end(&mut self) -> Checked<()> {
        match self.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.fault("something follows the end")),
            Err(e) => Err(self.fault(e.to_string())),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.at += n as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(&buffer[..n]);
        }
        Ok(n)
    }
}
