//! Numbers of 1, 2, 4 or 8 bytes: the variable-length integers of RFC 9000 section 16.
//!
//! The two highest bits of the first byte say how long the number is. It may be written longer than it needs to be.

use crate::wire::{Reader, WireError};

/// The largest number that there is a form for: 62 bits.
pub(super) const MAX_VARINT: u64 = (1 << 62) - 1;

pub(super) fn read_varint(body: &mut Reader<'_>) -> Result<u64, WireError> {
    match body.peek().ok_or(WireError::Short)? >> 6 {
        0 => body.u8().map(u64::from),
        1 => body.u16().map(|number| u64::from(number & 0x3fff)),
        2 => body.u32().map(|number| u64::from(number & 0x3fff_ffff)),
        _ => body.u64().map(|number| number & MAX_VARINT),
    }
}

/// Appends the shortest form of a number; one above [`MAX_VARINT`] becomes that.
pub(super) fn put_varint(out: &mut Vec<u8>, number: u64) {
    let number = number.min(MAX_VARINT);
    // Each cast has room for its number and the two bits above it.
    match varint_len(number) {
        1 => out.push(number as u8),
        2 => out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(number as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(number | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Bytes of the shortest form of a number.
pub(super) const fn varint_len(number: u64) -> usize {
    match number {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, WireError> {
        read_varint(&mut Reader::new(bytes))
    }

    /// The samples of RFC 9000 appendix A.1.
    const SAMPLES: [(&[u8], u64); 4] = [
        (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
    ];

    #[test]
    fn parse_and_emit() {
        for (bytes, number) in SAMPLES {
            assert_eq!(read(bytes), Ok(number));
            let mut out = Vec::new();
            put_varint(&mut out, number);
            assert_eq!(out, bytes);
        }
        assert_eq!(read(&[0x40, 0x25]), Ok(37), "longer than it needs to be");
    }

    #[test]
    fn every_truncated_prefix_is_refused() {
        for (bytes, _) in SAMPLES {
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Err(WireError::Short));
            }
        }
    }

    #[test]
    fn each_length_has_its_numbers() {
        let ends = [(0x3f, 1), (0x3fff, 2), (0x3fff_ffff, 4), (MAX_VARINT, 8)];
        for (last, len) in ends {
            for number in [last, last + 1] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number));
                assert_eq!(read(&out), Ok(number.min(MAX_VARINT)));
            }
            assert_eq!(varint_len(last), len);
        }
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(out, [0xff; 8]);
    }
}
