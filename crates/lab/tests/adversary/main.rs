//! Attacks on the real programs. Each is a line of a table: what was tried how often, what was lost, and what it cost the
//! server. The lines go to standard error as the tests end, and to `target/adversary.md`.
//!
//! `lab attack` tries the same with larger numbers and measures what it does to who is served meanwhile.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod table;

#[path = "../e2e/scene.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod scene;

mod files;
mod network;
mod warning;
