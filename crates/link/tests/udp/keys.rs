//! Keys over UDP: who has it is heard, and nobody else, whatever they send.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framing::packet::{self, Packet};
use framing::{ChunkSet, Hello, Message};
use link::{ConnectError, Link, Listener as _, UdpLink, UdpOptions};
use seal::datagram::{self, Greeting, Host, INIT_LEN, RETRY_LEN};
use seal::{KEY_LEN, Key};

use crate::relay::{Harm, Relay};
use crate::store::{Sink, Source};
use crate::{Over, WAIT, accept, connect, endpoint, endpoint_with, localhost};

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; KEY_LEN])
}

fn with(key: Option<Key>) -> UdpOptions {
    UdpOptions { key, ..UdpOptions::default() }
}

/// An Init of somebody who has this key.
fn init(key: &Key, cid: u32) -> Vec<u8> {
    let mut init = Vec::new();
    packet::init(&mut init, packet::VERSION, cid, 5);
    datagram::seal_init(Greeting::begin(key, cid).unwrap().hello(), &mut init, 0);
    init
}

#[test]
fn an_outsider_gets_nothing_and_who_has_the_key_no_more_than_three_times_as_much() {
    let mut server = endpoint();
    let address = server.local_addr();
    let stranger = UdpSocket::bind(localhost()).unwrap();
    stranger.set_read_timeout(Some(WAIT)).unwrap();
    let good = init(&key(1), 1);
    let mut tries = vec![init(&key(2), 2), vec![0xd1], vec![0xd1; INIT_LEN], vec![7; 1400]];
    let mut clear = Vec::new();
    packet::init(&mut clear, packet::VERSION, 3, 5);
    tries.push(clear.clone());
    clear[4] = 9;
    tries.push(clear);
    for at in (0..INIT_LEN).filter(|at| !(9..17).contains(at)) {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        tries.push(changed);
    }
    let mut made_up = Vec::new();
    packet::begin_connect(&mut made_up, 4, 4, &[7; packet::TOKEN_LEN], 0);
    packet::seal(&mut made_up, 0);
    tries.push(made_up);
    for bytes in &tries {
        stranger.send_to(bytes, address).unwrap();
    }
    // Answers keep their order: had there been one before, it would be heard now.
    stranger.send_to(&good, address).unwrap();
    let mut buffer = [0; 2048];
    let (len, _) = stranger.recv_from(&mut buffer).unwrap();
    assert_eq!((len, buffer[0]), (RETRY_LEN, 0xd2));
    const { assert!(RETRY_LEN <= 3 * INIT_LEN) };
    // And it still takes those who have the key.
    let mut near = connect(address);
    near.send(&Message::Working).unwrap();
    assert_eq!(accept(&mut server).recv(WAIT).unwrap(), Message::Working);
}

/// More first messages than are answered in a second, of another key or recorded, and then a good one: it is answered before
/// a packet that comes after it, and not a second later.
#[test]
fn a_crowd_of_first_packets_keeps_nobody_out() {
    for is_recorded in [false, true] {
        let server = endpoint_with(&with(Some(key(1))));
        let stranger = UdpSocket::bind(localhost()).unwrap();
        stranger.connect(server.local_addr()).unwrap();
        stranger.set_read_timeout(Some(WAIT)).unwrap();
        let mut buffer = [0; 100];
        // The kind of what comes next, after the rest of the crowd got its answers.
        let mut next = |crowd: u8| loop {
            let len = stranger.recv(&mut buffer).unwrap();
            if !(buffer[0] == 0xd2 && buffer[5] == crowd) {
                break buffer[..len][0];
            }
        };
        let old: Vec<Vec<u8>> =
            (0..40).map(|cid| init(&key(if is_recorded { 1 } else { 2 }), 0x0700_0000 + cid)).collect();
        for number in 0..50_u8 {
            old.iter().for_each(|init| {
                stranger.send(init).unwrap();
            });
            // So few at a time are not lost.
            stranger.send(&[0xd4, 1, 1, 1, number].repeat(20)).unwrap();
            assert_eq!(next(7), 0xd5);
        }
        stranger.send(&init(&key(1), 1)).unwrap();
        stranger.send(&[0xd4, 1, 1, 1, 0xff].repeat(20)).unwrap();
        assert_eq!([next(7), next(7)], [0xd2, 0xd5], "recorded: {is_recorded}");
    }
}

