//! Delay, rate, queue, order and blackouts, to the nanosecond.

use std::time::Duration;

use netsim::{Cause, Faults, Jitter, Link, Loss, Queue, Reorder, Spread, Verdict, Window};
use proptest::prelude::*;

use crate::{SEED, ms, ns, run, us};

#[track_caller]
fn at(verdict: Verdict) -> Duration {
    verdict.deliveries().next().unwrap_or_else(|| panic!("{verdict:?}")).at
}

fn link(faults: Faults) -> Link {
    Link::new(faults, SEED, 0)
}

#[test]
fn a_perfect_link_is_one() {
    let (verdicts, link) = run(&Faults::default(), SEED, 0, 1000);
    for verdict in verdicts {
        assert_eq!(
            verdict.deliveries().map(|delivery| delivery.at).collect::<Vec<_>>(),
            [us(verdict.number)]
        );
    }
    let stats = link.stats();
    assert_eq!((stats.delivered, stats.delivered_bytes), (1000, 1_000_000));
    assert_eq!((stats.lost, stats.duplicated, stats.reordered, stats.corrupted), (0, 0, 0, 0));
}

#[test]
fn delay_and_serialisation_are_exact() {
    // 1472 + 28 bytes at 100 Mbit/s: 120 us each.
    let mut link = link(Faults { rate: Some(100_000_000), delay: ms(50), overhead: 28, ..Faults::default() });
    assert_eq!(at(link.enter(ms(1), 1472)), ms(51) + us(120));
    assert_eq!(link.queued(ms(1)), us(120));
    assert_eq!(at(link.enter(ms(1), 1472)), ms(51) + us(240));
    assert_eq!(at(link.enter(ms(1) + us(100), 1472)), ms(51) + us(360));
    assert_eq!(link.queued(ms(1) + us(100)), us(260));
    // It falls idle, and the next one does not wait.
    assert_eq!(link.queued(ms(2)), ms(0));
    assert_eq!(at(link.enter(ms(2), 1472)), ms(52) + us(120));
}

#[test]
fn no_rate_drifts() {
    // 3 and 7 bit/ns do not divide 800 bits: after a million packets not a nanosecond is lost.
    for rate in [3_000_000_000, 7_000_000_000, 999_999_937] {
        let mut link = link(Faults { rate: Some(rate), ..Faults::default() });
        let last = (0..1_000_000).map(|_| at(link.enter(Duration::ZERO, 100))).last().unwrap();
        assert_eq!(last.as_nanos(), 800_000_000_u128 * 1_000_000_000 / u128::from(rate));
    }
}

#[test]
fn lost_packets_use_the_link_and_blacked_out_ones_do_not() {
    let rate = Some(8_000_000);
    let mut lossy = link(Faults { rate, loss: Loss::Packets([0, 1].into()), ..Faults::default() });
    let first = lossy.enter(ms(0), 1000);
    let second = lossy.enter(ms(0), 1000);
    assert_eq!([first, second].map(|verdict| verdict.dropped()), [Some(Cause::Loss); 2]);
    assert_eq!(at(lossy.enter(ms(0), 1000)), ms(3));
    let blackouts = vec![Window { start: ms(0), length: ms(1) }];
    let mut dark = link(Faults { rate, blackouts, ..Faults::default() });
    assert_eq!(dark.enter(ms(0), 1000).dropped(), Some(Cause::Blackout));
    assert_eq!(at(dark.enter(ms(1), 1000)), ms(2));
}

/// How many of `count` packets that come at once fit.
fn fit(queue: Queue, len: usize, overhead: u32, count: u64) -> u64 {
    let mut link = link(Faults { rate: Some(8_000_000), queue: Some(queue), overhead, ..Faults::default() });
    let dropped =
        (0..count).filter(|_| link.enter(ms(5), len).dropped() == Some(Cause::Queue)).count() as u64;
    assert_eq!(dropped, link.stats().queue_dropped);
    assert_eq!(link.queued(ms(5)), us((count - dropped) * (len as u64 + u64::from(overhead))));
    count - dropped
}

