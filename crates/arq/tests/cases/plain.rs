//! Plain chunks: one datagram each, at a rate, and no more than that.

use std::time::{Duration, Instant};

use arq::{Connection, Received};
use framing::packet::{self, Packet};

use super::{in_the_middle, ms, secs};
use crate::simulation::{SERVER, State, World};

/// Ends that know each other and have nothing to do.
fn idle(rate: Option<u64>) -> World {
    let mut world = in_the_middle(0.0);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    if rate.is_some() {
        let config = arq::Config { max_rate: rate, ..arq::Config::default() };
        let now = world.instant();
        let mut client = Connection::connect(config, SERVER, 7, 1, now);
        std::mem::swap(&mut client, world.client());
    }
    world
}

/// How long it takes to send so many chunks, and the most that go at once.
fn takes(client: &mut Connection, start: Instant, count: usize) -> (Duration, usize) {
    let (mut now, mut at_once, mut most) = (start, 0, 0);
    for _ in 0..count {
        loop {
            match client.next_plain(now, 4096) {
                Ok(_) => break,
                Err(at) => {
                    assert!(at > now);
                    (now, at_once) = (at, 0);
                }
            }
        }
        at_once += 1;
        most = most.max(at_once);
    }
    (now - start, most)
}

#[test]
fn chunks_leave_at_the_rate() {
    // With the headers of the three pieces that each datagram goes in.
    let wire = 4096 + 25 + 8 + 3 * 20;
    for (rate, mbit) in [(None, 100.0), (Some(20_000_000), 20.0), (Some(1_000_000_000), 1000.0)] {
        let mut world = idle(rate);
        let now = world.instant();
        let (time, at_once) = takes(world.client(), now, 2000);
        let ideal = 2000.0 * f64::from(wire) * 8.0 / (mbit * 1e6);
        assert!((time.as_secs_f64() / ideal - 1.0).abs() < 0.02, "{time:?}, {ideal}");
        // At most some milliseconds' worth.
        assert!(at_once as f64 * f64::from(wire) * 8.0 <= mbit * 1e6 * 0.005 + 60_000.0, "{at_once}");
    }
}

#[test]
fn the_receiver_hears_of_each_that_comes_and_of_copies_and_of_damage() {
    let mut world = idle(None);
    let now = world.instant();
    let (cid, server_now) = (world.server().cid(), now + ms(1));
    let home = world.flows[0].home;
    let mut seen = Vec::new();
    for chunk in [0_u64, 1, 1, 5, 3] {
        let header = world.client().next_plain(now + secs(chunk), 100).unwrap();
        assert_eq!(header.cid, cid);
        let mut datagram = Vec::new();
        packet::plain(&mut datagram, header.cid, header.pn, chunk, &[chunk as u8; 100]);
        if chunk == 5 {
            *datagram.last_mut().unwrap() ^= 1;
        }
        let packet = Packet::parse(&datagram).unwrap();
        for _ in 0..=usize::from(chunk == 3) {
            let received = world.server().handle(server_now, server_now, home, &packet, datagram.len());
            let Received::Plain { chunk, payload, intact } = received else { panic!("{received:?}") };
            assert_eq!(payload.len(), 100);
            seen.push((chunk, intact));
        }
    }
    assert_eq!(seen, [(0, true), (1, true), (1, true), (5, false), (3, true), (3, true)]);
    assert_eq!(world.server().end(), None);
}
