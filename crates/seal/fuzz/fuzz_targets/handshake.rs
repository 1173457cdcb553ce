//! Any bytes in the place of a message of the handshake: nobody gets in, nobody panics.
//!
//! Input: one byte that says which message and how, and what it is, or what is changed in a good one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::{HELLO_LEN, Initiator, Key, answer, check_start};

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let _ = check_start(rest);
    // A fresh one: a fuzzer remembers good messages, and an old first message is taken where the key is the same.
    let Ok(key) = Key::generate() else { return };
    let Ok((initiator, hello)) = Initiator::begin(&key) else { return };
    let (is_answer, is_change) = (how & 1 == 1, how & 2 == 2);
    let good = match is_answer {
        true => answer(&key, &hello).expect("the same key").0,
        false => hello,
    };
    let mut bytes = if is_change { good } else { [0; HELLO_LEN] };
    for (byte, change) in bytes.iter_mut().zip(rest) {
        *byte ^= change;
    }
    let got_in = match is_answer {
        true => initiator.finish(&bytes).is_ok(),
        false => answer(&key, &bytes).is_ok(),
    };
    assert_eq!(got_in, bytes == good);
});
