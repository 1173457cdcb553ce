//! What a server does with strangers, of whom it keeps nothing.

use std::net::SocketAddr;

use arq::{Accepted, First, Gate};
use framing::packet::{self, Packet, TOKEN_LEN};

use super::secs;
use crate::simulation::random::Lot;

const CLIENT: &str = "192.0.2.7:50000";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the gate gives a client: its connection id and a token.
fn retry(gate: &Gate, seconds: u64, from: SocketAddr, client_cid: u32) -> (u32, [u8; TOKEN_LEN]) {
    let mut datagram = Vec::new();
    packet::init(&mut datagram, packet::VERSION, client_cid, 77);
    let mut reply = Vec::new();
    let packet = Packet::parse(&datagram).unwrap();
    assert_eq!(gate.receive(secs(seconds), from, &packet, datagram.len(), &mut reply), First::Reply);
    assert!(reply.len() <= 3 * datagram.len());
    let Ok(Packet::Retry { client_cid: cid, server_cid, echo, token }) = Packet::parse(&reply) else {
        panic!()
    };
    assert_eq!((cid, echo), (client_cid, 77));
    (server_cid, token)
}

fn connect(gate: &Gate, seconds: u64, from: SocketAddr, cids: (u32, u32), token: [u8; TOKEN_LEN]) -> First {
    let mut reply = Vec::new();
    let (server_cid, client_cid) = cids;
    let packet = Packet::Connect { server_cid, client_cid, token, pn: 0, frames: &[] };
    let first = gate.receive(secs(seconds), from, &packet, 60, &mut reply);
    assert!(reply.is_empty());
    first
}

#[test]
fn a_token_is_good_for_one_address_one_id_and_a_while() {
    let gate = Gate::new([3; 32]);
    let from = address(CLIENT);
    let (server_cid, token) = retry(&gate, 100, from, 7);
    let accepted = First::Accept(Accepted { client_cid: 7, server_cid });
    // The client may be silent for half a minute, and so may the path.
    for seconds in [100, 115, 131] {
        assert_eq!(connect(&gate, seconds, from, (server_cid, 7), token), accepted, "after {seconds} s");
    }
    for seconds in [0, 99, 161, 1000, u64::from(u32::MAX) + 100] {
        assert_eq!(
            connect(&gate, seconds, from, (server_cid, 7), token),
            First::Nothing,
            "after {seconds} s"
        );
    }
    for other in ["192.0.2.8:50000", "192.0.2.7:50001", "[::ffff:192.0.2.7]:50000", "[2001:db8::1]:50000"] {
        assert_eq!(connect(&gate, 101, address(other), (server_cid, 7), token), First::Nothing, "{other}");
    }
    assert_eq!(connect(&gate, 101, from, (server_cid, 8), token), First::Nothing);
    assert_eq!(connect(&gate, 101, from, (server_cid ^ 1, 7), token), First::Nothing);
    assert_eq!(connect(&Gate::new([4; 32]), 101, from, (server_cid, 7), token), First::Nothing);
}

#[test]
fn a_token_with_a_flipped_bit_is_worth_nothing() {
    let gate = Gate::new([3; 32]);
    let from = address(CLIENT);
    let (server_cid, token) = retry(&gate, 100, from, 7);
    for bit in 0..TOKEN_LEN * 8 {
        let mut flipped = token;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(connect(&gate, 100, from, (server_cid, 7), flipped), First::Nothing, "bit {bit}");
    }
    // Nor is one that was never made.
    let mut lot = Lot(1);
    for _ in 0..1000 {
        let mut token = [0; TOKEN_LEN];
        token.iter_mut().for_each(|byte| *byte = lot.next() as u8);
        token[..4].copy_from_slice(&100_u32.to_be_bytes());
        assert_eq!(connect(&gate, 100, from, (server_cid, 7), token), First::Nothing);
    }
}

#[test]
fn ids_and_tokens_have_nothing_in_common() {
    let gate = Gate::new([3; 32]);
    let mut seen = std::collections::BTreeSet::new();
    for port in 1..1000 {
        let from = SocketAddr::new([192, 0, 2, 7].into(), port);
        let (server_cid, token) = retry(&gate, 100, from, 7);
        assert!(seen.insert(token[4..].to_vec()) && seen.insert(server_cid.to_be_bytes().to_vec()));
    }
}

#[test]
fn no_reply_is_longer_than_three_times_what_it_answers() {
    let gate = Gate::new([3; 32]);
    let mut lot = Lot(2);
    for _ in 0..5000 {
        let mut datagram = Vec::new();
        let (a, b) = (lot.next() as u32, lot.next() as u32);
        match lot.below(7) {
            0 => packet::init(&mut datagram, packet::VERSION, a, lot.next()),
            1 => packet::init(&mut datagram, lot.next() as u8, a, lot.next()),
            2 => packet::retry(&mut datagram, a, b, lot.next(), &[lot.next() as u8; TOKEN_LEN]),
            3 => packet::version(&mut datagram, a, lot.next()),
            4 => packet::reset(&mut datagram, a, b, lot.next() as u32),
            5 => packet::plain(&mut datagram, a, lot.next(), lot.below(99), &[0; 9]),
            _ => {
                packet::begin_connect(&mut datagram, a, b, &[lot.next() as u8; TOKEN_LEN], lot.next());
                packet::seal(&mut datagram, 0);
            }
        }
        let packet = Packet::parse(&datagram).unwrap();
        let mut reply = Vec::new();
        let first = gate.receive(secs(lot.below(100)), address(CLIENT), &packet, datagram.len(), &mut reply);
        assert!(reply.len() <= 3 * datagram.len());
        assert_eq!(first == First::Reply, !reply.is_empty());
        assert!(!matches!(first, First::Accept(_)));
        // What is answered is never itself an answer, so two gates can't answer each other.
        assert!(reply.is_empty() || matches!(packet, Packet::Init { .. }));
    }
}
