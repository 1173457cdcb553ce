//! A server in a thread.

use std::net::SocketAddr;

use super::*;

pub(super) fn hello() -> Message<'static> {
    Message::Hello(Hello { features: 0, software: "a-program-of-that-name" })
}

/// A server that gives its links away.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) links: std::sync::mpsc::Receiver<Box<dyn Link>>,
    _stop: UnixStream,
}

impl Server {
    pub(super) fn start(options: &TcpOptions) -> Self {
        let mut endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let address = endpoint.local_addr();
        let (wake, stop) = UnixStream::pair().unwrap();
        let (give, links) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while let Some(link) = endpoint.accept(wake.as_fd()).unwrap() {
                if give.send(link).is_err() {
                    break;
                }
            }
        });
        Self { address, links, _stop: stop }
    }

    pub(super) fn link(&self) -> Box<dyn Link> {
        self.links.recv_timeout(WAIT).unwrap()
    }

    /// Whether it still takes those who have the key, and has taken nobody else.
    pub(super) fn assert_sound(&self, options: &TcpOptions) {
        let mut near = TcpLink::connect(&self.address.to_string(), options).unwrap();
        near.send(&Message::Working).unwrap();
        let mut far = self.link();
        assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
        assert!(self.links.try_recv().is_err());
    }
}
