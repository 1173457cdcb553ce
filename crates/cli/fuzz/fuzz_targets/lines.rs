//! Whatever is typed at the prompt: it makes sense, or what is wrong with it is one line, and not a long one, that steers no
//! terminal.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Err(text) = cli::prompt::check(line) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() < 200 + 8 * line.len(), "{text:?}");
    }
});
