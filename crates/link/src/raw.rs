//! Sockets without frames: whatever bytes come, for programs that do not speak Tandem's protocol.
//!
//! A [`RawStream`] is a TCP connection and nothing else, a [`RawPort`] a UDP socket. What the bytes are is for others to say.

use std::time::Duration;

use crate::LinkError;

pub use crate::tcp::RawStream;
pub use crate::udp::{Datagram, RawPort, Ready, Slots};

/// Bytes that come and go in order, until one side ends its own direction.
pub trait ByteStream: Send + Sync {
    /// Waits for bytes, at most so long: how many came, 0 at the end of the stream, `None` when nothing did. The buffer
    /// must not be empty.
    fn read(&self, buffer: &mut [u8], wait: Duration) -> Result<Option<usize>, LinkError>;

    /// Writes all of the bytes, as long as the other side goes on taking some.
    fn write(&self, bytes: &[u8]) -> Result<(), LinkError>;

    /// Says that nothing more will be written.
    fn finish(&self);
}
