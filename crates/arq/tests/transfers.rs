//! Files go whole through networks with any faults, in bounded time and memory, whatever the seed.
//!
//! `TANDEM_SEEDS=5000 cargo test --release -p arq --test transfers` tries that many of each kind.
//! `TANDEM_SEED=17` tries one of them and says how it went.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod simulation;

use std::time::Duration;

use netsim::Queue;
use simulation::random::{Cost, Lot, scenario};
use simulation::{Report, Scenario, World};

/// How many seeds of a kind are tried unless the environment says otherwise.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("TANDEM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TANDEM_SEEDS").unwrap_or(usual),
    }
}

/// A generous bound on the time of a transfer, from what its faults cost.
fn time_allowed(scenario: &Scenario, cost: &Cost) -> Duration {
    let [up, down] = cost.loss;
    let rate = scenario.up.rate.unwrap() as f64 / 8.0;
    let mut seconds = scenario.bytes as f64 * 1.2 / rate / (1.0 - up);
    let window = scenario.config.window as f64;
    seconds += scenario.bytes as f64 / window * cost.rtt.as_secs_f64() / (1.0 - up);
    if let Some(rate) = scenario.receiver_rate {
        seconds += scenario.bytes as f64 / rate;
    }
    // Where packets are lost in bursts, those that ask what has become of the others are lost with them.
    let mut burst = cost.burst * 0.2;
    burst *= 1.0 + scenario.bytes as f64 * up.max(down) / 5e4;
    // A message and its acknowledgement come through once in so many times.
    let tries = 1.0 / (1.0 - up) / (1.0 - down);
    let rounds = (20.0 + 20.0 * tries) * cost.rtt.as_secs_f64().max(0.02);
    let allowed = Duration::from_secs_f64(3.0 + seconds * 4.0 + rounds + burst) + cost.dark * 2;
    if cost.wild { allowed * 20 } else { allowed * 3 }
}

/// What may happen on the way: the client's address changes, the path becomes narrower.
///
/// What it costs: a client that has nothing to say is found again when it says that it lives.
fn happen(world: &mut World, lot: &mut Lot, rtt: Duration) -> Duration {
    let mut cost = Duration::ZERO;
    while lot.one_in(8) {
        let (at, port) = (lot.millis(1.0, 10_000.0), lot.next() as u16);
        cost += Duration::from_secs(9);
        // Before that there is nothing that knows it again.
        world.at(at, move |world| {
            if world.flows[0].server.is_some() {
                world.flows[0].home.set_port(port);
            }
        });
    }
    if lot.one_in(8) {
        let at = lot.millis(1.0, 1000.0) + rtt;
        world.at(at, |world| world.network.path_mtu = world.network.path_mtu.min(1252));
    }
    cost
}

fn check(kind: &str, seed: u64, most_loss: f64, most_bytes: f64) {
    let mut lot = Lot(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let (mut scenario, cost) = scenario(&mut lot, most_loss, most_bytes);
    let mut allowed = time_allowed(&scenario, &cost);
    scenario.limit = allowed * 10;
    let is_verbose = std::env::var_os("TANDEM_SEED").is_some();
    if is_verbose {
        scenario.trace = Some(allowed / 20);
        println!("{:?}\n{:?}\n{cost:?}", scenario.up, scenario.down);
    }
    let mut world = World::new(scenario.clone(), seed);
    allowed += happen(&mut world, &mut lot, cost.rtt);
    let report = world.run();
    if is_verbose {
        for moment in &report.moments {
            println!("{moment:?}");
        }
        println!(
            "{:?} {:?} {:?} {} {} {}",
            report.took, report.end, report.stats, report.whole, report.delivered, scenario.bytes
        );
    }
    if std::env::var_os("TANDEM_TABLE").is_some() {
        println!(
            "{kind} {seed} whole {} time {:.3} of {:.3} = {:.3} bytes {} rate {} loss {:?} rtt {:?} most {:?} {} sent {}",
            report.whole,
            report.took.as_secs_f64(),
            allowed.as_secs_f64(),
            report.took.as_secs_f64() / allowed.as_secs_f64(),
            scenario.bytes,
            scenario.up.rate.unwrap(),
            cost.loss,
            cost.rtt,
            report.most,
            report.most_open,
            report.stats.packets_sent,
        );
        return;
    }
    let seed = format!("{kind}, seed {seed}");
    assert!(report.whole, "{seed}: not whole after {:?}: {:?}", report.took, report.end);
    assert!(report.took <= allowed, "{seed}: {:?} and {allowed:?} are allowed", report.took);
    for (heard, said) in report.heard.iter().zip(scenario.messages.iter().rev()) {
        assert!(said.starts_with(heard), "{seed}: other messages came than were sent");
    }
    check_memory(&seed, &scenario, &cost, &report);
}

/// Both ends keep what is on its way, and what was lost not long ago.
fn check_memory(seed: &str, scenario: &Scenario, cost: &Cost, report: &Report) {
    let queue = match scenario.up.queue {
        Some(Queue::Time(time)) => time,
        _ => Duration::ZERO,
    };
    let time = (cost.rtt + queue) * 4 + Duration::from_secs(1);
    let most = 3000 + (scenario.up.rate.unwrap() as f64 / 8.0 * time.as_secs_f64() / 1000.0) as usize;
    let kept = &report.most;
    assert!(
        kept.packets <= most && kept.parts <= most && report.most_open <= most,
        "{seed}: {kept:?}, {most} allowed"
    );
    assert!(kept.ranges <= 2048 && kept.message_bytes <= 2 << 20, "{seed}: {kept:?}");
    let window = scenario.config.window;
    assert!(report.most_waiting <= window, "{seed}: {} bytes wait, {window} may", report.most_waiting);
}

#[test]
fn small_files_come_whole() {
    seeds(2000).for_each(|seed| check("small", seed, 0.6, 2e4));
}

#[test]
fn files_come_whole() {
    seeds(800).for_each(|seed| check("any", seed, 0.6, 5e6));
}
