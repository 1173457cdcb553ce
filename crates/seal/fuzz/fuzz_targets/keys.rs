//! Any text in the place of a key: it is one, which is then read as it is written, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::Key;

fuzz_target!(|input: &str| {
    if let Ok(key) = Key::parse(input) {
        assert_eq!(Key::parse(&key.short_form()), Ok(key));
    }
});
