//! Sealed packets over UDP.
//!
//! A sealed packet is one of `framing::packet` with its frames encrypted and a tag of 16 bytes in the place of its checksum;
//! its kind has 16 added. The handshake is that of streams, spread over the packets that begin a connection, so that it costs
//! no round trip, and a server keeps nothing before it knows that the client has the key and receives at its address.
//!
//! | kind    | byte | layout behind the kind                                                                          |
//! |---------|------|-------------------------------------------------------------------------------------------------|
//! | Init    | `d1` | 3 magic, 1 version, 4 client cid, 8 echo, 48 hello                                              |
//! | Retry   | `d2` | 3 magic, 1 version, 4 client cid, 8 echo, 32 e, 4 server cid and 24 token, encrypted; 16 tag    |
//! | Connect | `d3` | 3 magic, 1 version, 4 server cid, 4 client cid, 24 token, 48 hello, 4 packet number, frames, 16 tag |
//! | Data    | `d4` | 4 cid, 4 packet number, frames, 16 tag                                                          |
//! | Reset   | `d5` | 4 cid, 4 packet number, 4 last bytes of the packet that this one answers, 16 MAC                |
//! | Plain   | `d6` | 4 cid, 4 packet number, 8 chunk, payload, 16 tag                                                |
//!
//! ```text
//! client  Greeting::begin; Init ....> Host::retry            keeps nothing
//!         Greeting::welcome <.. Retry
//!         Sealer: Connect ..........> Host::welcome          a connection
//!         Opener <............. Data: Sealer
//! ```

mod handshake;
mod reset;
mod sealer;

use framing::CHUNK_LEN;
use framing::packet::{
    CONNECT_HEADER_LEN, CRC_LEN, DATA_HEADER_LEN, MAGIC, MAX_CHUNK, Packet, TOKEN_LEN, VERSION, field,
};

use crate::cipher::TAG_LEN;

pub use handshake::{Greeting, Host};
pub use reset::{KNOCK_LEN, Knock, open_reset};
pub use sealer::{Opener, Sealer, seal_init};

/// Bytes that sealed frames are longer than frames with a checksum.
pub const GROWTH: usize = TAG_LEN - CRC_LEN;
/// Bytes of the first message of the handshake.
pub const HELLO_LEN: usize = 32 + TAG_LEN;
/// Bytes of a sealed Init.
pub const INIT_LEN: usize = field::ECHO.end + HELLO_LEN;
/// Bytes of a sealed Retry.
pub const RETRY_LEN: usize = RETRY_E + 32 + PAYLOAD_LEN + TAG_LEN;
/// Bytes of a sealed Reset. It answers only longer packets.
pub const RESET_LEN: usize = field::RESET_CRC.end + TAG_LEN;

/// Where the second message of the handshake begins in a Retry, and what it holds.
const RETRY_E: usize = field::ECHO.end;
const PAYLOAD_LEN: usize = 4 + TOKEN_LEN;
/// Bytes before the frames of a sealed Connect.
const CONNECT_LEN: usize = CONNECT_HEADER_LEN + HELLO_LEN;
/// Bytes before the payload of a sealed Plain: it needs no checksums.
const PLAIN_LEN: usize = field::PLAIN_CHUNK.end;
/// Packet numbers of a direction that share a secret: 64 GiB at most.
const PHASE_LEN: u64 = 1 << 20;

mod kind {
    pub(super) const INIT: u8 = 0xd1;
    pub(super) const RETRY: u8 = 0xd2;
    pub(super) const CONNECT: u8 = 0xd3;
    pub(super) const DATA: u8 = 0xd4;
    pub(super) const RESET: u8 = 0xd5;
    pub(super) const PLAIN: u8 = 0xd6;
    /// What a sealed packet's kind has more than that of a clear one.
    pub(super) const SEALED: u8 = 0x10;
    /// What is added to a kind once the packet was opened. Never on the wire.
    pub(super) const OPENED: u8 = 0x20;
    /// What is put in the place of the kind of a packet that was found wrong.
    pub(super) const NONE: u8 = 0;
}

/// What is to be done with a datagram before it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To give it to the [`Greeting`] of this connection.
    Welcome(u32),
    /// To give it to the [`Opener`] of this connection.
    Open(u32),
    /// To give it to [`open_reset`].
    Reset,
    /// Nothing: it begins a connection.
    Init,
    /// To drop it.
    Drop,
}

