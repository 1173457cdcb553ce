//! A client whose address changes in the middle: a NAT that forgets, a telephone that leaves the house.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use framing::packet;

use super::{data, in_the_middle, ms, secs};
use crate::simulation::random::Lot;
use crate::simulation::{Direction, SERVER, Tampering, World};

fn address(port: u16) -> SocketAddr {
    SocketAddr::new([203, 0, 113, 9].into(), port)
}

/// How long a transfer takes whose client moves at these times.
fn takes(loss: f64, moves: &[u64]) -> std::time::Duration {
    let mut world = in_the_middle(loss);
    for (n, at) in moves.iter().enumerate() {
        let to = address(1000 + n as u16);
        world.at(world.now + ms(*at), move |world| world.flows[0].home = to);
    }
    let last = moves.len() as u16;
    assert!(world.run_until(|world| world.flows[0].is_over()));
    if last > 0 {
        assert_eq!(world.server().remote(), address(1000 + last - 1));
    }
    let report = world.report();
    assert!(report.whole, "{moves:?}: {:?}", report.end);
    report.took
}

#[test]
fn a_transfer_goes_on() {
    let undisturbed = takes(0.0, &[]);
    for moves in [&[10][..], &[10, 300], &[10, 20], &[10, 60, 110, 160, 210, 260]] {
        let time = takes(0.0, moves);
        assert!(time < undisturbed + ms(200 * moves.len() as u64), "{moves:?}: {time:?}, {undisturbed:?}");
    }
}

#[test]
fn a_transfer_goes_on_though_much_is_lost() {
    let undisturbed = takes(0.3, &[]);
    let time = takes(0.3, &[10, 500]);
    assert!(time < undisturbed + secs(2), "{time:?}, {undisturbed:?}");
}

/// Has the next packet of the client come from another address: somebody has got hold of it on the way.
fn pretend(world: &mut World, from: SocketAddr) {
    let caught = Rc::new(RefCell::new(None));
    let catch = Rc::clone(&caught);
    world.tamper(move |datagram| {
        if datagram.direction == Direction::Down || catch.borrow().is_some() {
            return Tampering::Pass;
        }
        *catch.borrow_mut() = Some(datagram.bytes.to_vec());
        Tampering::Drop
    });
    assert!(world.run_until(|_| caught.borrow().is_some()));
    world.network.tamper = None;
    let now = world.now;
    world.network.enter(Direction::Up, 0, from, SERVER, now, caught.take().unwrap());
}

#[test]
fn an_address_that_never_answers_gets_three_times_its_bytes_at_most() {
    for count in [1, 2, 3, 10] {
        let mut world = in_the_middle(0.0);
        let home = world.flows[0].home;
        let other = address(666);
        for _ in 0..count {
            pretend(&mut world, other);
            let at = world.now + ms(30);
            world.run_to(at);
            let [sent, got] =
                [&world.network.sent_to, &world.network.sent_from].map(|bytes| bytes.get(&other).copied());
            assert!(sent.unwrap_or_default() <= 3 * got.unwrap(), "{sent:?} for {got:?}");
            assert_eq!(world.server().remote(), home);
        }
        // It is left alone after a while, and the transfer goes on where it was.
        assert!(world.run_until(|world| world.flows[0].is_over()));
        world.run_to(secs(20));
        let [sent, got] = [&world.network.sent_to, &world.network.sent_from].map(|bytes| bytes[&other]);
        assert!(sent <= 3 * got, "{sent} for {got}");
        assert!(sent > 0, "it was asked, though");
        assert_eq!(world.server().remote(), home);
        assert!(world.report().whole);
    }
}

#[test]
fn a_thousand_addresses_cost_nothing() {
    let mut world = in_the_middle(0.0);
    let mut lot = Lot(4);
    for _ in 0..1000 {
        pretend(&mut world, address(lot.next() as u16));
        let at = world.now + ms(1);
        world.run_to(at);
    }
    let home = world.flows[0].home;
    assert_eq!(world.server().remote(), home);
    for (to, sent) in world.network.sent_to.iter().filter(|(to, _)| **to != home) {
        assert!(*sent <= 3 * world.network.sent_from[to], "{to}: {sent}");
    }
    assert!(world.run().whole);
}

#[test]
fn challenges_are_answered_where_they_came_from_and_never_with_more() {
    let mut world = in_the_middle(0.0);
    let cid = world.server().cid();
    let from = address(5);
    // As many as fit a datagram.
    let datagram = data(cid, 1 << 20, |out| (0..150).for_each(|n| packet::put_challenge(out, [n; 8])));
    let now = world.now;
    world.network.enter(Direction::Up, 0, from, SERVER, now, datagram);
    world.run_to(now + secs(1));
    let [sent, got] = [&world.network.sent_to, &world.network.sent_from].map(|bytes| bytes[&from]);
    assert!(sent <= got, "{sent} for {got}");
}

#[test]
fn a_late_packet_from_the_old_address_moves_nobody_back() {
    let mut world = in_the_middle(0.0);
    world.flows[0].home = address(77);
    assert!(world.run_until(|world| world.server().remote() == address(77)));
    let old = crate::simulation::client_address(0);
    let cid = world.server().cid();
    let number = world.client().stats().packets_sent.saturating_sub(200);
    let datagram = data(cid, number, packet::put_ping);
    let now = world.now;
    world.network.enter(Direction::Up, 0, old, SERVER, now, datagram);
    assert!(world.run_until(|world| world.flows[0].is_over()));
    assert_eq!(world.server().remote(), address(77));
}
