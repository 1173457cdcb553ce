//! What the two sides say to each other, over any link, and the store that keeps what arrives.
//!
//! A client holds a [`Conversation`], a server [`serve`]s; each transfer comes down to one sender and one receiver that
//! meet over a [`Link`](link::Link). This crate knows files and the conversation. It never knows which transport it is on, and
//! never prints: what happens is told to an [`Observer`].
//!
//! ```text
//! put  Put, Entries, Holes        ->
//!                                 <-  Compare (what is held already)
//!      Sums                       ->
//!                                 <-  Decisions, Want
//!      chunks, Sent{digest}       ->
//!                                 <-  Stored{verdict}
//! ```
//!
//! A *plain* transfer compares nothing, sends each chunk once, and ends with a report of what became of each.

mod allowance;
mod compare;
mod content;
mod conversation;
mod crowd;
mod error;
mod events;
mod hashing;
mod hello;
mod history;
mod intake;
mod listing;
mod plain;
mod queue;
pub mod raw;
mod receive;
mod retry;
#[cfg(test)]
mod script;
mod send;
mod serve;
mod sets;
mod source;
pub mod store;
mod stream;

use std::ffi::OsString;
use std::time::Instant;

use framing::Checksum;

use content::Made;
use history::History;

pub use conversation::{Conversation, Echo};
pub use crowd::Crowded;
pub use error::SessionError;
pub use events::{Answer, Event, Faults, FileReport, Observer, Outcome, Request, Side, Summary, Turn};
pub use hello::refuse;
pub use listing::Listed;
pub use retry::with_retry;
pub use serve::{Patience, Service, serve};
pub use source::{SourceError, Sources};
pub use store::{IfExists, LimitError, Limits, Store, StoreError, StoreOptions};
pub use stream::{
    Bar, Gaps, MAX_STREAM_COUNT, MAX_STREAM_INTERVAL, MAX_STREAM_RATE, PacketKind, StreamLimits,
    StreamPacket, StreamPlan, StreamReport,
};

/// Who calls, and who wants to hear what happens.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Name and version of the program, as the other side shall see it.
    pub software: &'a str,
    /// Who is told what happens.
    pub observer: &'a dyn Observer,
}

/// How files are transferred.
#[derive(Debug, Clone, Copy)]
struct How {
    checksum: Checksum,
    /// Each chunk once, and nothing repaired.
    plain: bool,
}

/// Files to be sent, and what has become of them over all connections of this run.
#[derive(Debug)]
pub struct PutJob {
    sources: Sources,
    how: How,
    history: History,
    /// Since when it is at it.
    began: Option<Instant>,
    summary: Summary,
}

/// What is to be fetched.
#[derive(Debug)]
enum Wish {
    /// Files and trees of these names.
    Names(Vec<OsString>),
    /// A text that the server makes up.
    Made(Made),
}

/// Files to be fetched, and what has become of them over all connections of this run.
#[derive(Debug)]
pub struct GetJob {
    wish: Wish,
    how: How,
    follow: bool,
    history: History,
    /// Since when it is at it.
    began: Option<Instant>,
    summary: Summary,
}
