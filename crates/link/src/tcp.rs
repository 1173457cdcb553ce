//! The link over TCP.
//!
//! Sending: reserve headers in a block, let the source read chunks behind them, seal, write the block in one call.
//! Receiving: read as much as there is into a block, find the frames in it, hand runs of chunks on, carry the cut-off
//! frame at the end over to the next block.

mod greeting;
mod inbox;
mod porch;
mod raw;
mod sealed;
mod socket;

use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::frame::{self, HEADER_LEN, Kind};
use framing::{ChunkSet, Message};
use rustix::event::PollFlags;
use socket2::SockRef;

use crate::block::{BLOCK_CHUNKS, BLOCK_LEN, Block, ChunkRun, Pool};
use crate::{
    Arrival, ChunkSink, ChunkSource, Closer, Filled, IDLE_LIMIT, Link, LinkError, WORK_LIMIT, ready,
};
use inbox::{Found, Inbox};
use porch::First;
use sealed::Sealed;

pub use raw::RawStream;
pub use socket::{TcpEndpoint, TcpOptions};

/// How often a side that waits for chunks looks whether it has something to say.
const TALK_INTERVAL: Duration = Duration::from_millis(50);
/// How long [`Link::finish`] waits for the peer.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// A link over a TCP connection.
#[derive(Debug)]
pub struct TcpLink {
    pipe: Pipe,
    pool: Pool,
    idle_limit: Duration,
    /// Whether the peer has said something since this side did: then it has all that was said to it.
    is_answered: bool,
}

/// The socket and what was read from it but not yet looked at.
#[derive(Debug)]
struct Pipe {
    stream: TcpStream,
    peer: SocketAddr,
    /// Opens what is read and seals what is written, where there is a key.
    sealed: Option<Box<Sealed>>,
    inbox: Inbox,
    /// When something was read last.
    read_at: Instant,
    outbox: Vec<u8>,
    idle_limit: Duration,
    work_limit: Duration,
    /// Whether the peer has said anything, or need not.
    met: bool,
}

impl TcpLink {
    /// Makes a link of a connected socket; sealed, if it is to be.
    fn new(stream: TcpStream, peer: SocketAddr, sealed: Option<Sealed>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut pool = Pool::default();
        let inbox = Inbox::new(pool.take());
        let sealed = sealed.map(Box::new);
        let (read_at, outbox, idle_limit) = (Instant::now(), Vec::new(), IDLE_LIMIT);
        let pipe = Pipe {
            stream,
            peer,
            sealed,
            inbox,
            read_at,
            outbox,
            idle_limit,
            work_limit: WORK_LIMIT,
            met: true,
        };
        Ok(Self { pipe, pool, idle_limit: IDLE_LIMIT, is_answered: false })
    }

    /// Makes a link of the connection of a peer that has said this.
    fn welcome(stream: TcpStream, peer: SocketAddr, first: First) -> io::Result<Self> {
        TcpOptions::default().apply(SockRef::from(&stream)).map_err(io::Error::other)?;
        match first {
            First::Sealed(sealed) => Self::new(stream, peer, Some(sealed)),
            First::Clear(heard) => {
                let mut link = Self::new(stream, peer, None)?;
                link.pipe.inbox.fill(&heard);
                Ok(link)
            }
        }
    }

    /// Changes how long the peer may be silent; [`IDLE_LIMIT`] unless changed.
    pub const fn set_idle_limit(&mut self, limit: Duration) {
        self.idle_limit = limit;
        self.pipe.idle_limit = limit;
    }

    /// Changes how long the peer may say that it works and take no chunks; [`WORK_LIMIT`] unless changed.
    pub const fn set_work_limit(&mut self, limit: Duration) {
        self.pipe.work_limit = limit;
    }

