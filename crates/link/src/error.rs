//! How a link ends.

use std::io;
use std::time::Duration;

use framing::frame::FrameError;
use framing::{Refusal, WireError};

/// Why a link is no longer of use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// The peer closed the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The peer closed the connection and had not said anything at all. So does a server that wants a key.
    #[error("the other side closed the connection without a word: it may want a key")]
    Unanswered,
    /// The peer comes with a key, and here is none.
    #[error("the other side comes with a key, and this side has none")]
    Keyed,
    /// Nothing moved for so long.
    #[error("nothing was heard from the other side for {} s", .0.as_secs_f32().round())]
    Silent(Duration),
    /// A frame was begun and not brought to its end.
    #[error("the other side is too slow: one frame took more than {} s", .0.as_secs())]
    Slow(Duration),
    /// The peer said that it works, and did nothing else for so long.
    #[error("the other side says that it works, but nothing came of it in {} s", .0.as_secs_f32().round())]
    Stalled(Duration),
    /// The bytes of the stream are not what the peer sent.
    #[error("the stream is damaged: {0}")]
    Damaged(&'static str),
    /// The peer does not speak this protocol.
    #[error("the other side does not speak Tandem's protocol: it sent {0}")]
    Foreign(String),
    /// The peer speaks another version of it.
    #[error("the other side speaks version {0} of the protocol, this side version {ours}", ours = framing::frame::VERSION)]
    Version(u8),
    /// The peer sent a message that is not well-formed.
    #[error("the other side sent a malformed message: {0}")]
    Malformed(#[from] WireError),
    /// The peer sent a frame that is not well-formed.
    #[error("the other side sent a malformed frame: {0}")]
    MalformedFrame(FrameError),
    /// The peer sent something well-formed that it must not send, or not now.
    #[error("the other side broke the protocol: {0}")]
    Misbehaved(String),
    /// The peer ended the conversation and said why.
    #[error("{text}")]
    Refused {
        /// The kind of reason.
        refusal: Refusal,
        /// The reason in words, from the peer: not to be trusted.
        text: String,
    },
    /// This side ended the transfer.
    #[error("the transfer was stopped")]
    Stopped,
    /// The connection has no numbers left for the chunks of a transfer.
    #[error("too many bytes for one connection over UDP")]
    TooManyChunks,
    /// A message is too long to go in one datagram.
    #[error("a datagram of {len} bytes does not fit the path: the most is {most}")]
    DatagramTooLong {
        /// Its bytes.
        len: usize,
        /// The most that fit now.
        most: usize,
    },
    /// Chunks can't be sent unrepaired over this transport.
    #[error("plain transfers are only possible over UDP")]
    NotPlain,
}

impl LinkError {
    /// Whether a new connection may do better.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Broken(_)
            | Self::Closed
            | Self::Unanswered
            | Self::Silent(_)
            | Self::Slow(_)
            | Self::Stalled(_)
            | Self::Damaged(_) => true,
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Busy | Refusal::Stopping),
            Self::Keyed
            | Self::Foreign(_)
            | Self::Version(_)
            | Self::Malformed(_)
            | Self::MalformedFrame(_)
            | Self::Misbehaved(_)
            | Self::Stopped
            | Self::TooManyChunks
            | Self::DatagramTooLong { .. }
            | Self::NotPlain => false,
        }
    }

    /// What to tell the peer before closing, when the fault is the peer's.
    #[must_use]
    pub const fn is_peers_fault(&self) -> bool {
        matches!(
            self,
            Self::Keyed
                | Self::Foreign(_)
                | Self::Version(_)
                | Self::Malformed(_)
                | Self::MalformedFrame(_)
                | Self::Misbehaved(_)
        )
    }
}

/// Why no link came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be looked up.
    #[error("cannot find {server}: {error}")]
    Lookup {
        /// What was asked for.
        server: String,
        /// Why.
        error: io::Error,
    },
    /// Nobody answered there.
    #[error("cannot connect to {server}: {error}")]
    Connect {
        /// What was asked for.
        server: String,
        /// Why.
        error: io::Error,
    },
    /// The kernel does not have this congestion control.
    #[error("no congestion control {name:?} for TCP here{}", available.as_ref().map(|list| format!("; there are: {list}")).unwrap_or_default())]
    Congestion {
        /// What was asked for.
        name: String,
        /// What there is.
        available: Option<String>,
    },
    /// The two sides do not have the same key: the server turned this one away, or did not prove that it has it.
    #[error("the keys differ: {server} has another one than this side")]
    KeysDiffer {
        /// What was asked for.
        server: String,
    },
    /// This side has a key and the server has none. Nothing was sent to it that it could read.
    #[error("{server} has no key, and this side has one")]
    Keyless {
        /// What was asked for.
        server: String,
    },
    /// The server has a key and this side has none.
    #[error("{server} wants a key, and this side has none")]
    Keyed {
        /// What was asked for.
        server: String,
    },
    /// The handshake failed for another reason.
    #[error("no handshake with {server}: {error}")]
    Handshake {
        /// What was asked for.
        server: String,
        /// Why.
        error: String,
    },
    /// A setting of the socket failed.
    #[error("cannot set up the socket: {0}")]
    Socket(#[from] io::Error),
}

impl ConnectError {
    /// Whether trying again may do better.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Lookup { .. })
    }
}
