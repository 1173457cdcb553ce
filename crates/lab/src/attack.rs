//! Attacks on real servers: what was tried, what was lost, and what it cost the server.
//!
//! Each attack starts a server of its own ([`Target`]), does what it does, and then makes sure that nothing was lost: that the
//! server still takes a file from who may send one and gives it back, and that its directory has that and nothing else. The
//! tests try each with [`Effort::Test`], `lab attack` with [`Effort::Full`].

mod between;
mod crowd;
mod flood;
mod meter;
mod middle;
mod pace;
mod recorded;
mod row;
mod spoof;
mod stranger;
mod target;
mod wire;

pub use meter::{Cost, Meter};
pub use row::{HEAD, Row};
pub use target::{Dice, Guard, Target, noise};

use crate::Transport;

/// The most memory that a server may ever have taken, in KiB, whoever attacks it: what DESIGN.md allows for any transfer.
pub const MOST_MEMORY: u64 = 64 * 1024;

/// How much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What a test has time for, in a debug build on a busy machine.
    Test,
    /// What somebody has time for who wants to know it.
    Full,
}

impl Effort {
    /// One number or the other.
    #[must_use]
    pub const fn of(self, test: u64, full: u64) -> u64 {
        match self {
            Self::Test => test,
            Self::Full => full,
        }
    }
}

/// An attack: its name, and what it goes over.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// What it is called in the table.
    pub name: &'static str,
    /// What it can go over.
    pub transports: &'static [Transport],
    run: fn(Transport, Effort) -> anyhow::Result<Row>,
}

impl Attack {
    /// Tries it. An error is one of the attacker, or of a server that could not even be started.
    pub fn run(&self, transport: Transport, effort: Effort) -> anyhow::Result<Row> {
        use anyhow::Context as _;
        (self.run)(transport, effort).with_context(|| format!("{} over {transport}", self.name))
    }
}

const BOTH: &[Transport] = &Transport::ALL;
const TCP: &[Transport] = &[Transport::Tcp];
const UDP: &[Transport] = &[Transport::Udp];

/// All there are, in the order of the table.
pub const ALL: &[Attack] = &[
    Attack { name: "another key", transports: BOTH, run: wire::another_key },
    Attack { name: "first message, each bit flipped", transports: BOTH, run: wire::flipped },
    Attack { name: "first message, cut at each length", transports: BOTH, run: wire::cut },
    Attack { name: "garbage, server with a key", transports: BOTH, run: wire::garbage_to_key },
    Attack { name: "garbage, server without a key", transports: BOTH, run: wire::garbage_to_open },
    Attack { name: "all traffic read", transports: BOTH, run: recorded::capture },
    Attack { name: "made to speak in the clear", transports: BOTH, run: recorded::downgrade },
    Attack { name: "a whole conversation again", transports: BOTH, run: recorded::replay },
    Attack { name: "single pieces of a conversation again", transports: BOTH, run: recorded::replay_pieces },
    Attack { name: "bits flipped in a transfer", transports: BOTH, run: between::flips },
    Attack { name: "records and packets sent again", transports: BOTH, run: between::repeats },
    Attack { name: "records and packets in another order", transports: BOTH, run: between::reordering },
    Attack { name: "sent back to where it came from", transports: BOTH, run: between::reflection },
    Attack { name: "pieces of another session, same key", transports: BOTH, run: between::splicing },
    Attack { name: "first packet before it, another echo", transports: UDP, run: between::echoes },
    Attack { name: "forged, from the client's address", transports: UDP, run: between::injection },
    Attack { name: "in the names of other addresses", transports: UDP, run: spoof::addresses },
    Attack { name: "amplification, any first packet", transports: UDP, run: spoof::amplification },
    Attack { name: "flood of first messages, another key", transports: BOTH, run: flood::of_strangers },
    Attack { name: "flood of first messages, recorded", transports: BOTH, run: flood::of_recorded },
    Attack { name: "flood of first messages, no key", transports: BOTH, run: flood::without_key },
    Attack { name: "connected, and not a byte", transports: TCP, run: crowd::silent },
    Attack { name: "no key, connected, and not a byte", transports: BOTH, run: crowd::silent_without_key },
    Attack { name: "first message, a byte a second", transports: TCP, run: crowd::slow },
    Attack { name: "answered, and nothing more", transports: BOTH, run: crowd::half_open },
    Attack { name: "thousands of connections that say nothing", transports: BOTH, run: crowd::ten_thousand },
];
