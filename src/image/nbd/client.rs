//! One connection to a server: the handshake, block status, reading.

use super::NbdError;
use super::wire::{self, Reply, u16_at, u32_at, u64_at};
use crate::name::printable;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The context that says where there is data.
pub(super) const ALLOCATION: &str = "base:allocation";
/// Replies to one option that are listened to; a server needs about four.
const MAX_REPLIES: usize = 64;
/// The most bytes of one read: every server has to take that much.
const MAX_READ: u32 = 32 << 20;
/// The largest alignment that a server may ask for.
const MAX_ALIGNMENT: u32 = 64 << 10;

/// A run of bytes of which a context says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    /// Which context, by its place in the list that was asked for.
    pub(super) context: usize,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) flags: u32,
}

/// A connection that is ready to transmit.
#[derive(Debug)]
pub(super) struct Client<S> {
    stream: S,
    socket: PathBuf,
    /// Size of the export, in bytes.
    pub(super) size: u64,
    /// What offsets and lengths have to be multiples of.
    pub(super) alignment: u32,
    most: u32,
    /// The server's numbers of the contexts, in the order in which they were asked for.
    contexts: Vec<u32>,
    cookie: u64,
}

impl<S: Read + Write> Client<S> {
    /// Asks for the export `name` with all of `contexts`.
    pub(super) fn open(stream: S, socket: &Path, name: &str, contexts: &[&str]) -> Result<Self, NbdError> {
        let mut client = Self {
            stream,
            socket: socket.to_owned(),
            size: 0,
            alignment: 1,
            most: MAX_READ,
            contexts: Vec::new(),
            cookie: 0,
        };
        let hello: [u8; 18] = client.bytes()?;
        let flags = u16_at(&hello, 16);
        if u64_at(&hello, 0) != wire::GREETING || u64_at(&hello, 8) != wire::OPTIONS {
            return Err(client.broken("it does not greet as an NBD server that negotiates"));
        }
        if flags & wire::FIXED == 0 {
            return Err(client.broken("it does not know the fixed newstyle handshake"));
        }
        let flags = flags & (wire::FIXED | wire::NO_ZEROES);
        client.send(&u32::from(flags).to_be_bytes())?;
        client.option(wire::OPT_STRUCTURED_REPLY, &[], "structured replies", |_, _| {
            Ok(())
        })?;
        client.choose(name, contexts)?;
        client.go(name)?;
        Ok(client)
    }

    fn choose(&mut self, name: &str, contexts: &[&str]) -> Result<(), NbdError> {
        let count = u32::try_from(contexts.len()).expect("two at most");
        let mut data = wire::string(name);
        data.extend(count.to_be_bytes());
        data.extend(contexts.iter().flat_map(|context| wire::string(context)));
        let mut found = vec![None; contexts.len()];
        let what = format!("block status of the export `{}`", printable(name, 80));
        self.option(wire::OPT_SET_META_CONTEXT, &data, &what, |kind, data| {
            if kind != wire::REP_META_CONTEXT {
                return Ok(());
            }
            let Some((id, name)) = data.split_first_chunk() else {
                return Err("a context without a number");
            };
            let place = contexts.iter().position(|wanted| wanted.as_bytes() == name);
            found[place.ok_or("a context that nobody asked for")?] = Some(u32::from_be_bytes(*id));
            Ok(())
        })?;
        for (id, context) in found.into_iter().zip(contexts) {
            let Some(id) = id else {
                return Err(self.refused(&what, &format!("it has no {context}")));
            };
            if self.contexts.contains(&id) {
                return Err(self.broken("two contexts with one number"));
            }
            self.contexts.push(id);
        }
        Ok(())
    }

    fn go(&mut self, name: &str) -> Result<(), NbdError> {
        let mut data = wire::string(name);
        data.extend(1u16.to_be_bytes());
        data.extend(wire::INFO_BLOCK_SIZE.to_be_bytes());
        let (mut size, mut sizes) = (None, None);
        let what = format!("the export `{}`", printable(name, 80));
        self.option(wire::OPT_GO, &data, &what, |kind, data| {
            let Some((&info, rest)) = data.split_first_chunk::<2>().filter(|_| kind == wire::REP_INFO) else {
                return Ok(());
            };
            match (u16::from_be_bytes(info), rest.len()) {
                (wire::INFO_EXPORT, 10) => size = Some(u64_at(rest, 0)),
                (wire::INFO_BLOCK_SIZE, 12) => sizes = Some((u32_at(rest, 0), u32_at(rest, 8))),
                (wire::INFO_EXPORT | wire::INFO_BLOCK_SIZE, _) => return Err("an info of a wrong length"),
                _ => {}
            }
            Ok(())
        })?;
        self.size = size.ok_or_else(|| self.broken("it does not say how large the export is"))?;
        if self.size > i64::MAX as u64 {
            return Err(self.broken("the export is larger than any disk"));
        }
        if let Some((least, most)) = sizes {
            let sound = least.is_power_of_two() && least <= MAX_ALIGNMENT && most >= MAX_ALIGNMENT;
            if !sound || !self.size.is_multiple_of(least.into()) {
                return Err(self.broken("its block sizes make no sense"));
            }
            self.alignment = least;
            self.most = (most - most % least).min(MAX_READ);
        }
        Ok(())
    }

