//! Somebody between two ends with a key, who sees each datagram and sends what they like, on a virtual clock: thousands of
//! times, each another one. Nothing is lost, and nothing goes to who did not ask for it.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod simulation;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use arq::{Connection, Footprint};
use framing::packet;
use netsim::{Faults, Loss};
use simulation::random::Lot;
use simulation::{Datagram, Direction, Scenario, Tampering, World};

/// Runs of each attack.
const SEEDS: u64 = 200;
const FILE: u64 = 16_000;
/// Who gets what they did not ask for, if it succeeds.
const VICTIM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9)), 53);

/// What is sent beside or in the place of a datagram, and in whose name.
#[derive(Debug, Default)]
struct Hand {
    lot: Option<Lot>,
    /// What was seen of each flow.
    seen: HashMap<(Direction, usize), Vec<Vec<u8>>>,
    held: Vec<Vec<u8>>,
    /// What goes to the other side, or comes from somebody else, as soon as the world stands still.
    aside: Vec<(Direction, usize, Option<SocketAddr>, Vec<u8>)>,
    tried: u64,
}

type Attack = fn(&mut Hand, &Datagram<'_>) -> Tampering;

impl Hand {
    fn lot(&mut self) -> &mut Lot {
        self.lot.get_or_insert(Lot(0))
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.lot().one_in(times)
    }

    /// One of what was seen of a flow.
    fn old(&mut self, direction: Direction, flow: usize) -> Option<Vec<u8>> {
        let count = self.seen.get(&(direction, flow)).map_or(0, Vec::len) as u64;
        let at = self.lot().below(count.max(1)) as usize;
        self.seen.get(&(direction, flow))?.get(at).cloned()
    }
}

fn flip(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let mut bytes = datagram.bytes.to_vec();
    if bytes.is_empty() {
        return Tampering::Pass;
    }
    let bit = hand.lot().below(8 * bytes.len() as u64) as usize;
    bytes[bit / 8] ^= 1 << (bit % 8);
    hand.tried += 1;
    // It comes after the good one, or in its place.
    if hand.one_in(4) { Tampering::Instead(vec![bytes]) } else { Tampering::Also(vec![bytes]) }
}

fn cut(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let len = hand.lot().below(datagram.bytes.len().max(1) as u64) as usize;
    hand.tried += 1;
    let bytes = datagram.bytes[..len].to_vec();
    if hand.one_in(4) { Tampering::Instead(vec![bytes]) } else { Tampering::Also(vec![bytes]) }
}

fn replay(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let old = hand.old(datagram.direction, datagram.flow).unwrap();
    hand.tried += 2;
    Tampering::Also(vec![old, datagram.bytes.to_vec()])
}

fn reorder(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    if hand.held.is_empty() && hand.one_in(3) && datagram.direction == Direction::Up {
        hand.held.push(datagram.bytes.to_vec());
        return Tampering::Drop;
    }
    if datagram.direction == Direction::Up && datagram.flow == 0 && hand.one_in(3) {
        hand.tried += hand.held.len() as u64;
        return Tampering::Also(hand.held.drain(..).collect());
    }
    Tampering::Pass
}

fn reflect(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let other = match datagram.direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    };
    hand.tried += 1;
    hand.aside.push((other, datagram.flow, None, datagram.bytes.to_vec()));
    Tampering::Pass
}

fn splice(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let Some(mut other) = hand.old(datagram.direction, 1 - datagram.flow) else { return Tampering::Pass };
    hand.tried += 2;
    let as_it_was = other.clone();
    // With the number of this connection.
    if let (Some(id), Some(own)) = (other.get_mut(packet::field::CID), datagram.bytes.get(packet::field::CID))
    {
        id.copy_from_slice(own);
    }
    Tampering::Also(vec![other, as_it_was])
}

fn inject(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    let Some(id) = datagram.bytes.get(packet::field::CID).and_then(|id| id.first_chunk()) else {
        return Tampering::Pass;
    };
    let id = u32::from_be_bytes(*id);
    let pn = hand.lot().next() as u32 % 2000;
    let mut close = Vec::new();
    packet::begin_data(&mut close, id, u64::from(pn));
    packet::put_close(&mut close, packet::CLOSE_PROTOCOL, "forged");
    packet::seal(&mut close, 0);
    let mut reset = Vec::new();
    packet::reset(&mut reset, id, pn, 0);
    let len = 1 + hand.lot().below(300);
    let mut noise: Vec<u8> = (0..len).map(|_| hand.lot().next() as u8).collect();
    noise[0] = 0xd1 + noise[0] % 6;
    if let Some(field) = noise.get_mut(packet::field::CID) {
        field.copy_from_slice(&id.to_be_bytes());
    }
    hand.tried += 3;
    Tampering::Also(vec![close, reset, noise])
}

