//! Addresses that are not proven: what is sent to them, and what it costs.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, ensure};
use framing::packet::{self, TOKEN_LEN};

use super::middle::{Middle, Way, pass};
use super::stranger::{Stranger, clear_init, sealed_init};
use super::wire::STRANGERS_GROWTH;
use super::{Dice, Effort, Guard, Row, Target, noise};
use crate::Transport;

/// How many times as much as it got from an address a server may send there.
const MOST_RATIO: f64 = 3.0;

/// An address of this machine that nobody else has: on loopback all of 127.0.0.0/8 can send.
fn address(number: u64) -> IpAddr {
    Ipv4Addr::from_bits(0x7f01_0001 + number as u32).into()
}

/// First packets in the names of many, who don't listen.
pub(super) fn addresses(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    ensure!(transport == Transport::Udp, "a TCP connection needs an address that answers");
    let mut target = Target::new(transport, Guard::Key, &[])?.with_most_growth(STRANGERS_GROWTH);
    let count = effort.of(2000, 50_000);
    let key = target.key().cloned();
    let recorded = sealed_init(key.as_ref().context("there is no key")?, 7, 7)?;
    let (mut dice, mut sent, mut got) = (Dice::new(7), 0, 0);
    let mut own = Stranger::new(target.address(), key.as_ref())?;
    let mut names = Vec::new();
    for number in 0..count {
        let mut stranger = Stranger::at(address(number), target.address(), None)?;
        // One that was recorded, and one that goes on as if there had been an answer.
        stranger.send(&recorded);
        let mut connect = Vec::new();
        packet::begin_connect(&mut connect, dice.next() as u32, 7, &[9; TOKEN_LEN], 0);
        connect.extend(noise(dice.next(), 100));
        connect[0] = 0xd3;
        stranger.send(&connect);
        names.push(stranger);
        if names.len() == 256 || number + 1 == count {
            own.settle()?;
            sent += names.iter().map(|stranger| stranger.sent.1).sum::<u64>();
            got += names.drain(..).map(|stranger| stranger.waiting()).sum::<u64>();
        }
    }
    target.demand(got <= sent, format!("{got} bytes for {sent}"));
    target.judge("in the names of other addresses", count, format!("{got} bytes to them for {sent}"))
}

/// What a server sends to an address that is not proven, for what came from there: the highest ratio.
pub(super) fn amplification(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    ensure!(transport == Transport::Udp, "a TCP connection needs an address that answers");
    let mut target = Target::new(transport, Guard::Key, &[])?.with_most_growth(STRANGERS_GROWTH);
    let open = Target::new(transport, Guard::Open, &[])?;
    let (mut tried, mut worst) = (0, (0.0, String::new()));
    for (guard, server) in [("with a key", &target), ("without", &open)] {
        for (name, packets) in first_packets(server)? {
            for times in [1, effort.of(40, 400)] {
                let mut stranger = Stranger::new(server.address(), server.key())?;
                for _ in 0..times {
                    packets.iter().for_each(|packet| stranger.send(packet));
                    tried += packets.len() as u64;
                }
                stranger.settle()?;
                let ratio = stranger.got.1 as f64 / stranger.sent.1 as f64;
                if ratio > worst.0 {
                    worst = (ratio, format!("{name}, {guard}, {times} x"));
                }
            }
        }
    }
    let (ratio, of) = worst;
    target.demand(ratio <= MOST_RATIO, format!("{ratio:.2} times as much sent: {of}"));
    target.demand(ratio > 0.0, "nothing was answered");
    let row = open.judge("", 0, "")?;
    row.lost.into_iter().for_each(|lost| target.lose(lost));
    let note = format!("at most {ratio:.2} x sent for what came: {of}; {MOST_RATIO} x allowed");
    target.judge("amplification, any first packet", tried, note)
}

/// What a kind of packets is called, and some of them.
type Kind = (&'static str, Vec<Vec<u8>>);

/// All kinds of packets that a server may get from nobody it knows.
fn first_packets(server: &Target) -> anyhow::Result<Vec<Kind>> {
    let mut other = Vec::new();
    packet::init(&mut other, 9, 1, 1);
    let long = |mut init: Vec<u8>| {
        init.resize(1400, 0);
        init
    };
    let mut kinds = vec![
        ("clear Init", vec![clear_init(1, 1)]),
        ("long clear Init", vec![long(clear_init(1, 1))]),
        ("Init of another version", vec![other]),
    ];
    if let Some(key) = server.key() {
        kinds.push(("sealed Init", vec![sealed_init(key, 1, 1)?]));
        kinds.push(("long sealed Init", vec![long(sealed_init(key, 1, 1)?)]));
    }
    let kinds_of_clear: [(&str, u8); 2] = [("clear Data of nobody", 0xc4), ("clear Plain of nobody", 0xc6)];
    for (name, kind) in kinds_of_clear {
        kinds.push((name, [18, 30, 200, 1400].map(|len| clear(kind, len)).to_vec()));
    }
    for (name, kind) in [("Data of nobody", 0xd4), ("Connect of nobody", 0xd3), ("Plain of nobody", 0xd6)] {
        kinds.push((name, [30, 31, 120, 1400].map(|len| sealed(kind, len)).to_vec()));
    }
    for (name, kind) in [("Retry", 0xd2), ("Reset", 0xd5), ("Version", 0xc7), ("clear Retry", 0xc2)] {
        kinds.push((name, [29, 49, 93, 1400].map(|len| sealed(kind, len)).to_vec()));
    }
    // What a real client sent from another address, in full.
    let middle = Middle::new(Transport::Udp, server.address(), Box::new(pass))?;
    let client = server.start(middle.address(), &["ls"])?;
    ensure!(client.wait(crate::process::LIMIT)?.status.success(), "a client failed");
    let said = middle.seen().into_iter().filter(|piece| piece.way == Way::Up).map(|piece| piece.bytes);
    kinds.push(("a recorded conversation", said.collect()));
    Ok(kinds)
}

/// A clear packet with a good checksum.
fn clear(kind: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if kind == 0xc6 {
        packet::plain(&mut bytes, 0x0102_0304, 1, 1, &vec![5; len]);
    } else {
        packet::begin_data(&mut bytes, 0x0102_0304, 1);
        bytes.resize(len.max(bytes.len() + packet::CRC_LEN) - packet::CRC_LEN, 0);
        packet::seal(&mut bytes, 0);
    }
    bytes
}

/// Bytes behind a kind, with the magic where one belongs.
fn sealed(kind: u8, len: usize) -> Vec<u8> {
    let mut bytes = noise(len as u64, len);
    bytes[0] = kind;
    if matches!(kind, 0xd2 | 0xd3 | 0xc2 | 0xc7) {
        bytes[1..5].copy_from_slice(b"TDU\x01");
    }
    bytes
}
