//! The sockets: connecting and listening.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use seal::Key;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::TcpLink;
use super::greeting::greet;
use super::porch::Porch;
use crate::ready::wait;
use crate::{ConnectError, HANDSHAKE_LIMIT, Link, Listener, Note};

/// How long an attempt to connect may take for each address.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Connections that the kernel may keep for a server that is busy.
const BACKLOG: i32 = 1024;
/// How long to leave a server alone that has run out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Settings of a TCP socket.
#[derive(Clone)]
pub struct TcpOptions {
    /// The kernel's congestion control for this socket, such as `bbr`; the system's default unless given. Linux only.
    pub congestion: Option<String>,
    /// What both sides must have. With it everything is sealed, without it nothing.
    pub key: Option<Key>,
    /// How long a peer may take until its first message is there, with the handshake where there is a key:
    /// [`HANDSHAKE_LIMIT`] unless changed. Only of a server.
    pub handshake_limit: Duration,
    /// Takes notices of who was turned away.
    pub note: Option<Note>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { congestion: None, key: None, handshake_limit: HANDSHAKE_LIMIT, note: None }
    }
}

impl fmt::Debug for TcpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { congestion, key, handshake_limit, note: _ } = self;
        f.debug_struct("TcpOptions")
            .field("congestion", congestion)
            .field("key", key)
            .field("handshake_limit", handshake_limit)
            .finish_non_exhaustive()
    }
}

impl TcpOptions {
    pub(super) fn apply(&self, socket: SockRef<'_>) -> Result<(), ConnectError> {
        socket.set_tcp_nodelay(true)?;
        let keepalive =
            TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
        socket.set_tcp_keepalive(&keepalive)?;
        match &self.congestion {
            Some(name) => set_congestion(&socket, name),
            None => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn set_congestion(socket: &SockRef<'_>, name: &str) -> Result<(), ConnectError> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|_| ConnectError::Congestion {
        name: name.to_owned(),
        available: std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
            .ok()
            .map(|list| list.trim().to_owned()),
    })
}

#[cfg(not(target_os = "linux"))]
fn set_congestion(_: &SockRef<'_>, name: &str) -> Result<(), ConnectError> {
    Err(ConnectError::Congestion { name: name.to_owned(), available: None })
}

impl TcpLink {
    /// Connects to `server`, a name or address with a port, trying each address that the name has.
    pub fn connect(server: &str, options: &TcpOptions) -> Result<Self, ConnectError> {
        let (stream, peer) = connect(server, options)?;
        let sealed = options.key.as_ref().map(|key| greet(&stream, server, key)).transpose()?;
        let is_met = sealed.is_some();
        let mut link = Self::new(stream, peer, sealed)?;
        link.pipe.met = is_met;
        Ok(link)
    }
}

/// A connection to `server`, and its address.
pub(super) fn connect(server: &str, options: &TcpOptions) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let lookup = |error| ConnectError::Lookup { server: server.to_owned(), error };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in server.to_socket_addrs().map_err(lookup)? {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(stream) => {
                options.apply(SockRef::from(&stream))?;
                return Ok((stream, address));
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Connect { server: server.to_owned(), error: last })
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpEndpoint {
    listener: TcpListener,
    address: SocketAddr,
    /// Where peers wait until they have said something.
    porch: Porch,
}

impl TcpEndpoint {
    /// Listens on `address`; port 0 takes a free one. Accepted connections inherit the options.
    pub fn bind(address: SocketAddr, options: &TcpOptions) -> Result<Self, ConnectError> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if let Some(name) = &options.congestion {
            set_congestion(&SockRef::from(&socket), name)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        let porch = Porch::new(options.key.clone(), options.handshake_limit, options.note.clone());
        Ok(Self { listener, address, porch })
    }

    /// Waits for the next peer and makes a `T` of its connection: `None` once `wake` can be read.
    pub(super) fn next<T>(
        &self,
        wake: BorrowedFd<'_>,
        make: impl Fn(TcpStream, SocketAddr) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        loop {
            let ready = wait(&[(&self.listener, PollFlags::IN), (&wake, PollFlags::IN)], None)?;
            if ready[1] {
                return Ok(None);
            }
            match self.accept_one(&make) {
                Ok(made) => return Ok(Some(made)),
                // Out of descriptors or memory: those who are being served will give some back.
                Err(error) if is_shortage(&error) => {
                    wait(&[(&wake, PollFlags::IN)], Some(Instant::now() + PAUSE))?;
                }
                // Gone again before it was accepted: the next one, please.
                Err(_) => {}
            }
        }
    }

    fn accept_one<T>(&self, make: impl Fn(TcpStream, SocketAddr) -> io::Result<T>) -> io::Result<T> {
        let (stream, peer) = self.listener.accept()?;
        TcpOptions::default().apply(SockRef::from(&stream)).map_err(io::Error::other)?;
        make(stream, peer)
    }
}

impl Listener for TcpEndpoint {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self, wake: BorrowedFd<'_>) -> io::Result<Option<Box<dyn Link>>> {
        let link = self.porch.next(&self.listener, wake)?;
        Ok(link.map(|link| Box::new(link) as Box<dyn Link>))
    }
}

pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
