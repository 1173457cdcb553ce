//! Somebody without the key, who sends bytes to a server and counts what comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use framing::packet::{self, VERSION, field};
use seal::Key;
use seal::datagram::{self, Greeting};

use crate::process::LIMIT;

/// How long to wait for an answer before the question is asked again.
const AGAIN: Duration = Duration::from_millis(100);
/// The client's id and echo of what a stranger sends at the end.
const LAST: (u32, u64) = (0xffff_fff0, 0x1a57_1a57_1a57_1a57);

/// Says something over a connection of its own, and then nothing more: all that comes back until it is closed.
pub(super) fn say(server: SocketAddr, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).context("cannot connect")?;
    stream.set_read_timeout(Some(LIMIT))?;
    // Whoever has heard enough may have closed already.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut back = Vec::new();
    match stream.read_to_end(&mut back) {
        Ok(_) => Ok(back),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(back),
        Err(error) => Err(error).context("the server does not close a connection"),
    }
}

/// A sealed Init of who has this key.
pub(super) fn sealed_init(key: &Key, client_cid: u32, echo: u64) -> anyhow::Result<Vec<u8>> {
    let greeting = Greeting::begin(key, client_cid)?;
    let mut init = Vec::new();
    packet::init(&mut init, VERSION, client_cid, echo);
    datagram::seal_init(greeting.hello(), &mut init, 0);
    Ok(init)
}

/// An Init of who has no key.
#[must_use]
pub(super) fn clear_init(client_cid: u32, echo: u64) -> Vec<u8> {
    let mut init = Vec::new();
    packet::init(&mut init, VERSION, client_cid, echo);
    init
}

/// A UDP socket that counts.
#[derive(Debug)]
pub(super) struct Stranger {
    socket: UdpSocket,
    /// Of a good client, to whom the server answers.
    key: Option<Key>,
    /// Datagrams and bytes that were sent to the server.
    pub(super) sent: (u64, u64),
    /// Datagrams and bytes that came from it.
    pub(super) got: (u64, u64),
}

impl Stranger {
    /// One on this machine. The key, where there is one, is only for [`settle`](Self::settle).
    pub(super) fn new(server: SocketAddr, key: Option<&Key>) -> anyhow::Result<Self> {
        Self::at(Ipv4Addr::LOCALHOST.into(), server, key)
    }

    /// One at this address.
    pub(super) fn at(own: IpAddr, server: SocketAddr, key: Option<&Key>) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((own, 0)).with_context(|| format!("cannot bind {own}"))?;
        socket.connect(server)?;
        // As much as the system allows.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20);
        Ok(Self { socket, key: key.cloned(), sent: (0, 0), got: (0, 0) })
    }

    /// Sends a datagram.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        // It is a network: what can't be sent is lost.
        if self.socket.send(datagram).is_ok() {
            self.sent = (self.sent.0 + 1, self.sent.1 + datagram.len() as u64);
        }
    }

    /// Waits until the server has judged all that was sent, and counts what came back. A server judges in the order in which
    /// things come, so the answer to a good Init comes last; the two don't count.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        // Another one each time: the same would not be answered for ever.
        let last = match &self.key {
            Some(key) => sealed_init(key, LAST.0, LAST.1)?,
            None => clear_init(LAST.0, LAST.1),
        };
        self.socket.send(&last)?;
        self.hear(&last).map(|_| ())
    }

    /// The answer to this Init, which counts.
    pub(super) fn ask(&mut self, init: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.send(init);
        let answer = self.hear(init)?;
        self.got = (self.got.0 + 1, self.got.1 + answer.len() as u64);
        Ok(answer)
    }

    /// How many bytes have come and were not looked at yet.
    pub(super) fn waiting(&self) -> u64 {
        let mut buffer = vec![0; 65_535];
        // What does not come at once has not been sent.
        let _ = self.socket.set_nonblocking(true);
        let lens = std::iter::from_fn(|| self.socket.recv(&mut buffer).ok());
        lens.map(|len| len as u64).sum()
    }

    /// Waits for the answer to this Init, and counts what else comes.
    fn hear(&mut self, init: &[u8]) -> anyhow::Result<Vec<u8>> {
        let awaited = asked(init).context("that is no Init")?;
        let last = [LAST.0.to_be_bytes().as_slice(), &LAST.1.to_be_bytes()].concat();
        let deadline = Instant::now() + LIMIT;
        self.socket.set_read_timeout(Some(AGAIN))?;
        let mut buffer = vec![0; 65_535];
        loop {
            let Ok(len) = self.socket.recv(&mut buffer) else {
                ensure!(Instant::now() < deadline, "the server answers nobody any more");
                self.socket.send(init)?;
                continue;
            };
            let answered = answered(&buffer[..len]);
            if answered.as_ref() == Some(&awaited) {
                return Ok(buffer[..len].to_vec());
            }
            if answered.as_ref() != Some(&last) {
                self.got = (self.got.0 + 1, self.got.1 + len as u64);
            }
        }
    }
}

/// The client's id and the echo of an Init.
fn asked(init: &[u8]) -> Option<Vec<u8>> {
    Some([init.get(field::FIRST_CID)?, init.get(field::ECHO)?].concat())
}

/// The client's id and the echo that a Retry answers.
fn answered(datagram: &[u8]) -> Option<Vec<u8>> {
    let echo = match datagram.first()? {
        0xd2 => field::ECHO,
        0xc2 => field::RETRY_ECHO,
        _ => return None,
    };
    Some([datagram.get(field::FIRST_CID)?, datagram.get(echo)?].concat())
}
