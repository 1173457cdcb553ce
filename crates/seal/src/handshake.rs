//! The handshake: `Noise_NNpsk0_25519_AESGCM_BLAKE2s`, one message each way.
//!
//! | offset | length | field   | meaning                                             |
//! |--------|--------|---------|-----------------------------------------------------|
//! | 0      | 3      | magic   | `54 44 53`, "TDS"; a stream without a key starts with `54 44 01` |
//! | 3      | 1      | version | 1                                                   |
//! | 4      | 32     | e       | an X25519 key that was made for this connection     |
//! | 36     | 16     | tag     | proves that who made it has the key                 |
//!
//! Both messages look like this. The tag of the second one also proves that it answers the first one.

use snow::{Builder, HandshakeState};

use crate::Key;
use crate::cipher::TAG_LEN;
use crate::noise::{self, Ephemeral};
use crate::record::{Opener, Sealer};

/// Bytes of each message of the handshake on a stream.
pub const HELLO_LEN: usize = START_LEN + MESSAGE_LEN;
/// The three bytes that a sealed stream starts with.
pub const MAGIC: [u8; 3] = *b"TDS";
/// The version of sealed streams that this library speaks.
pub const VERSION: u8 = 1;

const START_LEN: usize = MAGIC.len() + 1;
/// Bytes of each message of the handshake itself.
const MESSAGE_LEN: usize = 32 + TAG_LEN;
/// What both sides must agree on besides the key.
const PROLOGUE: &[u8] = b"Tandem 1 tcp";

/// Both directions of a connection on which both sides have proved that they have the key.
#[derive(Debug)]
pub struct Channel {
    /// Seals what goes out.
    pub sealer: Sealer,
    /// Opens what comes in.
    pub opener: Opener,
}

/// Why there is no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side does not begin like one that has a key.
    #[error("the other side does not begin with a handshake")]
    NotSealed,
    /// It speaks another version.
    #[error("the other side speaks version {0} of the handshake, this side version {VERSION}")]
    Version(u8),
    /// It did not prove that it has the same key.
    #[error("the keys differ")]
    KeysDiffer,
    /// This side could not make a secret.
    #[error("the system gave no random numbers")]
    Random,
}

/// Whether this can be the beginning of a message of a handshake, as far as it has come.
pub fn check_start(bytes: &[u8]) -> Result<(), HandshakeError> {
    let same = MAGIC.iter().zip(bytes).all(|(magic, byte)| magic == byte);
    match bytes.get(MAGIC.len()) {
        _ if !same => Err(HandshakeError::NotSealed),
        Some(&version) if version != VERSION => Err(HandshakeError::Version(version)),
        _ => Ok(()),
    }
}

/// The side that speaks first, while it waits for the answer.
#[derive(Debug)]
pub struct Initiator(HandshakeState);

impl Initiator {
    /// Begins a handshake: what is to be sent.
    pub fn begin(key: &Key) -> Result<(Self, [u8; HELLO_LEN]), HandshakeError> {
        Self::begin_with(key, Ephemeral::Fresh)
    }

    fn begin_with(key: &Key, ephemeral: Ephemeral) -> Result<(Self, [u8; HELLO_LEN]), HandshakeError> {
        let builder = noise::builder(key, ephemeral, PROLOGUE).and_then(Builder::build_initiator);
        let mut state = builder.map_err(|_| HandshakeError::Random)?;
        let message = write(&mut state)?;
        Ok((Self(state), message))
    }

    /// Takes the answer.
    pub fn finish(mut self, answer: &[u8; HELLO_LEN]) -> Result<Channel, HandshakeError> {
        read(&mut self.0, answer)?;
        let [out, back] = noise::split(self.0);
        Ok(Channel { sealer: Sealer::new(out), opener: Opener::new(back) })
    }
}

/// Takes the first message of a handshake: the answer to send, and what it leads to.
///
/// The first message may be an old one that somebody sends again. Who did that can't go on.
pub fn answer(key: &Key, hello: &[u8; HELLO_LEN]) -> Result<([u8; HELLO_LEN], Channel), HandshakeError> {
    answer_with(key, hello, Ephemeral::Fresh)
}

