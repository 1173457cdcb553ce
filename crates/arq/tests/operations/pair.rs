//! Two honest ends, and somebody who does with their datagrams, their clocks and their callers whatever a list of operations
//! says. Used by a property test and by the fuzz target `operations`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use arq::{Assembly, Claim, Config, Congestion, Connection, DatagramError, End, First, Gate, Next, Received};
use framing::ChunkSet;
use framing::packet::{self, Packet, UNIT_LEN};

const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 40_000),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 8121),
];
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Chunks of the files that are sent, of which some are the last ones of a file.
const CHUNKS: u64 = 48;
/// Datagrams that may be on their way each way; the oldest is lost if there are more.
const MOST_ON_WAY: usize = 300;
/// What the largest datagram may be that gets through.
const PATH: usize = 1472;

fn chunk_len(chunk: u64) -> usize {
    match chunk {
        7 => 130,
        8 => 1,
        20 => 128,
        47 => 4000,
        _ => 4096,
    }
}

fn byte(chunk: u64, at: usize) -> u8 {
    (chunk as u8).wrapping_mul(31) ^ at as u8 ^ (at >> 8) as u8
}

/// One operation: what, and two numbers for it.
pub(crate) type Op = [u8; 3];

struct Pair {
    start: Instant,
    now: Duration,
    gate: Gate,
    ends: [Option<Connection>; 2],
    /// Where the client seems to be.
    home: SocketAddr,
    on_way: [VecDeque<(SocketAddr, Vec<u8>)>; 2],
    said: [Vec<Vec<u8>>; 2],
    heard: [Vec<Vec<u8>>; 2],
    wanted: ChunkSet,
    given_up: ChunkSet,
    claims: Vec<Claim>,
    assembly: Assembly,
    waiting: u64,
    window: u64,
    closed: bool,
    began: bool,
}

/// Does all of it, then lets everything go on undisturbed, and checks that it ends well.
pub(crate) fn run(setting: u8, ops: &[Op]) {
    let mut pair = Pair::new(setting);
    for op in ops {
        pair.apply(*op);
        pair.check();
    }
    pair.recover();
}

impl Pair {
    fn new(setting: u8) -> Self {
        let window = [8_000, 40_000, 1 << 20, 32 << 20][usize::from(setting & 3)];
        let congestion = [Congestion::Bbr, Congestion::Bbr, Congestion::Cubic, Congestion::Fixed];
        let config = Config {
            congestion: congestion[usize::from(setting >> 2 & 3)],
            max_rate: (setting & 16 != 0).then_some(5_000_000),
            max_datagram: if setting & 32 == 0 { 65507 } else { 1252 },
            window,
            ..Config::default()
        };
        let start = Instant::now() + Duration::from_secs(3600);
        let client = Connection::connect(config, ADDRESSES[SERVER], 7, 0x5eed, start);
        Self {
            start,
            now: Duration::ZERO,
            gate: Gate::new([5; 32]),
            ends: [Some(client), None],
            home: ADDRESSES[CLIENT],
            on_way: [VecDeque::new(), VecDeque::new()],
            said: [Vec::new(), Vec::new()],
            heard: [Vec::new(), Vec::new()],
            wanted: ChunkSet::from(0..CHUNKS),
            given_up: ChunkSet::new(),
            claims: Vec::new(),
            assembly: Assembly::new(),
            waiting: 0,
            window,
            closed: false,
            began: false,
        }
    }

    fn at(&self) -> Instant {
        self.start + self.now
    }

    fn apply(&mut self, [what, a, b]: Op) {
        let side = usize::from(a & 1);
        match what % 18 {
            0..=2 => self.transmit(side),
            3 | 4 => self.deliver(side, usize::from(b)),
            5 => {
                for _ in 0..b {
                    self.deliver(side, 0);
                }
            }
            6 => self.lose(side, usize::from(b)),
            7 => self.copy(side, usize::from(b)),
            8 => self.pass_time(Duration::from_micros(u64::from(a) * 50)),
            9 => self.pass_time(Duration::from_micros(u64::from(b) * u64::from(b) * 10)),
            10 => self.claim(usize::from(b % 20)),
            11 => self.commit(usize::from(a), usize::from(b % 8), false),
            12 => self.release(usize::from(b)),
            13 if b < 64 => self.abandon(u64::from(a) % CHUNKS, u64::from(b % 4)),
            13 if b < 128 => self.begin(),
            13 => self.consume(u64::from(b) * 400),
            14 if a & 2 == 0 => self.say(side, usize::from(b) * usize::from(b)),
            14 => self.throw(side, usize::from(b) * 6),
            15 => self.read(side),
            16 if b == 255 => self.close(side),
            16 if b > 240 => self.home.set_port(u16::from(a) + 1),
            16 => self.lend(Duration::from_micros(u64::from(b)), |pair| match b % 3 {
                0 => pair.claim(4),
                1 => pair.commit(0, 4, true),
                _ => pair.deliver(side, 0),
            }),
            _ => self.damage(side, usize::from(a), b),
        }
    }

