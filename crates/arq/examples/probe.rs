//! Tries a link: what a transfer over it is like, in virtual time. Everything is said by variables of the environment:
//!
//! ```text
//! RATE=100 Mbit/s   DELAY=50 ms each way   QUEUE=1250 KiB   LOSS=0 %   LOSSBA=0 % of the way back   BURST=0 packets
//! JITTER=0 ms   REORDER=0 %   DUP=0 %   CORRUPT=0 %   BLACKOUT=0 s from 2 s on   MTU=1500
//! MB=60   CC=bbr or cubic   RECV=0 Mbit/s that the receiver takes   WINDOW=32768 KiB of them   SEED=1
//! TRACE=100 (ms): prints the moments of the run
//! JOIN=5 (s): a second flow joins; what each gets is printed every 5 s, for TIME=40 (s)
//! ```
//!
//! `LOSS=20 cargo run -p arq --release --example probe`

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use std::time::Duration;

use netsim::{Corrupt, CorruptKind, Faults, Jitter, Loss, Queue, Reorder, Window};
use simulation::{Report, Scenario, World};

fn number(name: &str, usual: f64) -> f64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn given(name: &str) -> Option<f64> {
    Some(number(name, 0.0)).filter(|value| *value > 0.0)
}

fn ms(millis: f64) -> Duration {
    Duration::from_secs_f64(millis / 1000.0)
}

fn faults() -> Faults {
    let (delay, loss) = (ms(number("DELAY", 50.0)), number("LOSS", 0.0) / 100.0);
    Faults {
        rate: Some((number("RATE", 100.0) * 1e6) as u64),
        delay,
        queue: Some(Queue::Bytes((number("QUEUE", 1250.0) * 1024.0) as u64)),
        loss: match given("BURST") {
            _ if loss <= 0.0 => Loss::None,
            Some(burst) if burst > 1.0 => Loss::GilbertElliott { loss, burst },
            _ => Loss::Bernoulli(loss),
        },
        jitter: given("JITTER").map(|most| Jitter::uniform(ms(most))),
        reorder: given("REORDER").map(|share| Reorder::beside(delay, share / 100.0)),
        duplicate: number("DUP", 0.0) / 100.0,
        corrupt: given("CORRUPT")
            .map(|share| Corrupt { probability: share / 100.0, kind: CorruptKind::Bits }),
        blackouts: given("BLACKOUT")
            .map(|seconds| Window { start: ms(2000.0), length: ms(seconds * 1000.0) })
            .into_iter()
            .collect(),
        overhead: 28,
        ..Faults::default()
    }
}

fn scenario(faults: &Faults) -> Scenario {
    let mut scenario = Scenario::new(faults, (number("MB", 60.0) * 1e6) as u64);
    if let Some(loss) = given("LOSSBA") {
        scenario.down.loss = Loss::Bernoulli(loss / 100.0);
    }
    if std::env::var("CC").as_deref() == Ok("cubic") {
        scenario.config.congestion = arq::Congestion::Cubic;
    }
    scenario.config.window = (number("WINDOW", 32768.0) * 1024.0) as u64;
    scenario.path_mtu = number("MTU", 1500.0) as usize - 28;
    scenario.trace = std::env::var_os("TRACE").map(|_| ms(number("TRACE", 100.0)));
    scenario.receiver_rate = given("RECV").map(|mbit| mbit * 1e6 / 8.0);
    scenario
}

fn print(report: &Report, scenario: &Scenario) {
    for moment in &report.moments {
        println!(
            "{:8.3} rate {:8.2} Mbit/s win {:8} fly {:8} srtt {:7.2} queue {:6.2} got {:9} {}",
            moment.at.as_secs_f64(),
            moment.trace.pacing_rate * 8e-6,
            moment.trace.window,
            moment.trace.in_flight,
            moment.trace.smoothed_rtt.as_secs_f64() * 1e3,
            moment.queue.as_secs_f64() * 1e3,
            moment.delivered,
            moment.trace.state
        );
    }
    let loss = number("LOSS", 0.0) / 100.0;
    println!(
        "took {:.3} whole {} share {:.1}% wire x{:.3} (limit {:.3}) queue mean {:.2} max {:.1} ms drops {}",
        report.took.as_secs_f64(),
        report.whole,
        report.share(scenario, loss) * 100.0,
        report.wire_bytes as f64 / scenario.bytes as f64,
        1.06 / (1.0 - loss),
        report.mean_queue.as_secs_f64() * 1e3,
        report.max_queue.as_secs_f64() * 1e3,
        report.queue_drops
    );
    let stats = &report.stats;
    println!(
        "lost {} sent {} again {} dg {} rtt {:?} end {:?} waiting {} kept {:?}",
        stats.packets_lost,
        stats.packets_sent,
        stats.parts_sent_again,
        stats.datagram_len,
        stats.mean_rtt,
        report.end,
        report.most_waiting,
        report.most
    );
}

/// Two flows: what the first one gets of both, what both get of the link, and how long the queue is in round-trip times.
fn share(mut world: World, faults: &Faults) {
    let (mut before, mut area) = (vec![0; world.flows.len()], 0.0);
    let rate = faults.rate.map_or(f64::INFINITY, |rate| rate as f64);
    for second in (5..=number("TIME", 40.0) as u64).step_by(5) {
        world.run_to(Duration::from_secs(second));
        let now: Vec<u64> = world.flows.iter().map(|flow| flow.delivered).collect();
        let got: Vec<f64> =
            now.iter().zip(&before).map(|(now, before)| (now - before) as f64 * 8.0 / 5.0).collect();
        let all: f64 = got.iter().sum();
        let queue = (world.network.queue_area() - area) / 5.0 / (faults.delay.as_secs_f64() * 2.0);
        println!(
            "{second:3} s: first {:3.0} %, both {:3.0} % of the link, queue {:3.0} % of the round-trip time",
            got.first().map_or(0.0, |first| first / all * 100.0),
            all / rate * 100.0,
            queue * 100.0
        );
        (before, area) = (now, world.network.queue_area());
    }
}

fn main() {
    let faults = faults();
    let scenario = scenario(&faults);
    let seed = number("SEED", 1.0) as u64;
    let mut world = World::new(scenario.clone(), seed);
    if let Some(join) = given("JOIN") {
        let endless = Scenario { bytes: 1 << 30, ..scenario };
        world = World::new(endless.clone(), seed);
        world.join(endless, seed + 100, Duration::from_secs_f64(join));
        share(world, &faults);
    } else {
        print(&world.run(), &scenario);
    }
}
