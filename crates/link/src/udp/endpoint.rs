//! Where UDP links come from: connecting, and listening.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arq::{Connection, End};
use rustix::event::PollFlags;

use super::accept::{LEAST_WINDOW, Queue, Server, random};
use super::hub::{Handle, Hub, Request};
use super::outbox::Outbox;
use super::peer::Peer;
use super::sealed::Guard;
use super::socket::Port;
use super::wake::wait;
use super::{UdpLink, UdpOptions, engine};
use crate::{ConnectError, Link, Listener};

/// How long an attempt to connect may take for each address.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

impl UdpLink {
    /// Connects to `server`, a name or address with a port, trying each address that the name has.
    pub fn connect(server: &str, options: &UdpOptions) -> Result<Self, ConnectError> {
        let lookup = |error| ConnectError::Lookup { server: server.to_owned(), error };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.to_socket_addrs().map_err(lookup)? {
            match Self::connect_to(address, options) {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        let server = server.to_owned();
        if options.key.is_some() && last.kind() == io::ErrorKind::TimedOut {
            return Err(ConnectError::Unproved { server });
        }
        Err(ConnectError::Connect { server, error: last })
    }

    fn connect_to(address: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let hub = Arc::new(Hub::new(Port::connect(address)?)?);
        if let Some(advice) = hub.port().advice() {
            options.say(&advice);
        }
        let handle = engine::start(&hub, None, options.key.clone())?;
        let config = options.config(address, LEAST_WINDOW);
        let [cid, seed] = [random()?, random()?].map(u64::from_ne_bytes);
        let guard = options.key.as_ref().map(|key| Guard::greet(key, cid as u32));
        let guard = guard.transpose().map_err(io::Error::other)?;
        let conn = Connection::connect(config, address, cid as u32, seed, Instant::now());
        let peer = Arc::new(Peer::new(conn, None, guard));
        let link = Self::new(handle, Arc::clone(&peer), address);
        hub.request(Request::Add(Arc::clone(&peer)));
        peer.flush(&hub, &mut Outbox::default());
        let deadline = Instant::now() + CONNECT_LIMIT;
        let mut state = peer.lock();
        loop {
            if let Some(kind) = state.broken {
                return Err(kind.into());
            }
            match state.conn.end() {
                // What is wrong with the server is for the conversation to tell, and so is what it said before it closed.
                Some(End::Version(_) | End::Closed { .. }) => break,
                Some(end) => return Err(io::Error::other(end.to_string())),
                None if state.conn.is_established() => break,
                None if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                None => state = peer.wait(state, deadline),
            }
        }
        drop(state);
        Ok(link)
    }
}

/// A listening UDP socket, and the connections over it.
#[derive(Debug)]
pub struct UdpEndpoint {
    handle: Arc<Handle>,
    queue: Arc<Queue>,
    address: SocketAddr,
}

impl UdpEndpoint {
    /// Listens on `address`; port 0 takes a free one. Accepted connections have the same options.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> Result<Self, ConnectError> {
        let port = Port::bind(address)?;
        let address = port.local_addr();
        if let Some(advice) = port.advice() {
            options.say(&advice);
        }
        let hub = Arc::new(Hub::new(port)?);
        let queue = Arc::new(Queue::new()?);
        let server = Server::new(options.clone(), Arc::clone(&queue), address.ip().is_unspecified())?;
        let handle = engine::start(&hub, Some(server), options.key.clone())?;
        Ok(Self { handle, queue, address })
    }
}

impl Listener for UdpEndpoint {
    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self, wake: BorrowedFd<'_>) -> io::Result<Option<Box<dyn Link>>> {
        loop {
            let [woken, ready] = wait(&[(&wake, PollFlags::IN), (&self.queue.waker, PollFlags::IN)], None)?;
            if woken {
                return Ok(None);
            }
            if ready {
                self.queue.waker.settle();
            }
            if let Some(peer) = self.queue.pop() {
                // There may be more of them.
                self.queue.waker.wake();
                let address = peer.lock().conn.remote();
                return Ok(Some(Box::new(UdpLink::new(Arc::clone(&self.handle), peer, address))));
            }
        }
    }
}

impl Drop for UdpEndpoint {
    fn drop(&mut self) {
        for peer in self.queue.close() {
            let address = peer.lock().conn.remote();
            drop(UdpLink::new(Arc::clone(&self.handle), peer, address));
        }
    }
}
