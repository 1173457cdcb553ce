//! Damage and resets to whole packets, judged by checksums computed from scratch.

use netsim::{Change, Corrupt, CorruptKind, Damage, Faults, Link, Reset, Window, packet};
use proptest::prelude::*;

use crate::{ms, run, us};

const TCP: u8 = 6;
const UDP: u8 = 17;

fn damage(kind: CorruptKind, seed: u64) -> Damage {
    let faults = Faults { corrupt: Some(Corrupt { probability: 1.0, kind }), ..Faults::default() };
    let (verdicts, _) = run(&faults, seed, 0, 1);
    verdicts[0].deliveries().next().and_then(|delivery| delivery.damage).expect("certain")
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| low.into())).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where addresses and the transport are.
fn layout(packet: &[u8]) -> (usize, usize) {
    if packet[0] >> 4 == 4 { (12, usize::from(packet[0] & 15) * 4) } else { (8, 40) }
}

/// What a receiver's kernel computes: 0xffff where the checksum is right.
fn verdict(packet: &[u8], protocol: u8) -> u16 {
    let (addresses, transport) = layout(packet);
    let segment = &packet[transport..];
    let pseudo = sum(&packet[addresses..transport.min(addresses + if transport == 40 { 32 } else { 8 })]);
    fold(pseudo + u64::from(protocol) + segment.len() as u64 + sum(segment))
}

fn packet(v6: bool, protocol: u8, payload: &[u8], flags: u8) -> Vec<u8> {
    let header = if protocol == TCP { 20 } else { 8 };
    let length = header + payload.len();
    let mut bytes = if v6 {
        let mut ip = vec![0x60, 0, 0, 0, (length >> 8) as u8, length as u8, protocol, 64];
        ip.extend((1..33).map(|byte| byte * 7));
        ip
    } else {
        let total = length + 20;
        vec![
            0x45,
            0,
            (total >> 8) as u8,
            total as u8,
            1,
            2,
            0,
            0,
            64,
            protocol,
            9,
            9,
            10,
            77,
            0,
            1,
            10,
            77,
            0,
            2,
        ]
    };
    let transport = bytes.len();
    bytes.extend([0x13, 0x88, 0x1f, 0xb8]);
    match protocol {
        TCP => bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 1, 0, 0, 0, 0, 0]),
        _ => bytes.extend([(length >> 8) as u8, length as u8, 0, 0]),
    }
    bytes.extend(payload);
    let at = transport + if protocol == TCP { 16 } else { 6 };
    let checksum = !verdict(&bytes, protocol);
    let checksum = if protocol == UDP && checksum == 0 { 0xffff } else { checksum };
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(verdict(&bytes, protocol), 0xffff);
    bytes
}

fn protocols() -> impl Strategy<Value = u8> {
    prop_oneof![Just(TCP), Just(UDP)]
}

