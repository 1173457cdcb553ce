#![allow(missing_docs)]
mod simulation;
use std::time::Duration;
use netsim::*;
use simulation::*;
#[test]
fn two() {
    let ms = Duration::from_millis;
    let env = |name: &str, default: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let rate = env("RATE", 50.0) * 1e6;
    let rtt = env("RTT", 40.0);
    let q = (rate / 8.0 * rtt / 1e3 * env("Q", 1.0)) as u64;
    let join = env("JOIN", 5.0);
    for seed in 1..=(env("N", 8.0) as u64) {
    let faults = Faults { rate: Some(rate as u64), delay: Duration::from_secs_f64(rtt / 2e3), queue: Some(Queue::Bytes(q)), overhead: 28, loss: if env("LOSS", 0.0) > 0.0 { Loss::Bernoulli(env("LOSS", 0.0)) } else { Loss::None }, ..Faults::default() };
    let mut s = Scenario::new(&faults, 1_000_000_000);
    s.limit = ms(100_000);
    let mut w = World::new(s.clone(), seed);
    if join >= 0.0 { w.join(s.clone(), seed + 100, Duration::from_secs_f64(join)); }
    let mut last = [0; 2]; let mut out = String::new(); let mut area = 0.0;
    let n = w.flows.len();
    for t in 1..=8 {
        w.run_to(ms(t * 5000));
        let now: Vec<u64> = w.flows.iter().map(|f| f.delivered).collect();
        let got: Vec<u64> = (0..n).map(|i| now[i] - last[i]).collect();
        for i in 0..n { last[i] = now[i]; }
        let a = w.network.queue_area();
        let sum: u64 = got.iter().sum();
        out += &format!(" {:.0}%/{:.0}/q{:.0}%{}", got[0] as f64 / sum.max(1) as f64 * 100.0, sum as f64 * 8.0 / 5.0 / rate * 100.0, (a - area) / 5.0 / (rtt / 1e3) * 100.0, if w.flows[0].client.trace().state.contains("others") {"o"} else {""});
        area = a;
    }
    println!("seed {seed}:{out}");
    }
}