/// What is to be done with a datagram. One that is to be dropped can't be read any more.
pub fn first_step(datagram: &mut [u8]) -> Step {
    let Some(&kind) = datagram.first() else { return Step::Drop };
    let step = match kind {
        kind::INIT if datagram.len() == INIT_LEN && has_version(datagram) => Step::Init,
        kind::RETRY if datagram.len() == RETRY_LEN => Step::Welcome(be32(datagram, field::FIRST_CID)),
        kind::CONNECT if datagram.len() >= CONNECT_LEN + TAG_LEN && has_version(datagram) => {
            Step::Open(be32(datagram, field::FIRST_CID))
        }
        kind::DATA if datagram.len() >= DATA_HEADER_LEN + TAG_LEN => Step::Open(be32(datagram, field::CID)),
        kind::PLAIN if datagram.len() > PLAIN_LEN + TAG_LEN => Step::Open(be32(datagram, field::CID)),
        kind::RESET if datagram.len() == RESET_LEN => Step::Reset,
        _ => Step::Drop,
    };
    if step == Step::Drop {
        datagram[0] = kind::NONE;
    }
    step
}

/// A packet that was opened, or may have to be still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Its content. That of one that was not opened has no frames and no payload.
    pub packet: Packet<'a>,
    /// Whether it is still sealed.
    pub is_sealed: bool,
    /// How many bytes at its end are not of what it holds: as a clear packet's checksum would be, and what is more.
    pub surplus: usize,
}

/// Reads a packet. Of what was not opened only the header can be read, and nothing proves it.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Parsed<'_>> {
    let kind = *datagram.first()?;
    let is_sealed = kind < kind::INIT + kind::OPENED;
    let kind = if is_sealed { kind } else { kind - kind::OPENED };
    let content = |header: usize| match is_sealed {
        true => Some(&[][..]),
        false => datagram.get(header..datagram.len().checked_sub(TAG_LEN)?),
    };
    let packet = match kind {
        kind::INIT if is_sealed && datagram.len() == INIT_LEN => Packet::Init {
            version: VERSION,
            client_cid: be32(datagram, field::FIRST_CID),
            echo: be64(datagram, field::ECHO),
        },
        kind::RETRY if !is_sealed && datagram.len() == RETRY_LEN => Packet::Retry {
            client_cid: be32(datagram, field::FIRST_CID),
            server_cid: be32(datagram, RETRY_E + 32..RETRY_E + 36),
            echo: be64(datagram, field::ECHO),
            token: *datagram.get(RETRY_E + 36..)?.first_chunk()?,
        },
        kind::CONNECT if datagram.len() >= CONNECT_LEN + TAG_LEN => Packet::Connect {
            server_cid: be32(datagram, field::FIRST_CID),
            client_cid: be32(datagram, field::SECOND_CID),
            token: *datagram.get(field::CONNECT_TOKEN)?.as_array()?,
            pn: be32(datagram, CONNECT_LEN - 4..CONNECT_LEN),
            frames: content(CONNECT_LEN)?,
        },
        kind::DATA if datagram.len() >= DATA_HEADER_LEN + TAG_LEN => Packet::Data {
            cid: be32(datagram, field::CID),
            pn: be32(datagram, field::PN),
            frames: content(DATA_HEADER_LEN)?,
        },
        kind::RESET if !is_sealed && datagram.len() == RESET_LEN => Packet::Reset {
            cid: be32(datagram, field::CID),
            pn: be32(datagram, field::PN),
            crc: be32(datagram, field::RESET_CRC),
        },
        kind::PLAIN if datagram.len() > PLAIN_LEN + TAG_LEN => {
            let (chunk, payload) = (be64(datagram, field::PLAIN_CHUNK), content(PLAIN_LEN)?);
            if chunk >= MAX_CHUNK || payload.len() > CHUNK_LEN {
                return None;
            }
            let (cid, pn) = (be32(datagram, field::CID), be32(datagram, field::PN));
            Packet::Plain { cid, pn, chunk, payload, intact: true }
        }
        _ => return None,
    };
    let surplus = match kind {
        kind::CONNECT | kind::DATA => GROWTH,
        kind::PLAIN => TAG_LEN,
        _ => 0,
    };
    Some(Parsed { packet, is_sealed, surplus })
}

fn has_version(datagram: &[u8]) -> bool {
    datagram.get(field::MAGIC).is_some_and(|magic| *magic == MAGIC)
        && datagram.get(field::VERSION.start) == Some(&VERSION)
}