proptest! {
    #[test]
    fn bits_are_what_a_checksum_finds(
        seed: u64, v6: bool, protocol in protocols(), payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let before = packet(v6, protocol, &payload, 0x10);
        let mut after = before.clone();
        let change = packet::spoil(&mut after, damage(CorruptKind::Bits, seed));
        let Some(Change::Bit { byte, bit }) = change else { panic!("{change:?}") };
        prop_assert_ne!(verdict(&after, protocol), 0xffff);
        prop_assert!(payload.is_empty() || byte >= before.len() - payload.len(), "in the payload");
        after[byte] ^= 1 << bit;
        prop_assert_eq!(after, before);
    }

    #[test]
    fn fixups_and_swaps_reach_the_program(
        seed: u64, v6: bool, protocol in protocols(), neutral: bool, payload in proptest::collection::vec(0_u8..4, 0..200),
    ) {
        let before = packet(v6, protocol, &payload, 0x10);
        let mut after = before.clone();
        let kind = if neutral { CorruptKind::Neutral } else { CorruptKind::Fixup };
        match packet::spoil(&mut after, damage(kind, seed)) {
            None => prop_assert_eq!(&after, &before),
            Some(_) => {
                prop_assert_eq!(verdict(&after, protocol), 0xffff);
                prop_assert_ne!(&after[before.len() - payload.len()..], &payload[..]);
            }
        }
        prop_assert!(neutral || payload.is_empty() || after != before);
    }

    /// A later fragment has no checksum of its own: the sum of its words stays what it was.
    #[test]
    fn a_fragment_keeps_its_sum(seed: u64, neutral: bool, payload in proptest::collection::vec(any::<u8>(), 16..200)) {
        let mut before = packet(false, UDP, &payload, 0);
        before[7] = 100;
        let mut after = before.clone();
        let kind = if neutral { CorruptKind::Neutral } else { CorruptKind::Fixup };
        if packet::spoil(&mut after, damage(kind, seed)).is_some() {
            prop_assert_ne!(&after, &before);
        }
        prop_assert_eq!(&after[..20], &before[..20]);
        prop_assert_eq!(fold(sum(&after[20..])), fold(sum(&before[20..])));
        prop_assert_eq!(packet::protocol_name(&after), "fragment");
    }

    /// No bytes at all make it panic or reach outside.
    #[test]
    fn garbage_is_left_whole(seed: u64, mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v in 0..3_u8, p in 0..64_u8) {
        if let Some(first) = bytes.first_mut() {
            *first = [0x45, 0x60, *first][usize::from(v)];
        }
        for at in [6, 9] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = p;
            }
        }
        for kind in [CorruptKind::Bits, CorruptKind::Fixup, CorruptKind::Neutral] {
            let mut after = bytes.clone();
            let change = packet::spoil(&mut after, damage(kind, seed));
            prop_assert_eq!(after.len(), bytes.len());
            prop_assert_eq!(change.is_some(), after != bytes);
        }
        packet::reset(&mut bytes.clone());
        assert!(!packet::protocol_name(&bytes).is_empty());
    }

    #[test]
    fn a_reset_is_a_good_reset(v6: bool, flags in 0..0x40_u8, payload in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut bytes = packet(v6, TCP, &payload, flags);
        let turned = packet::reset(&mut bytes);
        prop_assert_eq!(turned, flags & 4 == 0);
        prop_assert_eq!(verdict(&bytes, TCP), 0xffff);
        prop_assert!(!packet::reset(&mut bytes), "a second time it is one already");
        prop_assert!(!packet::reset(&mut packet(v6, UDP, &payload, 0)));
    }
}

#[test]
fn resets_by_chance_number_and_window() {
    let count = |reset| {
        let faults = Faults { reset: Some(reset), duplicate: 1.0, ..Faults::default() };
        let (verdicts, link) = run(&faults, 7, 0, 1000);
        let numbers = verdicts.iter().filter(|verdict| verdict.deliveries().any(|delivery| delivery.reset));
        let numbers = numbers.map(|verdict| verdict.number).collect::<Vec<_>>();
        assert_eq!(link.stats().reset, 2 * numbers.len() as u64);
        numbers
    };
    assert!((50..150).contains(&count(Reset::Chance(0.1)).len()));
    assert_eq!(count(Reset::Packets([3, 5, 2000].into())), [3, 5]);
    assert_eq!(count(Reset::Windows(vec![Window { start: us(10), length: us(3) }])), [10, 11, 12]);
}

#[test]
fn faults_of_chance_only_in_their_windows() {
    let faults = Faults {
        loss: netsim::Loss::Bernoulli(1.0),
        during: vec![Window { start: us(100), length: us(50) }, Window { start: us(200), length: us(1) }],
        delay: ms(1),
        ..Faults::default()
    };
    let (verdicts, link) = run(&faults, 1, 0, 1000);
    let lost = verdicts.iter().filter(|verdict| verdict.dropped().is_some()).map(|verdict| verdict.number);
    assert!(lost.eq((100..150).chain([200])));
    assert_eq!(
        (link.stats().loss_trials, link.stats().arrival_trials),
        (51, 0),
        "of the others none was tried"
    );
    let mut other = Link::new(Faults { during: Vec::new(), ..faults }, 1, 0);
    assert!(other.enter(us(1), 10).dropped().is_some());
}
