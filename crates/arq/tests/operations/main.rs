//! Any operations on a pair of connections: nobody misbehaves, nothing is lost for good, nothing grows.

mod pair;

use proptest::prelude::*;

/// How many lists are tried: `TANDEM_SEEDS` of each kind.
fn cases() -> u32 {
    std::env::var("TANDEM_SEEDS").ok().and_then(|value| value.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_end_well(setting in any::<u8>(), ops in prop::collection::vec(any::<[u8; 3]>(), 0..400)) {
        pair::run(setting, &ops);
    }

    /// Those that such a list is made of more often: what a transfer consists of.
    #[test]
    fn transfers_with_mishaps_end_well(
        setting in any::<u8>(),
        ops in prop::collection::vec((prop::sample::select(vec![0, 1, 3, 5, 5, 6, 7, 8, 9, 10, 10, 11, 11, 13, 13, 14, 15]), any::<u8>(), any::<u8>()), 200..800),
    ) {
        let begin = [[0, 0, 0], [5, 1, 9], [5, 0, 9], [0, 0, 0], [5, 1, 9], [0, 1, 0], [5, 0, 9], [13, 0, 100]];
        let ops: Vec<pair::Op> = begin.into_iter().chain(ops.into_iter().map(|(what, a, b)| [what, a, b])).collect();
        pair::run(setting, &ops);
    }
}
