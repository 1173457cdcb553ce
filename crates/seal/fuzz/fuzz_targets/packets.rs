//! Any datagrams at a server and a client with a key: what was not sealed is not read, what was is, and nobody panics.
//!
//! Input: pieces of four bytes and what belongs to them. The first byte says what is made, the second how long what belongs
//! to it is and to whom it goes, the others where it is changed and how.

#![no_main]

use framing::packet::{self, Packet};
use libfuzzer_sys::fuzz_target;
use seal::Key;
use seal::datagram::{self, Greeting, Host, Opener, Sealer, Step, first_step, open_reset, parse};

/// Packets that are kept to be sent again.
const MOST_KEPT: usize = 16;
/// Packet numbers that share a secret.
const PHASE_LEN: u64 = 1 << 20;

/// One direction of a connection.
struct Way {
    sealer: Sealer,
    opener: Opener,
    number: u64,
    /// The newest phase of which the opener has seen a packet.
    newest: u64,
    last: Vec<u8>,
}

impl Way {
    fn new(sealer: Sealer, opener: Opener) -> Self {
        Self { sealer, opener, number: 1, newest: 0, last: Vec::new() }
    }

    /// Whether the opener has, or can make, the secret of a packet.
    fn knows(&self, number: u64) -> bool {
        (self.newest.saturating_sub(1)..=self.newest + 1).contains(&(number / PHASE_LEN))
    }
}

/// Somebody with the key on each side, and what passes between them.
struct Pair {
    key: Key,
    greeting: Greeting,
    host: Host,
    init: Vec<u8>,
    retry: Vec<u8>,
    ways: [Way; 2],
    /// The first packets that were sealed: for which way, with which number.
    kept: Vec<(usize, u64, Vec<u8>)>,
}

/// What is to be known about a datagram before it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was sealed for this side, with this number; it may have come before, or come late.
    Sealed(u64),
    /// It is a Retry for this client.
    Welcome,
    /// It is a Reset.
    Reset,
    /// Nobody sealed it.
    Made,
}

impl Pair {
    fn new() -> Option<Self> {
        let key = Key::generate().ok()?;
        let greeting = Greeting::begin(&key, 1).ok()?;
        let host = Host::new(key.clone(), [9; 32]);
        let mut init = Vec::new();
        packet::init(&mut init, packet::VERSION, 1, 5);
        datagram::seal_init(greeting.hello(), &mut init, 0);
        let mut retry = Vec::new();
        assert!(host.retry(&init, 2, &[3; packet::TOKEN_LEN], &mut retry));
        let (client, at_client) = greeting.welcome(&mut retry.clone())?;
        let mut connect = connect_packet(0, &[]);
        client.seal(&mut connect, 0);
        let (server, at_server) = host.welcome(&connect)?;
        let ways = [Way::new(server, at_client), Way::new(client, at_server)];
        Some(Self { key, greeting, host, init, retry, ways, kept: Vec::new() })
    }

    /// Makes a datagram.
    fn make(&mut self, what: u8, to_server: bool, at: u8, own: &[u8]) -> (Vec<u8>, Kind) {
        let way = usize::from(to_server);
        let number = self.ways[way].number;
        match what & 7 {
            0 => (self.init.clone(), Kind::Made),
            1 => (self.retry.clone(), Kind::Welcome),
            2 => self.seal(way, data_packet(number, own)),
            3 if to_server => self.seal(way, connect_packet(number, own)),
            // Reflected.
            3 => (self.ways[1].last.clone(), Kind::Made),
            4 => {
                let mut reset = Vec::new();
                self.host.reset(1, u32::from(at), [at; 4], &mut reset);
                (reset, Kind::Reset)
            }
            5 => (own.to_vec(), Kind::Made),
            6 => ([&[0xd1 + at % 6], own].concat(), Kind::Made),
            _ => {
                let count = self.kept.len().max(1);
                match self.kept.get(usize::from(at) % count) {
                    Some((to, number, bytes)) if *to == way => (bytes.clone(), Kind::Sealed(*number)),
                    Some((_, _, bytes)) => (bytes.clone(), Kind::Made),
                    None => (Vec::new(), Kind::Made),
                }
            }
        }
    }