fn answer_with(
    key: &Key,
    hello: &[u8; HELLO_LEN],
    ephemeral: Ephemeral,
) -> Result<([u8; HELLO_LEN], Channel), HandshakeError> {
    let builder = noise::builder(key, ephemeral, PROLOGUE).and_then(Builder::build_responder);
    let mut state = builder.map_err(|_| HandshakeError::Random)?;
    read(&mut state, hello)?;
    let answer = write(&mut state)?;
    let [back, out] = noise::split(state);
    Ok((answer, Channel { sealer: Sealer::new(out), opener: Opener::new(back) }))
}

fn write(state: &mut HandshakeState) -> Result<[u8; HELLO_LEN], HandshakeError> {
    let mut hello = [0; HELLO_LEN];
    let (start, message) = hello.split_at_mut(START_LEN);
    start[..MAGIC.len()].copy_from_slice(&MAGIC);
    start[MAGIC.len()] = VERSION;
    match state.write_message(&[], message) {
        Ok(_) => Ok(hello),
        // The other side's key is of those that lead every secret to the same place. It is no accident.
        Err(snow::Error::Dh) => Err(HandshakeError::KeysDiffer),
        Err(_) => Err(HandshakeError::Random),
    }
}

fn read(state: &mut HandshakeState, hello: &[u8; HELLO_LEN]) -> Result<(), HandshakeError> {
    check_start(hello)?;
    state.read_message(&hello[START_LEN..], &mut []).map_err(|_| HandshakeError::KeysDiffer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cipher::Secret;

    /// The golden bytes of `testdata/sealed`, made by a program that shares nothing with this crate.
    fn golden(name: &str) -> Vec<u8> {
        let path = format!("{}/../../testdata/sealed/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_whitespace).map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
    }

    #[test]
    fn protocol_document_shows_the_golden_bytes() {
        let document = include_str!("../../../PROTOCOL.md");
        let (_, section) = document.split_once("## 17. TCP with a key").unwrap();
        let blocks = section.split("```hex\n").skip(1).map(|block| {
            let lines = block.split("```").next().unwrap().lines();
            let digits = lines.flat_map(|line| line.get(..24).unwrap_or(line).split_whitespace());
            digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect::<Vec<_>>()
        });
        let blocks: Vec<_> = blocks.take(3).collect();
        assert_eq!(blocks, ["hello", "answer", "record-client"].map(golden));
    }

    fn ascending(from: u8) -> [u8; 32] {
        std::array::from_fn(|at| from + at as u8)
    }

    fn given(from: u8) -> Ephemeral {
        Ephemeral::Given(Secret::new(ascending(from)))
    }

    #[test]
    fn both_sides_send_the_golden_bytes() {
        let key = Key::from_bytes(ascending(0));
        let (initiator, hello) = Initiator::begin_with(&key, given(0x20)).unwrap();
        assert_eq!(hello[..], golden("hello"));
        let (reply, mut server) = answer_with(&key, &hello, given(0x40)).unwrap();
        assert_eq!(reply[..], golden("answer"));
        let mut client = initiator.finish(&reply).unwrap();

        let mut records = Vec::new();
        let mut plain = [0; 5];
        let cases = [
            ("record-client", &mut client.sealer, &mut server.opener),
            ("record-server", &mut server.sealer, &mut client.opener),
        ];
        for (name, sealer, opener) in cases {
            let len = sealer.seal(b"hello", 5, &mut records);
            assert_eq!(records[..len], golden(name));
            assert_eq!(opener.open(&records[..len], &mut plain), Ok(5));
            assert_eq!(&plain, b"hello");
        }
        for _ in 1..1 << 16 {
            let len = client.sealer.seal(b"x", 1, &mut records);
            assert_eq!(server.opener.open(&records[..len], &mut plain), Ok(1));
        }
        let len = client.sealer.seal(b"hello", 5, &mut records);
        assert_eq!(records[..len], golden("record-rekeyed"));
        assert_eq!(server.opener.open(&records[..len], &mut plain), Ok(5));
    }
}
