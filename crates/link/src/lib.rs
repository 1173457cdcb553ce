//! How messages and chunks cross a socket.
//!
//! [`Link`] is all that the conversation sees of a transport: messages, reliable and in order, and sets of chunks that are
//! moved as fast as the transport can. [`TcpLink`] is the one over TCP, [`UdpLink`] the one over UDP. A link knows frames and sockets; it never knows
//! files, directories or what a message means.
//!
//! ```text
//! sending    ChunkSource::read behind reserved headers -> framing::frame::seal -> one write of many frames
//! receiving  one read of many frames -> framing::frame::Frame::parse, borrowed -> ChunkSink::write
//! ```
//!
//! While a link waits to write it reads too, so that two sides that both talk never block each other, and a refusal is
//! heard in the middle of a transfer.

mod block;
mod error;
mod notice;
mod origin;
pub mod raw;
mod ready;
mod stats;
mod tcp;
mod udp;

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use framing::{ChunkSet, Message};

pub use block::{Block, ChunkRun};
pub use error::{ConnectError, LinkError};
pub use notice::{Note, Notice};
pub use origin::origin;
pub use stats::{Limiter, LinkStats, PlainReport};
pub use tcp::{TcpEndpoint, TcpLink, TcpOptions};
pub use udp::{Congestion, UdpEndpoint, UdpLink, UdpOptions};

/// How long a peer may be silent, or not take what is sent to it, before the link counts as lost.
pub const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How long a peer may say that it works and take none of the chunks that are sent to it.
pub const WORK_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long a peer may take on a server until its first message is there, unless a server says otherwise.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The longest message that goes as a datagram where the path sets no limit: over TCP.
const MAX_DATAGRAM_LEN: usize = 32 * 1024;

/// A connection to one peer.
pub trait Link: Send {
    /// The peer's address.
    fn peer(&self) -> SocketAddr;

