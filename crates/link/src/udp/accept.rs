//! What a server does with packets of nobody it knows.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arq::{Accepted, Connection, First, Gate};
use framing::packet::{self, Packet, RESET_LEN};

use super::arrivals::Arrival;
use super::options::UdpOptions;
use super::outbox::Outbox;
use super::peer::Peer;
use super::wake::Waker;

/// Clients that may wait to be served. Another one tries again until there is room.
const MOST_WAITING: usize = 128;
/// Bytes of parts that may wait for the sessions of all peers together.
pub(super) const WINDOW: u64 = 32 << 20;
/// The least of them for each.
pub(super) const LEAST_WINDOW: u64 = 1 << 20;
/// Resets that are sent in a second at most.
const MOST_RESETS: u32 = 1000;

/// New clients on their way from the I/O thread to whoever serves them.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    pub(super) waker: Waker,
}

#[derive(Debug, Default)]
struct Waiting {
    peers: VecDeque<Arc<Peer>>,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), waker: Waker::new()? })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        let waiting = self.lock();
        !waiting.closed && waiting.peers.len() < MOST_WAITING
    }

    fn push(&self, peer: Arc<Peer>) {
        self.lock().peers.push_back(peer);
        self.waker.wake();
    }

    pub(super) fn pop(&self) -> Option<Arc<Peer>> {
        self.lock().peers.pop_front()
    }

    /// Takes no more, and gives those that nobody will serve.
    pub(super) fn close(&self) -> VecDeque<Arc<Peer>> {
        let mut waiting = self.lock();
        waiting.closed = true;
        std::mem::take(&mut waiting.peers)
    }
}

/// The server's side of a socket.
#[derive(Debug)]
pub(super) struct Server {
    gate: Gate,
    started: Instant,
    options: UdpOptions,
    queue: Arc<Queue>,
    /// Resets sent since then.
    resets: (Instant, u32),
    is_wild: bool,
}

impl Server {
    /// One that gives its clients to this queue. `is_wild`: its socket has every address of this machine.
    pub(super) fn new(options: UdpOptions, queue: Arc<Queue>, is_wild: bool) -> io::Result<Self> {
        let started = Instant::now();
        Ok(Self { gate: Gate::new(random()?), started, options, queue, resets: (started, 0), is_wild })
    }

    /// Judges a packet of nobody that is known: perhaps it makes a new peer, which is to be given it then.
    pub(super) fn meet(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        outbox: &mut Outbox,
    ) -> Option<Arc<Peer>> {
        let since_start = now.saturating_duration_since(self.started);
        let (from, to) = (arrival.from, self.own_address(arrival));
        match self.gate.receive(since_start, from, &arrival.packet, arrival.len(), outbox.bytes()) {
            First::Nothing => self.reset(now, arrival, outbox),
            First::Reply => outbox.end(from, to),
            First::Accept(accepted) => return self.accept(now, accepted, arrival),
        }
        None
    }

    fn accept(&self, now: Instant, accepted: Accepted, arrival: &Arrival<'_>) -> Option<Arc<Peer>> {
        if !self.queue.has_room() {
            return None;
        }
        let config = self.options.config(arrival.from, LEAST_WINDOW);
        let seed = u64::from_ne_bytes(random().ok()?);
        let conn = Connection::accept(config, accepted, arrival.from, seed, now);
        Some(Arc::new(Peer::new(conn, self.own_address(arrival))))
    }

    /// Hands a new peer on to be served.
    pub(super) fn introduce(&self, peer: Arc<Peer>) {
        self.queue.push(peer);
    }

    /// The address that an answer has to come from: the kernel would choose one where the socket has several.
    pub(super) fn own_address(&self, arrival: &Arrival<'_>) -> Option<std::net::IpAddr> {
        arrival.to.filter(|_| self.is_wild)
    }

    /// Tells a peer of an earlier life of this server that it is not known any more.
    pub(super) fn reset(&mut self, now: Instant, arrival: &Arrival<'_>, outbox: &mut Outbox) {
        let (Packet::Data { cid, pn, .. }
        | Packet::Plain { cid, pn, .. }
        | Packet::Connect { server_cid: cid, pn, .. }) = arrival.packet
        else {
            return;
        };
        let datagram = arrival.datagram();
        let Some(crc) = datagram.last_chunk().copied().map(u32::from_be_bytes) else { return };
        if now.saturating_duration_since(self.resets.0).as_secs() >= 1 {
            self.resets = (now, 0);
        }
        if datagram.len() > RESET_LEN && self.resets.1 < MOST_RESETS {
            self.resets.1 += 1;
            packet::reset(outbox.bytes(), cid, pn, crc);
            outbox.end(arrival.from, self.own_address(arrival));
        }
    }
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
