//! Peers that break the protocol, and strangers that try to.

use arq::End;
use framing::packet::{self, AckFields, Packet, TOKEN_LEN};

use super::{data, give_client, give_server, in_the_middle, is_part, link, ms, secs};
use crate::simulation::random::Lot;
use crate::simulation::{Direction, SERVER, Scenario, Tampering, World};

/// The largest number that the wire knows.
const MOST: u64 = (1 << 62) - 1;
/// A packet number that nobody has used yet.
const FRESH: u64 = 1 << 24;

fn put_ack(out: &mut Vec<u8>, fields: &AckFields) {
    packet::put_ack(out, fields, std::iter::once(fields.largest..=fields.largest), 1000);
}

/// What the server says to the client when it says this, in the middle of a transfer.
fn end_of_client(frames: impl FnOnce(&mut Vec<u8>)) -> Option<End> {
    let mut world = in_the_middle(0.0);
    give_client(&mut world, &data(7, FRESH, frames));
    let end = world.client().end().cloned();
    if let Some(End::Misbehaved(_)) = &end {
        // The server hears why.
        assert!(world.run_until(|world| world.server().end().is_some()));
        let Some(End::Closed { code: 1, reason }) = world.server().end() else {
            panic!("{:?}", world.server().end())
        };
        assert!(end.unwrap().to_string().contains(reason.as_str()));
    } else {
        return end;
    }
    world.client().end().cloned()
}

#[track_caller]
fn breaks(what: &str, frames: impl FnOnce(&mut Vec<u8>)) {
    assert_eq!(end_of_client(frames), Some(End::Misbehaved(what.to_owned())));
}

#[test]
fn acknowledgements_of_what_was_never_sent() {
    for largest in [FRESH, u64::from(u32::MAX), 1 << 40, MOST] {
        breaks("it acknowledged a packet that was never sent", |out| {
            put_ack(out, &AckFields { largest, ..AckFields::default() });
        });
    }
    let mut world = in_the_middle(0.0);
    let next = world.client().stats().packets_sent + 10;
    give_client(
        &mut world,
        &data(7, FRESH, |out| put_ack(out, &AckFields { largest: next, ..AckFields::default() })),
    );
    assert!(matches!(world.client().end(), Some(End::Misbehaved(_))));
}

#[test]
fn absurd_numbers_in_acknowledgements() {
    let usual = AckFields { largest: 1, ..AckFields::default() };
    for number in [1 << 60, MOST] {
        breaks("it takes more than there is", |out| put_ack(out, &AckFields { credit: number, ..usual }));
        breaks("it takes more messages than it may", |out| {
            put_ack(out, &AckFields { control_credit: number, ..usual });
        });
        breaks("it measured more than was sent", |out| {
            put_ack(out, &AckFields { pair_bytes: number, ..usual });
        });
        breaks("it measured more than was sent", |out| put_ack(out, &AckFields { ce: number, ..usual }));
        breaks("it measured an impossible time", |out| {
            put_ack(out, &AckFields { pair_time_us: number, ..usual });
        });
        breaks("it measured an impossible time", |out| {
            put_ack(out, &AckFields { ack_delay_us: number, ..usual });
        });
    }
    assert_eq!(end_of_client(|out| put_ack(out, &usual)), None);
}

#[test]
fn absurd_numbers_elsewhere() {
    breaks("it sent more of its messages than it may at a time", |out| {
        packet::put_control(out, MOST - 1, b"x");
    });
    breaks("it sent more of its messages than it may at a time", |out| {
        packet::put_control(out, 1 << 21, b"x");
    });
    breaks("it sent a malformed packet: 4611686018427387903 is not a valid control offset", |out| {
        packet::put_control(out, MOST, b"x");
    });
    let malformed = |end: Option<End>| {
        let Some(End::Misbehaved(what)) = end else { panic!("{end:?}") };
        assert!(what.starts_with("it sent a malformed packet: "), "{what}");
    };
    // Kinds that there are none of, and frames that end before they should.
    malformed(end_of_client(|out| out.push(0x0a)));
    malformed(end_of_client(|out| out.push(0xff)));
    malformed(end_of_client(|out| out.extend([0x02, 0x05])));
    malformed(end_of_client(|out| out.extend([0x06, 1, 2, 3])));
    malformed(end_of_client(|out| out.extend([0x08, 0, 0x41, 0x01])));
    // A unit that no chunk has, and a part of nothing.
    malformed(end_of_client(|out| out.extend([0x04, 0, 32, 1])));
    malformed(end_of_client(|out| out.extend([0x04, 0, 0])));
    // What is only a wish is taken as one.
    assert_eq!(end_of_client(|out| packet::put_ack_policy(out, MOST, MOST, MOST)), None);
    assert_eq!(end_of_client(|out| packet::put_ack_policy(out, 0, 0, 0)), None);
}

