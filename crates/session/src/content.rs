//! Where the bytes of a file come from: from the disk, or from a seed.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What can be read again and again, from anywhere.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file that is open.
    File(Arc<File>),
    /// Characters that are made up.
    Made(Made),
}

impl From<&Arc<File>> for Content {
    fn from(file: &Arc<File>) -> Self {
        Self::File(Arc::clone(file))
    }
}

impl Content {
    /// Reads what is there from `offset` on: how many bytes; 0 at the end.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Made(made) => Ok(made.read_at(buffer, offset)),
        }
    }

    /// Fills the whole buffer.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Made(made) if made.read_at(buffer, offset) == buffer.len() => Ok(()),
            Self::Made(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Fills several buffers, one behind the other.
    pub(crate) fn read_slots(&self, mut offset: u64, slots: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let file = match self {
            Self::File(file) => file,
            Self::Made(_) => {
                for slot in slots {
                    self.read_exact_at(slot, offset)?;
                    offset += slot.len() as u64;
                }
                return Ok(());
            }
        };
        let mut rest = slots;
        while !rest.is_empty() {
            match rustix::io::preadv(file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    offset += read as u64;
                    IoSliceMut::advance_slices(&mut rest, read);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The characters that are made: 64 of them, so that 6 bits choose one.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
/// Characters of one random number.
const GROUP: u64 = 8;

/// A text without a sense that follows from its length and its seed. Nothing of it is kept: it is made where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) length: u64,
    pub(crate) seed: u64,
}

impl Made {
    fn read_at(self, buffer: &mut [u8], offset: u64) -> usize {
        let len = self.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut at = offset;
        let mut rest = &mut buffer[..len];
        while !rest.is_empty() {
            let characters = group(self.seed, at / GROUP);
            let skip = (at % GROUP) as usize;
            let step = rest.len().min(GROUP as usize - skip);
            let (now, later) = rest.split_at_mut(step);
            now.copy_from_slice(&characters[skip..skip + step]);
            rest = later;
            at += step as u64;
        }
        len
    }
}

/// The characters of one random number.
fn group(seed: u64, index: u64) -> [u8; GROUP as usize] {
    random(seed, index).to_le_bytes().map(|byte| ALPHABET[usize::from(byte & 63)])
}

/// The random number of this index in the row of the seed: SplitMix64.
const fn random(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first numbers of SplitMix64 with the seed 1234567, as its author's program prints them.
    #[test]
    fn the_random_numbers_are_those_of_splitmix64() {
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert!((0..5).map(|index| random(1_234_567, index)).eq(expected));
    }

    /// Character by character, as the document of the protocol says it.
    fn character(seed: u64, at: u64) -> u8 {
        ALPHABET[(random(seed, at / 8) >> (8 * (at % 8))) as usize & 63]
    }

    #[test]
    fn it_is_printable_and_ends_where_it_should() {
        let made = Content::Made(Made { length: 1001, seed: 42 });
        let mut buffer = [0; 2000];
        assert_eq!(made.read_at(&mut buffer, 0).unwrap(), 1001);
        assert!(buffer[..1001].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
        assert_eq!(buffer[1001..], [0; 999]);
        assert_eq!(made.read_at(&mut buffer, 1001).unwrap(), 0);
        assert_eq!(made.read_at(&mut buffer, u64::MAX).unwrap(), 0);
        assert!(made.read_exact_at(&mut buffer[..2], 1000).is_err());
        let mut slots = [[0; 600], [0; 600]];
        let [first, second] = &mut slots;
        assert!(made.read_slots(0, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]).is_err());
    }

    proptest! {
        #[test]
        fn any_piece_of_it_is_the_same_whenever_it_is_read(
            seed: u64,
            offset in prop_oneof![0..100u64, u64::MAX - 300..u64::MAX - 200],
            lens in prop::collection::vec(0..20usize, 0..5),
        ) {
            let made = Content::Made(Made { length: u64::MAX, seed });
            let mut pieces: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
            let mut slots: Vec<_> = pieces.iter_mut().map(|piece| IoSliceMut::new(piece)).collect();
            made.read_slots(offset, &mut slots).unwrap();
            let all = pieces.concat();
            let expected: Vec<u8> = (offset..).take(all.len()).map(|at| character(seed, at)).collect();
            prop_assert_eq!(all, expected);
        }
    }
}
