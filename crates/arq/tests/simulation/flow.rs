//! A client, its server, and the file that goes from one to the other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arq::{Assembly, Claim, Connection, Footprint, Next, Piece, Received};
use framing::ChunkSet;
use framing::packet::{self, Packet, UNIT_LEN};

use super::seals::Seals;
use super::{Direction, Moment, Network, Report, SERVER, Scenario, chunk_len, client_address, content};

const HELLO: &[u8] = b"hello, put";
/// The client has begun anew: the server shall say again what it wants.
const AGAIN: &[u8] = b"again";
const WANT: &[u8] = b"hello, want";
const STORED: &[u8] = b"stored";

/// How far a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    Connecting,
    Asked,
    Sending,
    Sent,
    Done,
}

pub struct Flow {
    pub scenario: Scenario,
    start: Instant,
    index: usize,
    pub client: Connection,
    pub server: Option<Connection>,
    /// Where both have a key.
    pub seals: Option<Seals>,
    /// Where the client is now, as seen from the server.
    pub home: SocketAddr,
    pub state: State,
    pub assembly: Assembly,
    /// The chunks that the server has asked for last, if it has.
    wanted: Option<ChunkSet>,
    /// The units that were written, a bit each.
    written: Vec<u32>,
    pub delivered: u64,
    /// Bytes that wait at the receiver, and when it took some last.
    pub waiting: u64,
    pub most_waiting: u64,
    taken_at: Duration,
    next_claim: Option<Duration>,
    pub stored: bool,
    done_at: Duration,
    /// What is still to be said beside the transfer, by the client and by the server, and what each has heard.
    pub to_say: [VecDeque<Vec<u8>>; 2],
    pub heard: [Vec<Vec<u8>>; 2],
    /// Datagrams that have come to the client, and to the server, and when.
    pub datagrams: [Vec<(Duration, Vec<u8>)>; 2],
    moments: Vec<Moment>,
    next_moment: Duration,
    pub most: Footprint,
    pub most_open: usize,
}

impl Flow {
    pub fn new(scenario: Scenario, index: usize, client: Connection, start: Instant) -> Self {
        let [up, down] = scenario.messages.clone();
        let chunks = scenario.bytes.div_ceil(4096) as usize;
        let seals = scenario.has_key.then(|| Seals::new(client.cid()));
        Self {
            scenario,
            start,
            index,
            client,
            server: None,
            seals,
            home: client_address(index),
            state: State::Waiting,
            assembly: Assembly::new(),
            wanted: None,
            written: vec![0; chunks],
            delivered: 0,
            waiting: 0,
            most_waiting: 0,
            taken_at: Duration::ZERO,
            next_claim: None,
            stored: false,
            done_at: Duration::ZERO,
            to_say: [up.into(), down.into()],
            heard: [Vec::new(), Vec::new()],
            datagrams: [Vec::new(), Vec::new()],
            moments: Vec::new(),
            next_moment: Duration::ZERO,
            most: Footprint::default(),
            most_open: 0,
        }
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Done || self.client.end().is_some()
    }

    /// The client breaks its pass off and asks what is wanted now.
    pub fn begin_again(&mut self, now: Duration) {
        self.state = State::Asked;
        self.next_claim = None;
        assert!(self.client.send_message(self.start + now, AGAIN));
    }

    pub fn report(mut self, network: &Network, now: Duration) -> Report {
        self.weigh();
        let up = network.link(Direction::Up).stats();
        let is_done = self.state == State::Done;
        let all_written = self.written.iter().enumerate().all(|(chunk, units)| {
            let units_of = chunk_len(self.scenario.bytes, chunk as u64).div_ceil(UNIT_LEN);
            units.count_ones() as usize == units_of
        });
        Report {
            took: if is_done { self.done_at } else { now },
            whole: is_done && self.stored && self.assembly.is_empty() && all_written,
            end: self.client.end().cloned(),
            wire_bytes: up.entered_bytes + up.entered * 28,
            mean_queue: network.mean_queue(now),
            max_queue: network.max_queue,
            queue_drops: up.queue_dropped,
            moments: self.moments,
            stats: self.client.stats(),
            most_waiting: self.most_waiting,
            most: self.most,
            most_open: self.most_open,
            delivered: self.delivered,
            heard: self.heard,
        }
    }