    /// Waits for the next message, at most so long: where it lies in the inbox.
    fn next_message(&mut self, wait: Duration) -> Result<Option<Range<usize>>, LinkError> {
        let deadline = Instant::now() + wait;
        loop {
            match self.pipe.inbox.next()? {
                Some(Found::Message(payload)) => {
                    self.is_answered = true;
                    return Ok(Some(payload));
                }
                Some(Found::Chunk { chunk, .. }) => return Err(unwanted(chunk)),
                None => {
                    self.pipe.inbox.make_room(&mut self.pool);
                    if !self.pipe.wait(PollFlags::IN, deadline)? {
                        return Ok(None);
                    }
                    self.pipe.read()?;
                }
            }
        }
    }

    /// Lays out frames for the chunks from `chunks.start` on behind `block[..used]` and has the source fill them.
    ///
    /// Gives the payloads' places and the chunk to go on with, `None` when the source pauses.
    fn fill(
        block: &mut [u8],
        used: usize,
        chunks: Range<u64>,
        source: &mut dyn ChunkSource,
    ) -> (Vec<Range<u32>>, Option<u64>) {
        let mut payloads = Vec::with_capacity(BLOCK_CHUNKS);
        let mut end = used;
        for chunk in chunks.clone() {
            let start = end + HEADER_LEN;
            let len = source.chunk_len(chunk);
            if start + len > block.len() {
                break;
            }
            end = start + len;
            payloads.push(start as u32..end as u32);
        }
        let mut slots: Vec<IoSliceMut<'_>> = Vec::with_capacity(payloads.len());
        let mut rest = &mut block[used..end];
        for payload in &payloads {
            let (frame, after) = rest.split_at_mut(HEADER_LEN + payload.len());
            slots.push(IoSliceMut::new(&mut frame[HEADER_LEN..]));
            rest = after;
        }
        let next = match source.read(chunks.start, &mut slots) {
            Filled::Slots(filled) => {
                payloads.truncate(filled);
                Some(chunks.start + payloads.len() as u64)
            }
            Filled::Skip(next) => {
                payloads.clear();
                Some(next.max(chunks.start + 1))
            }
            Filled::Pause => {
                payloads.clear();
                None
            }
        };
        for (chunk, payload) in chunks.zip(&payloads) {
            frame::seal(
                Kind::Chunk,
                chunk,
                &mut block[payload.start as usize - HEADER_LEN..payload.end as usize],
            );
        }
        (payloads, next)
    }
}

impl Link for TcpLink {
    fn peer(&self) -> SocketAddr {
        self.pipe.peer
    }

    fn send(&mut self, message: &Message<'_>) -> Result<(), LinkError> {
        self.is_answered = false;
        self.pipe.send(message)
    }

