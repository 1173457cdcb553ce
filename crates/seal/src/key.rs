//! A key, and the form in which people write it and read it out.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// The characters of the short form (Crockford's base32): no I, L, O or U, which look or sound like others.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters for the 256 bits of a key; the last one has four bits that are 0.
const KEY_CHARS: usize = 52;
/// Characters of the checksum behind them.
const SUM_CHARS: usize = 4;
/// Characters between two hyphens.
const GROUP: usize = 4;

/// What both sides know and nobody else. Wiped when it is dropped; its bytes are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    /// A fresh one.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Self(Zeroizing::default());
        getrandom::fill(&mut *key.0).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(key)
    }

    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let key = Self(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Reads its short form, or 64 hex digits. The case, spaces and hyphens mean nothing; O is taken for 0, I and L for 1.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut digits = Zeroizing::new(Vec::with_capacity(2 * KEY_LEN));
        for c in text.trim().chars().filter(|c| !c.is_whitespace() && *c != '-') {
            if digits.len() == 2 * KEY_LEN {
                return Err(KeyError::Length);
            }
            digits.push(u8::try_from(c).map_err(|_| KeyError::Character(c))?.to_ascii_uppercase());
        }
        match digits.len() {
            len if len == KEY_CHARS + SUM_CHARS => Self::of_chars(&mut digits),
            len if len == 2 * KEY_LEN => Self::of_hex(&digits),
            _ => Err(KeyError::Length),
        }
    }

    fn of_chars(chars: &mut [u8]) -> Result<Self, KeyError> {
        for c in &mut *chars {
            let meant = match *c {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let value = ALPHABET.iter().position(|&known| known == meant);
            *c = value.ok_or(KeyError::Character(char::from(*c)))? as u8;
        }
        let mut key = Self(Zeroizing::default());
        let mut buffer = Zeroizing::new(0_u16);
        let mut bits = 0;
        let mut bytes = key.0.iter_mut();
        for &value in &chars[..KEY_CHARS] {
            *buffer = *buffer << 5 | u16::from(value);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                if let Some(byte) = bytes.next() {
                    *byte = (*buffer >> bits) as u8;
                }
                *buffer &= (1 << bits) - 1;
            }
        }
        // What is left over was 0, or the text is not what was written.
        if *buffer != 0 || key.sum() != chars[KEY_CHARS..] {
            return Err(KeyError::Checksum);
        }
        Ok(key)
    }

    fn of_hex(digits: &[u8]) -> Result<Self, KeyError> {
        let mut key = Self(Zeroizing::default());
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(KeyError::Character(char::from(digit)));
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
        }
        Ok(key)
    }

    /// The form for people: 14 groups of 4 characters, the last one a checksum.
    #[must_use]
    pub fn short_form(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity((KEY_CHARS + SUM_CHARS) * (GROUP + 1) / GROUP));
        let mut values = Zeroizing::new([0; KEY_CHARS + SUM_CHARS]);
        for (at, value) in values[..KEY_CHARS].iter_mut().enumerate() {
            *value = (0..5).fold(0, |value, bit| value << 1 | self.bit(at * 5 + bit));
        }
        values[KEY_CHARS..].copy_from_slice(&self.sum());
        for (at, &value) in values.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(value)]));
        }
        text
    }

    /// A bit of it, the highest of the first byte first; 0 behind its end.
    fn bit(&self, at: usize) -> u8 {
        self.0.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1)
    }

    /// The values of the checksum's characters.
    fn sum(&self) -> [u8; SUM_CHARS] {
        let mut hash = blake3::derive_key("tandem key checksum", &*self.0);
        let sum = [0, 1, 2, 3].map(|at| hash[at] & 31);
        hash.zeroize();
        sum
    }

    /// What tells keys apart without giving any of them away.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = blake3::derive_key("tandem key fingerprint", &*self.0);
        let fingerprint = Fingerprint([hash[0], hash[1], hash[2], hash[3]]);
        hash.zeroize();
        fingerprint
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.fingerprint())
    }
}

/// A name for a key: 8 hex digits that anybody may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 4]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is too short or too long.
    #[error("a key is {} characters in groups of {GROUP}, or 64 hex digits", KEY_CHARS + SUM_CHARS)]
    Length,
    /// A character that no key has.
    #[error("no key has the character {0:?}")]
    Character(char),
    /// A character is another one than was written.
    #[error("there is a slip in the key: its last group, a checksum, does not fit the others")]
    Checksum,
    /// The system has no randomness to give.
    #[error("the system gave no random numbers: {0}")]
    Random(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZEROS: &str = "0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0000-0000";

    #[test]
    fn a_key_has_one_short_form() {
        let key = Key::from_bytes(std::array::from_fn(|at| at as u8));
        let text = key.short_form();
        assert_eq!(*text, "000G-40R4-0M30-E209-185G-R38E-1W81-24GK-2GAH-C5RR-34D1-P70X-3RFG-GHA4");
        assert_eq!(key.fingerprint().to_string(), "126ca8e3");
        assert_eq!(format!("{key:?}"), "Key(126ca8e3)");
        let again = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        assert_eq!(Key::parse(&format!(" {again}\n")), Ok(key.clone()));
        assert_eq!(Key::parse(&again.replace('l', "I")), Ok(key.clone()));
        let hex = "000102030405060708090a0b0c0d0e0f 101112131415161718191A1B1C1D1E1F";
        assert_eq!(Key::parse(hex), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        assert_eq!(Key::parse(""), Err(KeyError::Length));
        assert_eq!(Key::parse(ZEROS), Err(KeyError::Length));
        assert_eq!(Key::parse(&"0".repeat(65)), Err(KeyError::Length));
        assert_eq!(Key::parse(&"é".repeat(56)), Err(KeyError::Character('é')));
        assert_eq!(Key::parse(&"€".repeat(56)), Err(KeyError::Character('€')));
        assert_eq!(Key::parse(&"U".repeat(56)), Err(KeyError::Character('U')));
        assert_eq!(Key::parse(&"G".repeat(64)), Err(KeyError::Character('G')));
        assert_eq!(Key::parse(&format!("{ZEROS}-0000")), Err(KeyError::Checksum));
    }

    #[test]
    fn every_slip_of_one_character_is_found() {
        let text = Key::from_bytes([0xa5; KEY_LEN]).short_form();
        for at in (0..text.len()).filter(|&at| text.as_bytes()[at] != b'-') {
            for &other in ALPHABET.iter().filter(|&&other| other != text.as_bytes()[at]) {
                let mut slip = text.as_bytes().to_vec();
                slip[at] = other;
                assert_eq!(Key::parse(std::str::from_utf8(&slip).unwrap()), Err(KeyError::Checksum), "{at}");
            }
        }
    }

    #[test]
    fn generated_keys_differ() {
        assert_ne!(Key::generate(), Key::generate());
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(bytes: [u8; KEY_LEN]) {
            let key = Key::from_bytes(bytes);
            prop_assert_eq!(Key::parse(&key.short_form()), Ok(key));
        }

        #[test]
        fn any_text_is_a_key_or_none(text: String) {
            if let Ok(key) = Key::parse(&text) {
                prop_assert_eq!(Key::parse(&key.short_form()), Ok(key));
            }
        }
    }
}
