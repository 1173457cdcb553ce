//! Two ends of a connection and a network between them, on a virtual clock. Nothing sleeps; a seed decides everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use arq::{Accepted, Assembly, Claim, Config, Connection, End, First, Gate, Next, Received, Trace};
use framing::ChunkSet;
use framing::packet::{self, Packet};
use netsim::{Direction, Faults, Net};

pub const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 40_000);
pub const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 8121);
/// Events in which no time may pass, at most: more is a livelock.
const MAX_STEPS_AT_ONCE: u32 = 20_000;

/// What is tried.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub up: Faults,
    pub down: Faults,
    pub bytes: u64,
    pub config: Config,
    /// What the path carries, in bytes of UDP payload; larger datagrams vanish.
    pub path_mtu: usize,
    /// How many bytes of parts the receiver takes each second; all of them unless said.
    pub receiver_rate: Option<f64>,
    pub limit: Duration,
    /// Whether the rate and the queue are to be looked at all the time.
    pub trace: Option<Duration>,
}

impl Scenario {
    pub fn new(faults: &Faults, bytes: u64) -> Self {
        Self {
            up: faults.clone(),
            down: faults.clone(),
            bytes,
            config: Config::default(),
            path_mtu: 1472,
            receiver_rate: None,
            limit: Duration::from_secs(600),
            trace: None,
        }
    }
}

/// A moment of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Duration,
    pub trace: Trace,
    pub queue: Duration,
    pub delivered: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    pub took: Duration,
    pub whole: bool,
    pub end: Option<End>,
    pub wire_bytes: u64,
    pub mean_queue: Duration,
    pub max_queue: Duration,
    pub queue_drops: u64,
    pub moments: Vec<Moment>,
    pub stats: arq::Stats,
    pub most_waiting: u64,
}

impl Report {
    /// The share of what the link can carry, whole files by whole time.
    pub fn share(&self, scenario: &Scenario, loss: f64) -> f64 {
        let limit = scenario.up.rate.unwrap_or(u64::MAX) as f64 * (1.0 - loss);
        if self.whole { scenario.bytes as f64 * 8.0 / self.took.as_secs_f64() / limit } else { 0.0 }
    }
}

/// A byte of the file that is sent.
pub fn content(chunk: u64, at: usize) -> u8 {
    (chunk.wrapping_mul(31) as u8) ^ (at as u8) ^ ((at >> 8) as u8)
}

pub fn chunk_len(bytes: u64, chunk: u64) -> usize {
    bytes.saturating_sub(chunk * 4096).min(4096) as usize
}

pub struct World {
    scenario: Scenario,
    start: Instant,
    now: Duration,
    net: Net,
    gate: Gate,
    client: Connection,
    server: Option<Connection>,
    assembly: Assembly,
    /// Bytes that wait at the receiver, and when it takes the next ones.
    waiting: u64,
    taken_at: Duration,
    most_waiting: u64,
    state: State,
    next_claim: Option<Duration>,
    stored: bool,
    queue_sum: f64,
    queue_at: Duration,
    max_queue: Duration,
    moments: Vec<Moment>,
    next_moment: Duration,
    delivered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Asked,
    Sending,
    Sent,
    Done,
}

