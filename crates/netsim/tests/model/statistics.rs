//! Rates, bursts and distributions. The seeds are fixed, so what passes once passes always.

use std::time::Duration;

use netsim::{Change, Corrupt, CorruptKind, Faults, Jitter, Loss, Reorder, Spread, Verdict};

use crate::{SEED, ms, ns, run, us};

/// Half the width of a 99.9 % interval, in standard deviations.
const WIDTH: f64 = 3.2905;

const COUNT: u64 = 200_000;

#[track_caller]
fn assert_binomial(hits: u64, trials: u64, p: f64) {
    let (mean, deviation) = (trials as f64 * p, (trials as f64 * p * (1.0 - p)).sqrt());
    let off = (hits as f64 - mean).abs();
    assert!(off <= WIDTH * deviation + 0.5, "{hits} of {trials}, {mean} expected, {deviation} deviation");
}

/// The 99.9 % quantile of chi square, by Wilson and Hilferty.
fn chi_square_limit(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + 3.0902 * spread.sqrt()).powi(3)
}

/// Values in 0..1 spread evenly over 100 bins.
#[track_caller]
fn assert_even(values: impl IntoIterator<Item = f64>) {
    let mut bins = [0_u64; 100];
    for value in values {
        bins[(value * 100.0) as usize] += 1;
    }
    let expected = bins.iter().sum::<u64>() as f64 / 100.0;
    assert!(expected > 20.0, "too few to tell");
    let chi_square = bins.iter().map(|&bin| (bin as f64 - expected).powi(2) / expected).sum::<f64>();
    assert!(chi_square < chi_square_limit(99.0), "chi square {chi_square}: {bins:?}");
}

fn lost(verdicts: &[Verdict]) -> Vec<bool> {
    verdicts.iter().map(|verdict| verdict.dropped().is_some()).collect()
}

/// The lengths of the runs of losses.
fn bursts(lost: &[bool]) -> Vec<usize> {
    lost.chunk_by(|a, b| a == b).filter(|chunk| chunk[0]).map(<[bool]>::len).collect()
}

#[test]
fn bernoulli_loses_what_it_should() {
    for (p, seed) in [0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0].into_iter().zip(SEED..) {
        let (verdicts, link) = run(&Faults { loss: Loss::Bernoulli(p), ..Faults::default() }, seed, 0, COUNT);
        let stats = link.stats();
        assert_eq!(stats.lost, lost(&verdicts).iter().filter(|&&lost| lost).count() as u64);
        assert_eq!((stats.entered, stats.delivered), (COUNT, COUNT - stats.lost));
        assert_eq!((stats.entered_bytes, stats.delivered_bytes), (COUNT * 1000, stats.delivered * 1000));
        assert_binomial(stats.lost, COUNT, p);
    }
}

#[test]
fn bernoulli_losses_do_not_know_of_each_other() {
    let (verdicts, _) = run(&Faults { loss: Loss::Bernoulli(0.3), ..Faults::default() }, SEED, 1, COUNT);
    let lost = lost(&verdicts);
    for lag in [1, 2, 3, 10, 64] {
        let both = lost.iter().zip(&lost[lag..]).filter(|&(&a, &b)| a && b).count();
        assert_binomial(both as u64, COUNT - lag as u64, 0.09);
    }
}

#[test]
fn neighbouring_seeds_and_directions_have_nothing_in_common() {
    let faults = Faults { loss: Loss::Bernoulli(0.3), ..Faults::default() };
    let runs = [(0, 0), (0, 1), (1, 0), (1, 1), (u64::MAX, 0), (1 << 32, 0)];
    let runs = runs.map(|(seed, direction)| lost(&run(&faults, seed, direction, 50_000).0));
    for (index, one) in runs.iter().enumerate() {
        for other in &runs[..index] {
            let both = one.iter().zip(other).filter(|&(&a, &b)| a && b).count();
            assert_binomial(both as u64, 50_000, 0.09);
        }
    }
}

