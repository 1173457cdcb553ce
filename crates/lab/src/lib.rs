//! The proof: the real programs, run and judged from outside.
//!
//! [`process`] runs a server and clients as a person would, and kills what does not end; end-to-end tests of other
//! crates use it too. The program `lab` sends files from one to the other over
//! each [`Transport`] and compares the checksums itself. [`attack`] does to real servers what somebody without the key would.

pub mod attack;
pub mod process;
mod transport;

pub use transport::Transport;