    /// Sends an option and hands the replies to `take`, until the server has said yes.
    fn option(
        &mut self,
        option: u32,
        data: &[u8],
        what: &str,
        mut take: impl FnMut(u32, &[u8]) -> Result<(), &'static str>,
    ) -> Result<(), NbdError> {
        self.send(&wire::option(option, data))?;
        for _ in 0..MAX_REPLIES {
            let head: [u8; 20] = self.bytes()?;
            let (of, kind, length) = wire::option_reply(&head).map_err(|reason| self.broken(reason))?;
            if of != option {
                return Err(self.broken("it replies to an option that was not sent"));
            }
            let data = self.some(length, wire::MAX_OPTION_REPLY)?;
            if kind & wire::REP_ERROR != 0 {
                let said = String::from_utf8_lossy(&data);
                let message = match (said.is_empty(), kind ^ wire::REP_ERROR) {
                    (false, _) => said.into_owned(),
                    (true, 1) => "it does not know that".to_owned(),
                    (true, 6) => "there is no such export".to_owned(),
                    (true, number) => format!("error {number}"),
                };
                return Err(self.refused(what, &message));
            }
            if kind == wire::REP_ACK {
                return Ok(());
            }
            take(kind, &data).map_err(|reason| self.broken(reason))?;
        }
        Err(self.broken("it never comes to an end with an option"))
    }

    /// What the contexts say of bytes from `start` on, at most up to `end`: each context at least something.
    pub(super) fn status(&mut self, start: u64, end: u64) -> Result<Vec<Status>, NbdError> {
        let most = u64::from(u32::MAX - (u32::MAX % MAX_ALIGNMENT));
        let length = u32::try_from((end - start).min(most)).expect("bounded");
        let cookie = self.ask(wire::CMD_BLOCK_STATUS, start, length)?;
        let mut all = Vec::new();
        let mut told = vec![false; self.contexts.len()];
        loop {
            let (flags, kind, length) = self.chunk(cookie)?;
            match kind {
                wire::CHUNK_STATUS => {
                    let data = self.some(length, wire::MAX_STATUS)?;
                    let context = data.first_chunk().map(|id| u32::from_be_bytes(*id));
                    let place = self.contexts.iter().position(|id| Some(*id) == context);
                    let place = place.ok_or_else(|| self.broken("block status of an unknown context"))?;
                    if std::mem::replace(&mut told[place], true) {
                        return Err(self.broken("block status of one context twice"));
                    }
                    let mut at = start;
                    let (descriptors, rest) = data[4..].as_chunks::<8>();
                    if descriptors.is_empty() || !rest.is_empty() {
                        return Err(self.broken("block status of a wrong length"));
                    }
                    for descriptor in descriptors {
                        let length = u64::from(u32_at(descriptor, 0));
                        if length == 0 || at >= end {
                            return Err(self.broken("block status of nothing, or of what was not asked for"));
                        }
                        // The last one may go on.
                        let stop = (at + length).min(end);
                        all.push(Status {
                            context: place,
                            start: at,
                            end: stop,
                            flags: u32_at(descriptor, 4),
                        });
                        at = stop;
                    }
                }
                wire::CHUNK_NONE if length == 0 => {}
                _ => return Err(self.failure(kind, length, "block status")),
            }
            if flags & wire::DONE != 0 {
                break;
            }
        }
        if told.contains(&false) {
            return Err(self.broken("no block status of a context that was asked for"));
        }
        Ok(all)
    }

    /// Fills `buffer` from `start` on, both multiples of the alignment and within the export.
    pub(super) fn read(&mut self, mut start: u64, buffer: &mut [u8]) -> Result<(), NbdError> {
        for part in buffer.chunks_mut(self.most as usize) {
            self.read_part(start, part)?;
            start += part.len() as u64;
        }
        Ok(())
    }