    /// Sends a message: reliable, in order.
    fn send(&mut self, message: &Message<'_>) -> Result<(), LinkError>;

    /// Waits for the next message, at most so long. A [`Message::Refuse`] comes as [`LinkError::Refused`].
    fn recv(&mut self, wait: Duration) -> Result<Message<'_>, LinkError>;

    /// Sends a message that may vanish, or be overtaken: once, as soon as the path allows. `false`: the path does not take so
    /// much, and it was not sent. Over TCP it is a message as any other.
    fn send_datagram(&mut self, message: &Message<'_>) -> Result<bool, LinkError> {
        self.send(message).map(|()| true)
    }

    /// The longest message that [`Link::send_datagram`] sends on every path, in bytes.
    fn max_datagram(&self) -> usize {
        MAX_DATAGRAM_LEN
    }

    /// Waits for the next message or datagram, at most so long, and tells when it came: `None` if nothing did.
    ///
    /// Datagrams are only taken between the first call of this and the next one of [`Link::recv`].
    fn recv_any(&mut self, wait: Duration) -> Result<Option<Arrival<'_>>, LinkError> {
        match self.recv(wait) {
            Ok(message) => Ok(Some(Arrival { message, at: Instant::now() })),
            Err(LinkError::Silent(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many datagrams came while so many waited that there was no room for them.
    fn datagrams_missed(&self) -> u64 {
        0
    }

    /// Sends the chunks of `wanted`, lowest number first where the transport has a choice.
    fn send_chunks(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError>;

    /// Receives chunks, and takes each one out of `wanted` that came whole, until none is left or
    /// [`Talk::incoming`] breaks off. What the peer sent before a message that came between them may come after it, but not
    /// what [`Link::send_chunks`] had sent when it came to its end.
    fn recv_chunks(&mut self, wanted: &mut ChunkSet, sink: &mut dyn ChunkSink) -> Result<(), LinkError>;

    /// Says that a transfer of so many chunks begins. Both sides say it of each transfer, in the same order, before the first
    /// of its chunks goes: the link tells chunks of one transfer from late copies of those of another.
    fn begin_transfer(&mut self, chunks: u64) -> Result<(), LinkError> {
        let _ = chunks;
        Ok(())
    }

    /// Says that so many bytes of chunks will probably have to be sent soon, so that the link can find out meanwhile what
    /// the path carries.
    fn expect_to_send(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether it has [`Link::send_plain`] and [`Link::recv_plain`].
    fn is_plain_capable(&self) -> bool {
        false
    }

    /// Sends each chunk of `wanted` once, in one datagram, in order, and repairs nothing. Only over UDP.
    fn send_plain(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        let _ = (wanted, source);
        Err(LinkError::NotPlain)
    }

    /// Receives what [`Link::send_plain`] sends, until [`Talk::incoming`] breaks off and the stragglers are in. What is
    /// left of `wanted` then, was lost. A damaged chunk is written as it came. No chunk is written twice. Only over UDP.
    fn recv_plain(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<PlainReport, LinkError> {
        let _ = (wanted, sink);
        Err(LinkError::NotPlain)
    }

    /// What it has seen of the path. Only over UDP.
    fn stats(&self) -> Option<LinkStats> {
        None
    }

    /// Says that nothing more will be sent, and waits a moment until the peer has taken what was.
    fn finish(&mut self);

    /// A handle with which another thread can end the link at once.
    fn closer(&self) -> std::io::Result<Closer>;
}

/// A message, reliable or not, and when it came.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// What came.
    pub message: Message<'a>,
    /// When: over UDP as the kernel tells it of a datagram, otherwise when it was read.
    pub at: Instant,
}

/// Ends a link from another thread.
pub struct Closer {
    close: Act,
    deafen: Option<Act>,
}

type Act = Box<dyn Fn() + Send + Sync>;

impl Closer {
    /// Makes one from what is to be done.
    pub fn new(close: impl Fn() + Send + Sync + 'static) -> Self {
        Self { close: Box::new(close), deafen: None }
    }

    /// The same with something milder, for [`Closer::deafen`].
    #[must_use]
    pub fn with_deafen(self, deafen: impl Fn() + Send + Sync + 'static) -> Self {
        Self { deafen: Some(Box::new(deafen)), ..self }
    }

    /// Ends the link. Whoever waits on it gets an error at once.
    pub fn close(&self) {
        (self.close)();
    }

    /// Ends what comes: whoever waits for a message gets [`LinkError::Closed`] at once, and can still send one that says why
    /// this side leaves. Closes what knows no half measures.
    pub fn deafen(&self) {
        self.deafen.as_ref().unwrap_or(&self.close)();
    }
}

impl std::fmt::Debug for Closer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closer")
    }
}

/// Where links come from on a server.
pub trait Listener: Send {
    /// The address it really listens on.
    fn local_addr(&self) -> SocketAddr;

    /// Waits for the next peer: `None` once `wake` can be read.
    fn accept(&mut self, wake: BorrowedFd<'_>) -> std::io::Result<Option<Box<dyn Link>>>;
}

/// What a side has to say, and to hear, while chunks are on their way.
pub trait Talk {
    /// Gives `send` the messages that are ready to go out now. Called often.
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError>;

    /// Takes a message that came between the chunks. Breaking off ends the pass.
    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError>;

    /// Hears now and then what the link sees of its path, where it can tell.
    fn stats(&mut self, stats: &LinkStats) {
        let _ = stats;
    }
}

/// What became of a call of [`ChunkSource::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// So many slots, from the first, hold their chunks now.
    Slots(usize),
    /// The chunks below this number can't be had; sending goes on with it.
    Skip(u64),
    /// Nothing now: what was read before goes out first. Not to be said to the first call after [`Talk::outgoing`].
    Pause,
}

/// Where chunks are read from.
pub trait ChunkSource: Talk {
    /// Bytes of this chunk.
    fn chunk_len(&self, chunk: u64) -> usize;

    /// Reads the chunks from `first` on into `slots`, one each, of exactly their lengths.
    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled;

    /// Takes note that these bytes were handed to the transport, for the first time: in ascending order.
    fn sent(&mut self, run: ChunkRun);

    /// Reads one chunk again, into a buffer of its length: `false` when it can't be had any more, of which the source
    /// tells the peer itself, as of [`Filled::Skip`].
    fn reread(&mut self, chunk: u64, buffer: &mut [u8]) -> bool;
}

/// Where chunks are written to.
pub trait ChunkSink: Talk {
    /// Bytes of this chunk.
    fn chunk_len(&self, chunk: u64) -> usize;

    /// Takes bytes of chunks, each of them once. An error ends the pass with [`LinkError::Stopped`].
    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError>;
}