/// Good datagrams of the client come from another address, now and then before they come from its own.
fn redirect(hand: &mut Hand, datagram: &Datagram<'_>) -> Tampering {
    if datagram.direction == Direction::Down || datagram.from == VICTIM {
        return Tampering::Pass;
    }
    hand.tried += 1;
    hand.aside.push((Direction::Up, datagram.flow, Some(VICTIM), datagram.bytes.to_vec()));
    if hand.one_in(8) { Tampering::Drop } else { Tampering::Pass }
}

/// A world of two flows with the same key, and this attack on all that passes: how often it was tried.
fn run(attack: Attack, seed: u64) -> u64 {
    let faults = Faults {
        rate: Some(20_000_000),
        delay: Duration::from_millis(10),
        loss: Loss::Bernoulli(0.01),
        overhead: 28,
        ..Faults::default()
    };
    let scenario = Scenario::new(&faults, FILE).sealed();
    let mut world = World::new(scenario.clone(), seed);
    world.join(scenario, seed ^ 1, Duration::from_millis(15));
    let hand = Rc::new(RefCell::new(Hand { lot: Some(Lot(seed)), ..Hand::default() }));
    let seen = Rc::clone(&hand);
    world.tamper(move |datagram| {
        let mut hand = seen.borrow_mut();
        hand.seen.entry((datagram.direction, datagram.flow)).or_default().push(datagram.bytes.to_vec());
        attack(&mut hand, datagram)
    });
    world.run_until(|world| {
        for (direction, flow, from, bytes) in hand.borrow_mut().aside.drain(..) {
            let home = world.flows[flow].home;
            let (from, to) = match direction {
                Direction::Up => (from.unwrap_or(home), simulation::SERVER),
                Direction::Down => (simulation::SERVER, home),
            };
            world.network.enter(direction, flow, from, to, world.now, bytes);
        }
        world.flows.iter().all(simulation::Flow::is_over)
    });
    let sent =
        |count: &std::collections::BTreeMap<SocketAddr, u64>| count.get(&VICTIM).copied().unwrap_or_default();
    let (to, from) = (sent(&world.network.sent_to), sent(&world.network.sent_from));
    assert!(to <= 3 * from, "seed {seed}: {to} bytes to who sent {from}");
    let most = world.flows.iter().flat_map(|flow| [Some(&flow.client), flow.server.as_ref()]).flatten();
    let most: Vec<Footprint> = most.map(Connection::footprint).collect();
    for report in world.reports() {
        assert!(report.whole, "seed {seed}: {:?} after {:?}, {most:?}", report.end, report.took);
    }
    hand.borrow().tried
}

/// Runs an attack with many seeds, and says how often it was tried.
fn suffer(name: &str, attack: Attack) {
    let tried: u64 = (0..SEEDS).map(|seed| run(attack, seed)).sum();
    assert!(tried > SEEDS, "{name} was tried {tried} times");
    let line = format!("{name}: tried {tried} times in {SEEDS} runs of two files, nothing lost\n");
    // Past what the test harness collects, as a line is worth reading when all is well.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

macro_rules! attacks {
    ($($name:ident: $what:literal, $attack:expr;)+) => {
        $(#[test]
        fn $name() {
            suffer($what, $attack);
        })+
    };
}

attacks! {
    who_flips_bits_only_delays: "bits flipped", flip;
    who_cuts_datagrams_only_delays: "datagrams cut short", cut;
    who_replays_datagrams_changes_nothing: "datagrams sent again", replay;
    who_reorders_datagrams_only_delays: "datagrams in another order", reorder;
    who_sends_datagrams_back_changes_nothing: "datagrams sent back to where they came from", reflect;
    who_splices_two_sessions_changes_nothing: "datagrams of another session with the same key", splice;
    who_forges_datagrams_changes_nothing: "forged datagrams", inject;
    who_sends_from_another_address_gets_no_more_than_is_due: "good datagrams from another address", redirect;
}