#[test]
fn the_queue_holds_exactly_what_it_should() {
    assert_eq!(fit(Queue::Bytes(10_000), 1000, 0, 100), 10);
    assert_eq!(fit(Queue::Bytes(9_999), 1000, 0, 100), 9);
    assert_eq!(fit(Queue::Bytes(10_000), 972, 28, 100), 10);
    assert_eq!(fit(Queue::Bytes(10_000), 973, 28, 100), 9);
    assert_eq!(fit(Queue::Packets(7), 1000, 0, 100), 7);
    assert_eq!(fit(Queue::Packets(7), 10, 0, 100), 7);
    assert_eq!(fit(Queue::Time(ms(10)), 1000, 0, 100), 10);
    assert_eq!(fit(Queue::Time(us(9_999)), 1000, 0, 100), 9);
    // What finds the bottleneck idle is sent, however long.
    for queue in [Queue::Bytes(0), Queue::Packets(0), Queue::Time(ms(0)), Queue::Bytes(999)] {
        assert_eq!(fit(queue, 1000, 0, 100), 1, "{queue:?}");
    }
}

#[test]
fn the_queue_empties_at_the_rate() {
    // A byte a microsecond, room for two packets.
    for queue in [Queue::Bytes(2000), Queue::Packets(2), Queue::Time(ms(2))] {
        let mut link = link(Faults { rate: Some(8_000_000), queue: Some(queue), ..Faults::default() });
        assert_eq!(at(link.enter(us(0), 1000)), us(1000));
        assert_eq!(at(link.enter(us(0), 1000)), us(2000));
        assert_eq!(link.enter(us(999), 1000).dropped(), Some(Cause::Queue), "{queue:?}");
        assert_eq!(at(link.enter(us(1000), 1000)), us(3000), "{queue:?}");
        assert_eq!(link.queued(us(1000)), us(2000));
        assert_eq!(link.enter(us(1001), 1000).dropped(), Some(Cause::Queue));
        // A short one fits where bytes or time count, and where a place is free.
        let short = link.enter(us(1500), 500).dropped();
        assert_eq!(short, matches!(queue, Queue::Packets(_)).then_some(Cause::Queue));
    }
}

#[test]
fn a_queue_without_limit_never_drops() {
    let mut link = link(Faults { rate: Some(1000), ..Faults::default() });
    assert!((0..10_000).all(|_| link.enter(ms(0), 1500).dropped().is_none()));
    assert_eq!(link.queued(ms(0)), Duration::from_secs(12 * 10_000));
}

#[test]
fn blackouts_take_what_enters_in_them_and_nothing_else() {
    let blackouts = vec![
        Window { start: us(10), length: us(5) },
        Window { start: us(13), length: us(5) },
        Window { start: us(40), length: us(0) },
        Window { start: us(90), length: Duration::MAX },
    ];
    let (verdicts, link) = run(&Faults { delay: ms(1), blackouts, ..Faults::default() }, SEED, 0, 100);
    for verdict in verdicts {
        let dark = (10..18).contains(&verdict.number) || verdict.number >= 90;
        assert_eq!(verdict.dropped(), dark.then_some(Cause::Blackout), "packet {}", verdict.number);
    }
    assert_eq!((link.stats().blacked_out, link.stats().lost), (18, 0));
    let window = Window { start: ms(10), length: ms(5) };
    let edges = [ms(10) - ns(1), ms(10), ms(15) - ns(1), ms(15)];
    assert_eq!(edges.map(|time| window.contains(time)), [false, true, true, false]);
}

/// How many packets arrive before one that entered earlier.
fn overtakings(verdicts: &[Verdict]) -> usize {
    let mut last = Duration::ZERO;
    let at = verdicts.iter().flat_map(Verdict::deliveries).map(|delivery| delivery.at);
    at.filter(|&at| {
        let overtakes = at < last;
        last = last.max(at);
        overtakes
    })
    .count()
}

