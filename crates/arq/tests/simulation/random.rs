//! Scenarios by lot.

use std::time::Duration;

use netsim::{Corrupt, CorruptKind, Faults, Jitter, Loss, Queue, Reorder, Spread, Window};

use super::Scenario;

/// A generator of its own (splitmix64): what a seed means must not change with a library.
#[derive(Debug, Clone)]
pub struct Lot(pub u64);

impl Lot {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// From 0 to less than 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }

    /// Each order of magnitude as probable as the others.
    pub fn scale(&mut self, least: f64, most: f64) -> f64 {
        (least.ln() + (most.ln() - least.ln()) * self.unit()).exp()
    }

    pub fn millis(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.scale(least, most) / 1000.0)
    }
}

/// What a random scenario costs at least, for the bound on its time.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The share of packets that gets lost each way, damage included.
    pub loss: [f64; 2],
    /// The longest that a packet and its answer take where there is no queue.
    pub rtt: Duration,
    /// All blackouts, of both directions.
    pub dark: Duration,
    /// Packets in a burst of losses.
    pub burst: f64,
    /// Whether the delay varies by as much as it is, and packets overtake each other by that: nothing measured is true.
    pub wild: bool,
}

fn loss(lot: &mut Lot, most: f64) -> (Loss, f64, f64) {
    match lot.below(5) {
        0 | 1 => (Loss::None, 0.0, 1.0),
        2 | 3 => {
            let loss = lot.between(0.0, most);
            (Loss::Bernoulli(loss), loss, 1.0)
        }
        _ => {
            let loss = lot.between(0.0, most.min(0.4));
            let burst = lot.scale(2.0, 10.0);
            (Loss::GilbertElliott { loss, burst }, loss, burst)
        }
    }
}

/// From a few packets to seconds: no less than what leaves a sender at a time.
fn queue(lot: &mut Lot, rate: u64) -> Queue {
    let few = 4.0 + rate as f64 * 0.0015 / 12_000.0;
    match lot.below(3) {
        0 => Queue::Packets((few + lot.scale(1.0, 400.0)) as u32),
        _ => Queue::Time(lot.millis(2.0, 3000.0).max(Duration::from_secs_f64(few * 12_000.0 / rate as f64))),
    }
}

/// One direction: its faults, and what they cost.
fn faults(lot: &mut Lot, rate: u64, most_loss: f64) -> (Faults, f64, f64, Duration) {
    let delay = lot.millis(0.05, 400.0);
    let (loss, mut lost, burst) = loss(lot, most_loss);
    let queue = queue(lot, rate);
    let mut slow = delay;
    let jitter = lot.one_in(3).then(|| {
        let most = delay.mul_f64(lot.between(0.0, 1.5)).max(Duration::from_micros(10));
        slow += most * 2;
        let spread = match lot.below(3) {
            0 => Spread::Uniform(most),
            1 => Spread::Normal(most / 3),
            _ => Spread::Pareto { scale: most / 10, shape: 1.5, limit: most },
        };
        Jitter { spread, reorders: lot.one_in(2) }
    });
    let reorder = lot.one_in(4).then(|| {
        let reorder = Reorder::beside(delay, lot.between(0.0, 0.3));
        slow += reorder.most;
        reorder
    });
    let corrupt = lot.one_in(4).then(|| {
        let kind = [CorruptKind::Bits, CorruptKind::Fixup, CorruptKind::Neutral][lot.below(3) as usize];
        let probability = lot.scale(0.0001, 0.05);
        lost += probability;
        Corrupt { probability, kind }
    });
    // A few packets always wait for each other.
    slow += Duration::from_secs_f64(8.0 * 12_000.0 / rate as f64);
    let faults = Faults {
        rate: Some(rate),
        queue: Some(queue),
        delay,
        jitter,
        loss,
        reorder,
        duplicate: if lot.one_in(4) { lot.scale(0.001, 0.3) } else { 0.0 },
        corrupt,
        blackouts: Vec::new(),
        overhead: 28,
        ..Faults::default()
    };
    (faults, lost, burst, slow)
}

/// A blackout of one direction or of both, for 0.1 to 20 s, and never so early that the connection may give up.
fn blackouts(lot: &mut Lot, up: &mut Faults, down: &mut Faults) -> Duration {
    let window = Window { start: lot.millis(1.0, 6000.0), length: lot.millis(100.0, 20_000.0) };
    let which = lot.below(3);
    if which != 1 {
        up.blackouts.push(window);
    }
    if which != 0 {
        down.blackouts.push(window);
    }
    window.length
}

/// Messages that are said beside a transfer.
fn messages(lot: &mut Lot) -> Vec<Vec<u8>> {
    let count = lot.below(6);
    let mut message = || vec![lot.next() as u8; lot.scale(1.0, 20_000.0) as usize];
    (0..count).map(|_| message()).collect()
}

/// A scenario with any faults of `most_loss` at most in a direction, and a file of `most_bytes` at most.
pub fn scenario(lot: &mut Lot, most_loss: f64, most_bytes: f64) -> (Scenario, Cost) {
    let rates = [lot.scale(5e5, 1e9) as u64, lot.scale(5e5, 1e9) as u64];
    let (mut up, up_loss, up_burst, up_slow) = faults(lot, rates[0], most_loss);
    // Half of the paths are alike both ways.
    let (mut down, down_loss, down_burst, down_slow) = if lot.one_in(2) {
        (up.clone(), up_loss, up_burst, up_slow)
    } else {
        faults(lot, rates[1], most_loss)
    };
    let dark = if lot.one_in(8) { blackouts(lot, &mut up, &mut down) } else { Duration::ZERO };
    let bytes = match lot.below(8) {
        0 => lot.below(3),
        1 => lot.below(5000),
        _ => lot.scale(100.0, most_bytes) as u64,
    };
    let mut scenario = Scenario::new(&up, bytes);
    scenario.down = down;
    scenario.path_mtu = [1252, 1272, 1372, 1392, 1472, 1472, 1472, 8972][lot.below(8) as usize];
    if lot.one_in(8) {
        scenario.receiver_rate = Some(lot.scale(1e5, 1e8));
        scenario.config.window = lot.scale(16e3, 4e6) as u64;
    }
    if lot.one_in(4) {
        scenario.messages = [messages(lot), messages(lot)];
    }
    let wild = [&scenario.up, &scenario.down].into_iter().any(|faults| {
        faults.jitter.is_some_and(|jitter| match jitter.spread {
            Spread::Uniform(most) | Spread::Pareto { limit: most, .. } => {
                jitter.reorders && most > faults.delay / 4
            }
            Spread::Normal(deviation) => jitter.reorders && deviation > faults.delay / 12,
        })
    });
    let rtt = up_slow + down_slow;
    let loss = [up_loss, down_loss].map(|loss| loss.min(0.95));
    (scenario, Cost { loss, rtt, dark, burst: up_burst.max(down_burst), wild })
}
