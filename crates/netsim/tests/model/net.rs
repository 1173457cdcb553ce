//! The event queue on top.

use std::time::Duration;

use netsim::{Corrupt, CorruptKind, Direction, Faults, Jitter, Loss, Net, Reorder, Spread};
use proptest::prelude::*;

use crate::{SEED, ms};

#[test]
fn each_direction_has_its_own_faults() {
    let up = Faults { delay: ms(10), ..Faults::default() };
    let down = Faults { delay: ms(20), loss: Loss::Packets([1].into()), ..Faults::default() };
    let mut net = Net::new(up, down, SEED);
    for byte in 0..3 {
        for direction in Direction::BOTH {
            let verdict = net.send(direction, ms(0), vec![byte]);
            assert_eq!(verdict.number, u64::from(byte));
        }
    }
    assert_eq!((net.in_flight(), net.next_arrival()), (5, Some(ms(10))));
    assert_eq!(net.receive(ms(9)), None);
    for byte in 0..3 {
        assert_eq!(net.receive(ms(10)), Some((Direction::Up, vec![byte])));
    }
    assert_eq!((net.receive(ms(10)), net.next_arrival()), (None, Some(ms(20))));
    assert_eq!(net.receive(ms(99)), Some((Direction::Down, vec![0])));
    assert_eq!(net.receive(ms(99)), Some((Direction::Down, vec![2])));
    assert_eq!((net.receive(ms(99)), net.next_arrival(), net.in_flight()), (None, None, 0));
    assert_eq!(Direction::BOTH.map(|direction| net.link(direction).stats().lost), [0, 1]);
    net.link_mut(Direction::Down).change(Faults::default());
    assert_eq!(net.send(Direction::Down, ms(99), vec![]).number, 3);
    assert_eq!(net.receive(ms(99)), Some((Direction::Down, vec![])));
    assert_eq!(Direction::Up.opposite(), Direction::Down);
    assert_eq!(Direction::Down.opposite(), Direction::Up);
}

#[test]
fn copies_arrive_and_damage_is_done() {
    let corrupt = Some(Corrupt { probability: 0.5, kind: CorruptKind::Bits });
    let faults = Faults { duplicate: 0.5, corrupt, ..Faults::default() };
    let mut net = Net::new(faults.clone(), faults, SEED);
    let (mut arrived, mut damaged) = (0, 0);
    for _ in 0..1000 {
        let verdict = net.send(Direction::Down, ms(0), vec![0; 100]);
        for delivery in verdict.deliveries() {
            let (_, bytes) = net.receive(ms(0)).unwrap();
            let mut expected = vec![0; 100];
            if let Some(damage) = delivery.damage {
                damage.apply(&mut expected);
                damaged += 1;
            }
            assert_eq!(bytes, expected);
            arrived += 1;
        }
    }
    let stats = net.link(Direction::Down).stats();
    assert_eq!((stats.delivered, stats.corrupted), (arrived, damaged));
    assert!(stats.duplicated > 400 && damaged > 600);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What goes in comes out at the times that the verdicts name, in order, what is equal as it was sent.
    #[test]
    fn arrivals_are_in_order(seed: u64, steps in proptest::collection::vec((0_u64..20, any::<bool>()), 1..200)) {
        let faults = Faults {
            delay: ms(20),
            jitter: Some(Jitter { spread: Spread::Normal(ms(10)), reorders: true }),
            reorder: Some(Reorder::beside(ms(20), 0.2)),
            loss: Loss::Bernoulli(0.1),
            duplicate: 0.2,
            ..Faults::default()
        };
        let mut net = Net::new(Faults { delay: ms(20), ..Faults::default() }, faults, seed);
        let (mut now, mut expected, mut got) = (Duration::ZERO, Vec::new(), Vec::new());
        for (index, (gap, up)) in steps.into_iter().enumerate() {
            now += ms(gap);
            while let Some(at) = net.next_arrival().filter(|&at| at <= now) {
                let (direction, bytes) = net.receive(now).unwrap();
                got.push((at, direction, bytes));
            }
            let direction = if up { Direction::Up } else { Direction::Down };
            let bytes = index.to_le_bytes().to_vec();
            for delivery in net.send(direction, now, bytes.clone()).deliveries() {
                prop_assert!(delivery.at >= now);
                expected.push((delivery.at, direction, bytes.clone()));
            }
        }
        while let Some(at) = net.next_arrival() {
            prop_assert_eq!(net.receive(at.saturating_sub(Duration::from_nanos(1))), None);
            let (direction, bytes) = net.receive(at).unwrap();
            got.push((at, direction, bytes));
        }
        expected.sort_by_key(|&(at, ..)| at);
        prop_assert_eq!(got, expected);
        prop_assert_eq!(net.in_flight(), 0);
    }
}
