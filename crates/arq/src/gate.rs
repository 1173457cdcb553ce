//! What a server answers to packets of nobody it knows: without keeping anything.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use framing::packet::{self, Packet, TOKEN_LEN, VERSION};

/// How long a token is good: longer than a client waits for an answer to it, through a blackout too.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
const TIME_LEN: usize = 4;

/// Proves addresses with tokens that only this server can make (the idea of RFC 9000 section 8.1).
pub struct Gate {
    key: [u8; 32],
}

/// What to do with a packet of nobody that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing.
    Nothing,
    /// Send back the reply.
    Reply,
    /// The address is proven: make a connection, and give it this packet.
    Accept(Accepted),
}

/// A client whose address is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The connection id that the client has given itself.
    pub client_cid: u32,
    /// The connection id that this server gave it.
    pub server_cid: u32,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// One with this secret, which must be random and new for each start of a server.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { key: secret }
    }

    /// Judges a packet of `len` bytes. A reply is appended to `reply`; it is never longer than three times `len`.
    pub fn receive(
        &self,
        since_start: Duration,
        from: SocketAddr,
        packet: &Packet<'_>,
        len: usize,
        reply: &mut Vec<u8>,
    ) -> First {
        match *packet {
            Packet::Init { version, client_cid, echo } if len >= packet::INIT_LEN => {
                if version == VERSION {
                    let time = since_start.as_secs() as u32;
                    let server_cid = self.server_cid(time, from, client_cid);
                    let token = self.token(time, from, client_cid, server_cid);
                    packet::retry(reply, client_cid, server_cid, echo, &token);
                } else {
                    packet::version(reply, client_cid, echo);
                }
                First::Reply
            }
            Packet::Connect { server_cid, client_cid, token, .. } => {
                let mut time = [0; TIME_LEN];
                time.copy_from_slice(&token[..TIME_LEN]);
                let time = u32::from_be_bytes(time);
                let age = since_start.as_secs().checked_sub(u64::from(time));
                let fresh = age.is_some_and(|age| age <= TOKEN_LIFE.as_secs());
                let good = self.token(time, from, client_cid, server_cid);
                if fresh && is_equal(&good, &token) {
                    First::Accept(Accepted { client_cid, server_cid })
                } else {
                    First::Nothing
                }
            }
            _ => First::Nothing,
        }
    }

    fn mac(&self, purpose: u8, time: u32, from: SocketAddr, cids: [u32; 2]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[purpose]).update(&time.to_be_bytes());
        match from.ip() {
            IpAddr::V4(ip) => hasher.update(&ip.octets()),
            IpAddr::V6(ip) => hasher.update(&ip.octets()),
        };
        hasher.update(&from.port().to_be_bytes());
        hasher.update(&cids[0].to_be_bytes()).update(&cids[1].to_be_bytes());
        *hasher.finalize().as_bytes()
    }

    fn server_cid(&self, time: u32, from: SocketAddr, client_cid: u32) -> u32 {
        let mac = self.mac(1, time, from, [client_cid, 0]);
        u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]])
    }

    fn token(&self, time: u32, from: SocketAddr, client_cid: u32, server_cid: u32) -> [u8; TOKEN_LEN] {
        let mac = self.mac(2, time, from, [client_cid, server_cid]);
        let mut token = [0; TOKEN_LEN];
        token[..TIME_LEN].copy_from_slice(&time.to_be_bytes());
        token[TIME_LEN..].copy_from_slice(&mac[..TOKEN_LEN - TIME_LEN]);
        token
    }
}

/// Compares without telling by its time where the difference is.
fn is_equal(a: &[u8; TOKEN_LEN], b: &[u8; TOKEN_LEN]) -> bool {
    a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}
