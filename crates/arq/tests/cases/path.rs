//! How large a datagram the path carries, and what is never mistaken for that.

use super::{in_the_middle, link, ms, secs};
use crate::simulation::{Scenario, World};

/// Bytes of IP and UDP headers.
const HEADERS: usize = 28;

fn world(mtu: usize, loss: f64, bytes: u64, seed: u64) -> World {
    let mut scenario = Scenario::new(&link(loss), bytes);
    scenario.path_mtu = mtu - HEADERS;
    World::new(scenario, seed)
}

#[test]
fn the_size_is_found_though_half_of_everything_is_lost() {
    for (mtu, len) in [
        (1280, 1200),
        (1300, 1200),
        (1331, 1303),
        (1420, 1303),
        (1459, 1431),
        (1500, 1431),
        (4200, 4119),
        (9000, 4119),
    ] {
        for (loss, bytes) in [(0.0, 300_000), (0.1, 500_000), (0.5, 2_000_000)] {
            for seed in 0..3 {
                let report = world(mtu, loss, bytes, seed).run();
                assert!(report.whole, "{mtu}, {loss}, {seed}: {:?}", report.end);
                assert_eq!(report.stats.datagram_len, len, "{mtu}, {loss}, {seed}");
            }
        }
    }
}

#[test]
fn it_is_found_in_the_first_round_trips() {
    let mut world = world(1500, 0.0, 4_000_000, 1);
    assert!(world.run_until(|world| world.client().datagram_len() == 1431));
    assert!(world.now < ms(40 * 3), "{:?}", world.now);
}

#[test]
fn a_path_that_becomes_narrower_is_noticed() {
    for loss in [0.0, 0.1, 0.3] {
        for (from, to, len) in
            [(1500, 1300, 1200), (9000, 1500, 1431), (9000, 1300, 1200), (1500, 1280, 1200)]
        {
            let mut scenario = Scenario::new(&link(loss), 4_000_000);
            scenario.path_mtu = from - HEADERS;
            let mut world = World::new(scenario, 5);
            assert!(world.run_until(|world| world.flows[0].delivered > 1_000_000));
            let at = world.now;
            world.network.path_mtu = to - HEADERS;
            assert!(world.run_until(|world| world.client().datagram_len() <= to - HEADERS));
            assert!(world.now - at < secs(1), "{from} {to} {loss}: noticed after {:?}", world.now - at);
            // 9000 to 1500: 1431 may have been tried by now, or not.
            assert!(world.client().datagram_len() == 1200 || world.client().datagram_len() == len);
            let report = world.run();
            assert!(
                report.whole && report.took < secs(12),
                "{from} {to} {loss}: {:?} {:?}",
                report.took,
                report.end
            );
        }
    }
}

#[test]
fn a_path_that_becomes_wider_is_noticed_after_a_while() {
    let mut scenario = Scenario::new(&link(0.0), 90_000_000);
    scenario.path_mtu = 1300 - HEADERS;
    scenario.up.rate = Some(10_000_000);
    let mut world = World::new(scenario, 5);
    world.run_to(secs(2));
    assert_eq!(world.client().datagram_len(), 1200);
    world.network.path_mtu = 1472;
    assert!(world.run_until(|world| world.client().datagram_len() == 1431));
    assert!(world.now < secs(35), "{:?}", world.now);
}

#[test]
fn random_loss_is_never_mistaken_for_a_narrow_path() {
    for seed in 0..6 {
        let mut world = world(1500, 0.6, 6_000_000, seed);
        assert!(world.run_until(|world| world.client().datagram_len() == 1431), "seed {seed}");
        while !world.flows[0].is_over() && world.step() {
            assert_eq!(world.client().datagram_len(), 1431, "seed {seed}, {:?}", world.now);
        }
        assert!(world.report().whole);
    }
}

#[test]
fn a_receiver_that_stalls_is_not_mistaken_for_one() {
    // What is still on its way when the credit is used up is lost in part, and only what is small goes to and fro.
    for seed in 0..10 {
        let mut scenario = Scenario::new(&link(0.5), 1_500_000);
        scenario.config.window = 100_000;
        scenario.receiver_rate = Some(150_000.0);
        let mut world = World::new(scenario, seed);
        assert!(world.run_until(|world| world.client().datagram_len() == 1431), "seed {seed}");
        while !world.flows[0].is_over() && world.step() {
            assert_eq!(world.client().datagram_len(), 1431, "seed {seed}, {:?}", world.now);
        }
        assert!(world.report().whole);
    }
}

#[test]
fn a_blackout_is_not_mistaken_for_one() {
    let mut world = in_the_middle(0.0);
    let at = world.now;
    let mut dark = link(0.0);
    dark.blackouts = vec![netsim::Window { start: at, length: secs(8) }];
    world.network.link_mut(super::Direction::Up).change(dark);
    while !world.flows[0].is_over() && world.step() {
        assert_eq!(world.client().datagram_len(), 1431, "{:?}", world.now);
    }
    assert!(world.report().whole);
}

#[test]
fn the_socket_has_the_last_word() {
    let mut world = in_the_middle(0.0);
    world.client().too_big(1431);
    assert_eq!(world.client().datagram_len(), 1303);
    world.network.path_mtu = 1430;
    assert!(world.run().whole);
}

#[test]
fn nothing_larger_than_allowed_is_ever_tried() {
    for most in [1200, 1252, 1400, 2000] {
        let mut scenario = Scenario::new(&link(0.1), 300_000);
        scenario.config.max_datagram = most;
        scenario.path_mtu = 9000;
        // The world looks at each datagram.
        let report = World::new(scenario, 1).run();
        assert!(report.whole && report.stats.datagram_len <= most);
    }
}
