//! The link over UDP.
//!
//! ```text
//! sending    send: claim (arq) -> stage: ChunkSource::read, ahead -> batch: commit, seal -> socket: one call for many datagrams
//! receiving  engine: slots, arrivals -> peer: handle (arq) -> inbox -> receive: Assembly (arq) -> ChunkSink::write
//! ```
//!
//! One thread for each socket, the [engine](engine), receives and keeps the timers of all connections. Parts of chunks are
//! sent by the thread that calls [`Link::send_chunks`]. Both share a [connection](peer) under a mutex that is never held
//! over a system call.

mod accept;
mod account;
mod arrivals;
mod batch;
mod closed;
mod datagrams;
mod endpoint;
mod engine;
mod hub;
mod inbox;
mod knock;
mod lull;
mod mail;
mod options;
mod outbox;
mod peer;
mod plain;
mod porch;
mod raw;
mod receive;
mod sealed;
mod send;
mod shift;
mod slots;
mod socket;
mod stage;
mod wake;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arq::{Assembly, DatagramError, Stats};
use framing::{ChunkSet, Message};

use crate::block::Pool;
use crate::{
    Arrival, ChunkSink, ChunkSource, Closer, IDLE_LIMIT, Link, LinkError, LinkStats, PlainReport, WORK_LIMIT,
};
use account::Account;
use hub::{Handle, Hub, Request};
use mail::Mail;
use outbox::Outbox;
use peer::{Peer, State};
use shift::{Numbers, Shifted};

pub use arq::Congestion;
pub use endpoint::UdpEndpoint;
pub use options::UdpOptions;
pub use raw::{Datagram, RawPort, Ready, Slots};

/// How often a side that waits for chunks looks whether it has something to say.
const TALK_INTERVAL: Duration = Duration::from_millis(50);
/// How often source and sink hear what the link sees.
const STATS_INTERVAL: Duration = Duration::from_millis(200);
/// How long [`Link::finish`] waits for the peer.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// What was counted since then.
fn since(now: &Stats, then: &Stats) -> Stats {
    Stats {
        packets_sent: now.packets_sent.saturating_sub(then.packets_sent),
        packets_lost: now.packets_lost.saturating_sub(then.packets_lost),
        parts_sent: now.parts_sent.saturating_sub(then.parts_sent),
        parts_sent_again: now.parts_sent_again.saturating_sub(then.parts_sent_again),
        bytes_sent: now.bytes_sent.saturating_sub(then.bytes_sent),
        ..*now
    }
}

/// A link over UDP.
#[derive(Debug)]
pub struct UdpLink {
    peer: Arc<Peer>,
    /// Keeps the I/O thread going.
    handle: Arc<Handle>,
    address: SocketAddr,
    mail: Mail,
    /// The message that was handed out last.
    message: Vec<u8>,
    outbox: Outbox,
    scratch: Vec<u8>,
    pool: Pool,
    assembly: Assembly,
    numbers: Numbers,
    account: Account,
    /// What the connection had counted when the transfer began.
    before: Stats,
    /// Whether the chunks of this transfer go from here to the peer.
    is_sender: bool,
    idle_limit: Duration,
    work_limit: Duration,
    /// Whether the peer has said something since this side did: then it has gone on without waiting for more.
    is_answered: bool,
}

impl UdpLink {
    fn new(handle: Arc<Handle>, peer: Arc<Peer>, address: SocketAddr) -> Self {
        Self {
            peer,
            handle,
            address,
            mail: Mail::default(),
            is_answered: false,
            message: Vec::new(),
            outbox: Outbox::default(),
            scratch: Vec::new(),
            pool: Pool::default(),
            assembly: Assembly::new(),
            numbers: Numbers::default(),
            account: Account::default(),
            before: Stats::default(),
            is_sender: false,
            idle_limit: IDLE_LIMIT,
            work_limit: WORK_LIMIT,
        }
    }

    /// Changes how long the peer may say that it works and take no chunks; [`WORK_LIMIT`] unless changed.
    pub const fn set_work_limit(&mut self, limit: Duration) {
        self.work_limit = limit;
    }

    /// Changes how long the conversation of the peer may be silent; [`IDLE_LIMIT`] unless changed.
    pub const fn set_idle_limit(&mut self, limit: Duration) {
        self.idle_limit = limit;
    }

