//! Damage to bytes.

use netsim::{Change, Corrupt, CorruptKind, Damage, Faults};
use proptest::prelude::*;

use crate::run;

/// The damages of a run in which every packet has one.
fn damages(kind: CorruptKind, seed: u64, count: u64) -> Vec<Damage> {
    let faults = Faults { corrupt: Some(Corrupt { probability: 1.0, kind }), ..Faults::default() };
    let (verdicts, _) = run(&faults, seed, 0, count);
    verdicts.iter().flat_map(|verdict| verdict.deliveries()).filter_map(|delivery| delivery.damage).collect()
}

/// RFC 1071's, over whole words and a last byte.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .fold(0_u32, |sum, word| (sum + word) % 0xffff_0000);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

proptest! {
    #[test]
    fn bits_and_fixups_flip_one_bit(seed: u64, bytes in proptest::collection::vec(any::<u8>(), 1..100), fixup: bool) {
        let kind = if fixup { CorruptKind::Fixup } else { CorruptKind::Bits };
        for damage in damages(kind, seed, 20) {
            prop_assert_eq!(damage.kind(), kind);
            let mut damaged = bytes.clone();
            let Some(Change::Bit { byte, bit }) = damage.apply(&mut damaged) else {
                return Err(TestCaseError::fail("no bit was flipped"));
            };
            let mut again = bytes.clone();
            damage.apply(&mut again);
            prop_assert_eq!(&damaged, &again);
            damaged[byte] ^= 1 << bit;
            prop_assert_eq!(&damaged, &bytes);
        }
    }

    #[test]
    fn neutral_damage_passes_internet_checksums(seed: u64, bytes in proptest::collection::vec(0_u8..3, 0..40)) {
        let words = bytes.chunks_exact(2).collect::<std::collections::BTreeSet<_>>().len();
        for damage in damages(CorruptKind::Neutral, seed, 20) {
            let mut damaged = bytes.clone();
            match damage.apply(&mut damaged) {
                None => prop_assert!(words < 2 && damaged == bytes),
                Some(Change::Words { first, second }) => {
                    prop_assert_eq!(internet_checksum(&damaged), internet_checksum(&bytes));
                    prop_assert_ne!(&damaged, &bytes);
                    prop_assert!(first < second && first % 2 == 0 && second % 2 == 0);
                    damaged.swap(first, second);
                    damaged.swap(first + 1, second + 1);
                    prop_assert_eq!(&damaged, &bytes);
                }
                Some(change) => return Err(TestCaseError::fail(format!("{change:?}"))),
            }
        }
    }
}

#[test]
fn nothing_is_not_damaged() {
    for kind in [CorruptKind::Bits, CorruptKind::Fixup, CorruptKind::Neutral] {
        assert_eq!(damages(kind, 1, 1)[0].apply(&mut []), None);
    }
    assert_eq!(damages(CorruptKind::Neutral, 1, 1)[0].apply(&mut [1, 2, 1, 2, 3]), None);
    // A packet without bytes is not counted as damaged either.
    let corrupt = Some(Corrupt { probability: 1.0, kind: CorruptKind::Bits });
    let mut link = netsim::Link::new(Faults { corrupt, ..Faults::default() }, 1, 0);
    let verdict = link.enter(std::time::Duration::ZERO, 0);
    assert!(verdict.deliveries().all(|delivery| delivery.damage.is_none()));
    assert_eq!(link.stats().corrupted, 0);
}
