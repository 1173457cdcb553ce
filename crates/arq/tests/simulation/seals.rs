//! What an endpoint with a key does to datagrams on their way between a connection and the network.

use framing::packet::{self, Packet};
use seal::datagram::{self, Greeting, Host, Opener, Parsed, Sealer, Step, first_step};
use seal::{KEY_LEN, Key};

pub struct Seals {
    greeting: Greeting,
    host: Host,
    client: Option<(Sealer, Opener)>,
    server: Option<(Sealer, Opener)>,
}

impl Seals {
    pub fn new(client_cid: u32) -> Self {
        let key = Key::from_bytes([1; KEY_LEN]);
        Self {
            greeting: Greeting::begin(&key, client_cid).unwrap(),
            host: Host::new(key, [8; 32]),
            client: None,
            server: None,
        }
    }

    pub fn client_sends(&self, datagram: &mut Vec<u8>) {
        match &self.client {
            Some((sealer, _)) => sealer.seal(datagram, 0),
            None => datagram::seal_init(self.greeting.hello(), datagram, 0),
        }
    }

    pub fn server_sends(&self, datagram: &mut Vec<u8>) {
        match &self.server {
            Some((sealer, _)) => sealer.seal(datagram, 0),
            None => datagram.clear(),
        }
    }

    /// Opens what has come to the client: its packet, and its length without a key. `judge` says whether the client of
    /// this id has asked with this echo.
    pub fn client_gets<'a>(
        &mut self,
        datagram: &'a mut [u8],
        judge: impl FnOnce(u32, u64) -> bool,
    ) -> Option<(Packet<'a>, usize)> {
        match (first_step(datagram), &mut self.client) {
            (Step::Welcome(cid), client @ None) if judge(cid, echo(datagram)) => {
                *client = Some(self.greeting.welcome(datagram)?);
            }
            (Step::Open(_), Some((_, opener))) => {
                if !opener.open(datagram) {
                    return None;
                }
            }
            _ => return None,
        }
        opened(datagram)
    }

    /// The same at the server. `judge` says whether the address is proven by what begins a connection.
    pub fn server_gets<'a>(
        &mut self,
        datagram: &'a mut [u8],
        judge: impl FnOnce(&Packet<'_>, usize) -> bool,
    ) -> Option<(Packet<'a>, usize)> {
        match (first_step(datagram), &mut self.server) {
            (Step::Init, _) => {}
            (Step::Open(_), Some((_, opener))) => {
                if !opener.open(datagram) {
                    return None;
                }
            }
            (Step::Open(_), server @ None) => {
                let Parsed { packet, .. } = datagram::parse(datagram)?;
                if !judge(&packet, datagram.len()) {
                    return None;
                }
                let (sealer, mut opener) = self.host.welcome(datagram)?;
                if !opener.open(datagram) {
                    return None;
                }
                *server = Some((sealer, opener));
            }
            _ => return None,
        }
        opened(datagram)
    }

    /// The sealed form of a Retry to a client's Init.
    pub fn retry(&self, init: &[u8], retry: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        if let Ok(Packet::Retry { server_cid, token, .. }) = Packet::parse(retry) {
            let _ = self.host.retry(init, server_cid, &token, &mut sealed);
        }
        sealed
    }
}

/// What a Retry answers.
fn echo(retry: &[u8]) -> u64 {
    retry
        .get(packet::field::ECHO)
        .and_then(|echo| echo.first_chunk())
        .map_or(0, |echo| u64::from_be_bytes(*echo))
}

fn opened(datagram: &[u8]) -> Option<(Packet<'_>, usize)> {
    let Parsed { packet, surplus, .. } = datagram::parse(datagram)?;
    let hello = if matches!(packet, Packet::Connect { .. }) { datagram::HELLO_LEN } else { 0 };
    Some((packet, datagram.len() - surplus - hello))
}

/// The settings of a connection whose packets are sealed.
pub fn settings(config: &mut arq::Config) {
    config.overhead += datagram::GROWTH as u16;
    config.max_datagram -= datagram::GROWTH as u16;
    config.connect_extra = datagram::HELLO_LEN as u16;
    const { assert!(packet::CRC_LEN + datagram::GROWTH == seal::TAG_LEN) };
}
