//! How a connection begins, and what can go wrong there.

use std::cell::RefCell;
use std::rc::Rc;

use arq::End;
use framing::packet::{self, TOKEN_LEN};
use netsim::{Loss, Window};

use super::{BOTH, give_client, link, ms, secs};
use crate::simulation::{Direction, Scenario, Tampering, World};

/// A world with a tiny file, of which those packets are lost that `lose` wants: direction, and number in it.
fn small(lose: impl Fn(Direction, u64) -> bool + 'static) -> World {
    let mut world = World::new(Scenario::new(&link(0.0), 100), 1);
    let mut counts = [0; 2];
    world.tamper(move |datagram| {
        let number = counts[datagram.direction as usize];
        counts[datagram.direction as usize] += 1;
        if lose(datagram.direction, number) { Tampering::Drop } else { Tampering::Pass }
    });
    world
}

#[test]
fn any_two_packets_may_be_lost() {
    for up in 0..12 {
        for down in 0..12 {
            let report =
                small(move |direction, number| number == if direction == Direction::Up { up } else { down })
                    .run();
            assert!(report.whole, "{up}, {down}: {:?}", report.end);
            assert!(report.took < ms(900), "{up}, {down}: {:?}", report.took);
        }
    }
}

#[test]
fn the_first_so_many_packets_may_be_lost() {
    for direction in BOTH {
        for count in 0..15 {
            let report = small(move |to, number| to == direction && number < count).run();
            assert!(report.whole, "{direction:?}, {count}: {:?}", report.end);
            assert!(report.took < ms(400 + 250 * count), "{direction:?}, {count}: {:?}", report.took);
        }
    }
}

#[test]
fn without_loss_it_takes_no_time_of_its_own() {
    // One round trip for the address, one for what is wanted, one for the file and the word that it is stored.
    let report = small(|_, _| false).run();
    assert!(report.whole && report.took < ms(3 * 40 + 10), "{:?}", report.took);
}

#[test]
fn a_token_outlives_a_blackout_that_a_connection_outlives() {
    // The client has its token, and then nothing of it comes through for 20 s.
    let mut faults = link(0.0);
    faults.blackouts = vec![Window { start: ms(25), length: secs(25) }];
    let mut scenario = Scenario::new(&link(0.0), 5000);
    scenario.up = faults;
    let report = World::new(scenario, 1).run();
    assert!(report.whole && report.took < secs(27), "{:?} {:?}", report.took, report.end);
}

#[test]
fn a_server_of_another_version_is_named() {
    let mut world = World::new(Scenario::new(&link(0.0), 100), 1);
    world.run_to(ms(1));
    // It may not be the answer to what was sent: then it is of no interest.
    let mut reply = Vec::new();
    packet::version(&mut reply, 7, 99);
    reply[4] = 9;
    seal_again(&mut reply);
    give_client(&mut world, &reply);
    let mut other = Vec::new();
    packet::version(&mut other, 8, 1 ^ 0x5eed);
    give_client(&mut world, &other);
    assert_eq!(world.client().end(), None);
    let mut reply = Vec::new();
    packet::version(&mut reply, 7, 1 ^ 0x5eed);
    reply[4] = 9;
    seal_again(&mut reply);
    give_client(&mut world, &reply);
    assert_eq!(world.client().end(), Some(&End::Version(9)));
    assert_eq!(
        world.client().end().unwrap().to_string(),
        "the other side speaks version 9 of the protocol, this side version 1"
    );
    assert!(!world.run_until(|world| world.now > secs(5)), "nothing happens any more");
}

fn seal_again(packet: &mut Vec<u8>) {
    packet.truncate(packet.len() - packet::CRC_LEN);
    packet::seal(packet, 0);
}

#[test]
fn a_retry_of_somebody_else_changes_nothing() {
    let mut world = World::new(Scenario::new(&link(0.0), 100), 1);
    world.run_to(ms(1));
    for (cid, echo) in [(7, 0), (7, (1 ^ 0x5eed) + 1), (7, (1_u64 ^ 0x5eed).wrapping_sub(1)), (8, 1 ^ 0x5eed)]
    {
        let mut reply = Vec::new();
        packet::retry(&mut reply, cid, 666, echo, &[6; TOKEN_LEN]);
        give_client(&mut world, &reply);
        assert!(!world.client().is_established(), "{cid} {echo}");
    }
    // Nor do packets of a connection, while there is none.
    for cid in [7, 0] {
        let close = super::data(cid, 0, |out| packet::put_close(out, 0, "go away"));
        give_client(&mut world, &close);
        let mut close = Vec::new();
        packet::begin_connect(&mut close, 7, cid, &[0; TOKEN_LEN], 0);
        packet::put_close(&mut close, 0, "go away");
        packet::seal(&mut close, 0);
        give_client(&mut world, &close);
        let mut reset = Vec::new();
        packet::reset(&mut reset, cid, 0, 0);
        give_client(&mut world, &reset);
    }
    assert_eq!(world.client().end(), None);
    assert!(world.run().whole);
}

#[test]
fn two_servers_are_made_of_one_handshake_at_most() {
    // Everything comes five times, and late ones too: the second Retry, the second Connect.
    let mut scenario = Scenario::new(&link(0.3), 3000);
    scenario.up.duplicate = 0.9;
    scenario.down.duplicate = 0.9;
    for seed in 0..50 {
        assert!(World::new(scenario.clone(), seed).run().whole, "seed {seed}");
    }
}

#[test]
fn nobody_home() {
    let mut scenario = Scenario::new(&link(0.0), 100);
    scenario.up.loss = Loss::Bernoulli(1.0);
    let mut world = World::new(scenario, 1);
    let count = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&count);
    world.tamper(move |_| {
        *counted.borrow_mut() += 1;
        Tampering::Pass
    });
    let report = world.run();
    assert_eq!(report.end, Some(End::Silent(secs(30))));
    assert!(report.took >= secs(30) && report.took < ms(30_500), "{:?}", report.took);
    assert!(*count.borrow() < 250, "{} first packets", count.borrow());
}
