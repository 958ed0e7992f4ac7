//! Moves an image once from its source to all who want it: the digest, the compressor, and the files of each kind of
//! package. Memory does not depend on the image's size.

use super::codec::{Codec, Listing, Run};
use crate::name::Digest;
use crate::package::Progress;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Bytes that are handed on at once.
const CHUNK: usize = 1024 * 1024;
/// Chunks that may wait for a slow taker.
const WAITING: usize = 4;

/// Bytes that come from somewhere, as many as it said.
pub(in crate::package) trait Payload: Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;
    /// Writes all of them to `out`, in order.
    fn write_to(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Someone who takes an image while it passes.
pub(in crate::package) trait Sink {
    /// The next bytes of the image.
    fn plain(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// The next bytes of the image as the codec has compressed it.
    fn packed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _ = bytes;
        Ok(())
    }
}

/// Moves all of `payload` through `codec` to `sinks`; returns its SHA-256, and what the ends of streams need to know.
pub(in crate::package) fn pump(
    payload: &dyn Payload,
    codec: Codec,
    sinks: &mut [&mut dyn Sink],
    progress: &dyn Progress,
) -> io::Result<(Digest, Listing)> {
    let (to_main, chunks) = sync_channel(WAITING);
    let (to_hasher, hashed) = sync_channel(WAITING);
    thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("read".into())
            .spawn_scoped(scope, move || {
                let mut out = Chunks {
                    buffer: Vec::with_capacity(CHUNK),
                    takers: [to_main, to_hasher],
                };
                payload.write_to(&mut out)?;
                out.flush()
            })?;
        let hasher = thread::Builder::new()
            .name("digest".into())
            .spawn_scoped(scope, move || digest(&hashed))?;
        let result = compress(&chunks, codec, sinks, progress);
        // Nobody takes any more: a reader that still runs is told so.
        drop(chunks);
        let read = reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        let digest = hasher
            .join()
            .map_err(|_| io::Error::other("the digest panicked"))?;
        // A reader that was stopped says so too, but the reason is here.
        let (plain, listing) = match (result, read) {
            (Err(e), _) | (Ok(_), Err(e)) => return Err(e),
            (Ok(done), Ok(())) => done,
        };
        if plain != payload.size() {
            let size = payload.size();
            return Err(io::Error::other(format!(
                "the image has {plain} bytes where {size} were announced: it has changed meanwhile"
            )));
        }
        Ok((digest, listing))
    })
}

fn digest(chunks: &Receiver<Arc<Vec<u8>>>) -> Digest {
    let mut hasher = Sha256::new();
    for chunk in chunks {
        hasher.update(&*chunk);
    }
    Digest::from_bytes(hasher.finalize().into())
}

fn compress(
    chunks: &Receiver<Arc<Vec<u8>>>,
    codec: Codec,
    sinks: &mut [&mut dyn Sink],
    progress: &dyn Progress,
) -> io::Result<(u64, Listing)> {
    let mut run: Run<Fan<'_, '_>> = codec.encoder(Fan { sinks })?;
    let mut plain = 0;
    for chunk in chunks {
        for sink in run.out().sinks.iter_mut() {
            sink.plain(&chunk)?;
        }
        run.write_all(&chunk)?;
        plain += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
    }
    let (_, listing) = run.finish()?;
    Ok((plain, listing))
}

/// Hands compressed bytes to every sink.
struct Fan<'a, 'b> {
    sinks: &'a mut [&'b mut dyn Sink],
}

impl Write for Fan<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for sink in self.sinks.iter_mut() {
            sink.packed(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cuts what is written to it into chunks and sends each to all takers.
struct Chunks {
    buffer: Vec<u8>,
    takers: [SyncSender<Arc<Vec<u8>>>; 2],
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Arc::new(std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK)));
        for taker in &self.takers {
            let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the image any more");
            taker.send(Arc::clone(&chunk)).map_err(gone)?;
        }
        Ok(())
    }
}