    /// Sends a datagram, whose bytes tell its length.
    fn throw(&mut self, side: usize, len: usize) {
        let at = self.at();
        let Some(end) = &mut self.ends[side] else { return };
        let room = end.datagram_room();
        let bytes: Vec<u8> = (0..len).map(|at| byte(len as u64, at)).collect();
        match end.send_datagram(at, &bytes) {
            Ok(()) => assert!(len <= room),
            Err(DatagramError::TooLong { most, .. }) => assert!(len > room && most == room),
            Err(DatagramError::Full) => assert!(end.footprint().datagrams > 0),
            Err(DatagramError::NotOpen) => assert!(end.end().is_some() || !end.is_established()),
        }
    }

    /// Says what is written for all messages before.
    fn say(&mut self, side: usize, len: usize) {
        let at = self.at();
        let Some(end) = &mut self.ends[side] else { return };
        let message: Vec<u8> = (0..len).map(|at| byte(self.said[side].len() as u64, at)).collect();
        if end.send_message(at, &message) {
            self.said[side].push(message);
        }
    }

    fn read(&mut self, side: usize) {
        let Some(end) = &mut self.ends[side] else { return };
        while let Some(message) = end.recv_message() {
            self.heard[side].push(message);
        }
    }

    fn transmit(&mut self, side: usize) {
        let at = self.at();
        let Some(end) = &mut self.ends[side] else { return };
        for count in 0.. {
            let mut datagram = Vec::new();
            let Some(to) = end.poll_transmit(at, &mut datagram) else { return };
            assert!(count < 2000, "it never has enough");
            assert!(Packet::parse(&datagram).is_ok());
            // What goes to another address than the client's own is gone.
            if side == CLIENT || to == self.home {
                put(&mut self.on_way[1 - side], self.home, datagram);
            }
        }
    }

    fn deliver(&mut self, side: usize, index: usize) {
        let way = &mut self.on_way[side];
        let Some((from, datagram)) = way.remove(index % way.len().max(1)) else { return };
        let Ok(packet) = Packet::parse(&datagram) else { return };
        let at = self.at();
        if side == SERVER && self.ends[SERVER].is_none() {
            let mut reply = Vec::new();
            match self.gate.receive(self.now, from, &packet, datagram.len(), &mut reply) {
                First::Nothing => return,
                First::Reply => return put(&mut self.on_way[CLIENT], from, reply),
                First::Accept(accepted) => {
                    let config = Config { window: self.window, ..Config::default() };
                    self.ends[SERVER] = Some(Connection::accept(config, accepted, from, 3, at));
                }
            }
        }
        let from = if side == SERVER { from } else { ADDRESSES[SERVER] };
        let Some(end) = &mut self.ends[side] else { return };
        let received = end.handle(at, at, from, &packet, datagram.len());
        if let Received::Datagram(bytes) = received {
            assert!((0..bytes.len()).all(|at| bytes[at] == byte(bytes.len() as u64, at)));
        }
        if let Received::Part { chunk, unit, payload } = received {
            self.waiting += (payload.len().div_ceil(UNIT_LEN) * UNIT_LEN) as u64;
            assert!(self.waiting <= self.window, "more than may wait");
            take(&mut self.assembly, chunk, unit, payload);
        }
        assert!(self.on_way[side].len() <= MOST_ON_WAY);
    }

    fn lose(&mut self, side: usize, index: usize) {
        let way = &mut self.on_way[side];
        let _ = way.remove(index % way.len().max(1));
    }

    fn copy(&mut self, side: usize, index: usize) {
        let way = &mut self.on_way[side];
        if let Some((from, datagram)) = way.get(index % way.len().max(1)).cloned() {
            put(way, from, datagram);
        }
    }

