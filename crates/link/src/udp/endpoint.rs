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
use super::knock::{Finding, Knocks};
use super::outbox::Outbox;
use super::peer::Peer;
use super::sealed::Guard;
use super::socket::Port;
use super::{UdpLink, UdpOptions, engine};
use crate::ready::wait;
use crate::{ConnectError, Link, Listener};

/// How long an attempt to connect may take for each address.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

impl UdpLink {
    /// Connects to `server`, a name or address with a port, trying each address that the name has.
    ///
    /// A server that has another key than this side, or none, or one where this side has none, is found out after half a second
    /// on a good path.
    pub fn connect(server: &str, options: &UdpOptions) -> Result<Self, ConnectError> {
        let lookup = |error| ConnectError::Lookup { server: server.to_owned(), error };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.to_socket_addrs().map_err(lookup)? {
            match Self::connect_to(address, options) {
                Ok(link) => return Ok(link),
                Err(Failure::Key(finding)) => {
                    if let Some(error) = finding.error(server) {
                        return Err(error);
                    }
                }
                Err(Failure::Io(error)) => last = error,
            }
        }
        Err(ConnectError::Connect { server: server.to_owned(), error: last })
    }

    fn connect_to(address: SocketAddr, options: &UdpOptions) -> Result<Self, Failure> {
        let hub = Arc::new(Hub::new(Port::connect(address)?)?);
        if let Some(advice) = hub.port().advice() {
            options.say(&advice);
        }
        let handle = engine::start(&hub, None, options.key.clone())?;
        let config = options.config(address, LEAST_WINDOW);
        let [cid, seed] = [random()?, random()?].map(u64::from_ne_bytes);
        let guard = options.key.as_ref().map(|key| Guard::greet(key, cid as u32));
        let guard = guard.transpose().map_err(io::Error::other)?;
        let now = Instant::now();
        let conn = Connection::connect(config, address, cid as u32, seed, now);
        let peer = Arc::new(Peer::new(conn, None, guard));
        peer.lock().knocks = Some(Knocks::new(options.key.clone(), now));
        let link = Self::new(handle, Arc::clone(&peer), address);
        hub.request(Request::Add(Arc::clone(&peer)));
        peer.flush(&hub, &mut Outbox::default());
        await_answer(&peer, &hub, address, now + CONNECT_LIMIT)?;
        Ok(link)
    }
}

/// Why an address gave no link.
#[derive(Debug)]
enum Failure {
    Io(io::Error),
    /// The server has not the same key.
    Key(Finding),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<io::ErrorKind> for Failure {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(kind.into())
    }
}

/// Waits for the server's answer, and knocks while there is none.
fn await_answer(peer: &Peer, hub: &Hub, address: SocketAddr, deadline: Instant) -> Result<(), Failure> {
    let mut outbox = Outbox::default();
    let mut state = peer.lock();
    while let Some(knocks) = &mut state.knocks {
        let now = Instant::now();
        let due = knocks.due().unwrap_or(deadline).min(deadline);
        let finding = knocks.finding();
        if due <= now && now < deadline {
            knocks.knock(now, address, &mut outbox)?;
            drop(state);
            peer.send(hub, &mut outbox);
            state = peer.lock();
            continue;
        }
        if let Some(kind) = state.broken {
            return Err(kind.into());
        }
        if let Some(finding) = finding.filter(|finding| *finding != Finding::Same) {
            return Err(Failure::Key(finding));
        }
        match state.conn.end() {
            // What is wrong with the server is for the conversation to tell, and so is what it said before it closed.
            Some(End::Version(_) | End::Closed { .. }) => state.knocks = None,
            Some(end) => return Err(io::Error::other(end.to_string()).into()),
            None if state.conn.is_established() => state.knocks = None,
            None if now >= deadline => return Err(late(finding).into()),
            None => state = peer.wait(state, due),
        }
    }
    Ok(())
}

/// That the time is over, of a server that has the same key as this side, or that is not known at all.
fn late(finding: Option<Finding>) -> io::Error {
    match finding {
        Some(_) => io::Error::new(io::ErrorKind::ResourceBusy, "it is there, but takes no connection now"),
        None => io::ErrorKind::TimedOut.into(),
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
