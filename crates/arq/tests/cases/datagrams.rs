//! Datagrams: each once, soon or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use arq::{DatagramError, End, Received};
use framing::packet::{self, Packet};
use netsim::{Faults, Jitter, Queue};

use super::{data, give_client, in_the_middle, link, ms, secs};
use crate::simulation::{Direction, SERVER, Scenario, State, World};

/// Two ends that know each other and have nothing to do.
fn idle(faults: &Faults, seed: u64) -> World {
    let mut world = World::new(Scenario::new(faults, 10_000), seed);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    let quiet = world.now + secs(2);
    world.run_to(quiet);
    world
}

/// Has the server send `count` datagrams of `len` bytes, one each `interval`: how many were taken.
fn stream(world: &mut World, count: u32, interval: Duration, len: usize) -> u32 {
    let start = world.now;
    let mut taken = 0;
    for number in 0..count {
        world.run_to(start + interval * number);
        let mut bytes = vec![0; len];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let now = world.instant();
        taken += u32::from(world.server().send_datagram(now, &bytes).is_ok());
    }
    let quiet = world.now + secs(2);
    world.run_to(quiet);
    taken
}

/// The numbers of those that the client got.
fn numbers(world: &World) -> Vec<u32> {
    let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
    world.flows[0].datagrams[0].iter().map(|(_, bytes)| number(bytes)).collect()
}

#[test]
fn each_goes_once_and_at_its_time() {
    let mut world = idle(&link(0.0), 1);
    let start = world.now;
    assert_eq!(stream(&mut world, 200, ms(5), 256), 200);
    assert_eq!(numbers(&world), (0..200).collect::<Vec<u32>>());
    for (number, (at, bytes)) in world.flows[0].datagrams[0].iter().enumerate() {
        let travelled = *at - start - ms(5) * number as u32;
        assert!(bytes.len() == 256 && travelled >= ms(20) && travelled < ms(21), "{number}: {travelled:?}");
    }
    let stats = world.server().stats();
    assert_eq!((stats.datagrams_sent, stats.datagrams_dropped), (200, 0));
    // And one that says nothing at all.
    let now = world.instant();
    world.server().send_datagram(now, &[]).unwrap();
    assert!(world.run_until(|world| world.flows[0].datagrams[0].len() == 201));
    assert!(world.flows[0].datagrams[0][200].1.is_empty());
}

#[test]
fn what_is_lost_is_lost() {
    for (loss, seed) in [(0.03, 1), (0.3, 2), (0.7, 3)] {
        let mut world = idle(&link(loss), seed);
        let before = world.network.link(Direction::Down).stats();
        assert_eq!(stream(&mut world, 1000, ms(5), 300), 1000, "random loss holds nothing back");
        let got = numbers(&world);
        assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "none twice, none late");
        let stats = world.server().stats();
        assert_eq!((stats.datagrams_sent, stats.datagrams_dropped), (1000, 0));
        let lost = world.network.link(Direction::Down).stats().lost - before.lost;
        assert!(1000 - got.len() as u64 <= lost, "{} came, {lost} were lost", got.len());
        let share = 1.0 - got.len() as f64 / 1000.0;
        assert!((share - loss).abs() < 0.06, "{share} of {loss}");
        assert_eq!(world.server().end(), None);
    }
}

#[test]
fn copies_and_order_are_the_paths() {
    let faults = Faults {
        duplicate: 0.5,
        jitter: Some(Jitter { reorders: true, ..Jitter::uniform(ms(10)) }),
        ..link(0.0)
    };
    let mut world = idle(&faults, 4);
    assert_eq!(stream(&mut world, 500, ms(2), 100), 500);
    let got = numbers(&world);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 500);
    assert!((700..800).contains(&got.len()), "{}", got.len());
    assert!(got.windows(2).any(|pair| pair[0] > pair[1]));
}

