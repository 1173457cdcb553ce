//! What may happen to a connection, case by case, on the virtual clock.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "../simulation/mod.rs"]
mod simulation;

mod credit;
mod datagrams;
mod gate;
mod handshake;
mod hostile;
mod memory;
mod messages;
mod moving;
mod passes;
mod path;
mod plain;
mod silence;

use std::time::Duration;

use framing::packet::{self, Packet};
use netsim::{Faults, Loss, Queue};

use simulation::{Direction, Scenario, World};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A link of 20 Mbit/s and 40 ms there and back, with a queue as long as that, which loses so much each way.
fn link(loss: f64) -> Faults {
    let loss = if loss > 0.0 { Loss::Bernoulli(loss) } else { Loss::None };
    let queue = Some(Queue::Time(ms(40)));
    Faults { rate: Some(20_000_000), delay: ms(20), queue, loss, overhead: 28, ..Faults::default() }
}

/// A datagram of the peer with these frames.
fn data(cid: u32, pn: u64, frames: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut datagram = Vec::new();
    packet::begin_data(&mut datagram, cid, pn);
    frames(&mut datagram);
    packet::seal(&mut datagram, 0);
    datagram
}

/// A world in the middle of a transfer that takes some seconds.
fn in_the_middle(loss: f64) -> World {
    let mut world = World::new(Scenario::new(&link(loss), 4_000_000), 5);
    assert!(world.run_until(|world| world.flows[0].delivered > 1_000_000));
    world
}

/// Gives the client a datagram that the network knows nothing of.
fn give_client(world: &mut World, datagram: &[u8]) {
    let now = world.now;
    world.flows[0].deliver_to_client(now, datagram);
}

/// Gives the server one.
fn give_server(world: &mut World, datagram: &[u8]) {
    let home = world.flows[0].home;
    world.deliver_to_server(0, home, datagram);
}

/// Whether a datagram is of this kind.
fn is_part(datagram: &[u8]) -> bool {
    let Ok(Packet::Data { frames, .. }) = Packet::parse(datagram) else { return false };
    matches!(packet::frames(frames).next(), Some(Ok(packet::Frame::Part { .. })))
}

const BOTH: [Direction; 2] = Direction::BOTH;
