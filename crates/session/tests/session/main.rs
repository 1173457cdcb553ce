//! The session as its two sides live it: over real loopback connections, in private directories.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod damage;
mod hostile;
mod pair;
mod transfer;
