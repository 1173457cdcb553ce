//! Raw mode: bytes as they are, for programs that do not speak Tandem's protocol.
//!
//! A server [`echo`]es or keeps what comes, a [stream](keep) up to its end, [datagrams](Gathering) up to an empty one or a
//! silence. A client [sends](send) a file, or [talks](converse). A first message that [`is_greeting`] is greeted back.
//!
//! None of this is proved: no checksum crosses the link, and over UDP what got lost is not missed.

mod datagrams;
mod intake;
mod stream;

use std::io;
use std::time::Duration;

use framing::Digest;
use link::LinkError;

pub use datagrams::{Due, Gathering, Plan, answer, converse_datagrams, send_datagrams};
pub use intake::{Intake, Keeper, Kept};
pub use stream::{Echoed, TYPING_LIMIT, converse, echo, keep, send};

/// What a server answers to a greeting.
pub const GREETING: &[u8] = b"Hello from the server!";
/// What a greeting begins with, in capital letters or not.
const HELLO: &[u8] = b"Hello";
/// The most bytes of a greeting.
const MAX_HELLO_LEN: usize = 1024;
/// After so long without another byte a message counts as complete, whether it has an end of line or not.
const PAUSE: Duration = Duration::from_millis(200);
/// After so long without another byte what may be a greeting is one. Less might be a loss on the way, or a busy machine.
const DOUBT: Duration = Duration::from_millis(500);

/// What was sent, by a client that sends a file.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Bytes.
    pub len: u64,
    /// Datagrams with bytes in them; 0 of a stream.
    pub datagrams: u64,
    /// Their MD5.
    pub digest: Digest,
    /// How long it took, until the other side closed the stream if it did.
    pub elapsed: Duration,
    /// What the other side did at the end.
    pub ending: Ending,
}

/// What the other side does when it has heard all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It closed the stream: it has taken all of it.
    Closed,
    /// It closed its own direction before: whether it has taken all is not known.
    ClosedEarly,
    /// It said nothing for long. Over UDP there is nothing else.
    Silent,
}

/// Why a client could not send.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// What is to be sent can't be read.
    #[error("{0}")]
    Source(io::Error),
    /// The link was lost.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Whether a message greets: one short line that begins with `Hello`.
#[must_use]
pub fn is_greeting(message: &[u8]) -> bool {
    message.len() >= HELLO.len() && may_become_greeting(message)
}

/// Whether a message greets, or will if it goes on as it begins.
fn may_become_greeting(message: &[u8]) -> bool {
    let same = message.len().min(HELLO.len());
    let inside = message.strip_suffix(b"\n").unwrap_or(message);
    message.len() <= MAX_HELLO_LEN
        && message[..same].eq_ignore_ascii_case(&HELLO[..same])
        && !inside.contains(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_short_lines_that_begin_with_hello() {
        let long = [b"Hello".as_slice(), &[b'o'; MAX_HELLO_LEN]].concat();
        for greeting in [b"Hello".as_slice(), b"hello, server!\r\n", b"HELLO\n", &long[..MAX_HELLO_LEN]] {
            assert!(is_greeting(greeting), "{}", greeting.escape_ascii());
        }
        for other in [b"".as_slice(), b"Hell", b"Hi", b" Hello", b"Hello\nworld", b"Hello\n\n", &long] {
            assert!(!is_greeting(other), "{}", other.escape_ascii());
        }
        for beginning in [b"".as_slice(), b"h", b"Hell"] {
            assert!(may_become_greeting(beginning));
        }
        assert!(!may_become_greeting(b"\n") && !may_become_greeting(b"Held"));
    }
}
