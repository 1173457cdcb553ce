//! Paths that go dark, peers that have nothing to say, and the end.

use std::time::Duration;

use arq::End;
use netsim::Window;

use super::{BOTH, in_the_middle, link, ms, secs};
use crate::simulation::{Direction, Scenario, State, World};

/// A world that goes dark in the middle.
fn dark(directions: &[Direction], length: Duration, loss: f64) -> World {
    let mut world = in_the_middle(loss);
    for direction in directions {
        let mut faults = link(loss);
        faults.blackouts = vec![Window { start: world.now, length }];
        world.network.link_mut(*direction).change(faults);
    }
    world
}

#[test]
fn a_blackout_of_25_seconds_is_waited_for() {
    for directions in [&BOTH[..], &BOTH[..1], &BOTH[1..]] {
        for loss in [0.0, 0.2] {
            let world = dark(directions, secs(25), loss);
            let begun = world.now;
            let report = world.run();
            assert!(report.whole, "{directions:?}: {:?}", report.end);
            let lost = report.took - begun;
            assert!(lost < secs(25) + secs(4), "{directions:?}, {loss}: {lost:?}");
        }
    }
}

#[test]
fn little_is_sent_into_the_dark() {
    let mut world = dark(&BOTH, secs(25), 0.0);
    let at = world.now + secs(1);
    world.run_to(at);
    let before = world.client().stats().packets_sent;
    world.run_to(at + secs(20));
    let packets = world.client().stats().packets_sent - before;
    assert!(packets <= 20 * 9, "{packets}");
}

#[test]
fn a_longer_one_is_the_end() {
    let mut world = dark(&BOTH, secs(60), 0.0);
    let begun = world.now;
    assert!(world.run_until(|world| world.client().end().is_some() && world.server().end().is_some()));
    assert_eq!(world.client().end(), Some(&End::Silent(secs(30))));
    assert_eq!(world.server().end(), Some(&End::Silent(secs(30))));
    assert_eq!(world.client().end().unwrap().to_string(), "nothing was heard from the other side for 30 s");
    assert!(world.now - begun < secs(31), "{:?}", world.now - begun);
    assert!(!world.run_until(|world| world.now > begun + secs(300)), "nothing happens any more");
}

#[test]
fn who_has_nothing_to_say_says_that_now_and_then() {
    for loss in [0.0, 0.3] {
        let mut world = in_the_middle(loss);
        assert!(world.run_until(|world| world.flows[0].state == State::Done));
        world.run_to(secs(10));
        let before = [world.client().stats(), world.server().stats()].map(|stats| stats.packets_sent);
        world.run_to(secs(590));
        let after = [world.client().stats(), world.server().stats()].map(|stats| stats.packets_sent);
        assert_eq!(world.client().end(), None);
        assert_eq!(world.server().end(), None);
        for side in 0..2 {
            let packets = after[side] - before[side];
            assert!((20..600).contains(&packets), "{packets} in 580 s");
        }
        // And it still works.
        let now = world.instant();
        assert!(world.client().send_message(now, b"still there?"));
        assert!(
            world.run_until(|world| world.flows[0].heard[1]
                .last()
                .is_some_and(|heard| heard == b"still there?"))
        );
    }
}

#[test]
fn an_end_that_was_said_is_heard_after_all_that_was_said_before() {
    for loss in [0.0, 0.3] {
        let mut world = in_the_middle(loss);
        assert!(world.run_until(|world| world.flows[0].state == State::Done));
        let now = world.instant();
        for n in 0..50_u8 {
            assert!(world.client().send_message(now, &[n; 999]));
        }
        assert!(world.run_until(|world| world.client().messages_acknowledged()));
        world.client().close(0, "that was all");
        assert!(world.run_until(|world| world.server().end().is_some()));
        let closed = End::Closed { code: 0, reason: "that was all".to_owned() };
        assert_eq!(world.server().end(), Some(&closed));
        assert_eq!(closed.to_string(), "the other side closed the connection: that was all");
        assert_eq!(world.client().end(), Some(&End::Ours));
        while world.server().recv_message().is_some() {}
        let heard = &world.flows[0].heard[1];
        assert_eq!(heard.len(), 50);
        assert!(heard.iter().enumerate().all(|(n, message)| *message == [n as u8; 999]));
        assert!(!world.run_until(|world| world.now > secs(300)), "nothing happens any more");
    }
}

#[test]
fn messages_that_came_before_the_end_are_given_after_it() {
    let mut world = in_the_middle(0.0);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    let at = world.instant();
    assert!(world.client().send_message(at, b"one"));
    let mut datagrams = Vec::new();
    let mut buffer = Vec::new();
    while world.client().poll_transmit(at, &mut buffer).is_some() {
        datagrams.push(std::mem::take(&mut buffer));
    }
    world.client().close(3, "two");
    while world.client().poll_transmit(at, &mut buffer).is_some() {
        datagrams.push(std::mem::take(&mut buffer));
    }
    for datagram in datagrams {
        super::give_server(&mut world, &datagram);
    }
    assert!(matches!(world.server().end(), Some(End::Closed { code: 3, .. })));
    assert_eq!(world.server().recv_message().unwrap(), b"one");
    assert!(!world.server().send_message(at, b"too late"));
}

#[test]
fn a_close_before_anything_is_nothing_to_send() {
    let mut world = World::new(Scenario::new(&link(0.0), 100), 1);
    world.client().close(0, "never mind");
    assert!(!world.run_until(|world| world.network.in_flight() > 0));
}

#[test]
fn blackouts_at_any_time_of_a_short_transfer() {
    for start in (0..300).step_by(7) {
        let mut faults = link(0.0);
        faults.blackouts = vec![Window { start: ms(start), length: ms(1500) }];
        let report = World::new(Scenario::new(&faults, 30_000), start).run();
        assert!(report.whole, "{start}: {:?}", report.end);
        assert!(report.took < ms(2700), "{start}: {:?}", report.took);
    }
}