#[test]
fn gilbert_elliott_has_its_loss_and_its_bursts() {
    for (loss, burst) in
        [(0.01, 3.0), (0.05, 5.0), (0.2, 10.0), (0.5, 2.0), (0.8, 4.0), (0.05, 1.0), (0.3, 1.5)]
    {
        let faults = Faults { loss: Loss::GilbertElliott { loss, burst }, ..Faults::default() };
        let lost = lost(&run(&faults, SEED, 0, COUNT).0);
        let bursts = bursts(&lost);
        // Neighbours correlate by this, which makes the count vary the more.
        let memory = 1.0 - 1.0 / burst - loss / (1.0 - loss) / burst;
        let hits = lost.iter().filter(|&&lost| lost).count() as f64 / COUNT as f64;
        let deviation = (loss * (1.0 - loss) / COUNT as f64 * (1.0 + memory) / (1.0 - memory)).sqrt();
        assert!((hits - loss).abs() <= WIDTH * deviation + 1e-5, "{loss} {burst}: {hits} of all are lost");
        // Bursts are geometric.
        let mean = bursts.iter().sum::<usize>() as f64 / bursts.len() as f64;
        let deviation = (burst * (burst - 1.0) / bursts.len() as f64).sqrt();
        assert!((mean - burst).abs() <= WIDTH * deviation + 1e-3, "{loss} {burst}: mean burst {mean}");
        let ones = bursts.iter().filter(|&&len| len == 1).count();
        assert_binomial(ones as u64, bursts.len() as u64, 1.0 / burst);
    }
}

#[test]
fn a_burst_of_the_shortest_possible_mean_loses_the_rest() {
    // The good state is left at once: no two packets in a row arrive.
    let faults = Faults { loss: Loss::GilbertElliott { loss: 0.75, burst: 3.0 }, ..Faults::default() };
    let lost = lost(&run(&faults, SEED, 0, 10_000).0);
    assert!(lost.windows(2).all(|pair| pair[0] || pair[1]));
}

#[test]
fn two_states_lose_as_each_of_them_does() {
    let loss = Loss::TwoState { worsen: 0.02, recover: 0.1, loss_good: 0.01, loss_bad: 0.6 };
    let (_, link) = run(&Faults { loss, ..Faults::default() }, SEED, 0, COUNT);
    let bad = 0.02 / 0.12;
    let expected = bad * 0.6 + (1.0 - bad) * 0.01;
    let hits = link.stats().lost as f64 / COUNT as f64;
    let states = (bad * (1.0 - bad) * 0.59_f64.powi(2) * 1.88 / 0.12 + expected) / COUNT as f64;
    assert!((hits - expected).abs() < WIDTH * states.sqrt(), "{hits} of all are lost, {expected} expected");
    // A chain that stays where it begins.
    let stays = Loss::TwoState { worsen: 0.0, recover: 0.5, loss_good: 0.1, loss_bad: 1.0 };
    assert_binomial(
        run(&Faults { loss: stays, ..Faults::default() }, SEED, 0, COUNT).1.stats().lost,
        COUNT,
        0.1,
    );
}

