#![allow(missing_docs)]
mod simulation;
use std::time::Duration;
use netsim::*;
use simulation::*;
#[test]
fn dark() {
    let ms = Duration::from_millis;
    let faults = Faults { rate: Some(20_000_000), delay: ms(1), queue: Some(Queue::Time(ms(40))), overhead: 28, loss: Loss::Bernoulli(0.1), blackouts: vec![Window{start: ms(36), length: ms(20000)}], ..Faults::default() };
    let mut w = World::new(Scenario::new(&faults, 50_000), 36);
    w.run_to(ms(10000));
    w.tamper(|d| { if let Ok(framing::packet::Packet::Data{pn, frames, ..}) = framing::packet::Packet::parse(d.bytes) {
        let f: Vec<String> = framing::packet::frames(frames).map(|f| format!("{:?}", f).chars().take(60).collect()).collect();
        println!("{:?} {:?} {pn} {} {f:?}", d.now, d.direction, d.bytes.len()); } Tampering::Pass });
    w.run_to(ms(10400));
    let s = w.start; println!("{:?} {:?} {:?} {:?}", w.flows[0].client.timeout().map(|t| t - s), w.flows[0].state, w.flows[0].client.footprint(), w.flows[0].client.trace());
}