    /// Flips a bit, or cuts the end off. The checksum finds it.
    fn damage(&mut self, side: usize, at: usize, how: u8) {
        let Some((from, mut datagram)) = self.on_way[side].front().cloned() else { return };
        let at = at % datagram.len().max(1);
        if how & 8 == 0 && !datagram.is_empty() {
            datagram[at] ^= 1 << (how & 7);
        } else {
            datagram.truncate(at);
        }
        put(&mut self.on_way[side], from, datagram);
    }

    fn pass_time(&mut self, time: Duration) {
        self.now += time;
        let at = self.at();
        for end in self.ends.iter_mut().flatten() {
            if end.timeout().is_some_and(|due| due <= at) {
                end.handle_timeout(at);
            }
        }
    }

    /// Does something with a clock that is a little behind, as another thread's may be.
    fn lend(&mut self, time: Duration, act: impl FnOnce(&mut Self)) {
        let now = self.now;
        self.now = now.saturating_sub(time);
        act(self);
        self.now = now;
    }

    fn begin(&mut self) {
        let Some(client) = self.ends[CLIENT].as_mut().filter(|client| client.is_established()) else {
            return;
        };
        self.given_up = ChunkSet::new();
        if !self.began {
            let at = self.start + self.now;
            client.expect_bulk(at, CHUNKS * 4096);
            self.assembly.begin(&self.wanted);
        }
        self.began = true;
        let rest = self.assembly.wanted().clone();
        self.assembly.begin(&rest);
        client.begin_chunks(rest);
    }

    fn claim(&mut self, most: usize) {
        let at = self.at();
        if let Some(client) = self.ends[CLIENT].as_mut().filter(|_| self.began && self.claims.len() < 100) {
            let before = self.claims.len();
            let next = client.claim(at, &mut |chunk| chunk_len(chunk), most, &mut self.claims);
            assert!(self.claims.len() - before <= most);
            assert_eq!(next == Next::Ready, self.claims.len() > before);
        }
    }

    /// Commits so many claims from there on, and sends them.
    fn commit(&mut self, from: usize, count: usize, keep_order: bool) {
        for _ in 0..count {
            if self.claims.is_empty() {
                return;
            }
            let at = self.at();
            let index = if keep_order { 0 } else { from % self.claims.len() };
            let claim = self.claims.remove(index);
            let Some(client) = &mut self.ends[CLIENT] else { return };
            let header = client.commit(at, &claim);
            let mut datagram = Vec::new();
            packet::begin_data(&mut datagram, header.cid, header.pn);
            packet::put_part_header(&mut datagram, claim.chunk, claim.unit);
            let (mut chunk, mut skip) = (claim.chunk, usize::from(claim.unit) * UNIT_LEN);
            assert!(claim.len > 0);
            for _ in 0..claim.len {
                if skip == chunk_len(chunk) {
                    (chunk, skip) = (chunk + 1, 0);
                }
                datagram.push(byte(chunk, skip));
                skip += 1;
            }
            packet::seal(&mut datagram, 0);
            put(&mut self.on_way[SERVER], self.home, datagram);
        }
    }

    fn release(&mut self, index: usize) {
        if !self.claims.is_empty() {
            let claim = self.claims.swap_remove(index % self.claims.len());
            if let Some(client) = &mut self.ends[CLIENT] {
                client.release(&claim);
            }
        }
    }

    fn abandon(&mut self, chunk: u64, more: u64) {
        let chunks = chunk..(chunk + more + 1).min(CHUNKS);
        if let Some(client) = self.ends[CLIENT].as_mut().filter(|_| self.began) {
            client.abandon(chunks.clone());
            self.given_up.insert(chunks);
        }
    }

    fn consume(&mut self, most: u64) {
        let bytes = most.min(self.waiting);
        self.waiting -= bytes;
        if let Some(server) = &mut self.ends[SERVER] {
            server.consumed(bytes);
        }
    }

    fn close(&mut self, side: usize) {
        if let Some(end) = &mut self.ends[side] {
            end.close(0, "enough");
            self.closed = true;
        }
    }