    fn hub(&self) -> &Hub {
        self.handle.hub()
    }

    fn send_message(&mut self, message: &Message<'_>) -> Result<(), LinkError> {
        mail::encode(message, &mut self.scratch);
        self.send_scratch()
    }

    /// Tells the peer what this side has seen of the path.
    fn tell_stats(&mut self, account: &Account) -> Result<LinkStats, LinkError> {
        let stats = self.account_stats(account);
        mail::encode_stats(&stats, &mut self.scratch);
        self.send_scratch()?;
        Ok(stats)
    }

    fn send_scratch(&mut self) -> Result<(), LinkError> {
        self.is_answered = false;
        let deadline = Instant::now() + self.idle_limit;
        let mut state = self.peer.lock();
        loop {
            if let Some(error) = state.end() {
                return Err(self.mail.refusal(&mut state).unwrap_or(error));
            }
            let now = Instant::now();
            state.adapt_window(false);
            if state.conn.send_message(now, &self.scratch) {
                break;
            }
            if now >= deadline {
                return Err(LinkError::Silent(self.idle_limit));
            }
            // Two sides that both talk must not block each other.
            self.mail.fetch(&mut state)?;
            self.peer.arm(&mut state, self.handle.hub());
            state = self.peer.wait(state, deadline);
        }
        self.peer.flush_locked(state, self.handle.hub(), &mut self.outbox);
        Ok(())
    }

    fn link_stats(&self) -> LinkStats {
        let told = if self.is_sender { None } else { self.mail.stats() };
        told.unwrap_or_else(|| self.account_stats(&self.account))
    }

    /// What this side has seen of the path since the transfer began.
    fn account_stats(&self, account: &Account) -> LinkStats {
        account.stats(&since(&self.peer.lock().conn.stats(), &self.before))
    }
}

/// The next message that is there; an error when none is, and none will be.
fn next_message(
    mail: &mut Mail,
    peer: &Peer,
    hub: &Hub,
    state: &mut State,
) -> Result<Option<Vec<u8>>, LinkError> {
    if let Some(message) = mail.pop() {
        return Ok(Some(message));
    }
    mail.fetch(state)?;
    peer.arm(state, hub);
    match (mail.pop(), state.end()) {
        (None, Some(error)) => Err(error),
        (None, None) if state.is_deaf => Err(LinkError::Closed),
        (message, _) => Ok(message),
    }
}

impl Link for UdpLink {
    fn peer(&self) -> SocketAddr {
        self.address
    }

    fn send(&mut self, message: &Message<'_>) -> Result<(), LinkError> {
        self.send_message(message)
    }