#[test]
fn jitter_keeps_the_order_unless_told_otherwise() {
    let pareto = Spread::Pareto { scale: ms(1), shape: 1.1, limit: ms(100) };
    for spread in [Spread::Uniform(ms(5)), Spread::Normal(ms(5)), pareto] {
        for (reorders, duplicate) in [(false, 0.0), (false, 0.3), (true, 0.0)] {
            let jitter = Some(Jitter { spread, reorders });
            let faults = Faults { delay: ms(20), jitter, duplicate, ..Faults::default() };
            let (verdicts, link) = run(&faults, SEED, 0, 5000);
            assert_eq!(overtakings(&verdicts) > 0, reorders, "{spread:?}");
            assert_eq!(link.stats().reordered, 0);
        }
    }
    assert_eq!(Jitter::uniform(ms(5)), Jitter { spread: Spread::Uniform(ms(5)), reorders: false });
}

#[test]
fn only_chosen_packets_are_overtaken() {
    let faults = Faults {
        delay: ms(20),
        jitter: Some(Jitter::uniform(us(50))),
        reorder: Some(Reorder { probability: 0.05, least: ms(1), most: ms(2) }),
        ..Faults::default()
    };
    let (verdicts, _) = run(&faults, SEED, 0, 5000);
    let (late, in_order): (Vec<_>, Vec<_>) =
        verdicts.iter().partition(|verdict| verdict.deliveries().any(|delivery| delivery.reordered));
    assert!(late.len() > 100);
    assert_eq!(overtakings(&in_order.into_iter().copied().collect::<Vec<_>>()), 0);
    for verdict in late {
        let extra = at(*verdict) - ms(20) - us(verdict.number);
        assert!((ms(1)..=ms(2) + us(50)).contains(&extra), "{extra:?}");
    }
}

#[test]
fn faults_change_on_the_way() {
    let mut link = link(Faults { rate: Some(8_000_000), delay: ms(50), ..Faults::default() });
    assert_eq!(at(link.enter(ms(0), 1000)), ms(51));
    // Faster and nearer, but what is under way is not overtaken.
    link.change(Faults { rate: Some(80_000_000), delay: ms(5), ..Faults::default() });
    let second = link.enter(ms(0), 1000);
    assert_eq!((second.number, at(second)), (1, ms(51)));
    assert_eq!(link.queued(ms(0)), us(1100));
    assert_eq!(at(link.enter(ms(100), 1000)), ms(105) + us(100));
    assert_eq!(link.faults().delay, ms(5));
    assert_eq!(link.stats().entered, 3);
}

/// The deterministic part of `linkem.c`, the device that the measurements are made with, in its own arithmetic.
struct Linkem {
    rate: f64,
    queue: f64,
    free_at: u64,
}

impl Linkem {
    /// When a packet has passed the bottleneck, and by how many bytes it fitted.
    fn ingest(&mut self, len: u64, now: u64) -> (Option<u64>, f64) {
        let start = self.free_at.max(now);
        let backlog = (start - now) as f64 * self.rate * 1e6 / 8e9;
        let room = self.queue * 1024.0 - backlog - len as f64;
        if self.queue > 0.0 && room < 0.0 {
            return (None, room);
        }
        self.free_at = start + (len as f64 * 8e9 / (self.rate * 1e6)) as u64;
        (Some(self.free_at), room)
    }
}

proptest! {
    #[test]
    fn the_bottleneck_is_linkems(
        rate in proptest::sample::select(vec![1_u64, 2, 5, 8, 10, 20, 50, 100, 200, 400, 1000]),
        queue in 2_u64..100,
        packets in proptest::collection::vec((0_u64..200_000, 40_u64..=1500), 1..400),
    ) {
        // A whole number of nanoseconds a byte, so that linkem's rounding and ours are the same.
        let mut linkem = Linkem { rate: rate as f64, queue: queue as f64, free_at: 0 };
        let faults = Faults { rate: Some(rate * 1_000_000), queue: Some(Queue::Bytes(queue * 1024)), delay: ms(3), ..Faults::default() };
        let mut link = link(faults);
        let mut now = 0;
        for (gap, len) in packets {
            now += gap;
            let (departure, room) = linkem.ingest(len, now);
            let ours = link.enter(ns(now), len as usize).deliveries().next().map(|delivery| delivery.at);
            if room.abs() < 1e-6 {
                break; // A hair's breadth, which the rounding of floats decides.
            }
            prop_assert_eq!(ours, departure.map(|departure| ns(departure) + ms(3)));
        }
    }
}
