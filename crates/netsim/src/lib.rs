//! A bad network in a box: a seeded fault model of a link.
//!
//! No I/O and no clock: a caller says that a packet of so many bytes enters a [`Link`] at such a time, and is told what
//! becomes of it. [`Net`] puts two links and a queue of what is under way on top, for tests on a virtual clock.
//!
//! ```
//! use std::time::Duration;
//! use netsim::{Direction, Faults, Jitter, Loss, Net, Queue};
//!
//! let faults = Faults {
//!     rate: Some(100_000_000),
//!     queue: Some(Queue::Bytes(1_250_000)),
//!     delay: Duration::from_millis(50),
//!     jitter: Some(Jitter::uniform(Duration::from_millis(5))),
//!     loss: Loss::Bernoulli(0.05),
//!     overhead: 28,
//!     ..Faults::default()
//! };
//! faults.check()?;
//! let mut net = Net::new(faults.clone(), faults, 1);
//! let verdict = net.send(Direction::Up, Duration::ZERO, b"hello".to_vec());
//! assert!(verdict.dropped().is_none());
//! let at = net.next_arrival().expect("it was not lost");
//! assert_eq!(net.receive(at), Some((Direction::Up, b"hello".to_vec())));
//! # Ok::<(), netsim::FaultError>(())
//! ```
//!
//! # A packet's way
//!
//! 1. A **blackout** takes everything that enters while it lasts.
//! 2. The **queue** in front of the bottleneck drops what does not fit (drop-tail); the **rate** serialises the rest.
//! 3. **Loss**, on the far side: a lost packet has used its share of the link.
//! 4. **Duplication**; the copies go their own ways from here on.
//! 5. **Delay** and **jitter**, which keep the order unless told otherwise.
//! 6. **Reordering**: some packets are held back, and others overtake them.
//! 7. **Corruption**, and **resets** of TCP. Whole IP packets are handed to [`packet::spoil`] and [`packet::reset`], payloads
//!    to [`Damage::apply`].
//!
//! # What a verdict depends on
//!
//! Each random choice is a function of the seed, the direction, the kind of fault, the packet's number and which copy it
//! is, and of nothing else (Philox4x32-10, a counter-based generator). So the same seed gives the same choices, in any
//! run, on any machine, and switching one fault on does not move another. Numbers count what enters, from 0, whatever
//! becomes of it. Only two things carry state from packet to packet besides: the queue, and the order that jitter keeps.

#![forbid(unsafe_code)]

mod damage;
mod dice;
mod estimate;
mod faults;
mod link;
mod net;
pub mod packet;
mod preset;
mod text;

pub use damage::{Change, Damage};
pub use estimate::Estimate;
pub use faults::{
    Corrupt, CorruptKind, FaultError, Faults, Jitter, Loss, MAX_RATE, MAX_TIME, Queue, Reorder, Reset,
    Spread, Window,
};
pub use link::{Cause, Delivery, Fate, Link, Stats, Verdict};
pub use net::{Direction, Net};
pub use preset::{PRESETS, Preset};
pub use text::{FLAGS, FaultText, Flag, TextError};
