//! The session as its two sides live it, in private directories: over real loopback connections of both kinds, and
//! over a link that keeps no order.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod damage;
mod drop_box;
#[cfg(target_os = "linux")]
mod forbidden;
mod hostile;
mod limits;
mod loose;
mod orders;
mod pair;
mod plain;
mod raw;
mod requests;
mod streams;
mod swaps;
mod transfer;
