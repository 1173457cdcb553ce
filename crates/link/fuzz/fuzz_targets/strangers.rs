//! Any datagrams at a listening UDP socket, from somebody who has its key or not: nobody panics, an address that is not
//! proven gets at most three times what it sent, and the server still answers who comes next.
//!
//! Input: a byte that says whether the server has a key; then pieces of four bytes and what belongs to them. The first byte
//! says what is sent, the second how long what belongs to it is, the others where it is changed and how.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use framing::packet::{self, Packet, TOKEN_LEN};
use libfuzzer_sys::fuzz_target;
use link::{Listener, UdpEndpoint, UdpOptions};
use seal::Key;
use seal::datagram::{self, Greeting, Knock, Opener, Sealer};

const CID: u32 = 7;
const ECHO: u64 = 5;
/// How long to wait for an answer before it is asked for again, and how often: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_TRIES: u32 = 20;
/// Datagrams of an input: as many as a socket can hold.
const MOST_SENT: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&has_key, mut rest)) = input.split_first() else { return };
    let Ok(key) = Key::generate() else { return };
    let mut stranger = Stranger::new((has_key & 1 == 1).then_some(key));
    for _ in 0..MOST_SENT {
        let Some((&[what, len, at, flip], more)) = rest.split_first_chunk::<4>() else { break };
        let (own, later) = more.split_at(usize::from(len).min(more.len()));
        rest = later;
        let mut bytes = stranger.make(what, at, own);
        if flip != 0 && !bytes.is_empty() {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= flip;
        }
        stranger.send(&bytes);
    }
    stranger.leave();
});

/// A server, and somebody who sends it packets.
struct Stranger {
    key: Option<Key>,
    server: UdpEndpoint,
    socket: UdpSocket,
    /// One that was used before. An answer may be on its way to it, so its port is not to be another's.
    before: Option<UdpSocket>,
    hello: Option<Greeting>,
    /// The id and the token that the server gave, once they were asked for; and what its packets are sealed with.
    ticket: Option<(u32, [u8; TOKEN_LEN])>,
    secrets: Option<(Sealer, Opener)>,
    number: u64,
    sent: usize,
    /// Whether it has proved its address.
    is_known: bool,
}

impl Stranger {
    fn new(key: Option<Key>) -> Self {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = UdpOptions { key: key.clone(), ..UdpOptions::default() };
        let server = UdpEndpoint::bind(here, &options).expect("a free port");
        let socket = client(&server);
        let hello = key.as_ref().and_then(|key| Greeting::begin(key, CID).ok());
        let (ticket, secrets) = (None, None);
        let before = None;
        Self { key, server, socket, before, hello, ticket, secrets, number: 0, sent: 0, is_known: false }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.socket.send(bytes).is_ok() {
            self.sent += bytes.len();
        }
    }

    fn make(&mut self, what: u8, at: u8, own: &[u8]) -> Vec<u8> {
        match what & 7 {
            0 => own.to_vec(),
            1 => [&[if self.key.is_some() { 0xd1 } else { 0xc1 } + at % 7], own].concat(),
            2 => init(CID, self.hello.as_ref()),
            3 => self.connect(own),
            4 => self.data(own),
            5 => self.plain(u64::from(at), own),
            // Changed under a checksum that is right, where there is no key.
            6 => reseal(self.connect(own), at, own),
            _ => Knock::new([at; datagram::KNOCK_LEN]).bytes().to_vec(),
        }
    }

    /// What the server gave, which is asked for first.
    fn ticket(&mut self) -> (u32, [u8; TOKEN_LEN]) {
        if let Some(ticket) = self.ticket {
            return ticket;
        }
        let asker = client(&self.server);
        // A hello is answered only so often.
        self.hello = self.key.as_ref().and_then(|key| Greeting::begin(key, CID).ok());
        let mut retry = self.ask(&asker, &init(CID, self.hello.as_ref()));
        // A token is of one address: what comes behind has to come from there.
        self.before = Some(std::mem::replace(&mut self.socket, asker));
        if let Some(hello) = &self.hello {
            self.secrets = hello.welcome(&mut retry);
            assert!(self.secrets.is_some());
        }
        self.is_known = true;
        let ticket = token(&retry, self.key.is_some());
        *self.ticket.insert(ticket)
    }