    /// Looks how much memory the ends take.
    pub fn weigh(&mut self) {
        for end in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            let now = end.footprint();
            self.most.packets = self.most.packets.max(now.packets);
            self.most.parts = self.most.parts.max(now.parts);
            self.most.message_bytes = self.most.message_bytes.max(now.message_bytes);
            self.most.ranges = self.most.ranges.max(now.ranges);
            self.most.datagrams = self.most.datagrams.max(now.datagrams);
        }
        self.most_open = self.most_open.max(self.assembly.open_chunks());
    }

    pub fn next_event(&self) -> Option<Duration> {
        if self.state == State::Waiting {
            return None;
        }
        let since = |at: Instant| at.saturating_duration_since(self.start);
        let tick = Duration::from_millis(1);
        let take = (self.waiting > 0).then(|| self.scenario.pause_end(self.taken_at + tick));
        let timeouts = [self.client.timeout(), self.server.as_ref().and_then(Connection::timeout)];
        let claim = self.next_claim.filter(|_| self.state == State::Sending);
        timeouts.into_iter().map(|at| at.map(since)).chain([claim, take]).flatten().min()
    }

    pub fn look(&mut self, now: Duration, queue: Duration) {
        if let Some(every) = self.scenario.trace
            && now >= self.next_moment
            && self.state != State::Waiting
        {
            self.next_moment = now + every;
            let (trace, stats) = (self.client.trace(), self.client.stats());
            let (sent, lost) = (stats.packets_sent, stats.packets_lost);
            self.moments.push(Moment { at: now, trace, queue, delivered: self.delivered, sent, lost });
        }
    }

    pub fn transmit(&mut self, now: Duration, network: &mut Network) {
        if self.state == State::Waiting {
            return;
        }
        let at = self.start + now;
        self.converse(at, now);
        for direction in Direction::BOTH {
            let (connection, from) = match direction {
                Direction::Up => (Some(&mut self.client), self.home),
                Direction::Down => (self.server.as_mut(), SERVER),
            };
            let Some(connection) = connection else { continue };
            for count in 0.. {
                let mut datagram = Vec::new();
                let Some(to) = connection.poll_transmit(at, &mut datagram) else { break };
                assert!(count < 2000, "it never has enough");
                assert!(datagram.len() <= usize::from(self.scenario.config.max_datagram));
                match (&self.seals, direction) {
                    (Some(seals), Direction::Up) => seals.client_sends(&mut datagram),
                    (Some(seals), Direction::Down) => seals.server_sends(&mut datagram),
                    (None, _) => {}
                }
                network.send(direction, self.index, from, to, now, datagram);
            }
        }
        if self.state == State::Sending {
            self.send_parts(now, network);
        }
    }

    /// What the two sessions would say.
    fn converse(&mut self, at: Instant, now: Duration) {
        if self.state == State::Connecting && self.client.is_established() {
            self.client.expect_bulk(at, self.scenario.bytes);
            assert!(self.client.send_message(at, HELLO));
            self.state = State::Asked;
        }
        if self.state >= State::Asked {
            say(&mut self.client, at, &mut self.to_say[0]);
        }
        if let Some(server) = &mut self.server {
            while let Some(message) = server.recv_message() {
                let wanted = match message.as_slice() {
                    HELLO => ChunkSet::from(0..self.scenario.bytes.div_ceil(4096)),
                    AGAIN => self.assembly.wanted().clone(),
                    _ => {
                        self.heard[1].push(message);
                        continue;
                    }
                };
                self.assembly.begin(&wanted);
                self.wanted = Some(wanted);
                assert!(server.send_message(at, WANT));
            }
            if self.wanted.is_some() {
                say(server, at, &mut self.to_say[1]);
            }
            if self.assembly.is_empty() && self.wanted.is_some() && !self.stored {
                self.stored = true;
                assert!(server.send_message(at, STORED));
            }
        }
        while let Some(message) = self.client.recv_message() {
            match message.as_slice() {
                WANT => {
                    // As if the message said it.
                    self.client.begin_chunks(self.wanted.clone().unwrap());
                    self.state = State::Sending;
                }
                STORED => {
                    self.state = State::Done;
                    self.done_at = now;
                }
                _ => self.heard[0].push(message),
            }
        }
    }

    fn send_parts(&mut self, now: Duration, network: &mut Network) {
        let at = self.start + now;
        let bytes = self.scenario.bytes;
        let mut claims: Vec<Claim> = Vec::new();
        loop {
            claims.clear();
            let next = self.client.claim(at, &mut |chunk| chunk_len(bytes, chunk), 16, &mut claims);
            for claim in &claims {
                let header = self.client.commit(at, claim);
                let mut datagram = Vec::with_capacity(claim.len + 40);
                packet::begin_data(&mut datagram, header.cid, header.pn);
                packet::put_part_header(&mut datagram, claim.chunk, claim.unit);
                put_content(&mut datagram, bytes, claim);
                packet::seal(&mut datagram, 0);
                assert!(datagram.len() <= self.client.datagram_len());
                if let Some(seals) = &self.seals {
                    seals.client_sends(&mut datagram);
                }
                network.send(Direction::Up, self.index, self.home, SERVER, now, datagram);
            }
            match next {
                Next::Ready => {}
                Next::Wait { until, .. } => {
                    self.next_claim = until.map(|at| at.saturating_duration_since(self.start));
                    return;
                }
                Next::Done => {
                    self.next_claim = None;
                    self.state = State::Sent;
                    return;
                }
            }
        }
    }

    pub fn deliver_to_client(&mut self, now: Duration, datagram: &[u8]) {
        let mut copy = Vec::new();
        let read = match &mut self.seals {
            Some(seals) => {
                copy.extend_from_slice(datagram);
                let client = &self.client;
                seals.client_gets(&mut copy, |cid, echo| cid == client.cid() && client.has_asked(echo))
            }
            None => Packet::parse(datagram).ok().map(|packet| (packet, datagram.len())),
        };
        if let Some((packet, len)) = read {
            let at = self.start + now;
            let received = self.client.handle(at, at, SERVER, &packet, len);
            if let Received::Datagram(payload) = received {
                self.datagrams[0].push((now, payload.to_vec()));
            }
        }
    }

    pub fn handle_at_server(&mut self, now: Duration, from: SocketAddr, packet: &Packet<'_>, len: usize) {
        let (Some(server), at) = (&mut self.server, self.start + now) else { return };
        let received = server.handle(at, at, from, packet, len);
        if let Received::Datagram(payload) = received {
            self.datagrams[1].push((now, payload.to_vec()));
        }
        if let Received::Part { chunk, unit, payload } = received {
            // Whole units, as the credit counts them.
            self.waiting += (payload.len().div_ceil(UNIT_LEN) * UNIT_LEN) as u64;
            self.most_waiting = self.most_waiting.max(self.waiting);
            let bytes = self.scenario.bytes;
            let mut pieces = Vec::new();
            let mut lens = |chunk| chunk_len(bytes, chunk);
            self.assembly.take(chunk, unit, payload.len(), &mut lens, &mut pieces).unwrap();
            for piece in &pieces {
                self.write(piece, payload);
            }
        }
        if self.scenario.receiver_rate.is_none() && self.scenario.receiver_pause.is_none() {
            self.take(u64::MAX);
        }
    }

    fn write(&mut self, piece: &Piece, payload: &[u8]) {
        let (mut chunk, mut skip) = (piece.chunk, piece.skip);
        let mut rest = &payload[piece.range.clone()];
        self.delivered += rest.len() as u64;
        while !rest.is_empty() {
            let here = rest.len().min(chunk_len(self.scenario.bytes, chunk) - skip);
            let (these, others) = rest.split_at(here);
            assert!(*these == content(chunk)[skip..skip + here], "chunk {chunk}, from {skip} on");
            for unit in skip / UNIT_LEN..(skip + here).div_ceil(UNIT_LEN) {
                self.written[chunk as usize] |= 1 << unit;
            }
            (rest, chunk, skip) = (others, chunk + 1, 0);
        }
        for chunk in piece.complete.clone() {
            let units = chunk_len(self.scenario.bytes, chunk).div_ceil(UNIT_LEN) as u32;
            assert_eq!(self.written[chunk as usize].count_ones(), units, "chunk {chunk} is not whole");
        }
    }

    fn take(&mut self, most: u64) {
        let takes = most.min(self.waiting);
        self.waiting -= takes;
        if let Some(server) = self.server.as_mut().filter(|_| takes > 0) {
            server.consumed(takes);
        }
    }

    pub fn time_out(&mut self, now: Duration) {
        let is_limited = self.scenario.receiver_rate.is_some() || self.scenario.receiver_pause.is_some();
        if is_limited && now > self.taken_at && self.scenario.pause_end(now) == now {
            let rate = self.scenario.receiver_rate.unwrap_or(1e12);
            let takes = ((now - self.taken_at).as_secs_f64() * rate) as u64;
            self.taken_at = now;
            self.take(takes);
        }
        let at = self.start + now;
        if self.client.timeout().is_some_and(|due| due <= at) && self.state != State::Waiting {
            self.client.handle_timeout(at);
        }
        if let Some(server) = &mut self.server
            && server.timeout().is_some_and(|due| due <= at)
        {
            server.handle_timeout(at);
        }
    }
}

fn say(connection: &mut Connection, at: Instant, messages: &mut VecDeque<Vec<u8>>) {
    while let Some(message) = messages.front() {
        if !connection.send_message(at, message) {
            return;
        }
        messages.pop_front();
    }
}

fn put_content(datagram: &mut Vec<u8>, bytes: u64, claim: &Claim) {
    let (mut chunk, mut skip, mut rest) = (claim.chunk, usize::from(claim.unit) * UNIT_LEN, claim.len);
    while rest > 0 {
        let here = rest.min(chunk_len(bytes, chunk) - skip);
        datagram.extend_from_slice(&content(chunk)[skip..skip + here]);
        (rest, chunk, skip) = (rest - here, chunk + 1, 0);
    }
}
