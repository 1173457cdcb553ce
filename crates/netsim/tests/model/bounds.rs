//! What is possible, what is not, and how that is said.

use std::time::Duration;

use netsim::{
    Corrupt, CorruptKind, FaultError, Faults, Jitter, Link, Loss, MAX_RATE, MAX_TIME, Queue, Reorder, Reset,
    Spread, Window,
};
use proptest::prelude::*;

use crate::ms;

fn said(faults: Faults) -> String {
    faults.check().expect_err("it cannot be").to_string()
}

fn loss(loss: Loss) -> Faults {
    Faults { loss, ..Faults::default() }
}

fn jitter(spread: Spread) -> Faults {
    Faults { jitter: Some(Jitter { spread, reorders: false }), ..Faults::default() }
}

#[test]
fn each_error_names_the_setting_and_the_range() {
    let long = MAX_TIME + Duration::from_nanos(1);
    let d = Faults::default;
    let kind = CorruptKind::Bits;
    let cases = [
        (loss(Loss::Bernoulli(1.2)), "loss: 1.2 is no probability; 0 to 1 (0 % to 100 %) are possible"),
        (loss(Loss::Bernoulli(f64::NAN)), "loss: NaN is no probability; 0 to 1 (0 % to 100 %) are possible"),
        (
            loss(Loss::GilbertElliott { loss: -0.5, burst: 2.0 }),
            "loss.loss: -0.5 is no probability; 0 to 1 (0 % to 100 %) are possible",
        ),
        (
            loss(Loss::GilbertElliott { loss: 1.0, burst: 2.0 }),
            "loss.loss: 1; loss in bursts can be 0 to less than 1 (100 %)",
        ),
        (
            loss(Loss::GilbertElliott { loss: 0.8, burst: 2.0 }),
            "loss.burst: 2 packets in the mean; at least 4 are needed at this loss",
        ),
        (
            loss(Loss::GilbertElliott { loss: 0.7, burst: f64::INFINITY }),
            "loss.burst: inf packets in the mean; at least 2.34 are needed at this loss",
        ),
        (
            loss(Loss::TwoState { worsen: 0.1, recover: 7.0, loss_good: 0.0, loss_bad: 1.0 }),
            "loss.recover: 7 is no probability; 0 to 1 (0 % to 100 %) are possible",
        ),
        (loss(Loss::Nth(0)), "loss.nth: 0; at least 1, which is every packet, is possible"),
        (Faults { rate: Some(0), ..d() }, "rate: 0 bit/s; 1 to 1000000000000000 bit/s are possible"),
        (
            Faults { rate: Some(u64::MAX), ..d() },
            "rate: 18446744073709551615 bit/s; 1 to 1000000000000000 bit/s are possible",
        ),
        (
            Faults { queue: Some(Queue::Packets(5)), ..d() },
            "queue: without a rate nothing ever waits in it; give a rate too",
        ),
        (
            Faults { rate: Some(1), queue: Some(Queue::Time(long)), ..d() },
            "queue: 3600.000000001s; 0 s to 3600s are possible",
        ),
        (
            Faults { delay: Duration::MAX, ..d() },
            "delay: 18446744073709551615.999999999s; 0 s to 3600s are possible",
        ),
        (jitter(Spread::Uniform(long)), "jitter: 3600.000000001s; 0 s to 3600s are possible"),
        (jitter(Spread::Normal(long)), "jitter: 3600.000000001s; 0 s to 3600s are possible"),
        (
            jitter(Spread::Pareto { scale: ms(1), shape: 0.0, limit: ms(1) }),
            "jitter.shape: 0; more than 0 and at most 1000 are possible",
        ),
        (
            jitter(Spread::Pareto { scale: ms(1), shape: 1.0, limit: long }),
            "jitter.limit: 3600.000000001s; 0 s to 3600s are possible",
        ),
        (
            Faults { reorder: Some(Reorder { probability: 0.1, least: ms(2), most: ms(1) }), ..d() },
            "reorder: held back for at least 2ms and at most 1ms; the first must not be the longer",
        ),
        (
            Faults { reorder: Some(Reorder { probability: 0.1, least: ms(2), most: long }), ..d() },
            "reorder.most: 3600.000000001s; 0 s to 3600s are possible",
        ),
        (
            Faults { reorder: Some(Reorder::beside(ms(2), -1.0)), ..d() },
            "reorder.probability: -1 is no probability; 0 to 1 (0 % to 100 %) are possible",
        ),
        (
            Faults { duplicate: f64::INFINITY, ..d() },
            "duplicate: inf is no probability; 0 to 1 (0 % to 100 %) are possible",
        ),
        (
            Faults { corrupt: Some(Corrupt { probability: 2.0, kind }), ..d() },
            "corrupt.probability: 2 is no probability; 0 to 1 (0 % to 100 %) are possible",
        ),
    ];
    for (faults, expected) in cases {
        assert_eq!(said(faults), expected);
    }
}

