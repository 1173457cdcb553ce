//! Packet numbers: 62 bits, of which a packet carries the low 32.

use super::varint::MAX_VARINT;

/// Numbers that look the same in 32 bits are so far apart.
const WINDOW: u64 = 1 << 32;

/// The whole number of a packet from its low half: the one nearest to what is expected next, which is the number after
/// `largest`, the highest that has come so far (RFC 9000 appendix A.3). `None`: no packet has come yet.
#[must_use]
pub fn restore_pn(largest: Option<u64>, low: u32) -> u64 {
    let expected = largest.map_or(0, |largest| largest.min(MAX_VARINT - 1) + 1);
    let candidate = expected & !(WINDOW - 1) | u64::from(low);
    if candidate + WINDOW / 2 <= expected && candidate <= MAX_VARINT - WINDOW {
        candidate + WINDOW
    } else if candidate > expected + WINDOW / 2 && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}
