//! Any datagrams at a server and a client with a key: what was not sealed is not read, and nobody panics.
//!
//! Input: pieces of four bytes and what belongs to them. The first byte says what is made, the second how long what belongs
//! to it is and to whom it goes, the others where it is changed and how.

#![no_main]

use framing::packet::{self, Packet};
use libfuzzer_sys::fuzz_target;
use seal::Key;
use seal::datagram::{self, Greeting, Host, Step, first_step, open_reset, parse};

fuzz_target!(|input: &[u8]| {
    let Ok(key) = Key::generate() else { return };
    let Ok(greeting) = Greeting::begin(&key, 1) else { return };
    let host = Host::new(key.clone(), [9; 32]);
    let mut init = Vec::new();
    packet::init(&mut init, packet::VERSION, 1, 5);
    datagram::seal_init(greeting.hello(), &mut init, 0);
    let mut retry = Vec::new();
    assert!(host.retry(&init, 2, &[3; packet::TOKEN_LEN], &mut retry));
    let Some((client, mut at_client)) = greeting.welcome(&mut retry.clone()) else { return };
    let mut connect = connect_packet(0);
    client.seal(&mut connect, 0);
    let Some((server, mut at_server)) = host.welcome(&connect) else { return };
    let mut numbers = [1_u64; 2];
    let mut rest = input;
    while let Some((&[what, len, at, flip], more)) = rest.split_first_chunk::<4>() {
        let (own, later) = more.split_at(usize::from(len & 0x7f).min(more.len()));
        rest = later;
        let to_server = len & 0x80 == 0;
        let number = &mut numbers[usize::from(to_server)];
        let mut good = match what & 7 {
            0 => init.clone(),
            1 => retry.clone(),
            2 => data_packet(*number, own),
            3 => connect_packet(*number),
            4 => {
                let mut reset = Vec::new();
                host.reset(1, u32::from(flip), [at; 4], &mut reset);
                reset
            }
            _ => own.to_vec(),
        };
        *number += 1 + u64::from(at) * u64::from(what >> 7);
        match (what & 7, to_server) {
            (2, true) | (3, _) => client.seal(&mut good, 0),
            (2, false) => server.seal(&mut good, 0),
            _ => {}
        }
        let is_changed = flip != 0 && !good.is_empty();
        if is_changed {
            let at = usize::from(at) % good.len();
            good[at] ^= flip;
        }
        let opened = match first_step(&mut good) {
            Step::Open(_) if to_server => at_server.open(&mut good),
            Step::Open(_) => at_client.open(&mut good),
            Step::Welcome(_) => greeting.welcome(&mut good).is_some(),
            Step::Reset => open_reset(&key, &mut good),
            Step::Init => host.retry(&good, 7, &[1; packet::TOKEN_LEN], &mut Vec::new()) && false,
            Step::Drop => false,
        };
        // The echo and the id of a Retry are not sealed: a client compares them.
        let is_retry = matches!(parse(&good).map(|parsed| parsed.packet), Some(Packet::Retry { .. }));
        assert!(!(opened && is_changed) || is_retry);
        assert!(parse(&good).is_none_or(|parsed| parsed.is_sealed != opened));
    }
});

fn connect_packet(number: u64) -> Vec<u8> {
    let mut connect = Vec::new();
    packet::begin_connect(&mut connect, 2, 1, &[3; packet::TOKEN_LEN], number);
    packet::put_ping(&mut connect);
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
