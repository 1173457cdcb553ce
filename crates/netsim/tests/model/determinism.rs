//! What a verdict depends on, and what not.

use std::collections::BTreeSet;
use std::time::Duration;

use netsim::{
    Cause, Change, Corrupt, CorruptKind, Fate, Faults, Jitter, Link, Loss, Queue, Reorder, Spread, Verdict,
    Window,
};
use proptest::prelude::*;

use crate::{SEED, ms, run, us};

/// Everything at once.
fn all() -> Faults {
    Faults {
        rate: Some(8_000_000_000),
        queue: Some(Queue::Bytes(50_000)),
        delay: ms(20),
        jitter: Some(Jitter::uniform(ms(3))),
        loss: Loss::GilbertElliott { loss: 0.1, burst: 3.0 },
        reorder: Some(Reorder::beside(ms(20), 0.1)),
        duplicate: 0.1,
        corrupt: Some(Corrupt { probability: 0.1, kind: CorruptKind::Neutral }),
        reset: None,
        during: Vec::new(),
        blackouts: vec![Window { start: ms(1), length: ms(1) }],
        overhead: 28,
    }
}

/// The same with one fault less each.
fn all_but_one() -> Vec<(&'static str, Faults)> {
    let without = |name, take: fn(&mut Faults)| {
        let mut faults = all();
        take(&mut faults);
        (name, faults)
    };
    vec![
        without("bottleneck", |faults| (faults.rate, faults.queue) = (None, None)),
        without("delay", |faults| faults.delay = Duration::ZERO),
        without("jitter", |faults| faults.jitter = None),
        without("loss", |faults| faults.loss = Loss::None),
        without("reorder", |faults| faults.reorder = None),
        without("duplicate", |faults| faults.duplicate = 0.0),
        without("corrupt", |faults| faults.corrupt = None),
        without("blackouts", |faults| faults.blackouts.clear()),
        without("overhead", |faults| faults.overhead = 0),
    ]
}

/// The packets that each fault chose, of those that came so far in both runs.
fn chosen(verdicts: &[Verdict], among: &BTreeSet<u64>) -> [Vec<String>; 4] {
    let among = || verdicts.iter().filter(|verdict| among.contains(&verdict.number));
    let deliveries = || {
        among().flat_map(|verdict| {
            verdict.deliveries().zip(0..2).map(|(delivery, copy)| (verdict.number, copy, delivery))
        })
    };
    let first = || deliveries().filter(|&(_, copy, _)| copy == 0);
    [
        among().filter(|v| v.dropped() == Some(Cause::Loss)).map(|v| v.number.to_string()).collect(),
        among().filter(|v| v.deliveries().count() == 2).map(|v| v.number.to_string()).collect(),
        first().filter(|(.., d)| d.reordered).map(|(number, ..)| number.to_string()).collect(),
        first().filter_map(|(number, _, d)| Some(format!("{number} {:?}", d.damage?))).collect(),
    ]
}

/// The packets that got as far as the loss, or that behind it.
fn reached(verdicts: &[Verdict], delivered: bool) -> BTreeSet<u64> {
    let reached = verdicts.iter().filter(|verdict| match verdict.fate {
        Fate::Delivered { .. } => true,
        Fate::Dropped(cause) => cause == Cause::Loss && !delivered,
    });
    reached.map(|verdict| verdict.number).collect()
}

#[test]
fn one_fault_does_not_move_another() {
    let kinds = ["loss", "duplicate", "reorder", "corrupt"];
    let (with, _) = run(&all(), SEED, 0, 5000);
    for (name, faults) in all_but_one() {
        let (without, _) = run(&faults, SEED, 0, 5000);
        let loss = &reached(&with, false) & &reached(&without, false);
        let rest = &reached(&with, true) & &reached(&without, true);
        assert!(rest.len() > 1000, "{name}: {} packets to compare", rest.len());
        for (index, kind) in kinds.into_iter().enumerate().filter(|&(_, kind)| kind != name) {
            let among = if kind == "loss" { &loss } else { &rest };
            let [one, other] = [&with, &without].map(|verdicts| chosen(verdicts, among)[index].clone());
            assert!(!one.is_empty(), "{name} {kind}");
            assert_eq!(one, other, "{name} moved {kind}");
        }
    }
}

#[test]
fn a_blackout_and_a_full_queue_do_not_move_bursts() {
    let loss = Loss::GilbertElliott { loss: 0.3, burst: 8.0 };
    let plain = Faults { loss: loss.clone(), ..Faults::default() };
    let gaps = Faults {
        loss,
        blackouts: vec![Window { start: us(100), length: us(50) }],
        rate: Some(4_000_000_000),
        queue: Some(Queue::Packets(10)),
        ..Faults::default()
    };
    let [(plain, _), (gaps, link)] = [plain, gaps].map(|faults| run(&faults, SEED, 0, 2000));
    assert!(link.stats().queue_dropped > 500 && link.stats().blacked_out == 50, "{:?}", link.stats());
    let mut compared = 0;
    for (plain, gaps) in
        plain.iter().zip(&gaps).filter(|(_, gaps)| gaps.dropped().is_none_or(|cause| cause == Cause::Loss))
    {
        assert_eq!(plain.dropped(), gaps.dropped(), "packet {}", plain.number);
        compared += 1;
    }
    assert!(compared > 800);
}

