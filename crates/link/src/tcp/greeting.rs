//! The client's side of the handshake that proves on both sides that they have the key, before anything else is said.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use seal::{HELLO_LEN, HandshakeError, Initiator, Key, check_start};

use super::is_passing;
use super::sealed::Sealed;
use crate::ConnectError;
use crate::ready::wait;

/// How long a server may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// What the server's first bytes are when it has no key: a frame of version 1.
const CLEAR_START: [u8; 3] = [b'T', b'D', framing::frame::VERSION];

/// The client's side, on a fresh connection.
pub(super) fn greet(stream: &TcpStream, server: &str, key: &Key) -> Result<Sealed, ConnectError> {
    stream.set_nonblocking(true)?;
    let deadline = Instant::now() + HANDSHAKE_LIMIT;
    let failed = |error| ConnectError::Connect { server: server.to_owned(), error };
    let refused = |error| explain(error, server);
    let (initiator, hello) = Initiator::begin(key).map_err(refused)?;
    let mut stream = stream;
    // A fresh socket has room for so little.
    stream.write_all(&hello).map_err(failed)?;
    let mut reply = [0; HELLO_LEN];
    let mut got = 0;
    while got < HELLO_LEN {
        if !wait(&[(stream, PollFlags::IN)], Some(deadline))?[0] {
            let text = format!("no answer to the handshake within {} s", HANDSHAKE_LIMIT.as_secs());
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        match stream.read(&mut reply[got..]) {
            Ok(0) => return Err(refused(HandshakeError::KeysDiffer)),
            Ok(read) => got += read,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        if reply[..got].starts_with(&CLEAR_START) {
            return Err(ConnectError::Keyless { server: server.to_owned() });
        }
        check_start(&reply[..got]).map_err(refused)?;
    }
    let channel = initiator.finish(&reply).map_err(refused)?;
    Ok(Sealed::new(channel, &[]))
}

fn explain(error: HandshakeError, server: &str) -> ConnectError {
    let server = server.to_owned();
    match error {
        HandshakeError::KeysDiffer => ConnectError::KeysDiffer { server },
        HandshakeError::NotSealed | HandshakeError::Version(_) | HandshakeError::Random => {
            ConnectError::Handshake { server, error: error.to_string() }
        }
    }
}
