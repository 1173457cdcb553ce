//! How a connection ends.

use std::time::Duration;

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The peer closed it.
    #[error("the other side closed the connection{}", if reason.is_empty() { String::new() } else { format!(": {}", reason.escape_debug()) })]
    Closed {
        /// 0 when all is well, 1 when it says that this side broke the protocol.
        code: u64,
        /// Its own words, not to be trusted.
        reason: String,
    },
    /// This side closed it.
    #[error("the connection was closed")]
    Ours,
    /// Nothing was heard for so long.
    #[error("nothing was heard from the other side for {} s", .0.as_secs_f32().round())]
    Silent(Duration),
    /// The peer does not know this connection: it was started anew, or gave it up.
    #[error("the other side does not know this connection any more")]
    Reset,
    /// The peer speaks another version of the protocol.
    #[error("the other side speaks version {0} of the protocol, this side version {ours}", ours = framing::packet::VERSION)]
    Version(u8),
    /// The peer sent something that it must not send.
    #[error("the other side broke the protocol: {0}")]
    Misbehaved(String),
}