#[test]
fn a_message_that_is_too_long_to_be_one() {
    let mut world = in_the_middle(0.0);
    // The server's stream so far: the word that it wants the file.
    let offset = 4 + b"hello, want".len() as u64;
    let len = (arq::MAX_MESSAGE_LEN as u32 + 1).to_be_bytes();
    give_client(&mut world, &data(7, FRESH, |out| packet::put_control(out, offset, &len)));
    let expected = format!("it announced a message of {} bytes", arq::MAX_MESSAGE_LEN + 1);
    assert_eq!(world.client().end(), Some(&End::Misbehaved(expected)));
}

#[test]
fn a_stream_of_messages_in_crumbs_is_refused_before_it_takes_much() {
    let mut world = in_the_middle(0.0);
    let mut most = 0;
    for n in 0..500_000 {
        // Every other byte.
        give_client(&mut world, &data(7, FRESH + n, |out| packet::put_control(out, 100 + 2 * n, b"x")));
        if world.client().end().is_some() {
            break;
        }
        most = n;
    }
    let Some(End::Misbehaved(what)) = world.client().end() else { panic!("it took {most} crumbs") };
    assert_eq!(what, "it sent its messages in too many pieces");
    assert!(most < 20_000, "{most}");
}

#[test]
fn parts_beyond_the_credit_never_came() {
    let mut scenario = Scenario::new(&link(0.0), 400_000);
    scenario.config.window = 20_000;
    scenario.receiver_pause = Some((ms(0), secs(5)));
    let mut world = World::new(scenario, 1);
    assert!(world.run_until(|world| world.flows[0].waiting > 15_000));
    world.run_to(secs(2));
    let waiting = world.flows[0].waiting;
    let cid = world.server().cid();
    for n in 0..100 {
        give_server(
            &mut world,
            &data(cid, FRESH + n, |out| {
                packet::put_part_header(out, 90, 0);
                out.extend_from_slice(&crate::simulation::content(90)[..4096]);
            }),
        );
    }
    assert!(world.flows[0].waiting <= waiting.max(20_000));
    assert_eq!(world.server().end(), None);
    assert!(world.run().whole);
}

#[test]
fn a_part_that_does_not_stand_alone_is_no_way_around_the_credit() {
    for put in [packet::put_ping as fn(&mut Vec<u8>), |out| packet::put_padding(out, 3)] {
        let mut world = in_the_middle(0.0);
        let cid = world.server().cid();
        give_server(
            &mut world,
            &data(cid, FRESH, |out| {
                put(out);
                packet::put_part_header(out, 90, 0);
                out.extend_from_slice(&crate::simulation::content(90)[..4096]);
            }),
        );
        let expected = "it sent a part together with something else".to_owned();
        assert_eq!(world.server().end(), Some(&End::Misbehaved(expected)));
    }
}

#[test]
fn strangers_with_wrong_numbers_change_nothing() {
    let mut world = World::new(Scenario::new(&link(0.05), 2_000_000), 3);
    let mut lot = Lot(9);
    world.tamper(move |datagram| {
        if !lot.one_in(20) {
            return Tampering::Pass;
        }
        let mut out = Vec::new();
        let (some, other) = (lot.next() as u32, lot.next());
        // The client's own id is 7.
        let cid = if datagram.direction == Direction::Down {
            7
        } else {
            packet::destination(datagram.bytes).unwrap_or(1)
        };
        match lot.below(9) {
            0 => packet::reset(&mut out, some, other as u32, 0),
            // The right id, and a packet that was never sent.
            1 => packet::reset(&mut out, cid, (1 << 20) + lot.below(1 << 20) as u32, 0),
            2 => packet::version(&mut out, cid, other),
            3 => packet::retry(&mut out, cid, some, other, &[0; TOKEN_LEN]),
            4 => packet::init(&mut out, packet::VERSION, cid, other),
            5 => out = data(some, 1 << 20, |out| packet::put_close(out, 0, "go away")),
            // The right id, and a number that was used before.
            6 => out = data(cid, lot.below(3), |out| packet::put_close(out, 0, "go away")),
            7 => {
                packet::begin_connect(&mut out, some, cid, &[1; TOKEN_LEN], 1 << 20);
                packet::put_close(&mut out, 0, "go away");
                packet::seal(&mut out, 0);
            }
            _ => packet::plain(&mut out, some, 5, 5, b"hello"),
        }
        Tampering::Also(vec![out])
    });
    let report = world.run();
    assert!(report.whole, "{:?}", report.end);
}

