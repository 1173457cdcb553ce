//! Files go through with a key as they go without one: whole, and as fast.

mod simulation;

use std::time::Duration;

use netsim::{Faults, Loss, Queue};
use simulation::random::scenario;
use simulation::{Scenario, Tampering, World};

const RATE: f64 = 100e6;

fn path(loss: f64, rtt: Duration) -> Faults {
    Faults {
        rate: Some(RATE as u64),
        delay: rtt / 2,
        queue: Some(Queue::Bytes((RATE / 8.0 * rtt.as_secs_f64()) as u64)),
        loss: if loss > 0.0 { Loss::Bernoulli(loss) } else { Loss::None },
        overhead: 28,
        ..Faults::default()
    }
}

#[test]
fn a_key_costs_its_tags_and_nothing_else() {
    for loss in [0.0, 0.05, 0.2, 0.5] {
        let clear = Scenario::new(&path(loss, Duration::from_millis(100)), 12_000_000);
        let mut shares = [clear.clone(), clear.sealed()].map(|scenario| {
            // The mean of a few: which packets are lost is not the same.
            let runs = (0..4).map(|seed| {
                let report = World::new(scenario.clone(), seed).run();
                assert!(report.whole, "{loss}, seed {seed}: {:?}", report.end);
                report.share(&scenario, loss)
            });
            runs.sum::<f64>() / 4.0
        });
        let [clear, sealed] = &mut shares;
        assert!(*sealed > *clear * 0.96, "{loss}: {clear:.3} without a key, {sealed:.3} with one");
    }
}

#[test]
fn the_first_byte_comes_as_soon_as_without_a_key() {
    let rtt = Duration::from_millis(200);
    let took = [false, true].map(|has_key| {
        let scenario = Scenario::new(&path(0.0, rtt), 4096);
        let scenario = if has_key { scenario.sealed() } else { scenario };
        World::new(scenario, 1).run().took
    });
    assert!(took[1] < took[0] + Duration::from_millis(2), "{took:?}");
}

#[test]
fn files_come_whole_whatever_the_network_does() {
    for seed in 0..150_u64 {
        let mut lot = simulation::random::Lot(seed.wrapping_mul(0x1234_5678_9abc_def1));
        let (scenario, _) = scenario(&mut lot, 0.5, 4e5);
        let report = World::new(scenario.sealed(), seed).run();
        assert!(report.whole, "seed {seed}: {:?} after {:?}", report.end, report.took);
    }
}

/// What somebody on the way does to a datagram now and then: another one at each time.
#[test]
fn who_changes_and_repeats_datagrams_only_delays_them() {
    let scenario = Scenario::new(&path(0.01, Duration::from_millis(40)), 1_000_000).sealed();
    let mut world = World::new(scenario, 3);
    let mut count = 0_usize;
    world.tamper(move |datagram| {
        count += 1;
        let mut bytes = datagram.bytes.to_vec();
        let at = (count * 7919) % bytes.len();
        bytes[at] ^= 1 << (count % 8);
        match count % 5 {
            0 => Tampering::Instead(vec![bytes]),
            1 => Tampering::Also(vec![bytes]),
            2 => Tampering::Also(vec![datagram.bytes.to_vec(); 2]),
            _ => Tampering::Pass,
        }
    });
    let report = world.run();
    assert!(report.whole, "{:?}", report.end);
}