#[test]
fn nobody_can_answer_an_init_without_the_key() {
    let lying = UdpSocket::bind(localhost()).unwrap();
    let liar = lying.local_addr().unwrap();
    lying.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let over = AtomicBool::default();
    std::thread::scope(|scope| {
        // Somebody without the key who answers every Init with all that it could be answered with.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let mut buffer = [0; 2048];
                let Ok((len, from)) = lying.recv_from(&mut buffer) else { continue };
                let cid = u32::from_be_bytes(buffer[5..9].try_into().unwrap());
                let echo = u64::from_be_bytes(buffer[9..17].try_into().unwrap());
                let mut answers = [Vec::new(), Vec::new(), buffer[..len].to_vec(), vec![0xd2; RETRY_LEN]];
                packet::version(&mut answers[0], cid, echo);
                packet::retry(&mut answers[1], cid, 9, echo, &[7; packet::TOKEN_LEN]);
                answers[2][0] = 0xd2;
                answers[2].resize(RETRY_LEN, 0);
                answers[3][..len.min(17)].copy_from_slice(&buffer[..len.min(17)]);
                answers[3][0] = 0xd2;
                answers.iter().for_each(|answer| drop(lying.send_to(answer, from)));
            }
        });
        let _over = Over(&over);
        let error = UdpLink::connect(&liar.to_string(), &with(Some(key(1)))).unwrap_err();
        assert!(matches!(error, ConnectError::Connect { .. }) && error.is_passing(), "{error}");
    });
}

/// That these two keys are not the same is what a client says who comes through this network.
fn find_out(there: Option<u8>, here: Option<u8>, harm: Harm) -> Vec<Vec<u8>> {
    let server = endpoint_with(&with(there.map(key)));
    let relay = Relay::new(server.local_addr(), harm);
    let error = UdpLink::connect(&relay.address(), &with(here.map(key))).unwrap_err();
    let is_right = match (there, here) {
        (Some(_), Some(_)) => matches!(error, ConnectError::KeysDiffer { .. }),
        (None, _) => matches!(error, ConnectError::Keyless { .. }),
        (Some(_), None) => matches!(error, ConnectError::Keyed { .. }),
    };
    assert!(is_right && !error.is_passing(), "{there:?} {here:?}: {error}");
    relay.kept()
}

const UNLIKE: [(Option<u8>, Option<u8>); 3] = [(Some(1), Some(2)), (Some(1), None), (None, Some(1))];

#[test]
fn a_client_finds_out_that_the_keys_differ_in_a_few_packets() {
    for (there, here) in UNLIKE {
        let said = find_out(there, here, Harm::default());
        let count = |kind: u8| said.iter().filter(|packet| packet[0] & 0x0f == kind).count();
        // Init, and both kinds of Data; nothing else, and least of all a Connect.
        assert_eq!(count(1) + count(4), said.len());
        assert_eq!(said[0][0] & 0x0f, 1, "it does not knock at once");
        assert!(count(1) < 16, "{said:02x?}");
    }
}

#[test]
fn a_client_finds_out_that_the_keys_differ_over_a_bad_path() {
    let bad = Harm { lose: Some(2), double: Some(3), damage: Some(10), delay: Some(5), ..Harm::default() };
    std::thread::scope(|scope| {
        for (there, here) in UNLIKE {
            scope.spawn(move || find_out(there, here, bad));
        }
    });
}

/// Answers what a client says, each time with these; gives how the client ended.
fn hear_from(answers: &(dyn Fn(&[u8]) -> Vec<Vec<u8>> + Sync), here: Option<u8>) -> ConnectError {
    let socket = UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (address, over) = (socket.local_addr().unwrap(), AtomicBool::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                answers(&buffer[..len]).iter().for_each(|answer| drop(socket.send_to(answer, from)));
            }
        });
        let _over = Over(&over);
        UdpLink::connect(&address.to_string(), &with(here.map(key))).unwrap_err()
    })
}