#[test]
fn a_path_that_takes_less_gets_less_and_nothing_waits_long() {
    // 16 Mbit/s for a path of 2.
    let queue = Some(Queue::Time(ms(100)));
    let faults = Faults { rate: Some(2_000_000), delay: ms(20), queue, overhead: 28, ..Faults::default() };
    let mut world = idle(&faults, 5);
    let start = world.now;
    let taken = stream(&mut world, 10_000, Duration::from_micros(500), 1000);
    let report_dropped = world.server().stats().datagrams_dropped;
    assert_eq!(u64::from(taken) + report_dropped, 10_000);
    let got = numbers(&world);
    // 5 s of 2 Mbit/s are 1200 of 1042 bytes.
    assert!((1000..=1300).contains(&got.len()), "{}", got.len());
    assert!(f64::from(taken) < got.len() as f64 * 1.35, "{taken} sent, {} came", got.len());
    // Once the rate is known: what comes is no older than what may wait here and in the queue of the path.
    for (number, (at, _)) in got.iter().zip(&world.flows[0].datagrams[0]).skip(300) {
        let age = *at - start - Duration::from_micros(500) * *number;
        assert!(age < ms(20 + 100 + 300), "{number} is {age:?} old");
    }
    assert!(world.report().most.datagrams <= 64);
}

#[test]
fn a_peer_that_is_gone_gets_a_window_and_no_more() {
    let mut world = idle(&link(0.0), 6);
    let now = world.now;
    world.tamper(move |datagram| {
        if datagram.now > now {
            crate::simulation::Tampering::Drop
        } else {
            crate::simulation::Tampering::Pass
        }
    });
    let taken = stream(&mut world, 20_000, ms(1), 1000);
    assert!(taken < 1000, "{taken}");
    assert!(world.server().footprint().packets < 2000);
    let silent = world.now + secs(30);
    world.run_to(silent);
    assert!(matches!(world.server().end(), Some(End::Silent(_))));
    let now = world.instant();
    assert_eq!(world.server().send_datagram(now, b"hello"), Err(DatagramError::NotOpen));
}

#[test]
fn a_longer_one_than_a_packet_is_refused_by_name() {
    let mut world = idle(&link(0.0), 7);
    let now = world.instant();
    let server = world.server();
    let most = server.datagram_room();
    assert_eq!(most, server.datagram_len() - 9 - 1 - 4);
    let error = server.send_datagram(now, &vec![1; most + 1]).unwrap_err();
    assert_eq!(error, DatagramError::TooLong { len: most + 1, most });
    assert_eq!(
        error.to_string(),
        format!("a datagram of {} bytes does not fit the path: the most is {most}", most + 1)
    );
    server.send_datagram(now, &vec![1; most]).unwrap();
    assert!(world.run_until(|world| world.flows[0].datagrams[0].len() == 1));
    assert!(world.server().least_datagram_room() == 1186);
}

#[test]
fn they_go_beside_a_file_and_do_not_hold_it_up() {
    let mut world = in_the_middle(0.02);
    let mut sent = 0;
    while world.flows[0].state != State::Done {
        let next = world.now + ms(10);
        world.run_to(next);
        let now = world.instant();
        sent += usize::from(world.client().send_datagram(now, &[7; 200]).is_ok());
    }
    assert!(world.flows[0].datagrams[1].len() * 10 > sent * 9, "of {sent}");
    assert!(sent > 20);
    let report = world.report();
    assert!(report.whole && report.took < secs(4), "{:?}", report.took);
}

#[test]
fn one_that_nobody_waits_for_is_handed_out_and_kept_nowhere() {
    let mut world = in_the_middle(0.0);
    let before = world.client().footprint();
    for number in 0..5000 {
        give_client(
            &mut world,
            &data(7, (1 << 24) + number, |out| {
                packet::put_datagram_header(out);
                out.extend([9; 1000]);
            }),
        );
    }
    assert_eq!(world.client().end(), None);
    let after = world.client().footprint();
    assert_eq!((after.datagrams, after.message_bytes), (before.datagrams, before.message_bytes));
    // All that is left of a packet belongs to it.
    let datagram = data(7, 1 << 25, |out| {
        packet::put_ping(out);
        packet::put_datagram_header(out);
        out.extend([9, 0, 1]);
    });
    let now = world.instant();
    let packet = Packet::parse(&datagram).unwrap();
    let received = world.client().handle(now, now, SERVER, &packet, datagram.len());
    assert_eq!(received, Received::Datagram(&[9, 0, 1]));
}

#[test]
fn only_an_open_connection_sends_them() {
    let mut world = World::new(Scenario::new(&link(0.0), 10_000), 9);
    let now = world.instant();
    assert_eq!(world.client().send_datagram(now, b"x"), Err(DatagramError::NotOpen));
    let mut open = idle(&link(0.0), 9);
    let now = open.instant();
    open.client().close(0, "");
    assert_eq!(open.client().send_datagram(now, b"x"), Err(DatagramError::NotOpen));
}
