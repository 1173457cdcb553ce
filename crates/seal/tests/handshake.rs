//! The handshake: who has the key gets through, and nobody else, whatever they try.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use proptest::prelude::*;
use seal::{Channel, HELLO_LEN, HandshakeError, Initiator, KEY_LEN, Key, answer, check_start};

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; KEY_LEN])
}

fn shaken(key: &Key) -> (Channel, Channel) {
    let (initiator, hello) = Initiator::begin(key).unwrap();
    let (reply, server) = answer(key, &hello).unwrap();
    (initiator.finish(&reply).unwrap(), server)
}

/// Says `bytes` on a channel, and gives what is heard.
fn say(from: &mut Channel, to: &mut Channel, bytes: &[u8]) -> Result<Vec<u8>, seal::RecordError> {
    let mut records = Vec::new();
    let len = from.sealer.seal(bytes, bytes.len(), &mut records);
    let mut plain = vec![0; bytes.len()];
    to.opener.open(&records[..len], &mut plain)?;
    Ok(plain)
}

#[test]
fn both_sides_hear_each_other() {
    let (mut client, mut server) = shaken(&key(1));
    assert_eq!(say(&mut client, &mut server, b"ping").unwrap(), b"ping");
    assert_eq!(say(&mut server, &mut client, b"pong").unwrap(), b"pong");
    assert_eq!(say(&mut client, &mut server, b"ping again").unwrap(), b"ping again");
}

#[test]
fn every_connection_has_secrets_of_its_own() {
    let (mut client, mut server) = shaken(&key(1));
    let (mut other_client, mut other_server) = shaken(&key(1));
    assert!(say(&mut client, &mut other_server, b"spliced").is_err());
    assert!(say(&mut other_client, &mut server, b"spliced").is_err());
    let (mut client, mut server) = shaken(&key(1));
    let (_, mut itself) = (&mut server, &mut client);
    let mut records = Vec::new();
    let len = itself.sealer.seal(b"reflected", 100, &mut records);
    assert!(itself.opener.open(&records[..len], &mut [0; 9]).is_err());
    itself = &mut server;
    assert_eq!(itself.opener.open(&records[..len], &mut [0; 9]), Ok(9));
}

#[test]
fn another_key_does_not_get_in() {
    let (initiator, hello) = Initiator::begin(&key(1)).unwrap();
    assert_eq!(answer(&key(2), &hello).unwrap_err(), HandshakeError::KeysDiffer);
    // Neither does a server that only pretends to have it.
    let (_, pretended) = Initiator::begin(&key(2)).unwrap();
    assert_eq!(initiator.finish(&pretended).unwrap_err(), HandshakeError::KeysDiffer);
}

#[test]
fn a_message_that_comes_back_or_comes_again_leads_nowhere() {
    let (initiator, hello) = Initiator::begin(&key(1)).unwrap();
    assert_eq!(initiator.finish(&hello).unwrap_err(), HandshakeError::KeysDiffer, "reflected");
    let (initiator, hello) = Initiator::begin(&key(1)).unwrap();
    let (first, _) = answer(&key(1), &hello).unwrap();
    let (again, mut server) = answer(&key(1), &hello).unwrap();
    assert_ne!(first, again, "the answer is never the same");
    let mut client = initiator.finish(&first).unwrap();
    assert!(say(&mut client, &mut server, b"what was said the first time").is_err());
    let (initiator, _) = Initiator::begin(&key(1)).unwrap();
    assert_eq!(initiator.finish(&again).unwrap_err(), HandshakeError::KeysDiffer, "an old answer");
}

#[test]
fn a_key_that_leads_every_secret_to_the_same_place_is_refused() {
    // The points of small order on Curve25519, and two more ways to write them.
    let small = ["00", "01", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"];
    for point in small {
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..point.len()).step_by(2)) {
            *byte = u8::from_str_radix(&point[at..at + 2], 16).unwrap();
        }
        let (_, mut hello) = Initiator::begin(&key(1)).unwrap();
        hello[4..36].copy_from_slice(&bytes);
        assert!(answer(&key(1), &hello).is_err());
    }
}

#[test]
fn what_does_not_begin_like_a_handshake_is_known_at_once() {
    let (_, hello) = Initiator::begin(&key(1)).unwrap();
    for len in 0..HELLO_LEN {
        assert_eq!(check_start(&hello[..len]), Ok(()));
    }
    assert_eq!(check_start(b"TD\x01\x01"), Err(HandshakeError::NotSealed), "a stream without a key");
    assert_eq!(check_start(b"G"), Err(HandshakeError::NotSealed));
    assert_eq!(check_start(b"TDS\x02"), Err(HandshakeError::Version(2)));
    let mut newer = hello;
    newer[3] = 2;
    assert_eq!(answer(&key(1), &newer).unwrap_err(), HandshakeError::Version(2));
}

proptest! {
    #[test]
    fn any_change_of_either_message_is_noticed(at in 0..HELLO_LEN, flip in 1..=255_u8, second: bool) {
        let (initiator, mut hello) = Initiator::begin(&key(1)).unwrap();
        if second {
            let (mut reply, _) = answer(&key(1), &hello).unwrap();
            reply[at] ^= flip;
            prop_assert!(initiator.finish(&reply).is_err());
        } else {
            hello[at] ^= flip;
            prop_assert!(answer(&key(1), &hello).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused(hello in prop::array::uniform32(any::<u8>()), tag: [u8; 16]) {
        let bytes = [b"TDS\x01", &hello[..], &tag].concat().try_into().unwrap();
        prop_assert_eq!(answer(&key(1), &bytes).unwrap_err(), HandshakeError::KeysDiffer);
    }
}
