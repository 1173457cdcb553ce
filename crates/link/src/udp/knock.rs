//! What a client finds out about the key of a server that does not answer its first packets.
//!
//! A server is silent to who does not have its key, but for a Reset to a packet of a connection that it does not know. So the
//! client sends such packets, one as of a client with a key and one as of a client without: which of them is answered, and
//! how, tells what the server has. An answer that this side's key does not prove may come from anybody who sees the knock.
//! It can do no more than make the client give up, and two have to say the same.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framing::packet::{self, field};
use seal::Key;
use seal::datagram::{Knock, open_reset};

use super::accept::random;
use super::outbox::Outbox;
use crate::ConnectError;

/// How long a client waits for an answer to its first packets before it knocks: three of them have gone by then.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long it waits before it knocks again.
const INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of padding that make a clear knock longer than a clear Reset.
const PADDING: usize = packet::RESET_LEN + 1 - packet::DATA_HEADER_LEN - packet::CRC_LEN;

/// What a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The same key as this side, or none as this side: the first packets, or the answers, were lost.
    Same,
    /// Another key.
    Another,
    /// None, and this side has one.
    None,
    /// A key, and this side has none.
    Some,
}

impl Finding {
    /// Why it makes no sense to go on, if so.
    pub(super) fn error(self, server: &str) -> Option<ConnectError> {
        let server = server.to_owned();
        match self {
            Self::Same => None,
            Self::Another => Some(ConnectError::KeysDiffer { server }),
            Self::None => Some(ConnectError::Keyless { server }),
            Self::Some => Some(ConnectError::Keyed { server }),
        }
    }
}

/// The knocks of a client, and what came of them.
#[derive(Debug)]
pub(super) struct Knocks {
    key: Option<Key>,
    next: Instant,
    /// Those that were not answered, each with what answers it where there is no key.
    open: Vec<(Knock, Vec<u8>)>,
    /// What the last answer said.
    heard: Option<Finding>,
    is_over: bool,
}

impl Knocks {
    pub(super) fn new(key: Option<Key>, now: Instant) -> Self {
        Self { key, next: now + PATIENCE, open: Vec::new(), heard: None, is_over: false }
    }

    /// When to knock, unless enough is known.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.is_over).then_some(self.next)
    }

    /// What the server has, once that is certain.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.heard.filter(|_| self.is_over)
    }

    /// Knocks.
    pub(super) fn knock(&mut self, now: Instant, to: SocketAddr, outbox: &mut Outbox) -> io::Result<()> {
        let knock = Knock::new(random()?);
        self.next = now + INTERVAL;
        outbox.bytes().extend_from_slice(knock.bytes());
        outbox.end(to, None);
        let (clear, reset) = clear(&knock);
        outbox.bytes().extend_from_slice(&clear);
        outbox.end(to, None);
        self.open.push((knock, reset));
        Ok(())
    }

    /// Takes a datagram: whether it answers a knock.
    pub(super) fn hear(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let is_answer =
            |(knock, reset): &(Knock, Vec<u8>)| knock.is_answered_by(datagram) || reset == datagram;
        let Some(at) = self.open.iter().position(is_answer) else { return false };
        let (_, clear) = self.open.swap_remove(at);
        let finding = match (&self.key, clear == datagram) {
            (None, true) => Finding::Same,
            (None, false) => Finding::Some,
            (Some(_), true) => Finding::None,
            (Some(key), false) if open_reset(key, &mut datagram.to_vec()) => Finding::Same,
            (Some(_), false) => Finding::Another,
        };
        if !self.is_over {
            self.is_over = self.heard == Some(finding) || finding == Finding::Same;
            self.heard = Some(finding);
            self.next = now;
        }
        true
    }
}