    fn recv(&mut self, wait: Duration) -> Result<Message<'_>, LinkError> {
        let deadline = Instant::now() + wait;
        let mut state = self.peer.lock();
        state.datagrams.close();
        self.message = loop {
            if let Some(message) = next_message(&mut self.mail, &self.peer, self.handle.hub(), &mut state)? {
                break message;
            }
            if Instant::now() >= deadline {
                return Err(LinkError::Silent(wait));
            }
            state = self.peer.wait(state, deadline);
        };
        drop(state);
        self.is_answered = true;
        mail::decode(&self.message)
    }

    fn send_datagram(&mut self, message: &Message<'_>) -> Result<bool, LinkError> {
        self.scratch.clear();
        message.encode(&mut self.scratch);
        let mut state = self.peer.lock();
        if let Some(error) = state.end() {
            return Err(self.mail.refusal(&mut state).unwrap_or(error));
        }
        match state.conn.send_datagram(Instant::now(), &self.scratch) {
            Ok(()) => {}
            Err(DatagramError::Full | DatagramError::NotOpen) => return Ok(false),
            Err(DatagramError::TooLong { len, most }) => {
                return Err(LinkError::DatagramTooLong { len, most });
            }
        }
        self.peer.flush_locked(state, self.handle.hub(), &mut self.outbox);
        Ok(true)
    }

    fn max_datagram(&self) -> usize {
        self.peer.lock().conn.least_datagram_room()
    }

    fn recv_any(&mut self, wait: Duration) -> Result<Option<Arrival<'_>>, LinkError> {
        let deadline = Instant::now() + wait;
        let mut state = self.peer.lock();
        state.datagrams.open();
        loop {
            if let Some((at, datagram)) = state.datagrams.pop() {
                drop(state);
                self.message = datagram;
                return Ok(Some(Arrival { message: mail::decode_datagram(&self.message)?, at }));
            }
            if let Some(message) = next_message(&mut self.mail, &self.peer, self.handle.hub(), &mut state)? {
                drop(state);
                self.message = message;
                self.is_answered = true;
                return Ok(Some(Arrival { message: mail::decode(&self.message)?, at: Instant::now() }));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            state = self.peer.wait(state, deadline);
        }
    }

    fn datagrams_missed(&self) -> u64 {
        self.peer.lock().datagrams.missed()
    }

    fn send_chunks(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        self.is_sender = true;
        self.send_all(&self.numbers.absolute(wanted), &mut Shifted::new(source, self.numbers))
    }

    fn recv_chunks(&mut self, wanted: &mut ChunkSet, sink: &mut dyn ChunkSink) -> Result<(), LinkError> {
        self.is_sender = false;
        let mut missing = self.numbers.absolute(wanted);
        let received = self.recv_all(&mut missing, &mut Shifted::new(sink, self.numbers));
        *wanted = self.numbers.relative(&missing);
        received
    }

    fn begin_transfer(&mut self, chunks: u64) -> Result<(), LinkError> {
        let is_first = self.numbers.is_unused();
        self.numbers.advance(chunks)?;
        self.assembly = Assembly::new();
        self.account = Account::default();
        self.mail.forget_stats();
        if !is_first {
            self.before = self.peer.lock().conn.stats();
        }
        Ok(())
    }

    fn expect_to_send(&mut self, bytes: u64) {
        let mut state = self.peer.lock();
        state.conn.expect_bulk(Instant::now(), bytes);
        self.peer.flush_locked(state, self.handle.hub(), &mut self.outbox);
    }

    fn is_plain_capable(&self) -> bool {
        true
    }

    fn send_plain(&mut self, wanted: &ChunkSet, source: &mut dyn ChunkSource) -> Result<(), LinkError> {
        self.is_sender = true;
        self.send_each(&self.numbers.absolute(wanted), &mut Shifted::new(source, self.numbers))
    }

    fn recv_plain(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<PlainReport, LinkError> {
        self.is_sender = false;
        let mut missing = self.numbers.absolute(wanted);
        let received = self.recv_each(&mut missing, &mut Shifted::new(sink, self.numbers));
        *wanted = self.numbers.relative(&missing);
        let PlainReport { damaged, duplicated, reordered } = received?;
        Ok(PlainReport {
            damaged: self.numbers.relative(&damaged),
            duplicated: self.numbers.relative(&duplicated),
            reordered: self.numbers.relative(&reordered),
        })
    }

    fn stats(&self) -> Option<LinkStats> {
        Some(self.link_stats())
    }

    fn finish(&mut self) {
        // Who has had the other's last word need not wait until its own last words are acknowledged: that costs a round trip.
        let deadline = Instant::now() + if self.is_answered { Duration::ZERO } else { FINISH_LIMIT };
        let mut state = self.peer.lock();
        while state.end().is_none() && !state.conn.messages_acknowledged() && Instant::now() < deadline {
            state = self.peer.wait(state, deadline);
        }
        // What the sender told last; what else there is, nobody wants to hear any more.
        let _ = self.mail.fetch(&mut state);
        drop(state);
        self.peer.close(self.handle.hub(), &mut self.outbox);
    }

    fn closer(&self) -> io::Result<Closer> {
        let (peer, hub) = (Arc::clone(&self.peer), Arc::downgrade(self.handle.hub()));
        let close = move || {
            if let Some(hub) = hub.upgrade() {
                peer.close(&hub, &mut Outbox::default());
            }
        };
        let peer = Arc::clone(&self.peer);
        Ok(Closer::new(close).with_deafen(move || {
            let mut state = peer.lock();
            state.is_deaf = true;
            peer.notify(&mut state);
        }))
    }
}

impl Drop for UdpLink {
    fn drop(&mut self) {
        self.peer.close(self.handle.hub(), &mut self.outbox);
        let mut state = self.peer.lock();
        state.inbox.clear();
        state.datagrams.close();
        let last = std::mem::take(&mut state.farewell);
        let to = state.conn.remote();
        drop(state);
        self.handle.hub().request(Request::Forget { cid: self.peer.cid(), last, to });
    }
}
