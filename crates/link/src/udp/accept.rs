//! What a server does with packets of nobody it knows.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arq::{Accepted, Connection, First, Gate};
use framing::packet::{self, Packet, RESET_LEN};
use seal::datagram::{self, Host, Opener};

use super::arrivals::Arrival;
use super::options::UdpOptions;
use super::outbox::Outbox;
use super::peer::Peer;
use super::sealed::{Guard, Late, take_retry};
use super::wake::Waker;

/// Clients that may wait to be served. Another one tries again until there is room.
const MOST_WAITING: usize = 128;
/// Bytes of parts that may wait for the sessions of all peers together.
pub(super) const WINDOW: u64 = 32 << 20;
/// The least of them for each.
pub(super) const LEAST_WINDOW: u64 = 1 << 20;
/// Resets that are sent in a second at most.
const MOST_RESETS: u32 = 1000;

/// Answers to handshakes of clients that have the key, in a second at most: each costs some 100 us. Who has seen one can send
/// it again. What is of another key does not count: else who has none could keep others out.
const MOST_HANDSHAKES: u32 = 1000;
/// First messages that are looked at in a second at most, whoever has made them: each costs some 10 us. Of a larger flood so
/// many get this far by chance, and a client tries some twenty times.
const MOST_CHECKS: u32 = 10_000;
/// Answers to first messages that were answered so often before, in a second at most: these are hardly anybody's but of who
/// recorded them, and must not keep new ones out.
const MOST_REPEATS: u32 = 100;
const FEW_ANSWERS: u32 = 4;

/// How often the same first message is answered within [`GREETING_MEMORY`]: a client says it some 20 times at most.
const MOST_ANSWERS: u32 = 32;
const GREETING_MEMORY: Duration = Duration::from_secs(60);
/// How many different ones are counted: all that can be answered in that time, so that none is forgotten.
const MOST_GREETINGS: usize = MOST_HANDSHAKES as usize * (GREETING_MEMORY.as_secs() as usize + 2);

/// What is said of a client whose first message does not prove that it has the key.
const UNPROVED: &str = "it has another key, or none";

/// First messages of handshakes that were answered, so that one that was recorded is of little use for a flood.
#[derive(Debug)]
struct Greeted {
    since: Instant,
    /// By their last bytes.
    answers: HashMap<[u8; 8], u32>,
}

impl Greeted {
    /// How often it was answered.
    fn answers(&mut self, now: Instant, init: &[u8]) -> u32 {
        if now.saturating_duration_since(self.since) >= GREETING_MEMORY {
            self.since = now;
            self.answers.clear();
        }
        init.last_chunk().and_then(|tag| self.answers.get(tag)).copied().unwrap_or_default()
    }

    /// Whether this one was never counted, as far as is remembered.
    fn is_new(&mut self, now: Instant, init: &[u8]) -> bool {
        self.answers(now, init) == 0
    }

    fn answered(&mut self, init: &[u8]) {
        let Some(tag) = init.last_chunk() else { return };
        if self.answers.len() < MOST_GREETINGS || self.answers.contains_key(tag) {
            *self.answers.entry(*tag).or_default() += 1;
        }
    }
}

/// A new client.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) peer: Arc<Peer>,
    /// What opens its packets, and the first of them, where there is a key.
    pub(super) opened: Option<(Opener, Late)>,
}

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
    /// Proves keys, where there is one.
    host: Option<Host>,
    /// What was done in the last second, each with a limit of its own: Resets; first messages that were looked at, that were
    /// answered, and that were answered though they had been often before; handshakes that were ended.
    resets: (Instant, u32),
    checks: (Instant, u32),
    handshakes: (Instant, u32),
    repeats: (Instant, u32),
    welcomes: (Instant, u32),
    greeted: Greeted,
    /// First messages that were told of, because they did not prove the key.
    turned_away: Greeted,
    is_wild: bool,
}

impl Server {
    /// One that gives its clients to this queue. `is_wild`: its socket has every address of this machine.
    pub(super) fn new(options: UdpOptions, queue: Arc<Queue>, is_wild: bool) -> io::Result<Self> {
        let started = Instant::now();
        let secret = random()?;
        let host = options.key.clone().map(|key| Host::new(key, secret));
        let [resets, checks, handshakes, repeats, welcomes] = [(started, 0); 5];
        let gate = Gate::new(random()?);
        let [greeted, turned_away] = [(); 2].map(|()| Greeted { since: started, answers: HashMap::new() });
        Ok(Self {
            gate,
            started,
            options,
            queue,
            host,
            resets,
            checks,
            handshakes,
            repeats,
            welcomes,
            greeted,
            turned_away,
            is_wild,
        })
    }