/// The same knock for a server without a key, and its answer.
fn clear(knock: &Knock) -> (Vec<u8>, Vec<u8>) {
    let [cid, pn] = [field::CID, field::PN].map(|at| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&knock.bytes()[at]);
        u32::from_be_bytes(bytes)
    });
    let (mut clear, mut reset) = (Vec::new(), Vec::new());
    packet::begin_data(&mut clear, cid, u64::from(pn));
    packet::put_padding(&mut clear, PADDING);
    packet::seal(&mut clear, 0);
    let crc = clear.last_chunk().copied().map_or(0, u32::from_be_bytes);
    packet::reset(&mut reset, cid, pn, crc);
    (clear, reset)
}

#[cfg(test)]
mod tests {
    use framing::packet::Packet;
    use seal::KEY_LEN;
    use seal::datagram::Host;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes([byte; KEY_LEN])
    }

    /// What a server with this key, or with none, answers to the last knock.
    fn answer(knocks: &Knocks, server: Option<&Key>) -> Vec<u8> {
        let (knock, _) = knocks.open.last().unwrap();
        let bytes = match server {
            Some(_) => knock.bytes().to_vec(),
            None => clear(knock).0,
        };
        let number = |at: std::ops::Range<usize>| u32::from_be_bytes(bytes[at].try_into().unwrap());
        let (cid, pn) = (number(field::CID), number(field::PN));
        let last = *bytes.last_chunk().unwrap();
        let mut out = Vec::new();
        match server {
            Some(key) => Host::new(key.clone(), [9; 32]).reset(cid, pn, last, &mut out),
            None => packet::reset(&mut out, cid, pn, u32::from_be_bytes(last)),
        }
        assert!(out.len() < bytes.len());
        out
    }

    /// Knocks, and hears what a server with this key says: what is certain by then.
    fn ask(knocks: &mut Knocks, server: Option<&Key>) -> Option<Finding> {
        let now = knocks.due().unwrap();
        knocks.knock(now, "127.0.0.1:9".parse().unwrap(), &mut Outbox::default()).unwrap();
        let answer = answer(knocks, server);
        assert!(knocks.hear(now, &answer) && !knocks.hear(now, &answer), "it is heard once");
        knocks.finding()
    }

    #[test]
    fn two_answers_tell_what_a_server_has() {
        let cases = [
            (Some(key(1)), Some(key(2)), Finding::Another),
            (Some(key(1)), None, Finding::None),
            (None, Some(key(1)), Finding::Some),
        ];
        for (ours, server, finding) in cases {
            let mut knocks = Knocks::new(ours, Instant::now());
            assert_eq!(ask(&mut knocks, server.as_ref()), None);
            assert_eq!(ask(&mut knocks, server.as_ref()), Some(finding));
            assert_eq!(knocks.due(), None);
        }
    }

    #[test]
    fn an_answer_that_the_key_proves_is_enough() {
        for same in [Some(key(1)), None] {
            let mut knocks = Knocks::new(same.clone(), Instant::now());
            // Somebody on the way.
            assert_eq!(ask(&mut knocks, Some(&key(2))), None);
            assert_eq!(ask(&mut knocks, same.as_ref()), Some(Finding::Same));
        }
    }

    #[test]
    fn answers_that_contradict_each_other_say_nothing() {
        let mut knocks = Knocks::new(Some(key(1)), Instant::now());
        for _ in 0..3 {
            assert_eq!(ask(&mut knocks, Some(&key(2))), None);
            assert_eq!(ask(&mut knocks, None), None);
        }
    }

    #[test]
    fn a_clear_knock_is_a_packet_that_does_nothing() {
        let (clear, reset) = clear(&Knock::new([7; seal::datagram::KNOCK_LEN]));
        assert_eq!(clear.len(), packet::RESET_LEN + 1);
        let Ok(Packet::Data { cid, frames, .. }) = Packet::parse(&clear) else { panic!("{clear:02x?}") };
        assert_eq!((cid, frames), (0x0707_0707, &[0; PADDING][..]));
        assert!(matches!(Packet::parse(&reset), Ok(Packet::Reset { cid: 0x0707_0707, .. })));
    }
}
