//! An export that has been looked at: what it holds where, and readers of it, each with a connection of its own.

use super::client::{ALLOCATION, Client};
use super::marks::{Kind, Marks};
use super::{NbdError, wire};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that are fetched at once where data goes on. QEMU needs a third less of the processor's time for them than for the
/// same in pieces of 512 KiB; with 4 MiB it is no less.
const AHEAD: u64 = 2 << 20;
/// Bytes of the one request by which a server is made to keep the memory of its buffers. glibc gives memory back to the kernel
/// when a buffer is done with, unless a larger one has come and gone before (`M_MMAP_THRESHOLD` in mallopt(3)); and a
/// server of which each buffer is new memory needs three times as long. Enough for sixteen buffers at a time.
const LARGE: u64 = 16 << 20;
/// Disks with less data than this are read sooner than that pays.
const WORTH_IT: u64 = 64 << 20;
/// A server that tells less of each context at a time, on average, means no good: a sector.
const LEAST_STATUS: u64 = 512;

/// A disk that an NBD server exports, which stays as it is as long as it is exported.
#[derive(Debug)]
pub struct Export {
    socket: PathBuf,
    name: String,
    context: Option<String>,
    size: u64,
    marks: Marks,
    idle: Mutex<Vec<Client<UnixStream>>>,
    /// Whether somebody has sent the large request.
    warm: AtomicBool,
}

impl Export {
    /// Connects to the server that listens on a Unix socket, and asks where its export `name` has data.
    pub fn open(socket: &Path, name: &str) -> Result<Self, NbdError> {
        Self::look(socket, name, None)
    }

    /// As [`Export::open`]; also asks what has changed by the dirty bitmap `bitmap`, which the server has to export.
    pub fn open_with_changes(socket: &Path, name: &str, bitmap: &str) -> Result<Self, NbdError> {
        Self::look(socket, name, Some(format!("qemu:dirty-bitmap:{bitmap}")))
    }

    /// Size of the disk, in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// About how many bytes there are that are not known to be zero.
    pub fn data(&self) -> u64 {
        self.marks.data()
    }

    /// The socket and the export, as a URI.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///{}?socket={}", self.name, self.socket.display())
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn look(socket: &Path, name: &str, context: Option<String>) -> Result<Self, NbdError> {
        let mut client = connect(socket, name, context.as_deref())?;
        let mut marks = Marks::new(client.size, context.is_some());
        let (size, mut at, mut seen) = (client.size, 0, 0);
        while at < size {
            let all = client.status(at, size)?;
            // Of several contexts one may tell less.
            let mut told = size;
            for context in 0..=usize::from(context.is_some()) {
                let of = all.iter().filter(|status| status.context == context);
                told = told.min(of.map(|status| status.end).max().unwrap_or(at));
            }
            seen += all.len() as u64;
            for status in all {
                match status.context {
                    0 if status.flags & wire::STATUS_ZERO == 0 => marks.set_data(status.start, status.end),
                    1 if status.flags & wire::STATUS_DIRTY != 0 => {
                        marks.set_changed(status.start, status.end);
                    }
                    _ => {}
                }
            }
            at = told;
            if seen > 1024 + at / LEAST_STATUS * 2 {
                let reason = format!("it tells {seen} states of the first {at} bytes");
                return Err(NbdError::Broken {
                    socket: socket.to_owned(),
                    reason,
                });
            }
        }
        Ok(Self {
            socket: socket.to_owned(),
            name: name.to_owned(),
            context,
            size,
            marks,
            idle: Mutex::new(vec![client]),
            warm: AtomicBool::new(false),
        })
    }

    /// What the export is from `at` on, and up to where; `end` at most.
    pub(in crate::image) fn run(&self, at: u64, end: u64) -> (Kind, u64) {
        self.marks.run(at, end)
    }

    /// True if it is known what has changed, by a dirty bitmap.
    pub const fn knows_changes(&self) -> bool {
        self.marks.knows_changes()
    }

    /// False if, by the dirty bitmap, nobody has written to the 64 KiB around the byte `at`.
    pub(in crate::image) fn may_have_changed(&self, at: u64) -> bool {
        self.marks.may_have_changed(at)
    }

    /// The ranges of whole windows in which it has data.
    pub(in crate::image) fn outline(&self, window: u64) -> Vec<(u64, u64)> {
        self.marks.outline(window)
    }

    fn client(&self) -> Result<Client<UnixStream>, NbdError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut client =
            idle.map_or_else(|| connect(&self.socket, &self.name, self.context.as_deref()), Ok)?;
        if client.size != self.size {
            return Err(NbdError::Broken {
                socket: self.socket.clone(),
                reason: format!("the export had {} bytes, and now has {}", self.size, client.size),
            });
        }
        if self.data() >= WORTH_IT && !self.warm.swap(true, Ordering::Relaxed) {
            client.read(0, &mut vec![0; super::super::bytes::index(LARGE)])?;
        }
        Ok(client)
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().for_each(Client::leave);
    }
}

fn connect(socket: &Path, name: &str, context: Option<&str>) -> Result<Client<UnixStream>, NbdError> {
    let open = || {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let stream = open().map_err(|error| NbdError::Connect {
        socket: socket.to_owned(),
        error,
    })?;
    let contexts: Vec<&str> = std::iter::once(ALLOCATION).chain(context).collect();
    Client::open(stream, socket, name, &contexts)
}

/// Reads an export. It keeps what it has fetched beyond what was asked for.
#[derive(Debug)]
pub(in crate::image) struct ExportReader<'a> {
    export: &'a Export,
    client: Option<Client<UnixStream>>,
    fetched: Vec<u8>,
    /// Where that begins.
    at: u64,
}

impl<'a> ExportReader<'a> {
    pub(in crate::image) fn new(export: &'a Export) -> Self {
        Self {
            export,
            client: None,
            fetched: Vec::new(),
            at: 0,
        }
    }

    /// Fills `buffer` from `start` on, within the export.
    pub(in crate::image) fn read(&mut self, mut start: u64, mut buffer: &mut [u8]) -> Result<(), NbdError> {
        while !buffer.is_empty() {
            if !(self.at..self.at + self.fetched.len() as u64).contains(&start) {
                self.fetch(start, buffer.len() as u64)?;
            }
            let skip = super::super::bytes::index(start - self.at);
            let count = buffer.len().min(self.fetched.len() - skip);
            let (now, rest) = buffer.split_at_mut(count);
            now.copy_from_slice(&self.fetched[skip..skip + count]);
            start += count as u64;
            buffer = rest;
        }
        Ok(())
    }

    /// Fetches some of what follows `start`: as far as data goes on, and no less than what is `wanted`, if that is little.
    fn fetch(&mut self, start: u64, wanted: u64) -> Result<(), NbdError> {
        let export = self.export;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => export.client()?,
        };
        let alignment = u64::from(client.alignment);
        let from = start - start % alignment;
        let limit = (from + AHEAD).min(export.size);
        let goes_on = match export.run(from, limit) {
            (Kind::Data, end) => end,
            _ => from,
        };
        let to = goes_on
            .max((start + wanted).min(limit))
            .next_multiple_of(alignment);
        self.fetched.resize(super::super::bytes::index(to - from), 0);
        self.at = from;
        let done = client.read(from, &mut self.fetched);
        match done {
            // A connection of which one does not know what comes next is of no more use.
            Err(_) => self.fetched.clear(),
            Ok(()) => self.client = Some(client),
        }
        done
    }
}

impl Drop for ExportReader<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let mut idle = self.export.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(client);
        }
    }
}
