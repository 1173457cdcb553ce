//! Receivers that are slower than the path.

use super::{link, ms, secs};
use crate::simulation::{Direction, Scenario, Tampering, World};

fn scenario(window: u64) -> Scenario {
    let mut scenario = Scenario::new(&link(0.0), 1_000_000);
    scenario.config.window = window;
    scenario
}

#[test]
fn a_receiver_that_takes_nothing_for_twenty_seconds() {
    for loss in [0.0, 0.3] {
        let mut scenario = scenario(200_000);
        scenario.up = link(loss);
        scenario.down = link(loss);
        scenario.receiver_pause = Some((ms(300), ms(20_300)));
        let mut world = World::new(scenario, 2);
        world.run_to(secs(2));
        let (sent, came) = (world.client().stats(), world.flows[0].delivered);
        world.run_to(secs(20));
        let packets = world.client().stats().packets_sent - sent.packets_sent;
        assert!(packets < 18 * 30, "{packets} packets while nothing was taken");
        assert!(world.flows[0].delivered - came < 200_000);
        let report = world.run();
        assert!(report.whole, "{:?}", report.end);
        assert!(report.took < secs(if loss > 0.0 { 24 } else { 22 }), "{:?}", report.took);
        assert!(report.most_waiting <= 200_000, "{}", report.most_waiting);
    }
}

#[test]
fn a_slow_receiver_is_never_overrun_and_never_starved() {
    for (window, rate) in [(20_000, 100_000.0), (100_000, 500_000.0), (1 << 20, 1e6)] {
        let mut scenario = scenario(window);
        scenario.receiver_rate = Some(rate);
        let report = World::new(scenario, 2).run();
        assert!(report.whole && report.most_waiting <= window, "{} of {window}", report.most_waiting);
        // A window for each round trip, or what the receiver takes.
        let ideal = (1e6 / rate).max(1e6 / window as f64 * 0.04);
        assert!(
            report.took.as_secs_f64() < ideal * 1.6 + 0.5,
            "{window}, {rate}: {:?}, {ideal}",
            report.took
        );
        // Only what the path itself could not carry, while its rate was looked for.
        assert!(report.stats.packets_lost <= report.queue_drops, "{window}, {rate}: {:?}", report.stats);
    }
}

#[test]
fn what_tells_of_new_room_may_be_lost() {
    let mut scenario = scenario(50_000);
    scenario.receiver_pause = Some((ms(0), secs(2)));
    let mut world = World::new(scenario, 2);
    // All that the server says for a while around the time that it takes something again.
    world.tamper(|datagram| {
        let dark = datagram.direction == Direction::Down && (ms(1900)..ms(5000)).contains(&datagram.now);
        if dark { Tampering::Drop } else { Tampering::Pass }
    });
    let report = world.run();
    assert!(report.whole && report.took < secs(7), "{:?} {:?}", report.took, report.end);
}

#[test]
fn a_window_that_shrinks_takes_nothing_back() {
    let mut world = World::new(scenario(100_000), 2);
    assert!(world.run_until(|world| world.flows[0].delivered > 200_000));
    world.server().set_window(10_000);
    let report = world.run();
    assert!(report.whole, "{:?}", report.end);
    assert_eq!(report.stats.packets_lost, 0);
}
