//! How a conversation ends before its end.

use std::io;

use framing::{Feature, MAX_ECHO_LEN, ManifestError, Refusal};
use link::{ConnectError, LinkError};

use crate::crowd::Crowded;
use crate::source::SourceError;
use crate::store::StoreError;
use crate::stream::StreamReport;

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The link was lost, or the other side ended it.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other side does not do what is wanted of it.
    #[error("the other side does not allow {}", .0.name())]
    NotOffered(Feature),
    /// The other side lets nobody go to its directories.
    #[error("the other side takes files and shows no directories to go to (--write-only)")]
    NoDirectories,
    /// A file of this side can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file of this side can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too much for one transfer.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Other clients' transfers are about so many files already.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// Names that don't fit into one request.
    #[error("the names are too long for one request; ask for a directory, or for fewer files at a time")]
    TooManyNames,
    /// More to be echoed than may be at a time.
    #[error("{0} bytes to be echoed; at most {MAX_ECHO_LEN} are possible at a time")]
    TooLongToEcho(usize),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The link was lost in the middle of a stream.
    #[error("{error}")]
    StreamCut {
        /// How it was lost.
        error: LinkError,
        /// What had come by then.
        report: Box<StreamReport>,
    },
    /// What was asked is not done: the side that was asked said why. Only its client hears this; the conversation goes on.
    #[error("{text}")]
    Declined {
        /// The kind of reason.
        refusal: Refusal,
        /// The reason in words; from the other side, so not to be trusted.
        text: String,
    },
}

impl SessionError {
    /// Whether a new connection may do better.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Link(error) | Self::StreamCut { error, .. } => error.is_passing(),
            Self::Connect(error) => error.is_passing(),
            _ => false,
        }
    }
}
