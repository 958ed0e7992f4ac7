//! Moves an image once from its source to all who want it: the digest, the compressor, and the files of each kind of
//! package. Memory does not depend on the image's size.

use super::codec::{Codec, Listing, Run};
use crate::name::Digest;
use crate::package::Progress;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Bytes that are handed on at once.
const CHUNK: usize = 1024 * 1024;
/// Compressed bytes that are handed on at once.
const PACKED: usize = 256 * 1024;
/// Chunks that may wait for a slow taker.
const WAITING: usize = 8;

/// Bytes that come from somewhere, as many as it said.
pub(in crate::package) trait Payload: Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;
    /// Reads all of them, in order. It may fail at the end.
    fn open(&self) -> Box<dyn Read + '_>;
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
///
/// Four threads hand on to each other: one reads, one digests, one feeds the encoder (which has threads of its own), and
/// the calling one serves the sinks. What is read lies in few buffers that go round; nothing is copied between them.
pub(in crate::package) fn pump(
    payload: &dyn Payload,
    codec: Codec,
    sinks: &mut [&mut dyn Sink],
    progress: &dyn Progress,
) -> io::Result<(Digest, Listing)> {
    let (to_encoder, encoded) = sync_channel(WAITING);
    let (to_hasher, hashed) = sync_channel(WAITING);
    let (to_sinks, taken) = sync_channel(WAITING);
    // Bounded by what the other channels hold.
    let (back, empty) = channel();
    let back_too = back.clone();
    thread::scope(|scope| {
        let spawn = |name: &str| thread::Builder::new().name(name.into());
        let reader = spawn("read").spawn_scoped(scope, move || {
            read(payload.open().as_mut(), &empty, &[to_encoder, to_hasher])
        })?;
        let hasher = spawn("digest").spawn_scoped(scope, move || digest(&hashed, &back))?;
        let encoder = spawn("compress").spawn_scoped(scope, move || compress(&encoded, codec, to_sinks))?;
        let served = serve(&taken, &back_too, sinks, progress);
        // Nobody takes any more: whoever still works is told so.
        drop(taken);
        let panicked = |what: &str| io::Error::other(format!("the {what} panicked"));
        let compressed = encoder.join().unwrap_or_else(|_| Err(panicked("compressor")));
        let read = reader.join().unwrap_or_else(|_| Err(panicked("reader")));
        let digest = hasher.join().map_err(|_| panicked("digest"))?;
        // Those who were stopped say so too, but the reason stands before them.
        let plain = served?;
        let listing = compressed?;
        read?;
        if plain != payload.size() {
            let size = payload.size();
            return Err(io::Error::other(format!(
                "the image has {plain} bytes where {size} were announced: it has changed meanwhile"
            )));
        }
        Ok((digest, listing))
    })
}

/// A buffer and how much of it is used.
struct Chunk {
    buffer: Vec<u8>,
    used: usize,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.used]
    }

    /// Gives the buffer back if nobody else needs it.
    fn give_back(chunk: Arc<Self>, back: &Sender<Vec<u8>>) {
        if let Some(chunk) = Arc::into_inner(chunk) {
            // The reader may have ended.
            let _ = back.send(chunk.buffer);
        }
    }
}

/// What sinks take.
enum Piece {
    Plain(Arc<Chunk>),
    Packed(Vec<u8>),
}

fn gone<T>(_: T) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the image any more")
}

fn read(from: &mut dyn Read, empty: &Receiver<Vec<u8>>, takers: &[SyncSender<Arc<Chunk>>]) -> io::Result<()> {
    loop {
        let mut buffer = empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let mut used = 0;
        while used < buffer.len() {
            match from.read(&mut buffer[used..]) {
                Ok(0) => break,
                Ok(count) => used += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if used == 0 {
            return Ok(());
        }
        let chunk = Arc::new(Chunk { buffer, used });
        for taker in takers {
            taker.send(Arc::clone(&chunk)).map_err(gone)?;
        }
    }
}

fn digest(chunks: &Receiver<Arc<Chunk>>, back: &Sender<Vec<u8>>) -> Digest {
    let mut hasher = Sha256::new();
    for chunk in chunks {
        hasher.update(chunk.bytes());
        Chunk::give_back(chunk, back);
    }
    Digest::from_bytes(hasher.finalize().into())
}

fn compress(chunks: &Receiver<Arc<Chunk>>, codec: Codec, to_sinks: SyncSender<Piece>) -> io::Result<Listing> {
    let out = Sending {
        buffer: Vec::with_capacity(PACKED),
        to_sinks,
    };
    let mut run: Run<Sending> = codec.encoder(out)?;
    for chunk in chunks {
        run.write_all(chunk.bytes())?;
        run.out().to_sinks.send(Piece::Plain(chunk)).map_err(gone)?;
    }
    let (mut out, listing) = run.finish()?;
    out.flush()?;
    Ok(listing)
}

/// Collects compressed bytes and sends them to the sinks.
struct Sending {
    buffer: Vec<u8>,
    to_sinks: SyncSender<Piece>,
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(PACKED - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..take]);
        if self.buffer.len() == PACKED {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(PACKED));
        self.to_sinks.send(Piece::Packed(full)).map_err(gone)
    }
}

/// Hands pieces to every sink; returns how many plain bytes came.
fn serve(
    pieces: &Receiver<Piece>,
    back: &Sender<Vec<u8>>,
    sinks: &mut [&mut dyn Sink],
    progress: &dyn Progress,
) -> io::Result<u64> {
    let mut plain = 0;
    for piece in pieces {
        match piece {
            Piece::Plain(chunk) => {
                for sink in sinks.iter_mut() {
                    sink.plain(chunk.bytes())?;
                }
                plain += chunk.used as u64;
                progress.advance(chunk.used as u64);
                Chunk::give_back(chunk, back);
            }
            Piece::Packed(bytes) => {
                for sink in sinks.iter_mut() {
                    sink.packed(&bytes)?;
                }
            }
        }
    }
    Ok(plain)
}
