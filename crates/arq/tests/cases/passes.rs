//! Which parts go: claims, passes that are broken off, and what cannot be read.

use std::time::Instant;

use arq::{Claim, Connection, Next};
use framing::ChunkSet;
use framing::packet;

use super::{give_server, in_the_middle, link, ms};
use crate::simulation::random::Lot;
use crate::simulation::{Scenario, State, World};

#[test]
fn a_pass_that_is_broken_off_is_begun_again() {
    for seed in 0..8 {
        for loss in [0.0, 0.3] {
            let mut scenario = Scenario::new(&link(loss), 600_000);
            if seed % 2 == 1 {
                // Old parts come long after the new pass has begun.
                scenario.up.reorder =
                    Some(netsim::Reorder { probability: 0.3, least: ms(50), most: ms(300) });
                scenario.up.duplicate = 0.2;
            }
            let mut world = World::new(scenario, seed);
            for n in 1..5 {
                assert!(world.run_until(|world| world.flows[0].delivered > n * 100_000));
                if world.flows[0].state == State::Sending {
                    let now = world.now;
                    world.flows[0].begin_again(now);
                }
            }
            let report = world.run();
            assert!(report.whole, "seed {seed}: {:?}", report.end);
        }
    }
}

/// A client that may send, in front of a peer that is only imagined.
fn sender() -> (World, Instant) {
    let mut world = World::new(Scenario::new(&link(0.0), 0), 1);
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    let now = world.instant();
    (world, now)
}

fn claim(client: &mut Connection, now: Instant, most: usize) -> (Vec<Claim>, Next) {
    let mut claims = Vec::new();
    let next = client.claim(now, &mut |_| 4096, most, &mut claims);
    (claims, next)
}

/// Which bytes of the chunk space these claims are.
fn covered(claims: &[Claim]) -> Vec<u64> {
    let units = claims.iter().flat_map(|claim| {
        let first = claim.chunk * 32 + u64::from(claim.unit);
        first..first + (claim.len as u64).div_ceil(128)
    });
    let mut units: Vec<u64> = units.collect();
    units.sort_unstable();
    units
}

#[test]
fn claims_that_are_put_back_come_again() {
    let (mut world, mut now) = sender();
    world.client().begin_chunks(ChunkSet::from(0..10));
    let mut lot = Lot(3);
    let (mut sent, mut next) = (Vec::new(), Next::Done);
    for _ in 0..10_000 {
        let (claims, what) = claim(world.client(), now, 4);
        next = what;
        for claim in claims {
            if lot.one_in(2) {
                world.client().release(&claim);
            } else {
                let header = world.client().commit(now, &claim);
                let mut datagram = Vec::new();
                packet::begin_data(&mut datagram, header.cid, header.pn);
                sent.push(claim);
            }
        }
        if covered(&sent).len() >= 320 {
            break;
        }
        now += ms(1);
    }
    assert_eq!(covered(&sent), (0..320).collect::<Vec<_>>(), "each unit once: {next:?}");
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let (mut world, mut now) = sender();
    world.client().begin_chunks(ChunkSet::from(0..30));
    let gone = 7..12;
    let mut sent = Vec::new();
    for _ in 0..10_000 {
        let (claims, next) = claim(world.client(), now, 3);
        for claim in claims {
            let chunks =
                claim.chunk..claim.chunk + (usize::from(claim.unit) * 128 + claim.len).div_ceil(4096) as u64;
            if chunks.start < gone.end && gone.start < chunks.end {
                // As a caller does: it finds out while it reads.
                world.client().release(&claim);
                world.client().abandon(gone.clone());
            } else {
                world.client().commit(now, &claim);
                sent.push(claim);
            }
        }
        if next == Next::Done || covered(&sent).len() == 25 * 32 {
            break;
        }
        now += ms(1);
    }
    let expected: Vec<u64> = (0..7 * 32).chain(12 * 32..30 * 32).collect();
    assert_eq!(covered(&sent), expected);
}

#[test]
fn all_that_is_wanted_may_be_given_up() {
    let (mut world, now) = sender();
    world.client().begin_chunks(ChunkSet::from(0..30));
    let (claims, next) = claim(world.client(), now, 4);
    assert_eq!(next, Next::Ready);
    world.client().abandon(0..30);
    // Even what is claimed: it may be committed, or not.
    world.client().commit(now, &claims[0]);
    world.client().release(&claims[1]);
    assert_eq!(claim(world.client(), now, 4).1, Next::Done);
    world.client().begin_chunks(ChunkSet::new());
    assert_eq!(claim(world.client(), now, 4).1, Next::Done);
}

#[test]
fn what_is_put_back_costs_no_credit() {
    let (mut world, mut now) = sender();
    world.client().begin_chunks(ChunkSet::from(0..100_000));
    // 32 MiB may wait at the receiver: this would be many times that.
    for _ in 0..100_000 {
        let (claims, next) = claim(world.client(), now, 4);
        assert!(!matches!(next, Next::Wait { why: arq::Waiting::Credit, .. }));
        for claim in claims.iter().rev() {
            world.client().release(claim);
        }
        now += ms(1);
    }
}

#[test]
fn late_parts_of_an_earlier_pass_are_no_misbehaviour() {
    let mut world = in_the_middle(0.0);
    let cid = world.server().cid();
    assert!(world.run_until(|world| world.flows[0].state == State::Done));
    let late = super::data(cid, 1 << 20, |out| {
        packet::put_part_header(out, 5, 0);
        out.extend_from_slice(crate::simulation::content(5));
    });
    // The world would not survive an error of the assembly.
    give_server(&mut world, &late);
    assert_eq!(world.server().end(), None);
}
