//! Not a test: prints a run.
mod world;
use std::time::Duration;
use netsim::*;
use world::*;

#[test]
fn probe() {
    let env = |name: &str, default: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let ms = |v: f64| Duration::from_secs_f64(v / 1000.0);
    let (rate, delay, loss, queue) = (env("RATE", 100.0), env("DELAY", 50.0), env("LOSS", 0.0) / 100.0, env("QUEUE", 1250.0));
    let burst = env("BURST", 0.0);
    let mut faults = Faults {
        rate: Some((rate * 1e6) as u64),
        delay: ms(delay),
        queue: Some(Queue::Bytes((queue * 1024.0) as u64)),
        overhead: 28,
        loss: if loss == 0.0 { Loss::None } else if burst > 1.0 { Loss::GilbertElliott { loss, burst } } else { Loss::Bernoulli(loss) },
        ..Faults::default()
    };
    if env("JITTER", 0.0) > 0.0 { faults.jitter = Some(Jitter::uniform(ms(env("JITTER", 0.0)))); }
    if env("REORDER", 0.0) > 0.0 { faults.reorder = Some(Reorder::beside(ms(delay), env("REORDER", 0.0) / 100.0)); }
    faults.duplicate = env("DUP", 0.0) / 100.0;
    if env("CORRUPT", 0.0) > 0.0 { faults.corrupt = Some(Corrupt { probability: env("CORRUPT", 0.0) / 100.0, kind: CorruptKind::Bits }); }
    if env("BLACKOUT", 0.0) > 0.0 { faults.blackouts = vec![Window { start: ms(2000.0), length: ms(env("BLACKOUT", 0.0) * 1000.0) }]; }
    let mut scenario = Scenario::new(&faults, (env("MB", 60.0) * 1e6) as u64);
    if env("LOSSBA", 0.0) > 0.0 { scenario.down.loss = Loss::Bernoulli(env("LOSSBA", 0.0) / 100.0); }
    if std::env::var("CC").as_deref() == Ok("cubic") { scenario.config.congestion = arq::Congestion::Cubic; }
    if std::env::var("TRACE").is_ok() { scenario.trace = Some(ms(env("TRACE", 100.0))); }
    if env("RECV", 0.0) > 0.0 { scenario.receiver_rate = Some(env("RECV", 0.0) * 1e6 / 8.0); }
    let report = World::new(scenario.clone(), env("SEED", 1.0) as u64).run();
    for m in &report.moments {
        println!("{:8.3} rate {:8.2} Mbit/s win {:8} fly {:8} srtt {:7.2} queue {:6.2} got {:9} {}", m.at.as_secs_f64(), m.trace.pacing_rate * 8e-6, m.trace.window, m.trace.in_flight, m.trace.smoothed_rtt.as_secs_f64() * 1e3, m.queue.as_secs_f64() * 1e3, m.delivered, m.trace.state);
    }
    println!("took {:.3} whole {} share {:.1}% wire x{:.3} (limit {:.3}) queue mean {:.2} max {:.1} ms drops {} lost {} sent {} again {} dg {} rtt {:?} end {:?} waiting {}",
        report.took.as_secs_f64(), report.whole, report.share(&scenario, loss) * 100.0, report.wire_bytes as f64 / scenario.bytes as f64, 1.06 / (1.0 - loss), report.mean_queue.as_secs_f64() * 1e3, report.max_queue.as_secs_f64() * 1e3, report.queue_drops,
        report.stats.packets_lost, report.stats.packets_sent, report.stats.parts_sent_again, report.stats.datagram_len, report.stats.mean_rtt, report.end, report.most_waiting);
}