impl World {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let start = Instant::now();
        let net = Net::new(scenario.up.clone(), scenario.down.clone(), seed);
        let client = Connection::connect(scenario.config.clone(), SERVER, 7, seed ^ 0x5eed, start);
        Self {
            scenario,
            start,
            now: Duration::ZERO,
            net,
            gate: Gate::new([9; 32]),
            client,
            server: None,
            assembly: Assembly::new(),
            waiting: 0,
            taken_at: Duration::ZERO,
            most_waiting: 0,
            state: State::Connecting,
            next_claim: None,
            stored: false,
            queue_sum: 0.0,
            queue_at: Duration::ZERO,
            max_queue: Duration::ZERO,
            moments: Vec::new(),
            next_moment: Duration::ZERO,
            delivered: 0,
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Runs until the client has heard that all is stored.
    pub fn run(mut self) -> Report {
        let (mut last, mut steps) = (Duration::ZERO, 0);
        while self.state != State::Done && self.now < self.scenario.limit && self.client.end().is_none() {
            self.transmit();
            let Some(next) = self.next_event() else { break };
            self.advance(next.max(self.now));
            steps = if self.now == last { steps + 1 } else { 0 };
            last = self.now;
            assert!(steps < MAX_STEPS_AT_ONCE, "livelock at {:?}: {:?}", self.now, self.state);
            self.deliver();
            self.time_out();
        }
        self.report()
    }

    fn report(self) -> Report {
        let up = self.net.link(Direction::Up);
        let seconds = self.now.as_secs_f64().max(1e-9);
        Report {
            took: self.now,
            whole: self.stored && self.assembly.is_empty() && self.state == State::Done,
            end: self.client.end().cloned(),
            wire_bytes: up.stats().entered_bytes + up.stats().entered * 28,
            mean_queue: Duration::from_secs_f64(self.queue_sum / seconds),
            max_queue: self.max_queue,
            queue_drops: up.stats().queue_dropped,
            moments: self.moments,
            stats: self.client.stats(),
            most_waiting: self.most_waiting,
        }
    }

    fn next_event(&self) -> Option<Duration> {
        let since = |at: Instant| at.saturating_duration_since(self.start);
        let take = (self.waiting > 0).then_some(self.taken_at + Duration::from_millis(1));
        [
            self.net.next_arrival(),
            self.client.timeout().map(since),
            self.server.as_ref().and_then(Connection::timeout).map(since),
            self.next_claim,
            take,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn advance(&mut self, to: Duration) {
        let queue = self.net.link(Direction::Up).queued(self.now);
        // It empties as time passes: the area under it.
        let span = (to - self.queue_at).as_secs_f64();
        let begin = queue.as_secs_f64();
        let end = (begin - span).max(0.0);
        let falling = (begin - end).min(span);
        self.queue_sum += (begin + end) / 2.0 * falling;
        self.queue_at = to;
        self.max_queue = self.max_queue.max(queue);
        self.now = to;
        if let Some(every) = self.scenario.trace
            && to >= self.next_moment
        {
            self.next_moment = to + every;
            let trace = self.client.trace();
            self.moments.push(Moment { at: to, trace, queue, delivered: self.delivered });
        }
    }

    fn send(&mut self, direction: Direction, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            if datagram.len() <= self.scenario.path_mtu {
                let _ = self.net.send(direction, self.now, datagram);
            }
        }
    }

    fn transmit(&mut self) {
        let now = self.instant();
        for direction in [Direction::Up, Direction::Down] {
            let connection = match direction {
                Direction::Up => Some(&mut self.client),
                Direction::Down => self.server.as_mut(),
            };
            let mut datagrams = Vec::new();
            if let Some(connection) = connection {
                let mut buffer = Vec::new();
                while connection.poll_transmit(now, &mut buffer).is_some() {
                    datagrams.push(std::mem::take(&mut buffer));
                    assert!(datagrams.len() < 2000, "it never has enough");
                }
            }
            self.send(direction, datagrams);
        }
        self.converse();
        if self.state == State::Sending {
            self.send_parts();
        }
    }

    /// What the two sessions would say.
    fn converse(&mut self) {
        let now = self.instant();
        if self.state == State::Connecting && self.client.is_established() {
            self.client.expect_bulk(now, self.scenario.bytes);
            assert!(self.client.send_message(now, b"hello, put"));
            self.state = State::Asked;
            self.transmit();
        }
        if let Some(server) = &mut self.server {
            while let Some(message) = server.recv_message() {
                if message == b"hello, put" {
                    self.assembly.begin(&ChunkSet::from(0..self.scenario.bytes.div_ceil(4096)));
                    assert!(server.send_message(now, b"hello, want"));
                }
            }
            if self.assembly.is_empty() && !self.stored && self.delivered == self.scenario.bytes {
                self.stored = true;
                assert!(server.send_message(now, b"stored"));
            }
        }
        while let Some(message) = self.client.recv_message() {
            match message.as_slice() {
                b"hello, want" => {
                    self.client.begin_chunks(ChunkSet::from(0..self.scenario.bytes.div_ceil(4096)));
                    self.state = State::Sending;
                }
                b"stored" => self.state = State::Done,
                other => panic!("{other:?}"),
            }
        }
    }

    fn send_parts(&mut self) {
        let now = self.instant();
        let bytes = self.scenario.bytes;
        loop {
            let mut claims: Vec<Claim> = Vec::new();
            let next = self.client.claim(now, &mut |chunk| chunk_len(bytes, chunk), 16, &mut claims);
            let mut datagrams = Vec::new();
            for claim in claims {
                let header = self.client.commit(now, &claim);
                let mut datagram = Vec::new();
                packet::begin_data(&mut datagram, header.cid, header.pn);
                packet::put_part_header(&mut datagram, claim.chunk, claim.unit);
                let (mut chunk, mut at) = (claim.chunk, usize::from(claim.unit) * 128);
                for _ in 0..claim.len {
                    if at == chunk_len(bytes, chunk) {
                        (chunk, at) = (chunk + 1, 0);
                    }
                    datagram.push(content(chunk, at));
                    at += 1;
                }
                packet::seal(&mut datagram, 0);
                assert!(datagram.len() <= self.client.datagram_len());
                datagrams.push(datagram);
            }
            self.send(Direction::Up, datagrams);
            match next {
                Next::Ready => {}
                Next::Wait { until, .. } => {
                    self.next_claim = until.map(|at| at.saturating_duration_since(self.start));
                    return;
                }
                Next::Done => {
                    self.next_claim = None;
                    if self.state == State::Sending {
                        self.state = State::Sent;
                    }
                    return;
                }
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.instant();
        while let Some((direction, datagram)) = self.net.receive(self.now) {
            let Ok(packet) = Packet::parse(&datagram) else { continue };
            match direction {
                Direction::Down => {
                    self.client.handle(now, now, SERVER, &packet, datagram.len());
                }
                Direction::Up => self.deliver_to_server(now, &packet, datagram.len()),
            }
            self.transmit();
        }
    }

    fn deliver_to_server(&mut self, now: Instant, packet: &Packet<'_>, len: usize) {
        if self.server.is_none() {
            let mut reply = Vec::new();
            match self.gate.receive(self.now, CLIENT, packet, len, &mut reply) {
                First::Nothing => return,
                First::Reply => {
                    assert!(reply.len() <= 3 * len);
                    self.send(Direction::Down, vec![reply]);
                    return;
                }
                First::Accept(accepted) => {
                    let config = self.scenario.config.clone();
                    self.server = Some(accept(config, accepted, now));
                }
            }
        }
        let Some(server) = &mut self.server else { return };
        if let Received::Part { chunk, unit, payload } = server.handle(now, now, CLIENT, packet, len) {
            self.waiting += (payload.len().div_ceil(128) * 128) as u64;
            self.most_waiting = self.most_waiting.max(self.waiting);
            let bytes = self.scenario.bytes;
            let mut pieces = Vec::new();
            let taken = self.assembly.take(
                chunk,
                unit,
                payload.len(),
                &mut |chunk| chunk_len(bytes, chunk),
                &mut pieces,
            );
            taken.unwrap();
            for piece in pieces {
                let (mut chunk, mut at) = (piece.chunk, piece.skip);
                self.delivered += piece.range.len() as u64;
                for byte in &payload[piece.range] {
                    if at == chunk_len(bytes, chunk) {
                        (chunk, at) = (chunk + 1, 0);
                    }
                    assert_eq!(*byte, content(chunk, at), "chunk {chunk}, byte {at}");
                    at += 1;
                }
            }
        }
        if self.scenario.receiver_rate.is_none() {
            server.consumed(std::mem::take(&mut self.waiting));
        }
    }

    fn time_out(&mut self) {
        let now = self.instant();
        if let Some(rate) = self.scenario.receiver_rate
            && self.now > self.taken_at
        {
            let takes = ((self.now - self.taken_at).as_secs_f64() * rate) as u64;
            self.taken_at = self.now;
            let takes = takes.min(self.waiting);
            self.waiting -= takes;
            if let Some(server) = &mut self.server {
                server.consumed(takes);
            }
        }
        if self.client.timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        if let Some(server) = &mut self.server
            && server.timeout().is_some_and(|at| at <= now)
        {
            server.handle_timeout(now);
        }
    }
}

pub fn accept(config: Config, accepted: Accepted, now: Instant) -> Connection {
    Connection::accept(config, accepted, CLIENT, 0xacce, now)
}
