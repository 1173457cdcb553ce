//! Sealed records: what was said is heard, in order and whole, or nothing more is.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use proptest::prelude::*;
use seal::{
    Channel, Initiator, KEY_LEN, Key, MAX_PLAIN_LEN, Opener, RECORD_OVERHEAD, RecordError, Sealer, answer,
    record_len,
};

fn stream() -> (Sealer, Opener) {
    let key = Key::from_bytes([7; KEY_LEN]);
    let (initiator, hello) = Initiator::begin(&key).unwrap();
    let (reply, server) = answer(&key, &hello).unwrap();
    let Channel { sealer, .. } = initiator.finish(&reply).unwrap();
    (sealer, server.opener)
}

/// Opens records in a row until one is wrong: what they held, and what was wrong.
fn hear(opener: &mut Opener, mut records: &[u8]) -> (Vec<u8>, Option<RecordError>) {
    let mut heard = Vec::new();
    let mut plain = vec![0; MAX_PLAIN_LEN];
    loop {
        let len = match record_len(records) {
            Ok(Some(len)) if len <= records.len() => len,
            Ok(_) => return (heard, None),
            Err(error) => return (heard, Some(error)),
        };
        match opener.open(&records[..len], &mut plain) {
            Ok(len) => heard.extend_from_slice(&plain[..len]),
            Err(error) => return (heard, Some(error)),
        }
        records = &records[len..];
    }
}

#[test]
fn lengths_are_checked_before_anything_is_waited_for() {
    assert_eq!(record_len(&[0, 0, 0]), Ok(None));
    assert_eq!(record_len(&[0, 0, 0, 0]), Err(RecordError::Length(0)));
    assert_eq!(record_len(&[0, 2, 0, 0]), Ok(Some(MAX_PLAIN_LEN + RECORD_OVERHEAD)));
    assert_eq!(record_len(&[0, 2, 0, 1]), Err(RecordError::Length(MAX_PLAIN_LEN as u32 + 1)));
    assert_eq!(record_len(&[255; 9]), Err(RecordError::Length(u32::MAX)));
}

#[test]
fn after_one_wrong_record_none_is_taken() {
    let (mut sealer, mut opener) = stream();
    let mut records = Vec::new();
    let len = sealer.seal(b"one", 10, &mut records);
    let mut wrong = records[..len].to_vec();
    wrong[len - 1] ^= 1;
    assert_eq!(opener.open(&wrong, &mut [0; 10]), Err(RecordError::Forged));
    assert_eq!(opener.open(&records[..len], &mut [0; 10]), Err(RecordError::Forged));
}

#[test]
fn a_record_needs_its_room_and_its_length() {
    let (mut sealer, mut opener) = stream();
    let mut records = Vec::new();
    let len = sealer.seal(b"three", 10, &mut records);
    for wrong in [&records[..len - 1], &[&records[..len], &[0]].concat(), &[], &records[..4]] {
        let (_, mut other) = stream();
        assert!(other.open(wrong, &mut [0; 10]).is_err());
    }
    assert!(opener.would_open(&records[..len]) && !opener.would_open(&records[..len - 1]));
    assert_eq!(opener.open(&records[..len], &mut [0; 5]), Ok(5));
    assert!(!opener.would_open(&records[..len]), "it was opened already");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_is_heard_as_it_was_said(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5000), 1..6000_usize), 1..8),
    ) {
        let (mut sealer, mut opener) = stream();
        let (mut said, mut sent, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for (piece, most) in &pieces {
            let len = sealer.seal(piece, *most, &mut records);
            said.extend_from_slice(piece);
            sent.extend_from_slice(&records[..len]);
        }
        prop_assert_eq!(hear(&mut opener, &sent), (said, None));
    }

    #[test]
    fn what_an_attacker_does_shortens_the_stream_and_nothing_else(
        lens in prop::collection::vec(1..300_usize, 2..8),
        what in 0..6,
        (a, b) in any::<(prop::sample::Index, prop::sample::Index)>(),
        flip in 1..=255_u8,
    ) {
        let (mut sealer, mut opener) = stream();
        let (mut said, mut buffer, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for (at, &len) in lens.iter().enumerate() {
            let bytes = vec![at as u8; len];
            let end = sealer.seal(&bytes, len, &mut buffer);
            said.extend_from_slice(&bytes);
            records.push(buffer[..end].to_vec());
        }
        let (a, b) = (a.index(records.len()), b.index(records.len()));
        let changed = match what {
            0 => { let at = b % records[a].len(); records[a][at] ^= flip; true }
            1 => { records.swap(a, b); a != b }
            2 => { let again = records[a].clone(); records.insert(b, again); true }
            3 => { records.remove(a); true }
            4 => { let len = records[a].len() - 1; records[a].truncate(len); true }
            _ => { records[a].push(flip); true }
        };
        let (heard, error) = hear(&mut opener, &records.concat());
        prop_assert!(said.starts_with(&heard));
        prop_assert!(!changed || heard.len() < said.len() || error.is_some() || matches!(what, 2 | 5));
    }
}
