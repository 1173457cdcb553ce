//! What a link or a listener has to say besides what it is asked.

use std::net::SocketAddr;
use std::sync::Arc;

/// Something worth knowing that is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A line that the user should read, such as a setting of the system that is in the way.
    Advice(&'a str),
    /// A peer was turned away before there was a link to it. Over UDP its address may be forged. There may be any number of these
    /// in a second.
    TurnedAway {
        /// Its address.
        peer: SocketAddr,
        /// Why.
        why: &'a str,
    },
}

/// What is said of a client that keeps silent, and of one that is not waited for any longer because of a crowd.
pub(crate) const TOO_SLOW: &str = "it took too long for its handshake";
pub(crate) const CROWDED_OUT: &str = "too many wait for their handshake at once";

/// Takes notices. Called by threads that have other things to do: must be quick.
pub type Note = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;
