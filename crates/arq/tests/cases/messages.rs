//! Messages: whole and in order, in both directions, whatever happens to the packets.

use arq::MAX_MESSAGE_LEN;

use super::{in_the_middle, link, secs};
use crate::simulation::random::Lot;
use crate::simulation::{Report, Scenario, State, World};

fn messages(lot: &mut Lot, count: u64, most: f64) -> Vec<Vec<u8>> {
    let mut message = || {
        let len = if lot.one_in(5) { 0 } else { lot.scale(1.0, most) as usize };
        let first = lot.next() as u8;
        (0..len).map(|at| first.wrapping_add(at as u8)).collect()
    };
    (0..count).map(|_| message()).collect()
}

/// Sends these during a transfer.
fn talk(loss: f64, bytes: u64, messages: [Vec<Vec<u8>>; 2], seed: u64) -> Report {
    let mut scenario = Scenario::new(&link(loss), bytes);
    scenario.messages = messages.clone();
    let mut world = World::new(scenario, seed);
    let [up, down] = &messages;
    let (up_count, down_count) = (up.len(), down.len());
    let all = world.run_until(|world| {
        let flow = &world.flows[0];
        flow.state == State::Done && flow.heard[0].len() == down_count && flow.heard[1].len() == up_count
    });
    assert!(all, "seed {seed}: {:?}", world.client().end());
    let report = world.report();
    assert!(report.heard[0] == *down && report.heard[1] == *up, "seed {seed}: other messages");
    report
}

#[test]
fn any_sizes_in_both_directions_at_once() {
    for seed in 0..12 {
        let mut lot = Lot(seed);
        let loss = [0.0, 0.05, 0.3, 0.6][seed as usize % 4];
        let both = [messages(&mut lot, 60, 30_000.0), messages(&mut lot, 60, 30_000.0)];
        talk(loss, 100_000, both, seed);
    }
}

#[test]
fn the_longest_message_goes_and_a_longer_one_does_not() {
    let mut world = in_the_middle(0.1);
    let now = world.instant();
    let longest: Vec<u8> = (0..MAX_MESSAGE_LEN).map(|at| (at / 7) as u8).collect();
    assert!(!world.client().send_message(now, &vec![0; MAX_MESSAGE_LEN + 1]));
    assert!(world.client().send_message(now, &longest));
    assert!(world.run_until(|world| !world.flows[0].heard[1].is_empty()));
    assert!(world.flows[0].heard[1][0] == longest);
}

#[test]
fn a_window_that_is_full_empties_again() {
    // Many times the window, both ways, beside a file.
    let message: Vec<u8> = (0..50_000).map(|at| at as u8).collect();
    let many = vec![message; 60];
    for loss in [0.0, 0.2] {
        let report = talk(loss, 1_000_000, [many.clone(), many.clone()], 3);
        assert!(report.took < secs(30), "{:?}", report.took);
        assert!(report.most.message_bytes <= 4 << 20, "{}", report.most.message_bytes);
    }
}

#[test]
fn a_reader_that_does_not_read_holds_the_writer_up_and_nothing_else() {
    let mut world = in_the_middle(0.0);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    // The server's messages are not taken: it is asked here, and not by the world.
    let mut sent = 0;
    for _ in 0..2000 {
        let now = world.instant();
        while world.flows[0].to_say[0].is_empty() && world.client().send_message(now, &[7; 10_000]) {
            sent += 1;
        }
        // Deliver by hand.
        let mut buffer = Vec::new();
        while world.client().poll_transmit(now, &mut buffer).is_some() {
            super::give_server(&mut world, &std::mem::take(&mut buffer));
        }
        while world.server().poll_transmit(now, &mut buffer).is_some() {
            super::give_client(&mut world, &std::mem::take(&mut buffer));
        }
        world.now += super::ms(10);
    }
    // What the server holds, and what the client does.
    assert!((100..=210).contains(&sent), "{sent}");
    assert_eq!(world.client().end(), None);
    assert!(world.server().footprint().message_bytes <= (1 << 20) + 100);
    let mut got = 0;
    for _ in 0..100_000 {
        let now = world.instant();
        got += usize::from(world.server().recv_message().is_some());
        let mut buffer = Vec::new();
        while world.server().poll_transmit(now, &mut buffer).is_some() {
            super::give_client(&mut world, &std::mem::take(&mut buffer));
        }
        while world.client().poll_transmit(now, &mut buffer).is_some() {
            super::give_server(&mut world, &std::mem::take(&mut buffer));
        }
        world.now += super::ms(10);
        if got == sent {
            return;
        }
    }
    panic!("{got} of {sent}");
}

#[test]
fn a_small_message_is_not_held_up_by_a_lost_packet_for_long() {
    // A word and its answer, 200 times, where every fifth packet is lost: repeats save most of the round trips.
    let mut world = in_the_middle(0.2);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    let begun = world.now;
    for n in 0..200_usize {
        let now = world.instant();
        let before = world.flows[0].heard[1].len();
        assert!(world.client().send_message(now, &n.to_be_bytes()));
        assert!(world.run_until(|world| world.flows[0].heard[1].len() > before));
    }
    let each = (world.now - begun) / 200;
    assert!(each < super::ms(35), "{each:?} for 20 ms there");
}
