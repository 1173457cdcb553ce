//! Resets, and knocks, which ask for one.

use framing::packet::field;
use zeroize::Zeroizing;

use super::{Host, RESET_LEN, TAG_LEN, kind};
use crate::Key;

/// Bytes of a knock. Only a packet that is longer than a Reset is answered with one.
pub const KNOCK_LEN: usize = RESET_LEN + 1;

impl Host {
    /// Appends a sealed Reset to a packet of a connection that is not known, which ends with these bytes.
    pub fn reset(&self, cid: u32, pn: u32, last: [u8; 4], out: &mut Vec<u8>) {
        let start = out.len();
        out.push(kind::RESET);
        out.extend_from_slice(&cid.to_be_bytes());
        out.extend_from_slice(&pn.to_be_bytes());
        out.extend_from_slice(&last);
        let mac = reset_mac(&self.key, &out[start..]);
        out.extend_from_slice(&mac);
    }
}

/// Opens a sealed Reset for [`parse`](super::parse), if it comes from a server that has the key.
pub fn open_reset(key: &Key, reset: &mut [u8]) -> bool {
    let Some((head, mac)) = reset.split_at_checked(field::RESET_CRC.end) else { return false };
    let good = mac.len() == TAG_LEN && head[0] == kind::RESET && is_equal(&reset_mac(key, head), mac);
    if good {
        reset[0] += kind::OPENED;
    }
    good
}

fn reset_mac(key: &Key, head: &[u8]) -> [u8; TAG_LEN] {
    let own = Zeroizing::new(blake3::derive_key("tandem udp reset", key.bytes()));
    let mut mac = [0; TAG_LEN];
    mac.copy_from_slice(&blake3::keyed_hash(&own, head).as_bytes()[..TAG_LEN]);
    mac
}

/// Compares without telling by its time where the difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// A Data packet of no connection, which nobody can open. A server with any key answers it with a Reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knock([u8; KNOCK_LEN]);

impl Knock {
    /// One of bytes that nobody can guess.
    #[must_use]
    pub const fn new(mut random: [u8; KNOCK_LEN]) -> Self {
        random[0] = kind::DATA;
        Self(random)
    }

    /// What is to be sent.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KNOCK_LEN] {
        &self.0
    }

    /// Whether this is a Reset that answers this knock, made with whatever key.
    #[must_use]
    pub fn is_answered_by(&self, reset: &[u8]) -> bool {
        let [.., a, b, c, d] = self.0;
        reset.len() == RESET_LEN
            && reset[0] == kind::RESET
            && reset[1..field::PN.end] == self.0[1..field::PN.end]
            && reset[field::RESET_CRC] == [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use framing::packet::Packet;

    use super::super::parse;
    use super::*;

    #[test]
    fn only_who_has_the_key_can_reset() {
        let key = Key::from_bytes([7; 32]);
        let mut reset = Vec::new();
        Host::new(key.clone(), [9; 32]).reset(5, 6, [1, 2, 3, 4], &mut reset);
        for at in 0..reset.len() {
            let mut changed = reset.clone();
            changed[at] ^= 1;
            assert!(!open_reset(&key, &mut changed), "byte {at}");
        }
        assert!(!open_reset(&Key::from_bytes([8; 32]), &mut reset.clone()));
        assert!(open_reset(&key, &mut reset));
        assert_eq!(parse(&reset).unwrap().packet, Packet::Reset { cid: 5, pn: 6, crc: 0x0102_0304 });
    }

    #[test]
    fn only_a_server_that_heard_a_knock_answers_it() {
        let key = Key::from_bytes([7; 32]);
        let knock = Knock::new(std::array::from_fn(|at| at as u8));
        let Some(Packet::Data { cid, pn, .. }) = parse(knock.bytes()).map(|parsed| parsed.packet) else {
            panic!("no Data packet");
        };
        let mut reset = Vec::new();
        Host::new(key.clone(), [9; 32]).reset(cid, pn, *knock.bytes().last_chunk().unwrap(), &mut reset);
        assert!(knock.is_answered_by(&reset) && reset.len() < knock.bytes().len());
        for at in 0..reset.len() {
            let mut changed = reset.clone();
            changed[at] ^= 1;
            assert_eq!(knock.is_answered_by(&changed), at >= field::RESET_CRC.end, "byte {at}");
            assert!(!knock.is_answered_by(&reset[..at]));
        }
        assert!(!open_reset(&Key::from_bytes([8; 32]), &mut reset.clone()));
        assert!(open_reset(&key, &mut reset));
    }
}