#[test]
fn who_can_not_see_a_knock_can_not_answer_it() {
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    // All is as it is answered, but for one bit of the number of the packet.
    let almost = |bytes: &[u8]| {
        let (mut clear, mut sealed) = (Vec::new(), Vec::new());
        if bytes[0] & 0x0f == 4 {
            let (cid, pn, last) = (number(bytes, 1), number(bytes, 5) ^ 1, number(bytes, bytes.len() - 4));
            packet::reset(&mut clear, cid, pn, last);
            Host::new(key(2), [9; 32]).reset(cid, pn, last.to_be_bytes(), &mut sealed);
        }
        vec![clear, sealed]
    };
    std::thread::scope(|scope| {
        for here in [None, Some(1)] {
            scope.spawn(move || {
                let error = hear_from(&almost, here);
                assert!(matches!(error, ConnectError::Connect { .. }) && error.is_passing(), "{error}");
                assert!(error.to_string().contains("timed out"), "{error}");
            });
        }
    });
}

#[test]
fn who_has_the_same_key_and_does_not_answer_the_first_packets_may_be_asked_again() {
    let number = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let busy = |bytes: &[u8]| {
        let mut reset = Vec::new();
        if bytes[0] == 0xd4 {
            let last = *bytes.last_chunk().unwrap();
            Host::new(key(1), [9; 32]).reset(number(bytes, 1), number(bytes, 5), last, &mut reset);
        }
        vec![reset]
    };
    let error = hear_from(&busy, Some(1));
    assert!(matches!(error, ConnectError::Connect { .. }) && error.is_passing(), "{error}");
    assert!(error.to_string().contains("takes no connection now"), "{error}");
}

/// Is shown a datagram, and whether it is of the client; gives others, and whether they are to go to the server.
type See<'a> = dyn Fn(bool, &[u8]) -> Vec<(bool, Vec<u8>)> + Sync + 'a;

