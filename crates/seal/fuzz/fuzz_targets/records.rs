//! Any bytes in the place of sealed records: what is heard is a beginning of what was said.
//!
//! Input: pieces of three bytes. The first says what is done with the next record, the others are numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::{Initiator, KEY_LEN, Key, MAX_PLAIN_LEN, answer, record_len};

fuzz_target!(|input: &[u8]| {
    let key = Key::from_bytes([7; KEY_LEN]);
    let Ok((initiator, hello)) = Initiator::begin(&key) else { return };
    let Ok((reply, mut server)) = answer(&key, &hello) else { return };
    let Ok(mut client) = initiator.finish(&reply) else { return };
    let (mut said, mut heard, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
    let mut wire = Vec::new();
    let (pieces, raw) = input.as_chunks::<3>();
    for &[what, a, b] in pieces {
        let plain = vec![b; 1 + usize::from(a)];
        let len = client.sealer.seal(&plain, plain.len(), &mut buffer);
        let record = &mut buffer[..len];
        said.extend_from_slice(&plain);
        match what & 7 {
            0 => record[usize::from(b) % len] ^= a | 1,
            1 => wire.extend_from_slice(record),
            2 => continue,
            3 => wire.extend_from_slice(raw),
            _ => {}
        }
        wire.extend_from_slice(record);
    }
    let mut plain = vec![0; MAX_PLAIN_LEN];
    let mut rest = &wire[..];
    while let Ok(Some(len)) = record_len(rest) {
        let Some((record, after)) = rest.split_at_checked(len) else { break };
        let Ok(len) = server.opener.open(record, &mut plain) else { break };
        heard.extend_from_slice(&plain[..len]);
        rest = after;
    }
    assert!(said.starts_with(&heard));
});