    fn seal(&mut self, way: usize, mut clear: Vec<u8>) -> (Vec<u8>, Kind) {
        let number = self.ways[way].number;
        self.ways[way].sealer.seal(&mut clear, 0);
        if clear.is_empty() {
            return (clear, Kind::Made);
        }
        if self.kept.len() < MOST_KEPT {
            self.kept.push((way, number, clear.clone()));
        }
        self.ways[way].last.clone_from(&clear);
        (clear, Kind::Sealed(number))
    }

    /// Opens a datagram as the server or the client would.
    fn open(&mut self, to_server: bool, bytes: &mut [u8]) -> bool {
        match first_step(bytes) {
            Step::Open(_) => self.ways[usize::from(to_server)].opener.open(bytes),
            Step::Welcome(_) => self.greeting.welcome(bytes).is_some(),
            Step::Reset => open_reset(&self.key, bytes),
            Step::Init => {
                let mut out = Vec::new();
                let answered = self.host.retry(bytes, 7, &[1; packet::TOKEN_LEN], &mut out);
                assert_eq!(answered, !out.is_empty());
                assert!(out.len() <= 3 * bytes.len());
                false
            }
            Step::Drop => false,
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(mut pair) = Pair::new() else { return };
    let mut rest = input;
    while let Some((&[what, len, at, flip], more)) = rest.split_first_chunk::<4>() {
        let (own, later) = more.split_at(usize::from(len & 0x7f).min(more.len()));
        rest = later;
        let (to_server, way) = (len & 0x80 == 0, usize::from(len & 0x80 == 0));
        let (mut bytes, kind) = pair.make(what, to_server, at, own);
        // Now and then far ahead, so that the secrets change.
        pair.ways[way].number += 1 + (u64::from(at) * u64::from(what >> 7) << 13);
        if what & 0x40 != 0 {
            // It is late: it can still be sent again.
            continue;
        }
        let is_changed = flip != 0 && !bytes.is_empty();
        if is_changed {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= flip;
        }
        let opened = pair.open(to_server, &mut bytes);
        let parsed = parse(&bytes);
        assert!(parsed.is_none_or(|parsed| parsed.is_sealed != opened));
        match kind {
            Kind::Sealed(number) => {
                let way = &mut pair.ways[way];
                assert_eq!(opened, !is_changed && way.knows(number));
                if opened {
                    way.newest = way.newest.max(number / PHASE_LEN);
                    let frames = read(parsed.map(|parsed| parsed.packet));
                    assert!(what & 7 == 7 || frames == own);
                }
            }
            Kind::Reset => assert_eq!(opened, !is_changed),
            Kind::Made => assert!(!opened),
            // The echo and the id of a Retry are not sealed: a client compares them.
            Kind::Welcome => assert!(opened || is_changed),
        }
    }
});

/// The frames that were sealed; what they mean is for `framing` to say.
fn read(packet: Option<Packet<'_>>) -> &[u8] {
    let (Some(Packet::Data { frames, .. }) | Some(Packet::Connect { frames, .. })) = packet else {
        panic!("no frames");
    };
    packet::frames(frames).take_while(Result::is_ok).for_each(drop);
    frames
}

fn connect_packet(number: u64, frames: &[u8]) -> Vec<u8> {
    let mut connect = Vec::new();
    packet::begin_connect(&mut connect, 2, 1, &[3; packet::TOKEN_LEN], number);
    connect.extend_from_slice(frames);
    packet::seal(&mut connect, 0);
    connect
}

fn data_packet(number: u64, frames: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    packet::begin_data(&mut data, 1, number);
    data.extend_from_slice(frames);
    packet::seal(&mut data, 0);
    data
}