    /// Judges a packet of nobody that is known: perhaps it makes a new peer, which is to be given it then.
    pub(super) fn meet(&mut self, now: Instant, arrival: &Arrival<'_>, outbox: &mut Outbox) -> Option<Met> {
        let since_start = now.saturating_duration_since(self.started);
        let (from, to) = (arrival.from, self.own_address(arrival));
        let start = outbox.bytes().len();
        match self.gate.receive(since_start, from, &arrival.packet, arrival.len(), outbox.bytes()) {
            First::Nothing => self.reset(now, arrival, outbox),
            First::Reply => {
                if self.seal_reply(now, arrival, outbox.bytes(), start) {
                    outbox.end(from, to);
                }
            }
            First::Accept(accepted) => return self.accept(now, accepted, arrival),
        }
        None
    }

    /// Makes a reply that begins at `start` one of a server with a key, where it is one. Silence where that is the reply.
    fn seal_reply(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        replies: &mut Vec<u8>,
        start: usize,
    ) -> bool {
        let Some(host) = &self.host else { return true };
        let Some((server_cid, token)) = take_retry(replies, start) else { return false };
        let init = arrival.datagram();
        let (count, most) = match self.greeted.answers(now, init) {
            MOST_ANSWERS.. => return false,
            FEW_ANSWERS.. => (&mut self.repeats, MOST_REPEATS),
            _ => (&mut self.handshakes, MOST_HANDSHAKES),
        };
        if !has_room(count, now, most) || !may_one_more(&mut self.checks, now, MOST_CHECKS) {
            return false;
        }
        let has_key = host.retry(init, server_cid, &token, replies);
        if has_key {
            count.1 += 1;
            self.greeted.answered(init);
        } else if self.turned_away.is_new(now, init) {
            self.turned_away.answered(init);
            self.options.turned_away(arrival.from, UNPROVED);
        }
        has_key
    }

    fn accept(&mut self, now: Instant, accepted: Accepted, arrival: &Arrival<'_>) -> Option<Met> {
        if !self.queue.has_room() {
            return None;
        }
        let (mut guard, mut opened) = (None, None);
        if let Some(host) = &self.host {
            // Their addresses are proven: strangers don't come so far, and take nobody's place.
            if !may_one_more(&mut self.welcomes, now, MOST_HANDSHAKES) {
                return None;
            }
            let (sealer, mut opener) = host.welcome(arrival.datagram())?;
            let packet = Late::open(arrival, &mut opener)?;
            guard = Some(Guard::of(sealer));
            opened = Some((opener, packet));
        }
        let config = self.options.config(arrival.from, LEAST_WINDOW);
        let seed = u64::from_ne_bytes(random().ok()?);
        let conn = Connection::accept(config, accepted, arrival.from, seed, now);
        let peer = Arc::new(Peer::new(conn, self.own_address(arrival), guard));
        Some(Met { peer, opened })
    }

    /// Says that a client was turned away.
    pub(super) fn turned_away(&self, peer: SocketAddr, why: &str) {
        self.options.turned_away(peer, why);
    }

    /// How long a client may take until its first message is there.
    pub(super) const fn handshake_limit(&self) -> Duration {
        self.options.handshake_limit
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
        let least = if self.host.is_some() { datagram::RESET_LEN } else { RESET_LEN };
        if datagram.len() > least && may_one_more(&mut self.resets, now, MOST_RESETS) {
            match &self.host {
                Some(host) => host.reset(cid, pn, crc.to_be_bytes(), outbox.bytes()),
                None => packet::reset(outbox.bytes(), cid, pn, crc),
            }
            outbox.end(arrival.from, self.own_address(arrival));
        }
    }

    /// Whether clients have to prove that they have a key.
    pub(super) const fn has_key(&self) -> bool {
        self.host.is_some()
    }
}

/// Counts something that happens at most so often in a second: whether it may happen once more.
fn may_one_more(count: &mut (Instant, u32), now: Instant, most: u32) -> bool {
    let may = has_room(count, now, most);
    count.1 = count.1.saturating_add(1);
    may
}

/// Whether what is counted in `count` may happen once more in this second.
fn has_room(count: &mut (Instant, u32), now: Instant, most: u32) -> bool {
    if now.saturating_duration_since(count.0).as_secs() >= 1 {
        *count = (now, 0);
    }
    count.1 < most
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_answered_the_same_greeting_is_counted() {
        let now = Instant::now();
        let mut greeted = Greeted { since: now, answers: HashMap::new() };
        let others = u64::from(MOST_HANDSHAKES) * GREETING_MEMORY.as_secs();
        (0..others).for_each(|other| greeted.answered(&other.to_be_bytes()));
        let recorded = others.to_be_bytes();
        (0..MOST_ANSWERS).for_each(|_| greeted.answered(&recorded));
        assert_eq!(greeted.answers(now, &recorded), MOST_ANSWERS);
        assert_eq!(greeted.answers(now + GREETING_MEMORY, &recorded), 0);
    }
}