#[test]
fn nth_and_listed_packets_are_lost_exactly() {
    let numbers = |loss: Loss| {
        let (verdicts, _) = run(&Faults { loss, ..Faults::default() }, SEED, 0, 50);
        let lost = verdicts.iter().filter(|verdict| verdict.dropped().is_some());
        lost.map(|verdict| verdict.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(Loss::Nth(10)), [9, 19, 29, 39, 49]);
    assert_eq!(numbers(Loss::Nth(1)).len(), 50);
    assert_eq!(numbers(Loss::Nth(u64::MAX)), []);
    assert_eq!(numbers(Loss::Packets([0, 7, 49, 50].into())), [0, 7, 49]);
}

#[test]
fn duplicates_reorderings_and_damage_come_as_often_as_asked() {
    let faults = Faults {
        delay: ms(20),
        loss: Loss::Bernoulli(0.05),
        duplicate: 0.02,
        reorder: Some(Reorder::beside(ms(20), 0.03)),
        corrupt: Some(Corrupt { probability: 0.01, kind: CorruptKind::Bits }),
        ..Faults::default()
    };
    let (verdicts, link) = run(&faults, SEED, 0, COUNT);
    let stats = link.stats();
    assert_binomial(stats.lost, COUNT, 0.05);
    assert_binomial(stats.duplicated, COUNT - stats.lost, 0.02);
    assert_eq!(stats.delivered, COUNT - stats.lost + stats.duplicated);
    assert_binomial(stats.reordered, stats.delivered, 0.03);
    assert_binomial(stats.corrupted, stats.delivered, 0.01);
    assert_eq!(stats.delivered_bytes, 1000 * stats.delivered);
    let deliveries = || verdicts.iter().flat_map(Verdict::deliveries);
    assert_eq!(deliveries().count() as u64, stats.delivered);
    assert_eq!(deliveries().filter(|delivery| delivery.reordered).count() as u64, stats.reordered);
    assert_eq!(deliveries().filter(|delivery| delivery.damage.is_some()).count() as u64, stats.corrupted);
}

/// How much later than the link's delay of 100 ms each packet comes, in seconds.
fn extra(faults: &Faults, count: u64) -> Vec<f64> {
    let (verdicts, _) = run(faults, SEED, 0, count);
    let at = verdicts.iter().flat_map(Verdict::deliveries).map(|delivery| delivery.at.as_secs_f64());
    at.zip(0..).map(|(at, number)| at - (ms(100) + us(number)).as_secs_f64()).collect()
}

fn spread(spread: Spread) -> Faults {
    Faults { delay: ms(100), jitter: Some(Jitter { spread, reorders: true }), ..Faults::default() }
}

#[test]
fn uniform_jitter_is_even() {
    let extra = extra(&spread(Spread::Uniform(ms(10))), COUNT);
    assert_even(extra.iter().map(|extra| extra / 0.010_000_001));
    // A step of a nanosecond: both ends are reached.
    let (verdicts, _) = run(&spread(Spread::Uniform(ns(3))), SEED, 0, 1000);
    let steps = verdicts.iter().flat_map(Verdict::deliveries).zip(0..);
    let steps = steps.map(|(delivery, number)| delivery.at - us(number) - ms(100));
    assert_eq!(steps.collect::<std::collections::BTreeSet<_>>(), [0, 1, 2, 3].map(ns).into());
}

#[test]
fn reordered_packets_are_held_back_evenly() {
    let reorder = Reorder { probability: 1.0, least: ms(3), most: ms(53) };
    let extra = extra(&Faults { delay: ms(100), reorder: Some(reorder), ..Faults::default() }, COUNT);
    assert_even(extra.iter().map(|extra| (extra - 0.003 + 1e-12) / 0.050_000_001));
    assert_eq!(Reorder::beside(ms(100), 1.0), reorder);
}

#[test]
fn normal_jitter_is_normal() {
    let extra = extra(&spread(Spread::Normal(ms(10))), COUNT);
    for (deviations, part) in
        [(-2.0, 0.022_750_1), (-1.0, 0.158_655_3), (0.0, 0.5), (1.0, 0.841_344_7), (3.0, 0.998_650_1)]
    {
        let under = extra.iter().filter(|&&extra| extra < deviations * 0.010).count();
        assert_binomial(under as u64, COUNT, part);
    }
}

#[test]
fn normal_jitter_lets_nothing_come_before_it_left() {
    let faults = Faults { rate: Some(8_000_000_000), ..spread(Spread::Normal(Duration::from_secs(10))) };
    let (verdicts, _) = run(&faults, SEED, 0, 10_000);
    let leaves = |number: u64| us(number + 1);
    let at = verdicts.iter().map(|verdict| (verdict.number, verdict.deliveries().next().unwrap().at));
    assert!(at.clone().all(|(number, at)| at >= leaves(number)));
    let cut = at.filter(|&(number, at)| at == leaves(number)).count();
    assert_binomial(cut as u64, 10_000, 0.496_01);
}

#[test]
fn pareto_jitter_has_its_tail_and_its_limit() {
    let shape = 1.5;
    let extra = extra(&spread(Spread::Pareto { scale: ms(2), shape, limit: ms(200) }), COUNT);
    for over in [0.001, 0.002, 0.010, 0.100, 0.199_999] {
        let hits = extra.iter().filter(|&&extra| extra > over).count();
        assert_binomial(hits as u64, COUNT, (1.0 + over / 0.002_f64).powf(-shape));
    }
    assert!(extra.iter().all(|&extra| extra <= 0.200_000_1));
}

#[test]
fn damage_is_spread_evenly_over_the_bytes() {
    let corrupt = |kind| Faults { corrupt: Some(Corrupt { probability: 1.0, kind }), ..Faults::default() };
    let changes = |kind| {
        let (verdicts, _) = run(&corrupt(kind), SEED, 0, 100_000);
        let damage =
            verdicts.into_iter().flat_map(|verdict| verdict.deliveries()).map(|delivery| delivery.damage);
        damage.map(|damage| damage.unwrap())
    };
    let words = (0..500_u16).flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    assert_even(changes(CorruptKind::Bits).map(|damage| match damage.apply(&mut words.clone()) {
        Some(Change::Bit { byte, bit }) => ((byte * 8 + usize::from(bit)) as f64 + 0.5) / 8000.0,
        change => panic!("{change:?}"),
    }));
    let mut swapped = [0_u64; 500];
    for damage in changes(CorruptKind::Neutral) {
        let Some(Change::Words { first, second }) = damage.apply(&mut words.clone()) else {
            panic!("nothing was swapped")
        };
        assert!(first < second && first % 2 == 0 && second % 2 == 0);
        swapped[first / 2] += 1;
        swapped[second / 2] += 1;
    }
    assert_even(
        swapped
            .iter()
            .zip(0..)
            .flat_map(|(&hits, word)| (0..hits).map(move |_| (f64::from(word) + 0.5) / 500.0)),
    );
}
