#![allow(missing_docs)]
mod simulation;
use std::time::Duration;
use simulation::*;
use simulation::random::*;
#[test]
fn debug() {
    let seed: u64 = std::env::var("S").unwrap().parse().unwrap();
    let (s, c) = scenario(&mut Lot(seed.wrapping_mul(0x1234_5678_9abc_def1)), 0.6, 5e6);
    for f in [&s.up, &s.down] { println!("{:?}", f); } println!("{} {:?} {:?} {c:?}", s.bytes, s.path_mtu, s.receiver_rate);
    let mut s = s; s.limit = Duration::from_secs(100000); let mut w = World::new(s, seed);
    let every: f64 = std::env::var("EVERY").ok().and_then(|v| v.parse().ok()).unwrap_or(1.0);
    for i in 0..40 {
        w.run_until(|w| w.flows[0].is_over() || w.now.as_secs_f64() >= f64::from(i) * every);
        let f = &w.flows[0];
        let c = &f.client;
        let t = c.trace(); let s = c.stats();
        println!("{i} {:?} {:.2} {} {:.0} win {} fly {} srtt {:.1} min {:.1} lost {}/{} loss {:.2} dg {} missing {} q {:?}", f.state, w.now.as_secs_f64(), t.state, t.pacing_rate, t.window, t.in_flight, s.smoothed_rtt.as_secs_f64()*1e3, s.min_rtt.as_secs_f64()*1e3, s.packets_lost, s.packets_sent, s.loss, s.datagram_len, f.assembly.wanted().len(), w.network.link(Direction::Up).queued(w.now));
        if f.is_over() { break; }
    }
}
