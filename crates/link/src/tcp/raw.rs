//! A TCP connection without frames.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use socket2::SockRef;

use super::is_passing;
use super::socket::{TcpEndpoint, TcpOptions, connect};
use crate::raw::ByteStream;
use crate::ready::wait;
use crate::{Closer, ConnectError, IDLE_LIMIT, LinkError};

/// A TCP connection that carries bytes as they are.
#[derive(Debug)]
pub struct RawStream {
    stream: TcpStream,
    peer: SocketAddr,
    /// Whether this side has closed it: then its end is not that of what the peer sends.
    is_closed: Arc<AtomicBool>,
}

impl RawStream {
    /// Connects to `server`, a name or address with a port, trying each address that the name has.
    ///
    /// When this process dies before [`ByteStream::finish`], the peer sees a broken connection, not the end of the stream.
    pub fn connect(server: &str, options: &TcpOptions) -> Result<Self, ConnectError> {
        let (stream, peer) = connect(server, options)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(Self::new(stream, peer)?)
    }

    fn new(stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, peer, is_closed: Arc::default() })
    }

    /// The peer's address.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Waits until there is something to read, or the end, at most so long: whether there is.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        wait(&[(&self.stream, PollFlags::IN)], Some(Instant::now() + limit)).is_ok_and(|[ready]| ready)
    }

    /// A handle with which another thread can end the connection at once.
    pub fn closer(&self) -> io::Result<Closer> {
        let stream = self.stream.try_clone()?;
        let is_closed = Arc::clone(&self.is_closed);
        Ok(Closer::new(move || {
            is_closed.store(true, Ordering::Release);
            // A connection that is gone already is as closed as it can be.
            let _ = stream.shutdown(Shutdown::Both);
        }))
    }
}

impl ByteStream for RawStream {
    fn read(&self, buffer: &mut [u8], limit: Duration) -> Result<Option<usize>, LinkError> {
        let deadline = Instant::now() + limit;
        loop {
            match (&self.stream).read(buffer) {
                Ok(0) if self.is_closed.load(Ordering::Acquire) => return Err(LinkError::Closed),
                Ok(read) => return Ok(Some(read)),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if !wait(&[(&self.stream, PollFlags::IN)], Some(deadline))?[0] {
                return Ok(None);
            }
        }
    }

    fn write(&self, mut bytes: &[u8]) -> Result<(), LinkError> {
        let mut deadline = Instant::now() + IDLE_LIMIT;
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    deadline = Instant::now() + IDLE_LIMIT;
                    continue;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if !wait(&[(&self.stream, PollFlags::OUT)], Some(deadline))?[0] {
                return Err(LinkError::Silent(IDLE_LIMIT));
            }
        }
        Ok(())
    }

    fn finish(&self) {
        // If either fails, the connection is gone already.
        let _ = SockRef::from(&self.stream).set_linger(None);
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl TcpEndpoint {
    /// Waits for the next peer, and takes its connection as it is: `None` once `wake` can be read.
    pub fn accept_raw(&self, wake: BorrowedFd<'_>) -> io::Result<Option<RawStream>> {
        self.next(wake, RawStream::new)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::Listener;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A client, and the server's end of its connection.
    fn pair() -> (RawStream, RawStream) {
        let options = TcpOptions::default();
        let endpoint = TcpEndpoint::bind(([127, 0, 0, 1], 0).into(), &options).unwrap();
        let far = RawStream::connect(&endpoint.local_addr().to_string(), &options).unwrap();
        let never = UdpSocket::bind("127.0.0.1:0").unwrap();
        (far, endpoint.accept_raw(never.as_fd()).unwrap().unwrap())
    }

    #[test]
    fn bytes_come_as_they_are_and_then_the_end() {
        let (far, near) = pair();
        let mut buffer = [0; 16];
        assert_eq!(near.read(&mut buffer, Duration::ZERO).unwrap(), None);
        far.write(b"any bytes\0").unwrap();
        far.finish();
        assert_eq!(near.read(&mut buffer, LIMIT).unwrap(), Some(10));
        assert_eq!(&buffer[..10], b"any bytes\0");
        assert_eq!(near.read(&mut buffer, LIMIT).unwrap(), Some(0));
        // The other direction is still open.
        near.write(b"back").unwrap();
        assert_eq!(far.read(&mut buffer, LIMIT).unwrap(), Some(4));
    }

    #[test]
    fn a_client_that_is_gone_before_its_end_breaks_the_stream() {
        let (far, near) = pair();
        far.write(b"half").unwrap();
        drop(far);
        let mut buffer = [0; 16];
        let read = || near.read(&mut buffer, LIMIT);
        let ends = std::iter::repeat_with(read).take(2).find(|end| !matches!(end, Ok(Some(1..))));
        assert!(matches!(ends, Some(Err(LinkError::Broken(_)))), "{ends:?}");
    }

    #[test]
    fn what_this_side_closes_is_no_end_of_the_stream() {
        let (_far, near) = pair();
        near.closer().unwrap().close();
        assert!(matches!(near.read(&mut [0; 16], LIMIT), Err(LinkError::Closed)));
    }
}