#[test]
fn replayed_truncated_and_damaged_datagrams_change_nothing() {
    for seed in 0..6 {
        let mut world = World::new(Scenario::new(&link(0.05), 700_000), seed);
        let mut lot = Lot(seed);
        let mut old: Vec<Vec<u8>> = Vec::new();
        world.tamper(move |datagram| {
            if old.len() < 500 {
                old.push(datagram.bytes.to_vec());
            }
            let mut again = if lot.one_in(2) {
                datagram.bytes.to_vec()
            } else {
                old[lot.below(old.len() as u64) as usize].clone()
            };
            match lot.below(6) {
                0 => Tampering::Also(vec![again]),
                1 => Tampering::Also(vec![again.clone(), again]),
                2 => {
                    again.truncate(lot.below(again.len() as u64) as usize);
                    Tampering::Also(vec![again])
                }
                3 => {
                    let at = lot.below(again.len() as u64) as usize;
                    again[at] ^= 1 << lot.below(8);
                    Tampering::Also(vec![again])
                }
                _ => Tampering::Pass,
            }
        });
        let report = world.run();
        assert!(report.whole, "seed {seed}: {:?}", report.end);
    }
}

#[test]
fn garbage_costs_a_counter() {
    let mut world = in_the_middle(0.0);
    let before = world.client().footprint();
    let datagram = data(7, 0, packet::put_ping);
    for _ in 0..1000 {
        give_client(&mut world, &datagram);
    }
    assert_eq!(world.client().stats().garbage, 1000);
    assert_eq!(world.client().footprint(), before);
}

#[test]
fn a_server_that_was_started_anew_is_noticed_at_once() {
    for loss in [0.0, 0.2] {
        let mut world = in_the_middle(loss);
        let at = world.now;
        world.flows[0].server = None;
        world.gate = arq::Gate::new([1; 32]);
        assert!(world.run_until(|world| world.client().end().is_some()));
        assert_eq!(world.client().end(), Some(&End::Reset));
        assert!(world.now - at < ms(if loss > 0.0 { 200 } else { 100 }), "{:?}", world.now - at);
        assert!(!world.run_until(|world| world.now > secs(100)), "nothing happens any more");
    }
}

/// After the path was dark, nothing but probes is on its way, and a packet of 14 bytes is answered by nobody.
#[test]
fn a_server_that_was_started_anew_in_a_blackout_is_noticed_at_once() {
    let mut world = in_the_middle(0.0);
    let light = world.now + secs(5);
    let now = std::rc::Rc::new(std::cell::Cell::new(world.now));
    let clock = std::rc::Rc::clone(&now);
    world.tamper(move |_| if clock.get() < light { Tampering::Drop } else { Tampering::Pass });
    world.flows[0].server = None;
    world.gate = arq::Gate::new([1; 32]);
    assert!(world.run_until(|world| {
        now.set(world.now);
        world.client().end().is_some()
    }));
    assert_eq!(world.client().end(), Some(&End::Reset));
    assert!(world.now - light < secs(1), "{:?}", world.now - light);
}

#[test]
fn a_server_that_was_started_anew_between_token_and_connect_is_noticed_at_once() {
    let mut world = World::new(Scenario::new(&link(0.0), 1000), 3);
    world.run_to(ms(25));
    world.gate = arq::Gate::new([1; 32]);
    assert!(world.run_until(|world| world.client().end().is_some()));
    assert_eq!(world.client().end(), Some(&End::Reset));
    assert!(world.now < ms(200), "{:?}", world.now);
}

#[test]
fn who_only_acknowledges_hears_of_a_restart_too() {
    // The client answers the last packet of a server that then dies: that answer is all that it ever sends.
    let mut world = in_the_middle(0.0);
    let numbers = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let seen = std::rc::Rc::clone(&numbers);
    world.tamper(move |datagram| {
        if datagram.direction == Direction::Down
            && let Ok(Packet::Data { pn, .. }) = Packet::parse(datagram.bytes)
        {
            seen.borrow_mut().push(pn);
        }
        Tampering::Pass
    });
    world.run_to(ms(900));
    let last = *numbers.borrow().last().unwrap();
    let mut reset = Vec::new();
    packet::reset(&mut reset, 7, last, 0);
    give_server(&mut world, &reset);
    assert_eq!(world.server().end(), Some(&End::Reset));
}

#[test]
fn resets_are_answered_to_nobody() {
    let mut world = in_the_middle(0.0);
    world.flows[0].server = None;
    let mut reset = Vec::new();
    packet::reset(&mut reset, 99, 5, 0);
    let before = world.network.link(Direction::Down).stats().entered;
    give_server(&mut world, &reset);
    assert_eq!(world.network.link(Direction::Down).stats().entered, before);
    let _ = (SERVER, is_part(&reset));
}