#[test]
fn jitter_is_a_packets_own() {
    // Without the order to keep, and without a queue, each packet's time is its own affair.
    let free = Faults {
        delay: ms(20),
        jitter: Some(Jitter { spread: Spread::Uniform(ms(3)), reorders: true }),
        ..Faults::default()
    };
    let more = Faults {
        loss: Loss::Bernoulli(0.3),
        duplicate: 0.2,
        corrupt: Some(Corrupt { probability: 0.2, kind: CorruptKind::Bits }),
        ..free.clone()
    };
    let [(free, _), (more, _)] = [free, more].map(|faults| run(&faults, SEED, 0, 2000));
    for (free, more) in free.iter().zip(&more).filter(|(_, more)| more.dropped().is_none()) {
        assert_eq!(free.deliveries().next().unwrap().at, more.deliveries().next().unwrap().at);
    }
}

#[test]
fn what_is_lost_at_little_loss_is_lost_at_more() {
    let lost = |p| {
        let (verdicts, _) = run(&Faults { loss: Loss::Bernoulli(p), ..Faults::default() }, SEED, 0, 20_000);
        let lost = verdicts.iter().filter(|verdict| verdict.dropped().is_some());
        lost.map(|verdict| verdict.number).collect::<BTreeSet<_>>()
    };
    let sets = [0.0, 0.001, 0.01, 0.05, 0.5, 0.99, 1.0].map(lost);
    assert!(sets.windows(2).all(|pair| pair[0].is_subset(&pair[1]) && pair[0].len() < pair[1].len()));
}

#[test]
fn the_copy_is_not_damaged_or_delayed_like_the_packet() {
    let faults = Faults {
        jitter: Some(Jitter { spread: Spread::Uniform(ms(3)), reorders: true }),
        duplicate: 1.0,
        corrupt: Some(Corrupt { probability: 0.5, kind: CorruptKind::Bits }),
        ..Faults::default()
    };
    let (verdicts, _) = run(&faults, SEED, 0, 1000);
    let pairs = verdicts.iter().map(|verdict| verdict.deliveries().collect::<Vec<_>>());
    let (mut times, mut damages) = (0, 0);
    for pair in pairs {
        assert_eq!(pair.len(), 2);
        times += u32::from(pair[0].at == pair[1].at);
        damages += u32::from(pair[0].damage.is_some() == pair[1].damage.is_some());
    }
    assert!(times < 5 && (400..600).contains(&damages), "{times} {damages}");
}

/// A digest of a run that any change of a draw, a time or an order changes: FNV-1a over 64-bit words.
fn fingerprint(faults: &Faults, seed: u64, direction: u8) -> u64 {
    let mut words = Vec::new();
    for verdict in run(faults, seed, direction, 3000).0 {
        words.extend([verdict.number, verdict.dropped().map_or(0, |cause| cause as u64 + 1)]);
        for delivery in verdict.deliveries() {
            let mut bytes = (0..500_u16).flat_map(u16::to_be_bytes).collect::<Vec<_>>();
            let change = delivery.damage.and_then(|damage| damage.apply(&mut bytes));
            let change = change.map_or([0; 2], |change| match change {
                Change::Bit { byte, bit } => [1 + byte as u64, u64::from(bit)],
                Change::Words { first, second } | Change::Pair { first, second, .. } => {
                    [1 + first as u64, second as u64]
                }
            });
            words.extend(
                [delivery.at.as_nanos() as u64, u64::from(delivery.reordered)].into_iter().chain(change),
            );
        }
    }
    words
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3))
}

/// What a seed means is a promise: these change only if somebody breaks it.
#[test]
fn a_seed_means_the_same_for_ever() {
    let spread = |spread| Faults { jitter: Some(Jitter { spread, reorders: true }), ..all() };
    let pareto = Spread::Pareto { scale: ms(1), shape: 2.0, limit: ms(50) };
    let got = [
        fingerprint(&all(), SEED, 0),
        fingerprint(&all(), SEED, 1),
        fingerprint(&spread(Spread::Normal(ms(2))), SEED, 0),
        fingerprint(&spread(pareto), SEED, 0),
    ];
    assert_eq!(
        got.map(|hash| format!("{hash:016x}")),
        ["0d3121e2e643228a", "ed34e8105e3107a2", "a6d269c22136fa56", "1af9b012b48e483f"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_again_is_the_same(seed: u64, direction: u8, gaps in proptest::collection::vec((0_u64..5000, 0_usize..3000), 1..200)) {
        let mut links = [(); 2].map(|()| Link::new(all(), seed, direction));
        let mut now = Duration::ZERO;
        for (gap, len) in gaps {
            now += Duration::from_nanos(gap);
            let [one, other] = links.each_mut().map(|link| link.enter(now, len));
            prop_assert_eq!(one, other);
        }
        prop_assert_eq!(links[0].stats(), links[1].stats());
    }
}
