//! How chunks survive UDP: selective-repeat ARQ, loss recovery, congestion control, pacing.
//!
//! A [`Connection`] is a state machine. It is handed packets and the time, and gives packets and times; it never sleeps,
//! reads a clock, or knows a socket, a thread or a file. [`Gate`] answers a server's strangers without keeping anything of
//! them. [`Assembly`] is the set arithmetic of a receiver of chunks.
//!
//! ```text
//! sending    claim (which part goes next?) -> the caller reads its bytes -> commit (its number, its time)
//! receiving  handle -> Received::Part -> Assembly::take -> pieces, each written in place at once
//! the rest   poll_transmit (handshake, acknowledgements, messages, datagrams, probes, close), timeout, handle_timeout
//! ```
//!
//! No byte of a file is kept here: a part that was lost is read again, a part that comes is handed on at once.
//! The packets are those of `framing::packet`; why the control law is what it is, and what it does, is in `README.md`.

mod assembly;
mod black_hole;
mod config;
mod congestion;
mod connection;
mod control;
mod datagrams;
mod end;
mod gate;
mod mtu;
mod pacer;
mod parts;
mod received;
mod rtt;
mod sent;
mod stats;

pub use assembly::{Assembly, AssemblyError, Piece};
pub use config::Config;
pub use congestion::Congestion;
pub use connection::{Connection, Next, PartHeader, PlainHeader, Received, Waiting};
pub use control::MAX_MESSAGE_LEN;
pub use datagrams::DatagramError;
pub use end::End;
pub use gate::{Accepted, First, Gate};
pub use parts::Claim;
pub use stats::{Footprint, Stats, Trace};