/// A number; 0 where there is none.
fn be32(bytes: &[u8], at: std::ops::Range<usize>) -> u32 {
    bytes.get(at).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8], at: std::ops::Range<usize>) -> u64 {
    bytes.get(at).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use framing::packet;

    use super::*;
    use crate::Key;
    use crate::cipher::Secret;
    use crate::noise;

    /// The golden bytes of `testdata/sealed`, made by a program that shares nothing with this crate.
    fn golden(name: &str) -> Vec<u8> {
        let path = format!("{}/../../testdata/sealed/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_whitespace).map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
    }

    #[test]
    fn protocol_document_shows_the_golden_bytes() {
        let document = include_str!("../../../PROTOCOL.md");
        let (_, section) = document.split_once("## 18. UDP with a key").unwrap();
        let blocks = section.split("```hex\n").skip(1).map(|block| {
            let lines = block.split("```").next().unwrap().lines();
            let digits = lines.flat_map(|line| line.get(..24).unwrap_or(line).split_whitespace());
            digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect::<Vec<_>>()
        });
        let blocks: Vec<_> = blocks.take(3).collect();
        assert_eq!(blocks, ["packet-init", "packet-retry", "packet-data"].map(golden));
    }

    fn ascending<const N: usize>(from: u8) -> [u8; N] {
        std::array::from_fn(|at| from + at as u8)
    }

    #[test]
    fn both_sides_send_the_golden_bytes() {
        let key = Key::from_bytes(ascending(0));
        let (client_cid, server_cid, token) = (0x1122_3344, 0x5566_7788, ascending(0x10));
        let greeting = Greeting::begin_with(&key, client_cid, Secret::new(ascending(0x20))).unwrap();
        let mut init = Vec::new();
        packet::init(&mut init, VERSION, client_cid, 0x0102_0304_0506_0708);
        seal_init(greeting.hello(), &mut init, 0);
        assert_eq!(init, golden("packet-init"));

        let host = Host::new(key.clone(), [9; 32]);
        let given = Secret::new(ascending(0x40));
        let (message, state) =
            host.answer_with(client_cid, server_cid, &token, greeting.hello(), given).unwrap();
        let mut retry = [&[kind::RETRY], &init[1..field::ECHO.end], &message].concat();
        assert_eq!(retry, golden("packet-retry"));
        let [back, out] = noise::split(state);
        let (server, mut server_opener) = (Sealer::new(&out, None), Opener::new(&back));
        let (client, mut client_opener) = greeting.welcome(&mut retry).unwrap();
        let echo = 0x0102_0304_0506_0708;
        assert_eq!(parse(&retry).unwrap().packet, Packet::Retry { client_cid, server_cid, echo, token });

        let mut connect = Vec::new();
        packet::begin_connect(&mut connect, server_cid, client_cid, &token, 0);
        packet::put_ping(&mut connect);
        packet::seal(&mut connect, 0);
        client.seal(&mut connect, 0);
        assert_eq!(connect, golden("packet-connect"));
        assert!(server_opener.open(&mut connect));
        let frames = &[1][..];
        let parsed = parse(&connect).unwrap();
        assert_eq!(parsed.packet, Packet::Connect { server_cid, client_cid, token, pn: 0, frames });

        let mut data = Vec::new();
        packet::begin_data(&mut data, client_cid, 7);
        packet::put_ping(&mut data);
        packet::seal(&mut data, 0);
        server.seal(&mut data, 0);
        assert_eq!(data, golden("packet-data"));
        assert!(client_opener.open(&mut data));
        assert_eq!(parse(&data).unwrap().packet, Packet::Data { cid: client_cid, pn: 7, frames });

        let mut rekeyed = Vec::new();
        packet::begin_data(&mut rekeyed, client_cid, PHASE_LEN);
        packet::put_ping(&mut rekeyed);
        packet::seal(&mut rekeyed, 0);
        server.next.store(PHASE_LEN, Ordering::Relaxed);
        server.seal(&mut rekeyed, 0);
        assert_eq!(rekeyed, golden("packet-rekeyed"));
        assert!(client_opener.open(&mut rekeyed));
    }

    /// Both directions' ends of a connection: the client's sealer and the server's opener, and the other way round.
    fn whole() -> ((Sealer, Opener), (Sealer, Opener)) {
        let key = Key::from_bytes([7; 32]);
        let greeting = Greeting::begin(&key, 1).unwrap();
        let host = Host::new(key, [9; 32]);
        let mut init = Vec::new();
        packet::init(&mut init, VERSION, 1, 5);
        seal_init(greeting.hello(), &mut init, 0);
        let mut retry = Vec::new();
        assert!(host.retry(&init, 2, &[3; TOKEN_LEN], &mut retry));
        assert!(retry.len() <= 3 * init.len());
        let (client, client_opener) = greeting.welcome(&mut retry).unwrap();
        let mut connect = Vec::new();
        packet::begin_connect(&mut connect, 2, 1, &[3; TOKEN_LEN], 0);
        packet::seal(&mut connect, 0);
        client.seal(&mut connect, 0);
        let (server, mut server_opener) = host.welcome(&connect).unwrap();
        assert!(server_opener.open(&mut connect));
        ((client, server_opener), (server, client_opener))
    }

    fn data(sealer: &Sealer, pn: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        packet::begin_data(&mut out, 2, pn);
        packet::put_padding(&mut out, len);
        packet::seal(&mut out, 0);
        let mut other = Vec::new();
        assert!(sealer.seal_data(&out, &mut other));
        other
    }

    #[test]
    fn packets_are_opened_in_any_order_across_a_change_of_secrets() {
        let ((sealer, mut opener), _) = whole();
        let start = PHASE_LEN - 50;
        sealer.next.store(start, Ordering::Relaxed);
        opener.largest = Some(start);
        let mut packets: Vec<_> = (start..start + 100).map(|pn| data(&sealer, pn, 30)).collect();
        // Each one comes up to 15 places too early or late.
        packets.chunks_mut(16).for_each(<[_]>::reverse);
        for packet in &mut packets {
            assert!(opener.open(packet));
        }
    }

    #[test]
    fn any_change_is_noticed_and_costs_the_connection_nothing() {
        let ((sealer, mut opener), (other, _)) = whole();
        let mut plain = Vec::new();
        packet::plain(&mut plain, 2, 1, 77, &[5; 100]);
        let mut good = vec![data(&sealer, 0, 60), Vec::new()];
        assert!(sealer.seal_plain(&plain, &mut good[1]));
        for packet in &good {
            for at in 0..packet.len() {
                let mut changed = packet.clone();
                changed[at] ^= 1 << (at % 8);
                assert!(!opener.open(&mut changed), "byte {at}");
                assert_eq!(parse(&changed), None);
            }
            for len in 0..packet.len() {
                assert!(!opener.open(&mut packet[..len].to_vec()));
            }
        }
        assert!(!opener.open(&mut data(&other, 0, 60)), "of the other direction");
        let (_, (_, mut elsewhere)) = whole();
        assert!(!elsewhere.open(&mut good[0].clone()), "of another connection");
        for packet in &mut good {
            assert!(opener.open(packet));
        }
        assert!(
            matches!(parse(&good[1]).unwrap().packet, Packet::Plain { chunk: 77, payload, .. } if payload == [5; 100])
        );
    }

    #[test]
    fn a_hello_is_good_for_its_key_and_its_connection() {
        let (key, other) = (Key::from_bytes([7; 32]), Key::from_bytes([8; 32]));
        let greeting = Greeting::begin(&key, 1).unwrap();
        let mut init = Vec::new();
        packet::init(&mut init, VERSION, 1, 5);
        seal_init(greeting.hello(), &mut init, 0);
        let token = [3; TOKEN_LEN];
        let mut retry = Vec::new();
        assert!(!Host::new(other, [9; 32]).retry(&init, 2, &token, &mut retry));
        let host = Host::new(key, [9; 32]);
        let mut moved = init.clone();
        moved[field::FIRST_CID.start] ^= 1;
        assert!(!host.retry(&moved, 2, &token, &mut retry));
        assert!(retry.is_empty());
        assert!(host.retry(&init, 2, &token, &mut retry));
        for at in (0..RETRY_LEN).filter(|at| !field::ECHO.contains(at) && !field::FIRST_CID.contains(at)) {
            let mut changed = retry.clone();
            changed[at] ^= 0x40;
            assert!(greeting.welcome(&mut changed).is_none(), "byte {at}");
        }
        assert!(greeting.welcome(&mut retry).is_some(), "what was wrong before changed nothing");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_dropped_or_stay_sealed(mut bytes: Vec<u8>, kind in 0xc0..=0xff_u8) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let ((_, mut opener), _) = whole();
            match first_step(&mut bytes) {
                Step::Drop => assert_eq!(parse(&bytes), None),
                Step::Open(_) => assert!(!opener.open(&mut bytes)),
                Step::Init | Step::Reset | Step::Welcome(_) => {}
            }
            if let Some(parsed) = parse(&bytes) {
                assert!(parsed.is_sealed);
            }
        }
    }
}