    /// Sends an Init from a socket that was not used before, and waits for the answer.
    fn ask(&self, socket: &UdpSocket, init: &[u8]) -> Vec<u8> {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut buffer = vec![0; 2048];
        let answer = |_| {
            socket.send(init).expect("loopback");
            socket.recv(&mut buffer).ok()
        };
        let len = (0..MOST_TRIES).find_map(answer).expect("the server still answers");
        assert!(len <= 3 * init.len());
        buffer.truncate(len);
        buffer
    }

    /// A packet of this connection, sealed as the server expects it.
    fn seal(&mut self, mut clear: Vec<u8>) -> Vec<u8> {
        self.number += 1;
        if let Some((sealer, _)) = &self.secrets {
            sealer.seal(&mut clear, 0);
        }
        clear
    }

    fn connect(&mut self, frames: &[u8]) -> Vec<u8> {
        let (cid, token) = self.ticket();
        let mut connect = Vec::new();
        packet::begin_connect(&mut connect, cid, CID, &token, self.number);
        connect.extend_from_slice(frames);
        packet::seal(&mut connect, 0);
        self.seal(connect)
    }

    fn data(&mut self, frames: &[u8]) -> Vec<u8> {
        let (cid, _) = self.ticket();
        let mut data = Vec::new();
        packet::begin_data(&mut data, cid, self.number);
        data.extend_from_slice(frames);
        packet::seal(&mut data, 0);
        self.seal(data)
    }

    fn plain(&mut self, chunk: u64, payload: &[u8]) -> Vec<u8> {
        let (cid, _) = self.ticket();
        let (mut plain, mut sealed) = (Vec::new(), Vec::new());
        packet::plain(&mut plain, cid, self.number, chunk, payload);
        self.number += 1;
        match &self.secrets {
            Some((sealer, _)) if sealer.seal_plain(&plain, &mut sealed) => sealed,
            _ => plain,
        }
    }

    /// Sees that the server is there still, and that it has not said too much to who did not prove an address.
    fn leave(self) {
        let next = client(&self.server);
        let hello = self.key.as_ref().and_then(|key| Greeting::begin(key, CID + 1).ok());
        let retry = self.ask(&next, &init(CID + 1, hello.as_ref()));
        let is_good = hello.is_none_or(|hello| hello.welcome(&mut retry.clone()).is_some());
        assert!(is_good, "{retry:02x?}");
        // Answers keep their order: all of them have come.
        self.socket.set_nonblocking(true).expect("a socket");
        let (mut got, mut buffer) = (0, [0; 65536]);
        while let Ok(len) = self.socket.recv(&mut buffer) {
            got += len;
        }
        assert!(self.is_known || got <= 3 * self.sent, "{got} for {}", self.sent);
    }
}

fn client(server: &UdpEndpoint) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.connect(server.local_addr()).expect("loopback");
    // What came before that may be anybody's on this machine.
    socket.set_nonblocking(true).expect("a socket");
    while socket.recv(&mut [0; 2048]).is_ok() {}
    socket.set_nonblocking(false).expect("a socket");
    socket
}

fn init(cid: u32, hello: Option<&Greeting>) -> Vec<u8> {
    let mut init = Vec::new();
    packet::init(&mut init, packet::VERSION, cid, ECHO);
    if let Some(hello) = hello {
        datagram::seal_init(hello.hello(), &mut init, 0);
    }
    init
}

/// What a Retry gives, opened where it was sealed.
fn token(retry: &[u8], has_key: bool) -> (u32, [u8; TOKEN_LEN]) {
    let packet = match has_key {
        true => datagram::parse(retry).map(|parsed| parsed.packet),
        false => Packet::parse(retry).ok(),
    };
    let Some(Packet::Retry { server_cid, token, echo: ECHO, .. }) = packet else { panic!("no Retry") };
    (server_cid, token)
}

/// Changes a clear packet and makes its checksum again.
fn reseal(mut bytes: Vec<u8>, at: u8, own: &[u8]) -> Vec<u8> {
    if bytes.first().is_some_and(|kind| *kind < 0xd0) {
        bytes.truncate(bytes.len().saturating_sub(packet::CRC_LEN));
        for (place, byte) in bytes.iter_mut().skip(usize::from(at)).zip(own) {
            *place ^= byte;
        }
        packet::seal(&mut bytes, 0);
    }
    bytes
}
