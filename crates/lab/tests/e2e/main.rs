//! The real programs from end to end, one topic a module.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod extent;
mod rogue;
mod scene;
mod valve;

mod clients;
mod errors;
mod json;
mod kill;
mod outside;