    /// What is always so.
    fn check(&self) {
        for (side, end) in self.ends.iter().enumerate() {
            let Some(end) = end else { continue };
            // Both are honest, whatever happens between them.
            match end.end() {
                None | Some(End::Silent(_)) => {}
                Some(End::Ours | End::Closed { .. }) => assert!(self.closed || self.is_silent(1 - side)),
                Some(other) => panic!("{other:?}"),
            }
            let kept = end.footprint();
            assert!(kept.packets < 20_000 && kept.parts < 5000 && kept.ranges <= 2048, "{kept:?}");
            assert!(kept.message_bytes <= 2 << 20 && kept.datagrams <= 64, "{kept:?}");
        }
        for side in [CLIENT, SERVER] {
            let (heard, said) = (&self.heard[1 - side], &self.said[side]);
            assert!(heard.len() <= said.len() && heard.iter().zip(said).all(|(heard, said)| heard == said));
        }
    }

    fn is_silent(&self, side: usize) -> bool {
        self.ends[side].as_ref().is_some_and(|end| matches!(end.end(), Some(End::Silent(_))))
    }

    fn is_over(&self) -> bool {
        self.ends.iter().flatten().any(|end| end.end().is_some())
    }

    /// Everything arrives from now on. In the end, all must be where it belongs, unless it was closed or given up before.
    fn recover(&mut self) {
        let limit = self.now + Duration::from_secs(100);
        for _ in 0..200_000 {
            if self.is_over() {
                self.check();
                return;
            }
            for side in [CLIENT, SERVER] {
                for _ in 0..self.on_way[side].len() {
                    self.deliver(side, 0);
                }
                self.read(side);
            }
            self.consume(u64::MAX);
            if !self.began {
                self.begin();
            }
            let is_done = self.send_all();
            self.transmit(CLIENT);
            self.transmit(SERVER);
            self.settle();
            let heard = (0..2).all(|side| self.heard[1 - side].len() == self.said[side].len());
            if is_done && heard && self.is_whole() {
                self.check();
                return;
            }
            assert!(self.now < limit, "it does not recover");
            self.pass_time(Duration::from_millis(5));
        }
        panic!("it does not recover");
    }

    /// When all is done that was due, nothing is due any more: else a caller would be busy with nothing.
    fn settle(&mut self) {
        for side in [CLIENT, SERVER] {
            for count in 0.. {
                let at = self.at();
                let Some(end) =
                    self.ends[side].as_mut().filter(|end| end.timeout().is_some_and(|due| due <= at))
                else {
                    break;
                };
                assert!(count < 10, "busy with nothing");
                end.handle_timeout(at);
                self.transmit(side);
            }
        }
    }

    /// Sends all parts that may go. Whether all have arrived.
    fn send_all(&mut self) -> bool {
        for _ in 0..200 {
            self.commit(0, usize::MAX, true);
            self.claim(16);
            if self.claims.is_empty() {
                break;
            }
        }
        let at = self.at();
        let Some(client) = self.ends[CLIENT].as_mut().filter(|_| self.began) else { return false };
        let mut claims = Vec::new();
        let next = client.claim(at, &mut |chunk| chunk_len(chunk), 1, &mut claims);
        self.claims.append(&mut claims);
        next == Next::Done
    }

    fn is_whole(&self) -> bool {
        let mut missing = self.assembly.wanted().clone();
        for range in self.given_up.ranges() {
            missing.remove(range);
        }
        self.began && missing.is_empty()
    }
}

/// Puts a datagram on its way, if the way carries so much.
fn put(way: &mut VecDeque<(SocketAddr, Vec<u8>)>, from: SocketAddr, datagram: Vec<u8>) {
    if datagram.len() > PATH {
        return;
    }
    way.push_back((from, datagram));
    if way.len() > MOST_ON_WAY {
        way.pop_front();
    }
}

fn take(assembly: &mut Assembly, chunk: u64, unit: u8, payload: &[u8]) {
    let mut pieces = Vec::new();
    let taken = assembly.take(chunk, unit, payload.len(), &mut |chunk| chunk_len(chunk), &mut pieces);
    assert_eq!(taken, Ok(()));
    for piece in pieces {
        let (mut chunk, mut skip) = (piece.chunk, piece.skip);
        for found in &payload[piece.range] {
            if skip == chunk_len(chunk) {
                (chunk, skip) = (chunk + 1, 0);
            }
            assert_eq!(*found, byte(chunk, skip), "chunk {chunk}, byte {skip}");
            skip += 1;
        }
        for chunk in piece.complete {
            assert!(!assembly.wanted().contains(chunk));
        }
    }
}
