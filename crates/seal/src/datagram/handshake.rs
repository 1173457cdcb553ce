//! The handshake, spread over the packets that begin a connection.

use framing::packet::{TOKEN_LEN, field};
use snow::{Builder, HandshakeState};
use zeroize::{Zeroize as _, Zeroizing};

use super::{HELLO_LEN, Opener, PAYLOAD_LEN, RETRY_E, RETRY_LEN, Sealer, be32, has_version, kind};
use crate::cipher::Secret;
use crate::noise::{self, Ephemeral};
use crate::{HandshakeError, Key};

/// The client's side of the handshake.
#[derive(Debug)]
pub struct Greeting {
    key: Key,
    client_cid: u32,
    ephemeral: Secret,
    hello: [u8; HELLO_LEN],
}

impl Greeting {
    /// Begins a handshake for a connection of this id.
    pub fn begin(key: &Key, client_cid: u32) -> Result<Self, HandshakeError> {
        let mut ephemeral = Secret::default();
        getrandom::fill(&mut *ephemeral).map_err(|_| HandshakeError::Random)?;
        Self::begin_with(key, client_cid, ephemeral)
    }

    pub(super) fn begin_with(key: &Key, client_cid: u32, ephemeral: Secret) -> Result<Self, HandshakeError> {
        let mut hello = [0; HELLO_LEN];
        let mut state = initiator(key, client_cid, &ephemeral)?;
        state.write_message(&[], &mut hello).map_err(|_| HandshakeError::Random)?;
        Ok(Self { key: key.clone(), client_cid, ephemeral, hello })
    }

    /// What its Init and Connect packets carry.
    #[must_use]
    pub const fn hello(&self) -> &[u8; HELLO_LEN] {
        &self.hello
    }

    /// Takes a Retry, and opens it for [`parse`](super::parse). One that is wrong changes nothing: anybody may have sent it.
    #[must_use]
    pub fn welcome(&self, retry: &mut [u8]) -> Option<(Sealer, Opener)> {
        if retry.len() != RETRY_LEN || retry[0] != kind::RETRY || !has_version(retry) {
            return None;
        }
        let mut state = initiator(&self.key, self.client_cid, &self.ephemeral).ok()?;
        state.write_message(&[], &mut [0; HELLO_LEN]).ok()?;
        let mut payload = [0; PAYLOAD_LEN];
        state.read_message(&retry[RETRY_E..], &mut payload).ok()?;
        retry[RETRY_E + 32..RETRY_E + 32 + PAYLOAD_LEN].copy_from_slice(&payload);
        retry[0] += kind::OPENED;
        let [out, back] = noise::split(state);
        Some((Sealer::new(&out, Some(self.hello)), Opener::new(&back)))
    }
}

fn initiator(key: &Key, client_cid: u32, ephemeral: &Secret) -> Result<HandshakeState, HandshakeError> {
    let given = Ephemeral::Given(ephemeral.clone());
    let builder = noise::builder(key, given, &prologue(client_cid)).and_then(Builder::build_initiator);
    builder.map_err(|_| HandshakeError::Random)
}

fn prologue(client_cid: u32) -> [u8; 16] {
    let mut prologue = *b"Tandem 1 udp\0\0\0\0";
    prologue[12..].copy_from_slice(&client_cid.to_be_bytes());
    prologue
}

/// The server's side of the handshake, for all clients: it keeps nothing of them.
///
/// Its ephemeral secret is made of the token and the client's message, so that it can be made again.
#[derive(Debug)]
pub struct Host {
    pub(super) key: Key,
    secret: Zeroizing<[u8; 32]>,
}

impl Host {
    /// One with this secret, which must be random and new for each start of a server.
    #[must_use]
    pub fn new(key: Key, mut secret: [u8; 32]) -> Self {
        let host = Self { key, secret: Zeroizing::new(secret) };
        secret.zeroize();
        host
    }

    /// Appends the sealed form of the Retry that answers this sealed Init, to a client that has the key.
    #[must_use]
    pub fn retry(&self, init: &[u8], server_cid: u32, token: &[u8; TOKEN_LEN], out: &mut Vec<u8>) -> bool {
        let Some(hello) = init.get(field::ECHO.end..).and_then(|hello| hello.as_array()) else {
            return false;
        };
        let client_cid = be32(init, field::FIRST_CID);
        let Some((message, _)) = self.answer(client_cid, server_cid, token, hello) else { return false };
        out.push(kind::RETRY);
        out.extend_from_slice(&init[1..field::ECHO.end]);
        out.extend_from_slice(&message);
        true
    }

    /// Takes the first Connect of a client whose token was found good.
    #[must_use]
    pub fn welcome(&self, connect: &[u8]) -> Option<(Sealer, Opener)> {
        let hello = connect.get(field::CONNECT_TOKEN.end..)?.first_chunk()?;
        let token = connect.get(field::CONNECT_TOKEN)?.as_array()?;
        let cids = [field::SECOND_CID, field::FIRST_CID].map(|at| be32(connect, at));
        let (_, state) = self.answer(cids[0], cids[1], token, hello)?;
        let [back, out] = noise::split(state);
        Some((Sealer::new(&out, None), Opener::new(&back)))
    }

    fn answer(
        &self,
        client_cid: u32,
        server_cid: u32,
        token: &[u8; TOKEN_LEN],
        hello: &[u8; HELLO_LEN],
    ) -> Option<([u8; RETRY_LEN - RETRY_E], HandshakeState)> {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&client_cid.to_be_bytes()).update(&server_cid.to_be_bytes());
        hasher.update(token).update(hello);
        let ephemeral = Secret::new(*hasher.finalize().as_bytes());
        self.answer_with(client_cid, server_cid, token, hello, ephemeral)
    }

    pub(super) fn answer_with(
        &self,
        client_cid: u32,
        server_cid: u32,
        token: &[u8; TOKEN_LEN],
        hello: &[u8; HELLO_LEN],
        ephemeral: Secret,
    ) -> Option<([u8; RETRY_LEN - RETRY_E], HandshakeState)> {
        let (ephemeral, prologue) = (Ephemeral::Given(ephemeral), prologue(client_cid));
        let mut state = noise::builder(&self.key, ephemeral, &prologue).ok()?.build_responder().ok()?;
        state.read_message(hello, &mut []).ok()?;
        let mut payload = [0; PAYLOAD_LEN];
        payload[..4].copy_from_slice(&server_cid.to_be_bytes());
        payload[4..].copy_from_slice(token);
        let mut message = [0; RETRY_LEN - RETRY_E];
        state.write_message(&payload, &mut message).ok()?;
        Some((message, state))
    }
}
