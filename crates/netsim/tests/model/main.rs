//! The fault model from outside: what it gives against what was asked of it.

mod bounds;
mod damage;
mod determinism;
mod net;
mod packets;
mod statistics;
mod text;
mod timing;

use std::time::Duration;

use netsim::{Faults, Link, Verdict};

const SEED: u64 = 20_261_121;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

const fn ns(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

/// The verdicts on `count` packets of 1000 bytes, one a microsecond.
fn run(faults: &Faults, seed: u64, direction: u8, count: u64) -> (Vec<Verdict>, Link) {
    let mut link = Link::new(faults.clone(), seed, direction);
    let verdicts = (0..count).map(|number| link.enter(us(number), 1000)).collect();
    (verdicts, link)
}
