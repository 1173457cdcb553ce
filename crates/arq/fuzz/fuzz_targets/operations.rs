//! Any operations on a pair of connections, as `tests/operations` has them: nobody misbehaves, nothing is lost for good.
//!
//! Input: one byte of settings, then three bytes for each operation.

#![no_main]

#[path = "../../tests/operations/pair.rs"]
mod pair;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&setting, rest)) = input.split_first() else { return };
    let (ops, _) = rest.as_chunks::<3>();
    pair::run(setting, &ops[..ops.len().min(1000)]);
});
