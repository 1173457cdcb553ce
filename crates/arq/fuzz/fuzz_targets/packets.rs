//! Any datagrams for a pair of connections in the middle of a transfer: what is wrong with them ends a connection with a
//! name, or changes nothing; nobody panics, keeps much, or is busy with nothing.
//!
//! Input: pieces of four bytes and what belongs to them. The first byte says what happens, the second where and how long
//! what belongs to it is, the others are numbers.

#![no_main]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use arq::{Accepted, Config, Connection, First, Gate, Next};
use framing::ChunkSet;
use framing::packet::{self, Packet};
use libfuzzer_sys::fuzz_target;

const ADDRESSES: [SocketAddr; 3] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 40_000),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 8121),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 666),
];
const CIDS: [u32; 2] = [7, 9];

struct Pair {
    now: Instant,
    ends: [Connection; 2],
    on_way: [VecDeque<Vec<u8>>; 2],
    gate: Gate,
}

fuzz_target!(|input: &[u8]| {
    let mut pair = Pair::new();
    let mut rest = input;
    while let Some((&[what, len, a, b], more)) = rest.split_first_chunk::<4>() {
        let (own, later) = more.split_at(usize::from(len & 0x7f).min(more.len()));
        pair.apply(what, usize::from(len >> 7), a, b, own);
        rest = later;
    }
});

impl Pair {
    /// Two ends that know each other, of which one sends chunks and both send messages.
    fn new() -> Self {
        let now = Instant::now();
        let gate = Gate::new([1; 32]);
        let mut client = Connection::connect(Config::default(), ADDRESSES[1], CIDS[0], 3, now);
        let mut init = Vec::new();
        client.poll_transmit(now, &mut init);
        let mut retry = Vec::new();
        packet::retry(&mut retry, CIDS[0], CIDS[1], 3, &[0; packet::TOKEN_LEN]);
        if let Ok(packet) = Packet::parse(&retry) {
            client.handle(now, now, ADDRESSES[1], &packet, retry.len());
        }
        let accepted = Accepted { client_cid: CIDS[0], server_cid: CIDS[1] };
        let server = Connection::accept(Config::default(), accepted, ADDRESSES[0], 4, now);
        let mut pair = Self { now, ends: [client, server], on_way: [VecDeque::new(), VecDeque::new()], gate };
        for side in 0..2 {
            pair.ends[side].expect_bulk(now, 1 << 20);
            pair.ends[side].send_message(now, b"hello");
            pair.ends[side].begin_chunks(ChunkSet::from(0..100));
        }
        for _ in 0..4 {
            pair.go_on(Duration::from_millis(2));
        }
        pair
    }

    /// Time passes, and what is due is done; what was on its way arrives, if it is not touched before.
    fn go_on(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for side in 0..2 {
            for _ in 0..self.on_way[side].len().min(50) {
                self.deliver(side, 0);
            }
        }
        for side in 0..2 {
            let end = &mut self.ends[side];
            for count in 0.. {
                if end.timeout().is_some_and(|due| due <= now) {
                    end.handle_timeout(now);
                }
                let mut datagram = Vec::new();
                while end.poll_transmit(now, &mut datagram).is_some() {
                    assert!(datagram.len() < 5000);
                    self.on_way[1 - side].push_back(std::mem::take(&mut datagram));
                }
                if end.timeout().is_none_or(|due| due > now) {
                    break;
                }
                assert!(count < 10, "busy with nothing");
            }
            while end.recv_message().is_some() {}
            let mut claims = Vec::new();
            let next = end.claim(now, &mut |_| 4096, 4, &mut claims);
            assert_eq!(next == Next::Ready, !claims.is_empty());
            for claim in claims {
                let header = end.commit(now, &claim);
                let mut datagram = Vec::new();
                packet::begin_data(&mut datagram, header.cid, header.pn);
                packet::put_part_header(&mut datagram, claim.chunk, claim.unit);
                datagram.resize(datagram.len() + claim.len, 0);
                packet::seal(&mut datagram, 0);
                self.on_way[1 - side].push_back(datagram);
            }
            let kept = end.footprint();
            assert!(
                kept.packets < 100_000 && kept.message_bytes < 3 << 20 && kept.ranges <= 2048,
                "{kept:?}"
            );
        }
        for way in &mut self.on_way {
            way.truncate(500);
        }
    }

    fn deliver(&mut self, side: usize, index: usize) {
        let way = &mut self.on_way[side];
        if let Some(datagram) = way.remove(index % way.len().max(1)) {
            self.give(side, 1 - side, &datagram);
        }
    }

    fn give(&mut self, side: usize, from: usize, datagram: &[u8]) {
        let Ok(packet) = Packet::parse(datagram) else { return };
        let now = self.now;
        let _ = self.ends[side].handle(now, now, ADDRESSES[from], &packet, datagram.len());
        let mut reply = Vec::new();
        let first = self.gate.receive(Duration::ZERO, ADDRESSES[from], &packet, datagram.len(), &mut reply);
        assert!(reply.len() <= 3 * datagram.len() && !matches!(first, First::Accept(_)));
    }

    fn apply(&mut self, what: u8, side: usize, a: u8, b: u8, own: &[u8]) {
        let from = if what & 0x80 == 0 { 1 - side } else { 2 };
        match what % 8 {
            // As it is.
            0 => self.give(side, from, own),
            // Frames in a packet that is right otherwise.
            1 | 2 => {
                let mut datagram = Vec::new();
                let pn = if what % 8 == 1 {
                    1000 + u64::from(a) * 256 + u64::from(b)
                } else {
                    u64::from(a) << (b % 32)
                };
                packet::begin_data(&mut datagram, CIDS[side], pn);
                datagram.extend_from_slice(own);
                packet::seal(&mut datagram, 0);
                self.give(side, from, &datagram);
            }
            // Something real, changed in places and sealed again.
            3 | 4 => {
                let way = &self.on_way[side];
                let Some(datagram) = way.get(usize::from(a) % way.len().max(1)) else { return };
                let mut datagram = datagram.clone();
                datagram.truncate(datagram.len().saturating_sub(packet::CRC_LEN));
                for (n, byte) in own.iter().enumerate() {
                    if let Some(place) = datagram.get_mut(usize::from(b) + n) {
                        *place ^= byte;
                    }
                }
                packet::seal(&mut datagram, 0);
                self.give(side, from, &datagram);
            }
            5 => self.deliver(side, usize::from(a)),
            6 => {
                let _ = self.on_way[side].pop_front();
            }
            _ => self.go_on(Duration::from_micros(u64::from(a) * u64::from(b) * 10)),
        }
    }
}