    fn recv(&mut self, wait: Duration) -> Result<Message<'_>, LinkError> {
        match self.next_message(wait)? {
            Some(payload) => decode(self.pipe.inbox.bytes(payload)),
            None => Err(LinkError::Silent(wait)),
        }
    }

    fn recv_any(&mut self, wait: Duration) -> Result<Option<Arrival<'_>>, LinkError> {
        let Some(payload) = self.next_message(wait)? else { return Ok(None) };
        let at = self.pipe.read_at;
        Ok(Some(Arrival { message: decode(self.pipe.inbox.bytes(payload))?, at }))
    }

    fn send_chunks(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        let mut next = 0;
        loop {
            source.outgoing(&mut |message| self.pipe.send(message))?;
            let mut block = self.pool.take();
            let mut runs = Vec::new();
            let mut used = 0;
            // Nobody else holds a block that the pool gave out.
            let bytes = Arc::get_mut(&mut block).map_or(&mut [][..], Block::bytes_mut);
            while used < BLOCK_LEN {
                let Some(range) = wanted.next_from(next) else { break };
                let start = range.start;
                let most = range.end.min(start + BLOCK_CHUNKS as u64);
                let fits = used + HEADER_LEN + source.chunk_len(start) <= BLOCK_LEN;
                if !fits {
                    break;
                }
                let (payloads, go_on) = Self::fill(bytes, used, start..most, source);
                if let Some(last) = payloads.last() {
                    used = last.end as usize;
                    runs.push((start, payloads));
                }
                match go_on {
                    Some(go_on) => next = go_on,
                    None => break,
                }
            }
            if runs.is_empty() {
                if wanted.next_from(next).is_none() {
                    return Ok(());
                }
                // The source paused after it had nothing but chunks that can't be had.
                self.pool.give(block);
                continue;
            }
            let pool = &mut self.pool;
            let written =
                self.pipe.sealed(&block.bytes()[..used], |pipe, bytes| pipe.write_block(bytes, source, pool));
            if written?.is_break() {
                return Ok(());
            }
            for (first, payloads) in runs {
                let chunks = first..first + payloads.len() as u64;
                source.sent(ChunkRun::new(&block, first, 0, payloads, chunks));
            }
            self.pool.give(block);
        }
    }

    fn recv_chunks(&mut self, wanted: &mut ChunkSet, sink: &mut dyn ChunkSink) -> Result<(), LinkError> {
        let mut deadline = Instant::now() + self.idle_limit;
        while !wanted.is_empty() {
            sink.outgoing(&mut |message| self.pipe.send(message))?;
            if self.pipe.take_chunks(wanted, sink)?.is_break() {
                return Ok(());
            }
            if wanted.is_empty() {
                break;
            }
            self.pipe.inbox.make_room(&mut self.pool);
            if self.pipe.wait(PollFlags::IN, deadline.min(Instant::now() + TALK_INTERVAL))? {
                self.pipe.read()?;
                deadline = Instant::now() + self.idle_limit;
            } else if Instant::now() >= deadline {
                return Err(LinkError::Silent(self.idle_limit));
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if self.pipe.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // Closing with unread bytes would make the kernel throw away what the peer has not read yet. Who has had the other's
        // last word need not wait for more.
        let limit = Instant::now() + FINISH_LIMIT;
        let deadline = if self.is_answered { Instant::now() } else { limit };
        let mut scrap = [0; 16 * 1024];
        // Nothing of it is looked at any more, so nothing is opened.
        let wait = |stream: &TcpStream| ready::wait(&[(stream, PollFlags::IN)], Some(deadline));
        while let Ok([true]) = wait(&self.pipe.stream) {
            match self.pipe.stream.read(&mut scrap) {
                Ok(0) => return,
                Ok(_) if Instant::now() < limit => {}
                Err(error) if is_passing(&error) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn closer(&self) -> io::Result<Closer> {
        let stream = Arc::new(self.pipe.stream.try_clone()?);
        // A connection that is gone already is as closed as it can be.
        let shutdown = move |how| {
            let stream = Arc::clone(&stream);
            move || drop(stream.shutdown(how))
        };
        Ok(Closer::new(shutdown(Shutdown::Both)).with_deafen(shutdown(Shutdown::Read)))
    }
}

impl Pipe {
    fn send(&mut self, message: &Message<'_>) -> Result<(), LinkError> {
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.clear();
        outbox.resize(HEADER_LEN, 0);
        message.encode(&mut outbox);
        frame::seal(Kind::Message, 0, &mut outbox);
        let written = self.sealed(&outbox, Self::write_frame);
        self.outbox = outbox;
        written
    }

    /// Has `write` write `bytes` as they go out: sealed, where there is a key.
    fn sealed<T>(&mut self, bytes: &[u8], write: impl FnOnce(&mut Self, &[u8]) -> T) -> T {
        let Some((records, len)) = self.sealed.as_mut().map(|sealed| sealed.seal(bytes)) else {
            return write(self, bytes);
        };
        let written = write(self, &records[..len]);
        if let Some(sealed) = &mut self.sealed {
            sealed.give_back(records);
        }
        written
    }

    /// Writes all of `bytes`; what comes meanwhile stays in the inbox.
    fn write_frame(&mut self, mut bytes: &[u8]) -> Result<(), LinkError> {
        let mut deadline = Instant::now() + self.idle_limit;
        while !bytes.is_empty() {
            match self.write(bytes)? {
                Some(written) => {
                    bytes = &bytes[written..];
                    deadline = Instant::now() + self.idle_limit;
                }
                None => {
                    let has_room = self.has_room();
                    let both = if has_room { PollFlags::OUT | PollFlags::IN } else { PollFlags::OUT };
                    if !self.wait(both, deadline)? {
                        return Err(LinkError::Silent(self.idle_limit));
                    }
                    if has_room {
                        self.read()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes all of a block of chunks, and hears what the peer says meanwhile.
    fn write_block(
        &mut self,
        mut bytes: &[u8],
        talk: &mut dyn ChunkSource,
        pool: &mut Pool,
    ) -> Result<ControlFlow<()>, LinkError> {
        let mut deadline = Instant::now() + self.idle_limit;
        let mut taken = Instant::now();
        loop {
            self.inbox.make_room(pool);
            if self.read()? {
                // A peer that says that it works is not gone, even if it takes nothing now, but must some time.
                deadline = Instant::now() + self.idle_limit;
                if taken.elapsed() > self.work_limit {
                    return Err(LinkError::Stalled(self.work_limit));
                }
                if self.hear(talk)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if bytes.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            match self.write(bytes)? {
                Some(written) => {
                    bytes = &bytes[written..];
                    taken = Instant::now();
                    deadline = taken + self.idle_limit;
                    if bytes.is_empty() {
                        return Ok(ControlFlow::Continue(()));
                    }
                }
                None => {
                    if !self.wait(PollFlags::OUT | PollFlags::IN, deadline)? {
                        return Err(LinkError::Silent(self.idle_limit));
                    }
                }
            }
        }
    }

    /// Hands on the messages that are in the inbox.
    fn hear(&mut self, talk: &mut dyn ChunkSource) -> Result<ControlFlow<()>, LinkError> {
        while let Some(found) = self.inbox.next()? {
            match found {
                Found::Message(payload) => {
                    if talk.incoming(decode(self.inbox.bytes(payload))?)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Found::Chunk { chunk, .. } => return Err(unwanted(chunk)),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Hands on the chunks and messages that are in the inbox.
    fn take_chunks(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<ControlFlow<()>, LinkError> {
        let mut run = Gathering::default();
        while !wanted.is_empty()
            && let Some(found) = self.inbox.next()?
        {
            match found {
                Found::Message(payload) => {
                    run.flush(&self.inbox, wanted, sink)?;
                    let message = decode(self.inbox.bytes(payload))?;
                    if sink.incoming(message)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Found::Chunk { chunk, payload, intact } => {
                    if !run.follows(chunk) {
                        run.flush(&self.inbox, wanted, sink)?;
                    }
                    if !wanted.contains(chunk) {
                        return Err(unwanted(chunk));
                    }
                    let expected = sink.chunk_len(chunk);
                    if payload.len() != expected {
                        let text = format!("chunk {chunk} has {} bytes instead of {expected}", payload.len());
                        return Err(LinkError::Misbehaved(text));
                    }
                    // A damaged chunk stays wanted, and is asked for again when the pass is over.
                    if intact {
                        run.push(chunk, payload);
                    } else {
                        run.flush(&self.inbox, wanted, sink)?;
                    }
                    if run.payloads.len() == BLOCK_CHUNKS {
                        run.flush(&self.inbox, wanted, sink)?;
                    }
                }
            }
        }
        run.flush(&self.inbox, wanted, sink)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Waits until the socket is ready, at most until `deadline`: `false` when that came first.
    fn wait(&self, for_what: PollFlags, deadline: Instant) -> Result<bool, LinkError> {
        self.inbox.check_pace()?;
        if let Some(sealed) = &self.sealed {
            if for_what.contains(PollFlags::IN) && sealed.has_record() {
                return Ok(true);
            }
            sealed.check_pace()?;
        }
        Ok(ready::wait(&[(&self.stream, for_what)], Some(deadline))?[0])
    }

    /// Whether something can be read before something is taken out of the inbox.
    fn has_room(&self) -> bool {
        self.inbox.has_room(if self.sealed.is_some() { Sealed::LEAST_ROOM } else { 1 })
    }

    /// Reads what is there into the inbox: `false` when nothing was, or there was no room.
    fn read(&mut self) -> Result<bool, LinkError> {
        if !self.has_room() {
            return Ok(false);
        }
        let room = self.inbox.room();
        let read = match &mut self.sealed {
            Some(sealed) => sealed.read(&mut self.stream, room),
            None => self.stream.read(room).map_err(LinkError::from),
        };
        match read {
            Ok(0) if !self.met => Err(LinkError::Unanswered),
            Ok(0) => Err(self.unheard_refusal().unwrap_or(LinkError::Closed)),
            Ok(read) => {
                self.inbox.filled(read);
                self.met = true;
                self.read_at = Instant::now();
                Ok(true)
            }
            Err(LinkError::Broken(error)) if is_passing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes: `None` when it takes nothing now.
    fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, LinkError> {
        match self.stream.write(bytes) {
            Ok(written) => Ok(Some(written)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => {
                let words = self.last_words();
                Err(words.unwrap_or_else(|| if self.met { error.into() } else { LinkError::Unanswered }))
            }
        }
    }

    /// The refusal that a peer may have sent before it closed the connection.
    fn last_words(&mut self) -> Option<LinkError> {
        loop {
            if let Some(refused) = self.unheard_refusal() {
                return Some(refused);
            }
            match self.read() {
                Ok(true) => {}
                Err(refused @ LinkError::Refused { .. }) => return Some(refused),
                Ok(false) | Err(_) => return None,
            }
        }
    }

    /// A refusal that was read and not looked at yet. Everything before it is passed over: the link is at its end.
    fn unheard_refusal(&mut self) -> Option<LinkError> {
        while let Ok(Some(found)) = self.inbox.next() {
            if let Found::Message(payload) = found
                && let Err(refused @ LinkError::Refused { .. }) = decode(self.inbox.bytes(payload))
            {
                return Some(refused);
            }
        }
        None
    }
}

/// Chunks in a row that lie in the inbox and go to the sink together.
#[derive(Debug, Default)]
struct Gathering {
    first: u64,
    payloads: Vec<Range<u32>>,
}

impl Gathering {
    const fn follows(&self, chunk: u64) -> bool {
        self.payloads.is_empty() || chunk == self.first + self.payloads.len() as u64
    }

    fn push(&mut self, chunk: u64, payload: Range<usize>) {
        if self.payloads.is_empty() {
            self.first = chunk;
        }
        self.payloads.push(payload.start as u32..payload.end as u32);
    }

    fn flush(
        &mut self,
        inbox: &Inbox,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<(), LinkError> {
        if self.payloads.is_empty() {
            return Ok(());
        }
        let payloads = std::mem::take(&mut self.payloads);
        let chunks = self.first..self.first + payloads.len() as u64;
        wanted.remove(chunks.clone());
        let run = ChunkRun::new(inbox.block(), self.first, 0, payloads, chunks);
        sink.write(run)
    }
}

fn decode(payload: &[u8]) -> Result<Message<'_>, LinkError> {
    match Message::decode(payload)? {
        Message::Refuse { refusal, text } => Err(LinkError::Refused { refusal, text: text.to_owned() }),
        message => Ok(message),
    }
}

fn unwanted(chunk: u64) -> LinkError {
    LinkError::Misbehaved(format!("it sent chunk {chunk}, which nobody asked for"))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
