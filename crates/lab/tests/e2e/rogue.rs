//! A client that speaks the protocol by hand, and does what no client should.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use framing::frame::{self, Frame, HEADER_LEN, Kind};
use framing::{Hello, Message};

pub(crate) struct Rogue {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Rogue {
    /// Connects and greets.
    pub(crate) fn connect(server: SocketAddr) -> Self {
        let mut rogue = Self { stream: TcpStream::connect(server).unwrap(), heard: Vec::new() };
        rogue.say(&Message::Hello(Hello { features: 0, software: "rogue 1" }));
        rogue
    }

    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.frame(Kind::Message, 0, &payload);
    }

    pub(crate) fn frame(&mut self, kind: Kind, chunk: u64, payload: &[u8]) {
        let mut frame = vec![0; HEADER_LEN];
        frame.extend_from_slice(payload);
        frame::seal(kind, chunk, &mut frame);
        self.stream.write_all(&frame).unwrap();
    }

    /// Listens until `find` makes something of a message.
    pub(crate) fn hear<T>(&mut self, mut find: impl FnMut(&Message<'_>) -> Option<T>) -> T {
        loop {
            if let Some(frame) = Frame::parse(&self.heard).unwrap() {
                let len = frame.len();
                let found = find(&Message::decode(frame.payload).unwrap());
                self.heard.drain(..len);
                match found {
                    Some(found) => return found,
                    None => continue,
                }
            }
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the server hung up");
            self.heard.extend_from_slice(&buffer[..read]);
        }
    }
}