/// Passes datagrams on, shows each to `see`, and sends besides whatever that gives.
fn tap(server: SocketAddr, over: &AtomicBool, front: &UdpSocket, see: &See<'_>) {
    let back = UdpSocket::bind(localhost()).unwrap();
    let client: Mutex<Option<SocketAddr>> = Mutex::default();
    for socket in [front, &back] {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    let pass = |is_client: bool, from: &UdpSocket| {
        let mut buffer = vec![0; 65536];
        while !over.load(Ordering::Relaxed) {
            let Ok((len, address)) = from.recv_from(&mut buffer) else { continue };
            if is_client {
                *client.lock().unwrap() = Some(address);
            }
            let mut all = see(is_client, &buffer[..len]);
            all.push((is_client, buffer[..len].to_vec()));
            for (to_server, bytes) in all {
                // What is refused is lost.
                let _ = match (to_server, *client.lock().unwrap()) {
                    (true, _) => back.send_to(&bytes, server),
                    (false, Some(client)) => front.send_to(&bytes, client),
                    (false, None) => Ok(0),
                };
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pass(false, &back));
        pass(true, front);
    });
}

/// Sends some chunks each way through a tap.
fn talk_through(see: &See<'_>) {
    let mut server = endpoint();
    let front = UdpSocket::bind(localhost()).unwrap();
    let (address, over) = (front.local_addr().unwrap(), AtomicBool::default());
    let target = server.local_addr();
    std::thread::scope(|scope| {
        scope.spawn(|| tap(target, &over, &front, see));
        let _over = Over(&over);
        let mut near: Box<dyn Link> = Box::new(connect(address));
        near.send(&Message::Hello(Hello { features: 0, software: "a-program-of-that-name" })).unwrap();
        let mut far = accept(&mut server);
        far.recv(WAIT).unwrap();
        far.send(&Message::Working).unwrap();
        near.recv(WAIT).unwrap();
        for (base, is_up) in [(0, true), (100, false)] {
            near.begin_transfer(200).unwrap();
            far.begin_transfer(200).unwrap();
            let wanted = ChunkSet::from(base..base + 60);
            let (from, to) = if is_up { (&mut near, &mut far) } else { (&mut far, &mut near) };
            let mut missing = wanted.clone();
            std::thread::scope(|scope| {
                scope.spawn(|| from.send_chunks(&wanted, &mut Source::default()).unwrap());
                to.recv_chunks(&mut missing, &mut Sink::default()).unwrap();
            });
            assert!(missing.is_empty());
        }
        near.finish();
    });
}

#[test]
fn nothing_can_be_read_on_the_way() {
    let seen = Mutex::new(Vec::new());
    talk_through(&|_, bytes| {
        seen.lock().unwrap().push(bytes.to_vec());
        Vec::new()
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().map(Vec::len).sum::<usize>() > 120 * framing::CHUNK_LEN);
    for datagram in &seen {
        assert!((0xd1..=0xd6).contains(&datagram[0]));
        assert!(!datagram.windows(10).any(|window| window == b"a-program-"));
    }
    // A chunk's content is not there, wherever it is looked for.
    let content = crate::store::content(7, framing::CHUNK_LEN);
    let is_there = |datagram: &Vec<u8>| datagram.windows(32).any(|window| window == &content[64..96]);
    assert!(!seen.iter().any(is_there));
}

#[test]
fn what_others_send_in_between_changes_nothing() {
    let kept: Mutex<Vec<(bool, Vec<u8>)>> = Mutex::default();
    let number = std::sync::atomic::AtomicU32::default();
    talk_through(&|is_client, bytes| {
        let mut kept = kept.lock().unwrap();
        if kept.len() < 64 {
            kept.push((is_client, bytes.to_vec()));
        }
        let number = number.fetch_add(1, Ordering::Relaxed) as usize;
        let (old_side, old) = kept[number % kept.len()].clone();
        let mut flipped = bytes.to_vec();
        let at = number % flipped.len();
        flipped[at] ^= 1 << (number % 8);
        // Clear packets for the same connection, with a checksum that is right: a Close and a Reset.
        let cid = packet::destination(&[&[0xc4], &bytes[1..]].concat()).unwrap_or_default();
        let (mut close, mut reset) = (Vec::new(), Vec::new());
        packet::begin_data(&mut close, cid, number as u64 + 100);
        packet::put_close(&mut close, 0, "gone");
        packet::seal(&mut close, 0);
        packet::reset(&mut reset, cid, number as u32, 0);
        assert!(matches!(Packet::parse(&close), Ok(Packet::Data { .. })));
        let mut own_reset = vec![0xd5; datagram::RESET_LEN];
        own_reset[1..9].copy_from_slice(&reset[1..9]);
        vec![
            // Changed, replayed, reflected, cut off, clear.
            (is_client, flipped),
            (old_side, old.clone()),
            (!old_side, old),
            (!is_client, bytes.to_vec()),
            (is_client, bytes[..bytes.len() / 2].to_vec()),
            (is_client, close.clone()),
            (!is_client, close),
            (is_client, reset.clone()),
            (!is_client, reset),
            (is_client, own_reset.clone()),
            (!is_client, own_reset),
        ]
    });
}

#[test]
fn a_flood_of_first_packets_costs_those_who_are_connected_little() {
    let mut server = endpoint();
    let address = server.local_addr();
    let mut near = connect(address);
    near.send(&Message::Working).unwrap();
    let mut far = accept(&mut server);
    far.recv(WAIT).unwrap();
    let over = Arc::new(AtomicBool::default());
    std::thread::scope(|scope| {
        let ended = over.clone();
        scope.spawn(move || {
            let stranger = UdpSocket::bind(localhost()).unwrap();
            let (good, bad) = (init(&key(1), 1), init(&key(2), 2));
            while !ended.load(Ordering::Relaxed) {
                // Old ones of somebody who has the key, and others.
                for bytes in [&good, &bad] {
                    let _ = stranger.send_to(bytes, address);
                }
                // Without optimisation as many as it can take; more than that is the kernel's to drop.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let _over = Over(&over);
        let wanted = ChunkSet::from(0..2000);
        let mut missing = wanted.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| near.send_chunks(&wanted, &mut Source::default()).unwrap());
            far.recv_chunks(&mut missing, &mut Sink::default()).unwrap();
        });
        assert!(missing.is_empty());
    });
}