    fn read_part(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), NbdError> {
        let cookie = self.ask(
            wire::CMD_READ,
            start,
            u32::try_from(buffer.len()).expect("bounded"),
        )?;
        // The parts that have come, which need not come in order.
        let mut come: Vec<(u64, u64)> = Vec::new();
        loop {
            let (flags, kind, length) = self.chunk(cookie)?;
            let within = match kind {
                wire::CHUNK_DATA if length > 8 => {
                    let offset = u64::from_be_bytes(self.bytes()?);
                    let part = self.part(start, buffer.len(), offset, u64::from(length) - 8)?;
                    self.fill(&mut buffer[part.clone()])?;
                    Some(part)
                }
                wire::CHUNK_HOLE if length == 12 => {
                    let hole: [u8; 12] = self.bytes()?;
                    let part = self.part(start, buffer.len(), u64_at(&hole, 0), u32_at(&hole, 8).into())?;
                    buffer[part.clone()].fill(0);
                    Some(part)
                }
                wire::CHUNK_NONE if length == 0 => None,
                _ => return Err(self.failure(kind, length, "to read")),
            };
            if let Some(part) = within {
                let (from, to) = (part.start as u64, part.end as u64);
                let place = come.partition_point(|(before, _)| *before < from);
                if place > 0 && come[place - 1].1 > from || come.get(place).is_some_and(|next| next.0 < to) {
                    return Err(self.broken("it sends the same bytes twice"));
                }
                match place.checked_sub(1) {
                    Some(last) if come[last].1 == from => come[last].1 = to,
                    _ => come.insert(place, (from, to)),
                }
            }
            if flags & wire::DONE != 0 {
                break;
            }
        }
        let mut at = 0;
        for (from, to) in come {
            if from != at {
                break;
            }
            at = to;
        }
        if at == buffer.len() as u64 {
            Ok(())
        } else {
            Err(self.broken("it sends less than was asked for"))
        }
    }

    /// Where in the buffer bytes belong.
    fn part(
        &self,
        start: u64,
        room: usize,
        offset: u64,
        length: u64,
    ) -> Result<std::ops::Range<usize>, NbdError> {
        let from = offset.checked_sub(start);
        let range = from.and_then(|from| Some((from, from.checked_add(length)?)));
        match range.filter(|(from, to)| from < to && *to <= room as u64) {
            // Both are within the buffer.
            Some((from, to)) => Ok(super::super::bytes::index(from)..super::super::bytes::index(to)),
            None => Err(self.broken("it sends bytes that were not asked for")),
        }
    }

    /// Says good-bye.
    pub(super) fn leave(&mut self) {
        // Nobody waits for an answer; a server that has gone needs no good-bye.
        let _ = self.ask(wire::CMD_DISCONNECT, 0, 0);
    }

    fn ask(&mut self, command: u16, offset: u64, length: u32) -> Result<u64, NbdError> {
        self.cookie += 1;
        self.send(&wire::request(command, self.cookie, offset, length))?;
        Ok(self.cookie)
    }

    /// The head of the next chunk of the reply: flags, type and length.
    fn chunk(&mut self, cookie: u64) -> Result<(u16, u16, u32), NbdError> {
        let head: [u8; 16] = self.bytes()?;
        let (flags, kind, of) = match wire::reply(&head).map_err(|reason| self.broken(reason))? {
            Reply::Simple(of, error) if of == cookie && error != 0 => {
                return Err(self.refused("a request", &wire::error(error)));
            }
            Reply::Simple(..) => {
                return Err(self.broken("a simple reply where a structured one was agreed upon"));
            }
            Reply::Chunk(flags, kind, of) => (flags, kind, of),
        };
        if of != cookie {
            return Err(self.broken("a reply to no request"));
        }
        Ok((flags, kind, u32::from_be_bytes(self.bytes()?)))
    }

    /// The error that a chunk is, which has no place among data.
    fn failure(&mut self, kind: u16, length: u32, what: &str) -> NbdError {
        if kind < wire::CHUNK_ERROR {
            return self.broken("a chunk that does not belong into this reply");
        }
        let data = match self.some(length, wire::MAX_ERROR) {
            Ok(data) => data,
            Err(error) => return error,
        };
        let number = data.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
        let said = data.get(6..).unwrap_or_default();
        let said = data.get(4..6).map_or(&[][..], |length| {
            &said[..said.len().min(usize::from(u16_at(length, 0)))]
        });
        let said = String::from_utf8_lossy(said);
        if said.is_empty() {
            self.refused(what, &wire::error(number))
        } else {
            self.refused(what, &format!("{} ({said})", wire::error(number)))
        }
    }

    fn some(&mut self, length: u32, most: u32) -> Result<Vec<u8>, NbdError> {
        if length > most {
            return Err(self.broken(&format!("a message of {length} bytes where {most} are the most")));
        }
        let mut data = vec![0; length as usize];
        self.fill(&mut data)?;
        Ok(data)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], NbdError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NbdError> {
        self.stream.read_exact(buffer).map_err(|e| self.gone(&e))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), NbdError> {
        self.stream.write_all(bytes).map_err(|e| self.gone(&e))
    }

    fn gone(&self, error: &io::Error) -> NbdError {
        let what = match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                "has closed the connection".to_owned()
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "does not answer any more".to_owned(),
            _ => format!("cannot be heard any more: {error}"),
        };
        NbdError::Gone {
            socket: self.socket.clone(),
            what,
        }
    }

    fn refused(&self, what: &str, message: &str) -> NbdError {
        NbdError::Refused {
            socket: self.socket.clone(),
            what: what.to_owned(),
            message: printable(message, 400),
        }
    }

    fn broken(&self, reason: &str) -> NbdError {
        NbdError::Broken {
            socket: self.socket.clone(),
            reason: reason.to_owned(),
        }
    }
}
