//! What the I/O thread of a socket and the links on it share.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::peer::Peer;
use super::socket::Port;
use super::wake::Waker;

/// Something for the I/O thread to do.
#[derive(Debug)]
pub(super) enum Request {
    /// A new connection is to be looked after.
    Add(Arc<Peer>),
    /// The timer of this connection goes off earlier than it knows.
    Arm(u32),
    /// The link of this connection is gone. What comes for it is answered with this packet, its last one.
    Forget { cid: u32, last: Vec<u8>, to: SocketAddr },
    /// A datagram could not go because nobody listens at the other end.
    Refused,
    /// No link is left.
    Stop,
}

/// The socket, and the way to its I/O thread.
#[derive(Debug)]
pub(super) struct Hub {
    port: Port,
    waker: Waker,
    requests: Mutex<Vec<Request>>,
}

impl Hub {
    pub(super) fn new(port: Port) -> std::io::Result<Self> {
        Ok(Self { port, waker: Waker::new()?, requests: Mutex::default() })
    }

    pub(super) const fn port(&self) -> &Port {
        &self.port
    }

    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Gives the I/O thread something to do.
    pub(super) fn request(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.waker.wake();
    }

    /// What there is to do.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps the I/O thread going. The last one that is dropped ends it, and with it the socket.
#[derive(Debug)]
pub(super) struct Handle {
    hub: Arc<Hub>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(super) const fn new(hub: Arc<Hub>, thread: JoinHandle<()>) -> Self {
        Self { hub, thread: Some(thread) }
    }

    pub(super) const fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.hub.request(Request::Stop);
        // Links and endpoints are only dropped by the threads that use them, never by the I/O thread itself.
        if let Some(thread) = self.thread.take() {
            // Its port is free again when this is over.
            let _ = thread.join();
        }
    }
}
