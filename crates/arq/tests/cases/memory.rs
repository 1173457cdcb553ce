//! What is kept is bounded by the path, not by the file, nor by the time.

use netsim::{Faults, Loss, Queue};

use super::{link, ms};
use crate::simulation::{Scenario, World};

#[test]
fn a_long_transfer_keeps_as_little_as_a_short_one() {
    for loss in [0.0, 0.2] {
        let mut faults = link(loss);
        faults.rate = Some(100_000_000);
        let report = World::new(Scenario::new(&faults, 25_000_000), 1).run();
        assert!(report.whole);
        // 40 ms of 100 Mbit/s are 350 packets. What was lost is kept for 0.2 s, and so is all behind it.
        assert!(report.most.packets < 8 * 350 + 1800, "{:?}", report.most);
        assert!(report.most.parts < 4 * 350, "{:?}", report.most);
        assert!(report.most_open < 2 * 350, "{}", report.most_open);
        assert!(report.most.ranges <= 2048, "{:?}", report.most);
    }
}

#[test]
fn a_receiver_keeps_nothing_of_what_it_acknowledged() {
    // So slow that it takes minutes: the server sends tens of thousands of acknowledgements, of which some get lost.
    let queue = Some(Queue::Packets(20));
    let faults = Faults {
        rate: Some(600_000),
        delay: ms(3),
        queue,
        loss: Loss::Bernoulli(0.15),
        overhead: 28,
        ..Faults::default()
    };
    let mut world = World::new(Scenario::new(&faults, 3_000_000), 241);
    let mut most = 0;
    while !world.flows[0].is_over() && world.step() {
        if let Some(server) = &world.flows[0].server {
            most = most.max(server.footprint().packets);
        }
    }
    assert!(most < 600, "{most}");
    assert!(world.report().whole);
}
