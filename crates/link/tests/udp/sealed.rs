//! The same with a key: everything that is true without one, and nothing that can be read or changed on the way.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod keys;

const HAS_KEY: bool = true;

include!("body.rs");