#[test]
fn the_ends_of_each_range_are_possible() {
    for chance in [0.0, -0.0, 1.0, f64::MIN_POSITIVE] {
        let faults = Faults {
            rate: Some(MAX_RATE),
            queue: Some(Queue::Bytes(u64::MAX)),
            delay: MAX_TIME,
            jitter: Some(Jitter::uniform(MAX_TIME)),
            loss: Loss::TwoState { worsen: chance, recover: chance, loss_good: chance, loss_bad: chance },
            reorder: Some(Reorder { probability: chance, least: MAX_TIME, most: MAX_TIME }),
            duplicate: chance,
            corrupt: Some(Corrupt { probability: chance, kind: CorruptKind::Bits }),
            reset: Some(Reset::Chance(chance)),
            during: vec![Window { start: Duration::ZERO, length: Duration::MAX }],
            blackouts: vec![Window { start: Duration::MAX, length: Duration::MAX }],
            overhead: u32::MAX,
        };
        assert_eq!(faults.check(), Ok(()));
    }
    assert_eq!(loss(Loss::GilbertElliott { loss: 0.0, burst: 1.0 }).check(), Ok(()));
    assert_eq!(loss(Loss::GilbertElliott { loss: 0.8, burst: 4.000_001 }).check(), Ok(()));
    assert_eq!(loss(Loss::GilbertElliott { loss: 0.7, burst: 2.34 }).check(), Ok(()));
    assert_eq!(jitter(Spread::Pareto { scale: MAX_TIME, shape: 1000.0, limit: MAX_TIME }).check(), Ok(()));
}

#[test]
#[should_panic(expected = "faults that no link can have: rate: 0 bit/s")]
fn a_link_with_impossible_faults_is_not_made() {
    let _ = Link::new(Faults { rate: Some(0), ..Faults::default() }, 0, 0);
}

/// Numbers that people and programs go wrong with, and others.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => 0.0..=1.0,
        1 => proptest::sample::select(vec![0.0, -0.0, 1.0, 1.000_000_1, -1e-300, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX]),
        1 => any::<f64>(),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (0..10_000_000_000_u64).prop_map(Duration::from_nanos),
        1 => proptest::sample::select(vec![Duration::ZERO, Duration::MAX, MAX_TIME, MAX_TIME + ms(1), Duration::from_nanos(u64::MAX)]),
    ]
}

fn any_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::None),
        number().prop_map(Loss::Bernoulli),
        (number(), prop_oneof![number(), 1.0..1000.0])
            .prop_map(|(loss, burst)| Loss::GilbertElliott { loss, burst }),
        (number(), number(), number(), number()).prop_map(|(worsen, recover, loss_good, loss_bad)| {
            Loss::TwoState { worsen, recover, loss_good, loss_bad }
        }),
        prop_oneof![0..3_u64, any::<u64>()].prop_map(Loss::Nth),
        proptest::collection::btree_set(0..50_u64, 0..5).prop_map(Loss::Packets),
    ]
}

fn any_jitter() -> impl Strategy<Value = Jitter> {
    let spread = prop_oneof![
        time().prop_map(Spread::Uniform),
        time().prop_map(Spread::Normal),
        (time(), number(), time()).prop_map(|(scale, shape, limit)| Spread::Pareto { scale, shape, limit }),
    ];
    (spread, any::<bool>()).prop_map(|(spread, reorders)| Jitter { spread, reorders })
}

fn any_faults() -> impl Strategy<Value = Faults> {
    let queue = prop_oneof![
        any::<u64>().prop_map(Queue::Bytes),
        any::<u32>().prop_map(Queue::Packets),
        time().prop_map(Queue::Time),
    ];
    let rate = prop_oneof![Just(0), Just(1), Just(MAX_RATE), Just(u64::MAX), 1..MAX_RATE, any::<u64>()];
    let reorder = (number(), time(), time()).prop_map(|(probability, least, most)| Reorder {
        probability,
        least,
        most,
    });
    let corrupt = number().prop_map(|probability| Corrupt { probability, kind: CorruptKind::Neutral });
    let window = (time(), time()).prop_map(|(start, length)| Window { start, length });
    let option = |part| proptest::option::weighted(part, Just(()));
    let one = (rate, queue, time(), any_jitter(), any_loss());
    let other = (reorder, number(), corrupt, proptest::collection::vec(window, 0..3), any::<u32>());
    (one, other, option(0.8), option(0.5), option(0.5), option(0.5)).prop_map(|(one, other, a, b, c, d)| {
        let (rate, queue, delay, jitter, loss) = one;
        let (reorder, duplicate, corrupt, blackouts, overhead) = other;
        Faults {
            rate: a.map(|()| rate),
            queue: a.and(b).map(|()| queue),
            delay,
            jitter: b.map(|()| jitter),
            loss,
            reorder: c.map(|()| reorder),
            duplicate,
            corrupt: d.map(|()| corrupt),
            reset: d.map(|()| Reset::Chance(duplicate)),
            during: blackouts.clone(),
            blackouts,
            overhead,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What passes the check can be run, with any times and lengths; what does not says why.
    #[test]
    fn what_passes_runs(
        faults in any_faults(),
        seed: u64,
        packets in proptest::collection::vec((time(), prop_oneof![0..3000_usize, any::<usize>()]), 0..20),
    ) {
        match faults.check() {
            Err(error) => {
                prop_assert!(error.to_string().contains(':'));
                if let FaultError::Probability { value, .. } = error {
                    prop_assert!(!(0.0..=1.0).contains(&value));
                }
            }
            Ok(()) => {
                let mut link = Link::new(faults, seed, 0);
                for (now, len) in packets {
                    let verdict = link.enter(now, len);
                    prop_assert!(verdict.deliveries().count() <= 2);
                    let horizon = Duration::from_nanos(u64::MAX);
                    prop_assert!(verdict.deliveries().all(|delivery| delivery.at >= now.min(horizon)));
                    let _ = link.queued(now);
                }
                let stats = link.stats();
                let dropped = stats.lost + stats.queue_dropped + stats.blacked_out;
                prop_assert_eq!(stats.delivered, stats.entered - dropped + stats.duplicated);
            }
        }
    }
}
